// ReinjectPlan: in which order the gap's records are written.
//
// kLedger: in the primary's very order, so that the log can be read by any plain consumer.
// kNone: each producer's part after another's; order is left to the reader that has the ledger.
// Both keep each producer's seqs ascending (I1), whatever was killed before: the plan starts from a
// gap, and a re-run starts from a new one.
//
// A plan is a sequence of slices; each slice is consecutive seqs of one piece. Memory: O(pieces). A
// slice costs O(log of the runs that interleave at that point).
#ifndef LOCKSTEP_MIRROR_RECONCILE_REINJECT_PLAN_H_
#define LOCKSTEP_MIRROR_RECONCILE_REINJECT_PLAN_H_

#include <cstdint>
#include <optional>
#include <queue>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "common/model/ids.h"
#include "mirror-reconcile/gap.h"

namespace lockstep {

enum class ReinjectOrder { kLedger, kNone };

std::string_view ToString(ReinjectOrder order);
absl::StatusOr<ReinjectOrder> ParseReinjectOrder(std::string_view text);

// Seqs first_seq … last_seq of gap.pieces[piece] are to be written next.
struct ReinjectSlice {
  size_t piece = 0;
  Seq first_seq;
  Seq last_seq;
  bool last_of_piece = false;  // Nothing more of this piece comes.
  bool operator==(const ReinjectSlice&) const = default;
};

class ReinjectPlan {
 public:
  // `gap` must outlive the plan.
  ReinjectPlan(const Gap& gap, ReinjectOrder order);

  // nullopt: that was all.
  std::optional<ReinjectSlice> Next();

 private:
  // Where a piece goes on: the next seq, at `position`, in range `range` of its run's offsets.
  struct Turn {
    Position position;
    size_t piece = 0;
    size_t range = 0;
    Seq seq;
    bool operator>(const Turn& other) const { return position > other.position; }
  };

  std::optional<ReinjectSlice> NextInLedgerOrder();
  Turn Start(size_t piece) const;

  const Gap& gap_;
  ReinjectOrder order_;
  std::vector<size_t> pieces_;  // In the order in which they begin.
  size_t next_piece_ = 0;       // Of pieces_: begun are all before it.
  std::priority_queue<Turn, std::vector<Turn>, std::greater<>> turns_;
};

}  // namespace lockstep

#endif  // LOCKSTEP_MIRROR_RECONCILE_REINJECT_PLAN_H_
