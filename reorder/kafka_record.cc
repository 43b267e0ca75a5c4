#include "reorder/kafka_record.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

#include "common/base/status_macros.h"
#include "common/model/record_header.h"

namespace lockstep {
namespace {

// Reads headers of a record that still is a Kafka message.
class MessageHeaders final : public HeaderSource {
 public:
  void Read(const void* handle, std::vector<HeaderView>& out) const override {
    static_cast<const KafkaMessage*>(handle)->ForeignHeaders(out);
  }
};
const MessageHeaders kMessageHeaders;

}  // namespace

absl::Status ReadFetchedRecord(const KafkaMessage& message, FetchedRecord& record) {
  record.view.log_offset = message.offset();
  record.view.timestamp_ms = message.timestamp_ms();
  record.view.key = message.key();
  record.view.value = message.value();
  const std::optional<std::string_view> header = message.Header(kRecordHeaderKey);
  record.foreign = !header.has_value();
  if (message.header_count() > (record.foreign ? 0 : 1)) {
    record.view.header_source = &kMessageHeaders;
    record.view.header_handle = &message;
  }
  if (record.foreign) return absl::OkStatus();
  const absl::StatusOr<RecordHeader> parsed = ParseRecordHeader(*header);
  if (!parsed.ok()) {
    return Annotate(parsed.status(),
                    absl::StrCat("record header at offset ", message.offset().value(), " of ",
                                 std::string(message.topic()), "/", message.partition()));
  }
  record.header = *parsed;
  record.view.at = parsed->at;
  return absl::OkStatus();
}

}  // namespace lockstep
