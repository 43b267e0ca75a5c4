#include "reorder/sinks/null_sink.h"

#include <xxhash.h>

#include "absl/strings/str_format.h"

namespace lockstep {
namespace {

void Add(XXH3_state_t* state, const std::optional<std::string_view>& bytes) {
  const int64_t size = bytes.has_value() ? static_cast<int64_t>(bytes->size()) : -1;
  XXH3_64bits_update(state, &size, sizeof(size));
  if (size > 0) XXH3_64bits_update(state, bytes->data(), bytes->size());
}

}  // namespace

NullSink::NullSink() : state_(XXH3_createState()) { XXH3_64bits_reset(state_.get()); }
NullSink::~NullSink() = default;
void NullSink::Free::operator()(XXH3_state_s* state) const { XXH3_freeState(state); }

absl::StatusOr<std::optional<Position>> NullSink::Last() {
  return absl::UnimplementedError("a null sink knows nothing");
}

absl::Status NullSink::Write(std::span<const ReadyRecord> records) {
  for (const ReadyRecord& record : records) {
    const int64_t position[2] = {record.position.epoch.value(), record.position.offset.value()};
    XXH3_64bits_update(state_.get(), position, sizeof(position));
    Add(state_.get(), record.view.key);
    Add(state_.get(), record.view.value);
  }
  records_ += static_cast<int64_t>(records.size());
  return absl::OkStatus();
}

std::string NullSink::Checksum() const {
  return absl::StrFormat("%016x", static_cast<uint64_t>(XXH3_64bits_digest(state_.get())));
}

}  // namespace lockstep
