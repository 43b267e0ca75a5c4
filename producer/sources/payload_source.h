// PayloadSource regenerates what a producer wrote, from the producer's own source, for
// re-injection.
//
// The source is read again through the very functions the producer used (filters, partition
// function), so a run comes out as it went in: the same events in the same order. The caller proves
// it by the run's digest before it uses any of it.
#ifndef LOCKSTEP_PRODUCER_SOURCES_PAYLOAD_SOURCE_H_
#define LOCKSTEP_PRODUCER_SOURCES_PAYLOAD_SOURCE_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "db-ledger/ledger.h"
#include "producer/source_event.h"
#include "producer/sources/source_spec.h"

namespace lockstep {

struct PayloadRequest {
  StreamInfo stream;  // The run's; its partition_count is the one stored at the first open.
  std::string producer;
  Run run;  // at_first, at_last and the number of seqs say which events; a Pika needs its payload.
};

class PayloadSource {
 public:
  virtual ~PayloadSource() = default;

  // The run's events, one a seq, in seq order, each with its position (`at`).
  //   NOT_FOUND    the source has not all of them (any more); the message names the first that is
  //                missing as exactly as the source can tell.
  //   UNAVAILABLE  the source is away; ask again.
  // Requests should ascend per producer: the source then reads straight on. Any order is right.
  // Not thread-safe.
  virtual absl::StatusOr<std::vector<SourceEvent>> Read(const PayloadRequest& request) = 0;
};

struct PayloadSourceOptions {
  // table: libpq conninfo of the database to read (a promoted standby, …).
  std::string source_db = {};
  std::string source_password = {};  // pika: its requirepass; empty: none is sent.
  // pika: so long it may be away, or behind.
  std::chrono::milliseconds patience{30'000};
};

// INVALID_ARGUMENT for standard input, which can not be read twice.
absl::StatusOr<std::unique_ptr<PayloadSource>> OpenPayloadSource(
    const SourceSpec& spec, const PayloadSourceOptions& options);

// Of all events of a source between a run's first and last position (inclusive, ascending), those
// that are the run's: the ones that the partition function sends to its stream; or all of them, if
// the producer wrote everything to one partition (`--partition`), which their number shows.
// NOT_FOUND if neither number is the run's. For implementations.
absl::StatusOr<std::vector<SourceEvent>> SelectRunEvents(const PayloadRequest& request,
                                                         std::vector<SourceEvent> events,
                                                         std::string_view source);

}  // namespace lockstep

#endif  // LOCKSTEP_PRODUCER_SOURCES_PAYLOAD_SOURCE_H_
