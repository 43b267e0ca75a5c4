#include "mirror-reconcile/log_index.h"

#include <algorithm>

#include "common/base/status_macros.h"

namespace lockstep {

std::optional<Offset> LogIndex::Find(const std::string& producer, Term term, Seq seq) const {
  for (const Block& block : blocks_) {
    const auto places = block.find({producer, term});
    if (places == block.end()) continue;
    const auto place = std::partition_point(places->second.begin(), places->second.end(),
                                            [&](const Place& p) { return p.seq < seq; });
    if (place != places->second.end() && place->seq == seq) return place->offset;
  }
  return std::nullopt;
}

absl::StatusOr<bool> LogIndex::Extend() {
  if (!indexed_from_.has_value()) {
    LOCKSTEP_ASSIGN_OR_RETURN(const LogExtent extent, log_->Extent());
    lo_ = extent.lo;
    indexed_from_ = extent.hi;
  }
  if (*indexed_from_ <= lo_) return false;
  const Offset from = std::max(lo_, *indexed_from_ - block_size_);
  Block block;
  LOCKSTEP_RETURN_IF_ERROR(log_->Read(from, *indexed_from_, [&block](const LogRecord& record) {
    if (record.kind != LogRecord::Kind::kOurs) return;
    auto& places = block[{std::string(record.header.producer), record.header.term}];
    if (places.empty() || record.header.seq > places.back().seq) {
      places.push_back({record.header.seq, record.offset});
    }
  }));
  blocks_.push_back(std::move(block));
  indexed_from_ = from;
  block_size_ *= 2;
  return true;
}

}  // namespace lockstep
