#include "producer/sources/source_status.h"

#include <algorithm>

namespace lockstep {

std::string_view ToString(SourceState state) {
  switch (state) {
    case SourceState::kConnecting:
      return "connecting";
    case SourceState::kCopying:
      return "copying";
    case SourceState::kWalking:
      return "walking";
    case SourceState::kStreaming:
      break;
  }
  return "streaming";
}

std::optional<int64_t> CopyStatus::SecondsLeft() const {
  if (keys <= 0 || keys_estimated <= 0) return std::nullopt;
  const double left = static_cast<double>(std::max<int64_t>(keys_estimated - keys, 0));
  return static_cast<int64_t>(static_cast<double>(walk_ms) / 1000.0 * left /
                              static_cast<double>(keys));
}

std::optional<uint64_t> SourceStatus::LagBytes() const {
  if (!master_end) return std::nullopt;
  if (received >= *master_end) return 0;
  return master_end->offset - (received.filenum == master_end->filenum ? received.offset : 0);
}

std::optional<uint64_t> SourceStatus::LagFiles() const {
  if (!master_end) return std::nullopt;
  return received >= *master_end ? 0 : master_end->filenum - received.filenum;
}

std::optional<double> SourceStatus::LagSeconds(int64_t now_ms) const {
  if (caught_up) return 0;
  if (current_at_ms == 0) return std::nullopt;
  return static_cast<double>(std::max<int64_t>(now_ms - current_at_ms, 0)) / 1000.0;
}

}  // namespace lockstep
