// What a producer must know of its logs before it sends: where they end, that the record at the
// last ledgered offset is still the ledgered one, and what lies behind it.
#ifndef LOCKSTEP_PRODUCER_LOG_TAIL_H_
#define LOCKSTEP_PRODUCER_LOG_TAIL_H_

#include <chrono>
#include <functional>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "common/kafka/kafka_reader.h"
#include "common/model/ids.h"
#include "common/model/record_header.h"
#include "db-ledger/ledger.h"
#include "producer/tenure.h"

namespace lockstep {

// The newest run of `producer` on the stream in `epoch`, which ends right below `adopt_from`;
// nullopt if the producer has none in this epoch.
absl::StatusOr<std::optional<Run>> ReadLastRun(Ledger& ledger, const OpenedProducer& opened,
                                               const OpenedStream& stream);

// OK iff what the log holds at the last ledgered offset is the record that the ledger names there
// (I2). `found`: the header's text at that offset; nullopt: no such record, or no header.
// `log_end`: the log's end. FAILED_PRECONDITION, *inconsistent-offsets*, says what to do.
absl::Status JudgeLastLedgered(const std::string& producer, const StreamName& stream,
                               const Run& last, std::optional<std::string_view> found,
                               Offset log_end);

struct TailReadOptions {
  std::string producer;
  bool foreign_passes = false;
  std::chrono::milliseconds timeout{30'000};  // Without any progress.
};

// Reads `stream` from its last ledgered record to the end it has now, checks the former and hands
// the records with our header to `take`, in offset order.
absl::Status ReadTail(KafkaReader& reader, const StreamName& stream, const OpenedStream& opened,
                      const std::optional<Run>& last, const TailReadOptions& options,
                      const std::function<void(const Tenure::TailRecord&)>& take);

}  // namespace lockstep

#endif  // LOCKSTEP_PRODUCER_LOG_TAIL_H_
