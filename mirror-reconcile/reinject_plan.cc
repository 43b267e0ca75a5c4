#include "mirror-reconcile/reinject_plan.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <string>

namespace lockstep {

std::string_view ToString(ReinjectOrder order) {
  return order == ReinjectOrder::kLedger ? "ledger" : "none";
}

absl::StatusOr<ReinjectOrder> ParseReinjectOrder(std::string_view text) {
  if (text == "ledger") return ReinjectOrder::kLedger;
  if (text == "none") return ReinjectOrder::kNone;
  return absl::InvalidArgumentError("--order " + std::string(text) +
                                    ": expected `ledger` (the primary's order) or `none` (each "
                                    "producer's part after another)");
}

ReinjectPlan::ReinjectPlan(const Gap& gap, ReinjectOrder order)
    : gap_(gap), order_(order), pieces_(gap.pieces.size()) {
  std::iota(pieces_.begin(), pieces_.end(), size_t{0});
  if (order == ReinjectOrder::kNone) {
    std::stable_sort(pieces_.begin(), pieces_.end(), [&gap](size_t a, size_t b) {
      const GapPiece& x = gap.pieces[a];
      const GapPiece& y = gap.pieces[b];
      if (x.run.producer != y.run.producer) return x.run.producer < y.run.producer;
      return x.first_seq < y.first_seq;
    });
  }
}

ReinjectPlan::Turn ReinjectPlan::Start(size_t piece) const {
  const GapPiece& p = gap_.pieces[piece];
  size_t range = 0;
  while (p.run.offsets.ranges()[range].end <= p.first_position.offset) ++range;
  return {p.first_position, piece, range, p.first_seq};
}

std::optional<ReinjectSlice> ReinjectPlan::Next() {
  if (order_ == ReinjectOrder::kLedger) return NextInLedgerOrder();
  if (next_piece_ == pieces_.size()) return std::nullopt;
  const size_t piece = pieces_[next_piece_++];
  return ReinjectSlice{piece, gap_.pieces[piece].first_seq, gap_.pieces[piece].last_seq, true};
}

// A merge of the pieces by position. A slice ends with its range of offsets: beyond that another
// piece may come first.
std::optional<ReinjectSlice> ReinjectPlan::NextInLedgerOrder() {
  while (next_piece_ < pieces_.size() &&
         (turns_.empty() ||
          gap_.pieces[pieces_[next_piece_]].first_position < turns_.top().position)) {
    turns_.push(Start(pieces_[next_piece_++]));
  }
  if (turns_.empty()) return std::nullopt;
  Turn turn = turns_.top();
  turns_.pop();
  const GapPiece& piece = gap_.pieces[turn.piece];
  const std::vector<OffsetRange>& ranges = piece.run.offsets.ranges();
  const Seq last_of_range = turn.seq + (ranges[turn.range].end - turn.position.offset) - 1;
  ReinjectSlice slice{turn.piece, turn.seq, std::min(last_of_range, piece.last_seq), false};
  slice.last_of_piece = slice.last_seq == piece.last_seq;
  if (!slice.last_of_piece) {
    turn.range += 1;
    turn.seq = slice.last_seq + 1;
    turn.position.offset = ranges[turn.range].first;
    turns_.push(turn);
  }
  return slice;
}

}  // namespace lockstep
