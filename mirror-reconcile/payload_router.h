// PayloadRouter fetches the records of a run from wherever they can be had, and proves them.
//
// Which source: the ones named by --payload for that producer, then those named for everybody, in
// the order given; without any, the ledger row itself (inline payload) and then the source that the
// producer registered (not a Pika's: where it is now, only --payload can say; a Kafka sink's is its
// input at this site). A source that lacks
// the run, or whose bytes do not match the run's digest, is passed over; nothing unproven is ever
// handed out.
//
// Not thread-safe.
#ifndef LOCKSTEP_MIRROR_RECONCILE_PAYLOAD_ROUTER_H_
#define LOCKSTEP_MIRROR_RECONCILE_PAYLOAD_ROUTER_H_

#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "common/kafka/kafka_config.h"
#include "db-ledger/ledger.h"
#include "mirror-reconcile/payload_spec.h"
#include "mirror-reconcile/stream_payload_source.h"
#include "producer/sources/payload_source.h"

namespace lockstep {

struct PayloadRouterOptions {
  std::vector<PayloadSpec> specs;  // --payload
  std::string source_db;           // For tables: libpq conninfo.
  std::string source_password;     // For a Pika: its requirepass.
  KafkaConfig kafka;               // Its properties also serve `log:`.
  std::chrono::milliseconds patience{30'000};
  OpenStreamLogs open_logs = nullptr;  // Of a Kafka sink's input.
};

// OK iff the events are the run's: their number and the digest.
absl::Status ProveRun(const std::string& producer, const Run& run,
                      const std::vector<SourceEvent>& events);

class PayloadRouter {
 public:
  // `ledger` must outlive it. Opens no source yet.
  PayloadRouter(PayloadRouterOptions options, Ledger& ledger, std::vector<ProducerInfo> producers);

  // The run's records, proved.
  //   NOT_FOUND  no source has them; the message says of each source why not.
  //   UNAVAILABLE  a source that may have them is away.
  absl::StatusOr<std::vector<SourceEvent>> Fetch(const StreamInfo& stream,
                                                 const std::string& producer, const Run& run);

  // Does the source that the producer registered, or the Pika that --payload names for it, still
  // have this run, its last one? OK; NOT_FOUND (*source behind ledger*); or why it cannot be asked.
  absl::Status CheckSourceReaches(const StreamInfo& stream, const std::string& producer,
                                  const Run& run);

 private:
  struct Candidate {
    std::string text;
    std::unique_ptr<PayloadSource> source;  // nullptr: could not be opened, see `why`.
    absl::Status why;
  };
  std::vector<Candidate>& CandidatesOf(const std::string& producer);
  Candidate Open(const PayloadSpec& spec, const std::string& producer);
  // The filter that the producer registered with its Pika.
  void SetFilter(const std::string& producer, SourceSpec& source) const;
  Candidate OpenRegistered(const std::string& producer);

  PayloadRouterOptions options_;
  Ledger& ledger_;
  std::vector<ProducerInfo> producers_;
  std::map<std::string, std::vector<Candidate>> candidates_;
  std::map<std::string, Candidate> registered_;  // For CheckSourceReaches.
};

}  // namespace lockstep

#endif  // LOCKSTEP_MIRROR_RECONCILE_PAYLOAD_ROUTER_H_
