#include "reorder/parking/memory_parking.h"

#include <algorithm>

#include "common/base/check.h"

namespace lockstep {

absl::Status MemoryParking::Park(size_t queue, Seq seq, const RecordView& record) {
  while (queues_.size() <= queue) queues_.emplace_back(pool_);
  stats_.bytes += static_cast<int64_t>(queues_[queue].Park(seq, record));
  stats_.records += 1;
  stats_.records_peak = std::max(stats_.records_peak, stats_.records);
  stats_.bytes_peak = std::max(stats_.bytes_peak, stats_.bytes);
  return absl::OkStatus();
}

std::optional<Seq> MemoryParking::Front(size_t queue) const {
  if (queue >= queues_.size() || queues_[queue].empty()) return std::nullopt;
  return queues_[queue].front_seq();
}

absl::StatusOr<RecordView> MemoryParking::Unpark(size_t queue) {
  LOCKSTEP_CHECK(queue < queues_.size(), "only what was parked is taken out");
  const RecordView view = queues_[queue].Unpark();
  stats_.bytes -= static_cast<int64_t>(queues_[queue].unparked_bytes());
  stats_.records -= 1;
  if (touched_.empty() || touched_.back() != queue) touched_.push_back(queue);
  return view;
}

void MemoryParking::Clear() {
  touched_.clear();
  queues_.clear();
  pool_ = ChunkPool();
  stats_.records = 0;
  stats_.bytes = 0;
}

void MemoryParking::ReleaseUnparked() {
  for (const size_t queue : touched_) queues_[queue].ReleaseUnparked();
  touched_.clear();
}

}  // namespace lockstep
