#include "reorder/sinks/null_sink.h"

#include <xxhash.h>

#include "absl/strings/str_format.h"

namespace lockstep {
namespace {

constexpr uint64_t kFactor = 0x9E3779B97F4A7C15;  // Odd, so no record's part is ever lost.

int64_t SizeOf(const std::optional<std::string_view>& bytes) {
  return bytes.has_value() ? static_cast<int64_t>(bytes->size()) : -1;
}

uint64_t ChecksumOf(const ReadyRecord& record) {
  const RecordView& view = record.view;
  const int64_t facts[4] = {record.position.epoch.value(), record.position.offset.value(),
                            SizeOf(view.key), SizeOf(view.value)};
  uint64_t checksum = XXH3_64bits(facts, sizeof(facts));
  for (const std::optional<std::string_view>& bytes : {view.key, view.value}) {
    if (bytes.has_value()) {
      checksum = XXH3_64bits_withSeed(bytes->data(), bytes->size(), checksum);
    }
  }
  return checksum;
}

}  // namespace

absl::StatusOr<std::optional<Position>> NullSink::Last() {
  return absl::UnimplementedError("a null sink knows nothing");
}

absl::Status NullSink::Write(std::span<const ReadyRecord> records) {
  for (const ReadyRecord& record : records) checksum_ = checksum_ * kFactor + ChecksumOf(record);
  records_ += static_cast<int64_t>(records.size());
  return absl::OkStatus();
}

std::string NullSink::Checksum() const { return absl::StrFormat("%016x", checksum_); }

}  // namespace lockstep
