#include "producer/checkpoint_export.h"

#include <utility>

#include "common/base/check.h"

namespace lockstep {

std::optional<std::string> CheckpointExport::Begin(Place place, int64_t now_ms, bool last) {
  Lane& lane = lanes_[Index(place)];
  const bool file_first = place == Place::kTopic && has_[Index(Place::kFile)];
  const std::string& newest = file_first ? lanes_[Index(Place::kFile)].written : durable_;
  const bool due = last || !lane.due_ms || now_ms >= *lane.due_ms;
  if (!has_[Index(place)] || lane.under_way || newest == lane.written || !due) return std::nullopt;
  lane.under_way = newest;
  return newest;
}

void CheckpointExport::End(Place place, bool written, int64_t now_ms) {
  Lane& lane = lanes_[Index(place)];
  LOCKSTEP_CHECK(lane.under_way.has_value(), "only a write under way can end");
  if (written) lane.written = *std::move(lane.under_way);
  lane.under_way.reset();
  lane.due_ms = now_ms + interval_ms_;
}

}  // namespace lockstep
