#include "common/kafka/kafka_message.h"

#include "common/model/record_header.h"

namespace lockstep {

std::optional<std::string_view> KafkaMessage::Header(const char* name) const {
  rd_kafka_headers_t* headers = nullptr;
  if (rd_kafka_message_headers(message_.get(), &headers) != RD_KAFKA_RESP_ERR_NO_ERROR) {
    return std::nullopt;
  }
  const void* value = nullptr;
  size_t size = 0;
  if (rd_kafka_header_get_last(headers, name, &value, &size) != RD_KAFKA_RESP_ERR_NO_ERROR) {
    return std::nullopt;
  }
  return View(value, size).value_or(std::string_view());
}

size_t KafkaMessage::header_count() const {
  rd_kafka_headers_t* headers = nullptr;
  return rd_kafka_message_headers(message_.get(), &headers) == RD_KAFKA_RESP_ERR_NO_ERROR
             ? rd_kafka_header_cnt(headers)
             : 0;
}

void KafkaMessage::ForeignHeaders(std::vector<RunDigest::HeaderView>& headers) const {
  headers.clear();
  rd_kafka_headers_t* all = nullptr;
  if (rd_kafka_message_headers(message_.get(), &all) != RD_KAFKA_RESP_ERR_NO_ERROR) return;
  const char* name = nullptr;
  const void* value = nullptr;
  size_t size = 0;
  for (size_t i = 0; rd_kafka_header_get_all(all, i, &name, &value, &size) == 0; ++i) {
    const std::string_view key(name);
    if (key != kRecordHeaderKey && key != kReinjectedHeaderKey) {
      headers.emplace_back(key, View(value, size));
    }
  }
}

Payload KafkaMessage::CopyPayload() const {
  Payload payload;
  if (const auto bytes = key()) payload.key = std::string(*bytes);
  if (const auto bytes = value()) payload.value = std::string(*bytes);
  payload.timestamp_ms = timestamp_ms();
  std::vector<RunDigest::HeaderView> views;
  ForeignHeaders(views);
  for (const auto& [name, content] : views) {
    payload.headers.emplace_back(std::string(name),
                                 content ? std::optional(std::string(*content)) : std::nullopt);
  }
  return payload;
}

}  // namespace lockstep
