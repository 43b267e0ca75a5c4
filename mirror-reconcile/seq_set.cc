#include "mirror-reconcile/seq_set.h"

#include <algorithm>

namespace lockstep {

size_t SeqSet::FirstEndingAtOrAbove(Seq seq) const {
  const auto it = std::partition_point(ranges_.begin(), ranges_.end(),
                                       [seq](const SeqRange& range) { return range.last < seq; });
  return static_cast<size_t>(it - ranges_.begin());
}

bool SeqSet::AddAnywhere(Seq seq) {
  const size_t at = FirstEndingAtOrAbove(seq);
  if (at < ranges_.size() && ranges_[at].first <= seq) {
    hot_ = at;
    return false;
  }
  const bool joins_left = at > 0 && ranges_[at - 1].last + 1 == seq;
  const bool joins_right = at < ranges_.size() && seq + 1 == ranges_[at].first;
  if (joins_left && joins_right) {
    ranges_[at - 1].last = ranges_[at].last;
    ranges_.erase(ranges_.begin() + static_cast<std::ptrdiff_t>(at));
    hot_ = at - 1;
  } else if (joins_left) {
    ranges_[at - 1].last = seq;
    hot_ = at - 1;
  } else if (joins_right) {
    ranges_[at].first = seq;
    hot_ = at;
  } else {
    ranges_.insert(ranges_.begin() + static_cast<std::ptrdiff_t>(at), SeqRange{seq, seq});
    hot_ = at;
  }
  return true;
}

std::vector<SeqRange> SeqSet::Missing(SeqRange wanted) const {
  std::vector<SeqRange> missing;
  Seq next = wanted.first;
  for (size_t i = FirstEndingAtOrAbove(next); i < ranges_.size() && next <= wanted.last; ++i) {
    if (ranges_[i].first > wanted.last) break;
    if (ranges_[i].first > next) missing.push_back({next, ranges_[i].first - 1});
    next = ranges_[i].last + 1;
  }
  if (next <= wanted.last) missing.push_back({next, wanted.last});
  return missing;
}

int64_t SeqSet::count() const {
  int64_t count = 0;
  for (const SeqRange& range : ranges_) count += range.count();
  return count;
}

}  // namespace lockstep
