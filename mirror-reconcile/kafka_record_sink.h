// KafkaRecordSink: RecordSink over the idempotent producer, in full batches.
#ifndef LOCKSTEP_MIRROR_RECONCILE_KAFKA_RECORD_SINK_H_
#define LOCKSTEP_MIRROR_RECONCILE_KAFKA_RECORD_SINK_H_

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "common/kafka/kafka_producer.h"
#include "mirror-reconcile/reinject.h"

namespace lockstep {

// One partition of one topic. A broker that takes nothing for `patience` is UNAVAILABLE; any failed
// delivery ends it, naming the record. Not thread-safe.
class KafkaRecordSink final : public RecordSink {
 public:
  static absl::StatusOr<std::unique_ptr<KafkaRecordSink>> Open(const KafkaConfig& config,
                                                               const StreamName& topic_partition,
                                                               std::chrono::milliseconds patience);

  absl::Status Write(const RecordHeader& header, Epoch reinjected, const Payload& payload) override;
  absl::Status Flush() override;

 private:
  KafkaRecordSink(std::unique_ptr<KafkaProducer> producer, ProducerTopic topic,
                  StreamName topic_partition, std::chrono::milliseconds patience)
      : producer_(std::move(producer)),
        topic_(topic),
        topic_partition_(std::move(topic_partition)),
        patience_(patience) {}
  absl::Status ServeReports(std::chrono::milliseconds timeout);

  std::unique_ptr<KafkaProducer> producer_;
  ProducerTopic topic_;
  StreamName topic_partition_;
  std::chrono::milliseconds patience_;
  int64_t queued_ = 0;
  int64_t delivered_ = 0;
  std::chrono::steady_clock::time_point last_delivery_ = std::chrono::steady_clock::now();
  std::string header_text_;
  std::string epoch_text_;
  std::vector<KafkaHeaderView> headers_;
  std::vector<DeliveryReport> reports_;
};

}  // namespace lockstep

#endif  // LOCKSTEP_MIRROR_RECONCILE_KAFKA_RECORD_SINK_H_
