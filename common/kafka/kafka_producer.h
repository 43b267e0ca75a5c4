// KafkaProducer hands records to librdkafka and tells what became of each.
//
// Its Kafka settings are part of the protocol: idempotent, acks from all, nothing ever expires, and
// a record that fails is never overtaken by a later one (enable.gapless.guarantee). So in each
// partition the records that are persisted are a prefix of what was produced, in that order.
//
// A failed delivery or a fatal error is the end of this handle: Purge, serve the reports that come,
// destroy it, make a new one. A report with kPossiblyPersisted says neither that the record is in
// the log nor that it is not; nothing here folds it into success or failure.
//
// Threads: Produce may be called from several threads; Poll, Purge and the destructor from one.
// Destroying the producer abandons what is still queued.
#ifndef LOCKSTEP_COMMON_KAFKA_KAFKA_PRODUCER_H_
#define LOCKSTEP_COMMON_KAFKA_KAFKA_PRODUCER_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "common/kafka/kafka_config.h"
#include "common/kafka/kafka_error.h"
#include "common/kafka/kafka_handles.h"
#include "common/kafka/kafka_queue_wait.h"
#include "common/kafka/kafka_statistics.h"
#include "common/model/ids.h"

namespace lockstep {

struct KafkaProducerOptions {
  KafkaConfig kafka = {};
  int32_t queued_records_max = 200'000;  // Beyond either, Produce answers kQueueFull.
  int32_t queued_kbytes_max = 64 * 1024;
  int32_t linger_ms = 5;
  std::optional<std::string> transactional_id = {};  // Then see BeginTransaction.
  int32_t statistics_interval_ms = 0;                // 0: none.
  StatisticsHook on_statistics = {};                 // Called within Poll.
};

struct KafkaHeaderView {
  std::string_view name = {};
  std::optional<std::string_view> value = {};  // nullopt: null.
};

// Views; Produce copies what it needs.
struct KafkaRecordView {
  int32_t partition = 0;
  std::optional<std::string_view> key = {};
  std::optional<std::string_view> value = {};
  std::span<const KafkaHeaderView> headers = {};
  int64_t timestamp_ms = 0;  // 0: now.
  // True: the value's bytes stay where they are until the record's report is served, or the
  // producer is destroyed, and are not copied. Key and headers always are.
  bool value_stays = false;
};

enum class Persisted { kYes, kNo, kPossibly };

struct DeliveryReport {
  uint64_t opaque = 0;  // As given to Produce.
  Persisted persisted = Persisted::kPossibly;
  Offset offset{-1};  // The record's, iff kYes.
  int32_t partition = 0;
  rd_kafka_resp_err_t error = RD_KAFKA_RESP_ERR_NO_ERROR;  // KindOf says what it means.
};

// A topic of one producer; valid while that producer lives. A value, cheap to copy.
class ProducerTopic {
 public:
  std::string_view name() const { return rd_kafka_topic_name(topic_); }

 private:
  friend class KafkaProducer;
  explicit ProducerTopic(rd_kafka_topic_t* topic) : topic_(topic) {}
  rd_kafka_topic_t* topic_;
};

class KafkaProducer {
 public:
  enum class Produced { kQueued, kQueueFull };

  // Makes the handle; speaks to no broker yet. INVALID_ARGUMENT names the property at fault.
  static absl::StatusOr<std::unique_ptr<KafkaProducer>> Open(const KafkaProducerOptions& options);

  // Looked up once, outside the hot path.
  absl::StatusOr<ProducerTopic> Topic(const std::string& name);

  // Copies the record into librdkafka's queue. kQueueFull is back-pressure, not an error: Poll and
  // try again. A Status is the end for this record (too large) or for this handle (fatal).
  // `opaque` comes back in the record's delivery report; every kQueued record gets exactly one.
  absl::StatusOr<Produced> Produce(ProducerTopic topic, const KafkaRecordView& record,
                                   uint64_t opaque);

  // Appends the delivery reports that have come, waiting up to `timeout` for the first ones.
  // Returns how many. Per partition reports come in the order of Produce.
  size_t Poll(std::chrono::milliseconds timeout, std::vector<DeliveryReport>& reports);

  // Records queued or in flight, and reports not yet polled.
  int64_t outstanding() const { return rd_kafka_outq_len(handle_.get()); }

  // Gives up everything queued and in flight; their reports come through Poll as kNo (never left)
  // or kPossibly (may be in the log). The handle is of no further use.
  void Purge();

  // OK, or why the handle can no longer be used.
  absl::Status FatalError() const;

  // Transactions, iff transactional_id was given. Each may block up to `timeout`. An ABORTED status
  // is a fence; FAILED_PRECONDITION asks for AbortTransaction. REQUIRES (Commit, Abort):
  // outstanding() == 0, for librdkafka waits within them for reports that only Poll takes.
  absl::Status InitTransactions(std::chrono::milliseconds timeout);
  absl::Status BeginTransaction();
  absl::Status CommitTransaction(std::chrono::milliseconds timeout);
  absl::Status AbortTransaction(std::chrono::milliseconds timeout);

  rd_kafka_t* handle() const { return handle_.get(); }

 private:
  KafkaProducer(KafkaHandle handle, StatisticsHook hook);
  size_t Serve(rd_kafka_event_t* event, std::vector<DeliveryReport>& reports);

  // Constant after construction. Order matters: topics and queue go before the handle.
  KafkaHandle handle_;
  KafkaQueue queue_;
  KafkaQueueWait wait_;
  StatisticsHook on_statistics_;

  // The polling thread only.
  std::vector<KafkaTopicHandle> topics_;
  std::vector<const rd_kafka_message_t*> messages_;
};

}  // namespace lockstep

#endif  // LOCKSTEP_COMMON_KAFKA_KAFKA_PRODUCER_H_
