#include "mirror-reconcile/kafka_log_reader.h"

#include <string>
#include <utility>

#include "common/base/status_macros.h"

namespace lockstep {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kPollTimeout{200};

class MessageContent final : public RecordContent {
 public:
  explicit MessageContent(const KafkaMessage& message) : message_(message) {}
  std::optional<std::string_view> key() const override { return message_.key(); }
  std::optional<std::string_view> value() const override { return message_.value(); }
  int64_t timestamp_ms() const override { return message_.timestamp_ms(); }
  void ForeignHeaders(std::vector<RunDigest::HeaderView>& headers) const override {
    message_.ForeignHeaders(headers);
  }

 private:
  const KafkaMessage& message_;
};

}  // namespace

LogRecord ToLogRecord(const KafkaMessage& message) {
  LogRecord record;
  record.offset = message.offset();
  const std::optional<std::string_view> header = message.Header(kRecordHeaderKey);
  if (!header) return record;
  const absl::StatusOr<RecordHeader> parsed = ParseRecordHeader(*header);
  record.kind = parsed.ok() ? LogRecord::Kind::kOurs : LogRecord::Kind::kMalformed;
  if (parsed.ok()) record.header = *parsed;
  record.reinjected = message.Header(kReinjectedHeaderKey).has_value();
  return record;
}

absl::StatusOr<std::unique_ptr<KafkaLogReader>> KafkaLogReader::Open(
    const KafkaConfig& config, const StreamName& topic_partition,
    std::chrono::milliseconds patience) {
  KafkaReaderOptions options;
  options.kafka = config;
  options.fetch_wait_ms = 10;  // It reads here and there, and never waits for what is to come.
  LOCKSTEP_ASSIGN_OR_RETURN(std::unique_ptr<KafkaReader> reader, KafkaReader::Open(options));
  return std::unique_ptr<KafkaLogReader>(
      new KafkaLogReader(std::move(reader), topic_partition, patience));
}

absl::StatusOr<LogExtent> KafkaLogReader::Extent() {
  const Clock::time_point deadline = Clock::now() + patience_;
  for (;;) {  // Right after its start a broker may not know its partitions' leaders yet.
    const absl::StatusOr<LogOffsets> offsets =
        reader_->Offsets(topic_partition_, std::chrono::milliseconds(5'000));
    if (offsets.ok()) return LogExtent{offsets->lo_offset, offsets->hi_offset};
    if (!absl::IsUnavailable(offsets.status()) || Clock::now() >= deadline) {
      return offsets.status();
    }
  }
}

absl::Status KafkaLogReader::StartAt(Offset from) {
  if (started_) LOCKSTEP_RETURN_IF_ERROR(reader_->Stop(topic_partition_));
  started_ = false;
  LOCKSTEP_RETURN_IF_ERROR(reader_->Start(topic_partition_, from));
  started_ = true;
  return absl::OkStatus();
}

absl::Status KafkaLogReader::Read(Offset from, Offset end, const Take& take) {
  if (from >= end) return absl::OkStatus();
  LOCKSTEP_RETURN_IF_ERROR(StartAt(from));
  Clock::time_point deadline = Clock::now() + patience_;
  absl::Status last_error;
  while (Clock::now() < deadline) {
    const absl::Status polled = reader_->Poll(kPollTimeout, batch_);
    if (!polled.ok()) {
      if (!absl::IsUnavailable(polled)) return polled;
      last_error = polled;
      continue;
    }
    for (const KafkaMessage& message : batch_.records) {
      if (message.offset() >= end) return absl::OkStatus();
      if (message.offset() < from) continue;  // Fetched before StartAt.
      LogRecord record = ToLogRecord(message);
      const MessageContent content(message);
      record.content = &content;
      take(record);
      from = message.offset() + 1;
      if (from >= end) return absl::OkStatus();
    }
    for (const EndOfLog& eof : batch_.ends) {
      // Offsets up to `end` may belong to markers that no reader is given.
      if (eof.next_offset >= end) return absl::OkStatus();
    }
    if (!batch_.records.empty()) deadline = Clock::now() + patience_;
  }
  return absl::UnavailableError("read " + ToString(topic_partition_) + " from offset " +
                                ToString(from) + ": nothing came for " +
                                std::to_string(patience_.count() / 1000) + " s" +
                                (last_error.ok() ? "" : ": " + std::string(last_error.message())));
}

}  // namespace lockstep
