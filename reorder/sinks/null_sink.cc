#include "reorder/sinks/null_sink.h"

#include <xxhash.h>

#include "absl/strings/str_format.h"

namespace lockstep {
namespace {

uint64_t Add(uint64_t checksum, const std::optional<std::string_view>& bytes) {
  constexpr std::string_view kNull("\0", 1);
  const std::string_view added = bytes.value_or(kNull);
  return XXH3_64bits_withSeed(added.data(), added.size(), checksum);
}

}  // namespace

absl::StatusOr<std::optional<Position>> NullSink::Last() {
  return absl::UnimplementedError("a null sink knows nothing");
}

absl::Status NullSink::Write(std::span<const ReadyRecord> records) {
  for (const ReadyRecord& record : records) {
    const int64_t position[2] = {record.position.epoch.value(), record.position.offset.value()};
    checksum_ = XXH3_64bits_withSeed(position, sizeof(position), checksum_);
    checksum_ = Add(Add(checksum_, record.view.key), record.view.value);
  }
  records_ += static_cast<int64_t>(records.size());
  return absl::OkStatus();
}

std::string NullSink::Checksum() const { return absl::StrFormat("%016x", checksum_); }

}  // namespace lockstep
