// KafkaRelay runs one stream into another topic (`--sink kafka:TOPIC`): a producer whose source is
// the reordered stream.
//
// It opens a term of its own and ledgers what it writes, with everything that lockstep-producer
// does (producer/README.md): Kafka first, ledger second, adopt, close. Its source position is the
// input's, its head is its cursor. The next hop reads its output, through a site loss as well, as
// it reads any other producer's.
//
// The only place where reorder uses producer/.
#ifndef LOCKSTEP_REORDER_KAFKA_RELAY_H_
#define LOCKSTEP_REORDER_KAFKA_RELAY_H_

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"

#include "common/kafka/kafka_config.h"
#include "db-ledger/ledger.h"
#include "reorder/stream_engine.h"
#include "reorder/stream_source.h"

namespace lockstep {

// `GROUP@TOPIC/PARTITION`, of the input: the same at both sites, another one for every group and
// stream (a topic's name has no `@`).
std::string RelayProducerName(const std::string& group, const StreamName& input);

// Where a run of this group would go on: above what its rows say; nullopt: at the start. What a
// dead process left between Kafka and the ledger is not looked at, so a run may begin a little
// later. FAILED_PRECONDITION: it is retired. NOT_FOUND: no such sink ever ran.
absl::StatusOr<std::optional<Position>> RelaySentUpTo(Ledger& ledger, const std::string& group,
                                                      const StreamName& input);
// Why recover does not begin a new one: FAILED_PRECONDITION.
absl::Status NoRelayError(const std::string& group, const StreamName& input,
                          const std::string& output);

struct KafkaRelayOptions {
  ReorderMode mode = ReorderMode::kGate;  // kGate or kRecover.
  bool from_start = false;
  bool from_start_if_new = false;  // As StreamEngineOptions'.
  std::string group = {};
  std::string topic = {};  // The output's.
  KafkaConfig kafka = {};  // The output's brokers.
  bool payload_in_ledger = false;
  bool foreign_passes = false;  // Other records in the output topic.
  std::chrono::milliseconds drain_timeout{30'000};
  StreamSourceOptions source = {};  // `source.reader.stream` is the input.
};

class KafkaRelay final : public StreamRunner {
 public:
  // The producer and its source work at the same time, each with a ledger of its own.
  using OpenLedger = std::function<absl::StatusOr<std::unique_ptr<Ledger>>()>;

  // `progress` must outlive it.
  KafkaRelay(KafkaRelayOptions options, OpenLedger open_ledger, StreamProgress& progress);

  // Call once. Stopped: what was taken in is durable within drain_timeout, or CANCELLED.
  StreamResult Run(const StopRequested& stop_requested) override;

 private:
  absl::Status Check(Ledger& ledger) const;
  absl::Status Relay(const StopRequested& stop_requested, StreamResult& result);

  const KafkaRelayOptions options_;
  const std::string name_;
  const OpenLedger open_ledger_;
  StreamProgress* const progress_;
  const std::shared_ptr<StreamSourceFacts> facts_;
};

}  // namespace lockstep

#endif  // LOCKSTEP_REORDER_KAFKA_RELAY_H_
