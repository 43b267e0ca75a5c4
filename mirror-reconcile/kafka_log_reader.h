// KafkaLogReader: LogReader over one partition of one topic.
//
// Reads what any reader may read up to the high watermark, uncommitted records too: a record that
// the ledger names is there by Kafka's acknowledgement, whatever a transaction does to others. A
// broker that goes away is waited for up to `patience`; then UNAVAILABLE.
//
// Not thread-safe.
#ifndef LOCKSTEP_MIRROR_RECONCILE_KAFKA_LOG_READER_H_
#define LOCKSTEP_MIRROR_RECONCILE_KAFKA_LOG_READER_H_

#include <chrono>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "common/kafka/kafka_reader.h"
#include "mirror-reconcile/log_reader.h"

namespace lockstep {

class KafkaLogReader final : public LogReader {
 public:
  // Speaks to no broker yet.
  static absl::StatusOr<std::unique_ptr<KafkaLogReader>> Open(const KafkaConfig& config,
                                                              const StreamName& topic_partition,
                                                              std::chrono::milliseconds patience);

  absl::StatusOr<LogExtent> Extent() override;
  absl::Status Read(Offset from, Offset end, const Take& take) override;

 private:
  KafkaLogReader(std::unique_ptr<KafkaReader> reader, StreamName topic_partition,
                 std::chrono::milliseconds patience)
      : reader_(std::move(reader)),
        topic_partition_(std::move(topic_partition)),
        patience_(patience) {}
  absl::Status StartAt(Offset from);

  std::unique_ptr<KafkaReader> reader_;
  StreamName topic_partition_;  // The topic's real name, not the logical one.
  std::chrono::milliseconds patience_;
  bool started_ = false;
  ReaderBatch batch_;
};

// What KafkaMessage holds, as LogRecord. `content` is set to view `message`, both must outlive it.
LogRecord ToLogRecord(const KafkaMessage& message);

}  // namespace lockstep

#endif  // LOCKSTEP_MIRROR_RECONCILE_KAFKA_LOG_READER_H_
