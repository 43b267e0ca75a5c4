// KafkaMessage owns one record as librdkafka fetched it; everything is read in place.
#ifndef LOCKSTEP_COMMON_KAFKA_KAFKA_MESSAGE_H_
#define LOCKSTEP_COMMON_KAFKA_KAFKA_MESSAGE_H_

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include <librdkafka/rdkafka.h>

#include "common/kafka/kafka_handles.h"
#include "common/model/digest.h"
#include "common/model/ids.h"

namespace lockstep {

// Move-only. Views into it live as long as it. Its reader must outlive it (librdkafka waits for all
// messages when the reader is destroyed: a message that is kept hangs it). It keeps the whole
// fetched batch that it came from in memory (up to fetch.message.max.bytes): park copies, not
// messages. Not thread-safe.
class KafkaMessage {
 public:
  explicit KafkaMessage(rd_kafka_message_t* message) : message_(message) {}

  std::string_view topic() const { return rd_kafka_topic_name(message_->rkt); }
  int32_t partition() const { return message_->partition; }
  Offset offset() const { return Offset(message_->offset); }
  int64_t timestamp_ms() const { return rd_kafka_message_timestamp(message_.get(), nullptr); }
  std::optional<std::string_view> key() const { return View(message_->key, message_->key_len); }
  std::optional<std::string_view> value() const { return View(message_->payload, message_->len); }
  size_t bytes() const { return message_->len + message_->key_len; }

  // The last header of this name: nullopt iff there is none. A null value reads as empty. Parses
  // the headers at the first call, which is dear; so ask only once for each.
  std::optional<std::string_view> Header(const char* name) const;

  size_t header_count() const;
  // A hint to the processor that Header is called soon. Headers lie behind the value in what the
  // broker sent.
  void PrefetchHeaders() const {
    if (message_->payload == nullptr) return;
    __builtin_prefetch(static_cast<const char*>(message_->payload) + message_->len);
  }

  // All headers but Lockstep's own, in order, into `headers` (emptied first).
  void ForeignHeaders(std::vector<RunDigest::HeaderView>& headers) const;

  // Key, value, headers but Lockstep's own and timestamp, copied.
  Payload CopyPayload() const;

 private:
  static std::optional<std::string_view> View(const void* bytes, size_t size) {
    if (bytes == nullptr) return std::nullopt;
    return std::string_view(static_cast<const char*>(bytes), size);
  }

  CHandle<rd_kafka_message_t, rd_kafka_message_destroy> message_;
};

}  // namespace lockstep

#endif  // LOCKSTEP_COMMON_KAFKA_KAFKA_MESSAGE_H_
