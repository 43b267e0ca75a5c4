// OffsetRanges: the offsets that a run's seqs lie at, as ascending, disjoint, non-adjacent
// half-open ranges.
//
// Seqs are dense over the offsets listed: the i-th smallest offset holds first_seq + i. Transaction
// markers and other writers leave holes between ranges. It is the C++ face of PostgreSQL's
// int8multirange and has the same canonical form, so equal sets have equal ranges.
#ifndef LOCKSTEP_COMMON_MODEL_OFFSET_RANGES_H_
#define LOCKSTEP_COMMON_MODEL_OFFSET_RANGES_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "common/model/ids.h"

namespace lockstep {

struct OffsetRange {
  Offset first;  // Inclusive.
  Offset end;    // Exclusive.
  int64_t size() const { return end - first; }
  bool operator==(const OffsetRange&) const = default;
};

class OffsetRanges {
 public:
  OffsetRanges() = default;

  // Adds an offset above all others. Adjacent ones join. REQUIRES: empty() or offset >= end(). O(1)
  void Append(Offset offset);
  // The same for a whole non-empty range. REQUIRES: range.first < range.end, empty() or range.first
  // >= end()
  void Append(OffsetRange range);

  bool empty() const { return ranges_.empty(); }
  int64_t count() const { return count_; }
  // REQUIRES (both): !empty()
  Offset first() const { return ranges_.front().first; }
  Offset end() const { return ranges_.back().end; }

  const std::vector<OffsetRange>& ranges() const { return ranges_; }

  // How many of the offsets are below `offset`; with Contains this is the seq's distance from
  // first_seq. O(ranges)
  int64_t CountBelow(Offset offset) const;
  bool Contains(Offset offset) const;

  bool operator==(const OffsetRanges&) const = default;

  // PostgreSQL's text form, `{[10,13),[15,16)}`.
  std::string ToString() const;
  static absl::StatusOr<OffsetRanges> Parse(std::string_view text);

 private:
  std::vector<OffsetRange> ranges_;
  int64_t count_ = 0;
};

// A run may name at most so many ranges; a longer commit group is cut into several runs.
inline constexpr size_t kRangesPerRunMax = 10'000;

}  // namespace lockstep

#endif  // LOCKSTEP_COMMON_MODEL_OFFSET_RANGES_H_
