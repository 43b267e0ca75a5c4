// SeqSet: which seqs of one producer and term have been seen, as ascending, disjoint, non-adjacent
// ranges.
//
// Logs hold a producer's records in seq order but for rewinds, so a set that was filled from a log
// has few ranges: adding at an end or inside the newest range is O(1), anything else O(ranges).
// Not thread-safe.
#ifndef LOCKSTEP_MIRROR_RECONCILE_SEQ_SET_H_
#define LOCKSTEP_MIRROR_RECONCILE_SEQ_SET_H_

#include <cstdint>
#include <vector>

#include "common/model/ids.h"

namespace lockstep {

struct SeqRange {
  Seq first;  // Both inclusive.
  Seq last;
  int64_t count() const { return last - first + 1; }
  bool operator==(const SeqRange&) const = default;
};

class SeqSet {
 public:
  // Returns false iff it was there already.
  bool Add(Seq seq) {
    if (!ranges_.empty()) {
      SeqRange& hot = ranges_[hot_];
      if (seq >= hot.first && seq <= hot.last) return false;
      if (seq == hot.last + 1 &&
          (hot_ + 1 == ranges_.size() || seq + 1 < ranges_[hot_ + 1].first)) {
        hot.last = seq;
        return true;
      }
    }
    return AddAnywhere(seq);
  }

  bool Contains(Seq seq) const {
    const size_t at = FirstEndingAtOrAbove(seq);
    return at < ranges_.size() && ranges_[at].first <= seq;
  }

  // The parts of [first, last] that are not in the set, ascending. REQUIRES: first ≤ last
  std::vector<SeqRange> Missing(SeqRange wanted) const;

  int64_t count() const;
  const std::vector<SeqRange>& ranges() const { return ranges_; }
  bool empty() const { return ranges_.empty(); }

 private:
  size_t FirstEndingAtOrAbove(Seq seq) const;
  bool AddAnywhere(Seq seq);

  std::vector<SeqRange> ranges_;
  size_t hot_ = 0;  // The range that was last added to. Valid while ranges_ is not empty.
};

}  // namespace lockstep

#endif  // LOCKSTEP_MIRROR_RECONCILE_SEQ_SET_H_
