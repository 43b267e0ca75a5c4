// LedgerOrder says what comes next: the k-way merge of the producers' runs by position.
//
// It is fed with pages of the ledger (one snapshot each) and knows how far it is complete: in a
// frozen epoch nothing is appended any more, so the order is certain as soon as every producer has
// a further run at hand or is read to its end. In the current epoch more rows may come at any
// offset; there the log decides what can be settled (Resequencer).
//
// Cost: O(log k) a range of offsets for k producers, O(1) a record within a range. Runs are kept
// from where the merge stands on.
//
// Not thread-safe. No I/O, no clock.
#ifndef LOCKSTEP_REORDER_LEDGER_ORDER_H_
#define LOCKSTEP_REORDER_LEDGER_ORDER_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"

#include "common/model/ids.h"
#include "db-ledger/ledger.h"

namespace lockstep {

class LedgerOrder {
 public:
  // The record that comes next.
  struct Next {
    int32_t producer = 0;  // Dense index.
    Position position;
    Term term;
    Seq seq;
  };

  // What the ledger knows of one seq.
  enum class Known {
    kRun,      // It is in *run.
    kBefore,   // It lies before where the merge stands (or started): sent already, or never will.
    kNotRead,  // Some later page says it.
    kNothing,  // Above the head's last_seq in the snapshot at hand.
  };
  struct Found {
    Known known = Known::kNotRead;
    const Run* run = nullptr;
  };

  // The order of positions above `after`; nullopt: from the start. `epoch` is the current one.
  LedgerOrder(Epoch epoch, std::optional<Position> after);

  // Takes the next page, read with marks(). Refuses with DATA_LOSS rows that contradict each other
  // (a seq missing between two runs, offsets that descend or are named twice, a row at or below
  // `passed`, an offset of the current epoch that the reader has left behind). O(rows + k)
  absl::Status AddPage(StreamPage page, std::optional<Offset> passed);

  // Where the next page begins. set_marks: what Ledger::MarksAfter said, before the first page.
  const RunMarks& marks() const { return marks_; }
  void set_marks(RunMarks marks) { marks_ = std::move(marks); }

  // True iff a producer has been merged to the end of what was read of it and more is there: the
  // next position is not certain until a page was added.
  bool needs_page() const { return unread_ > 0 || !has_page_; }

  // Not OK once two producers were found to claim one offset; there is no next then.
  const absl::Status& status() const { return status_; }

  // The smallest position at hand; nullptr: none. In frozen epochs certain iff !needs_page().
  const Next* Peek() const { return has_next_ ? &next_ : nullptr; }
  // Whose turn it is after the next one's positions in a row, as far as is at hand; -1: nobody's.
  int32_t producer_after_next() const { return heap_.empty() ? -1 : heap_.front().producer; }
  // Steps over it. REQUIRES: Peek() != nullptr
  void Advance() { Advance(1); }

  // How many positions in a row, with it, are the same producer's. REQUIRES: Peek() != nullptr
  int64_t in_a_row() const { return range_end_ - next_.position.offset; }
  // Steps over so many. REQUIRES: 0 < count ≤ in_a_row()
  void Advance(int64_t count) {
    next_.position.offset = next_.position.offset + count;
    next_.seq = next_.seq + count;
    if (next_.position.offset == range_end_) FinishRange();
  }

  // Dense index of a producer by name; -1: the pages so far know none. Remembers the last one
  // asked for: bursts cost a comparison.
  int32_t FindProducer(std::string_view name) const {
    return last_found_ >= 0 && producer_name(last_found_) == name ? last_found_ : LookUp(name);
  }
  int32_t producer_count() const { return static_cast<int32_t>(producers_.size()); }
  // Lives as long as this object.
  const std::string& producer_name(int32_t producer) const {
    return names_[static_cast<size_t>(producer)];
  }
  // The head in the latest snapshot.
  const Head& head(int32_t producer) const { return At(producer).head; }

  // The first seq that the merge has not stepped over; nullopt: not read yet.
  std::optional<Seq> next_seq(int32_t producer) const {
    if (has_next_ && next_.producer == producer) return next_.seq;
    return At(producer).next_seq_known ? std::optional(At(producer).next_seq) : std::nullopt;
  }

  // Whether the merge has stepped over a seq. REQUIRES: next_seq(producer)
  bool SteppedOver(int32_t producer, Seq seq) const {
    const bool is_next = has_next_ && next_.producer == producer;
    return seq < (is_next ? next_.seq : At(producer).next_seq);
  }

  // Looks up a seq at or above next_seq. `hint` is the caller's, starts at 0 and makes ascending
  // look-ups O(1); others are O(log runs).
  Found Find(int32_t index, Seq seq, int64_t& hint) const;

  // Where PositionOf found a seq last.
  struct PlaceHint {
    int64_t run = 0;
    size_t range = 0;
    int64_t before = 0;  // Offsets of the run in ranges before `range`.
  };
  // The position of a seq that Find answers kRun for. Ascending look-ups are O(1) by the hint.
  Position PositionOf(int32_t index, Seq seq, PlaceHint& hint) const;
  // Of the first seq that the merge has not stepped over; nullopt: no run at hand names one.
  std::optional<Position> next_position(int32_t index) const;

  Epoch epoch() const { return epoch_; }
  // The epoch is another now; what was current is frozen.
  void set_epoch(Epoch epoch) { epoch_ = epoch; }

 private:
  struct Producer {
    Head head;
    bool more = false;  // The ledger has further runs than those read.
    std::deque<Run> runs;
    int64_t first_run = 0;  // Number of runs.front(), counted from the first one ever read.
    size_t range = 0;       // Where the merge stands in runs.front() …
    Offset offset;
    Seq next_seq;  // … and the seq there.
    bool next_seq_known = false;
    std::optional<Seq> read_to;        // The last seq of the runs read.
    std::optional<Position> read_end;  // Its position.
  };
  struct HeapItem {
    Position position;
    int32_t producer = 0;
    bool operator>(const HeapItem& other) const { return position > other.position; }
  };

  const Producer& At(int32_t producer) const { return producers_[static_cast<size_t>(producer)]; }
  Producer& At(int32_t producer) { return producers_[static_cast<size_t>(producer)]; }

  int32_t LookUp(std::string_view name) const;
  static size_t PlaceOf(const Producer& producer, Seq seq, int64_t hint);
  int32_t AddHead(Head head);
  absl::Status AddRun(Run run, std::optional<Offset> passed);
  void SkipBeforeStart(Producer& producer);
  void Push(int32_t index);
  void FinishRange();
  void SaveNext();
  void LoadNext();

  Epoch epoch_;
  const std::optional<Position> after_;
  bool has_page_ = false;
  RunMarks marks_;
  std::vector<Producer> producers_;
  std::deque<std::string> names_;  // Of producers_; they never move.
  absl::flat_hash_map<std::string, int32_t> by_name_;
  absl::flat_hash_map<int32_t, int32_t> by_id_;
  std::vector<HeapItem> heap_;  // The next range of every producer that has one.
  int64_t unread_ = 0;          // Producers with `more` and nothing at hand.
  mutable int32_t last_found_ = -1;

  bool has_next_ = false;  // next_'s producer is not in heap_.
  Next next_;
  Offset range_end_;
  absl::Status status_;
};

}  // namespace lockstep

#endif  // LOCKSTEP_REORDER_LEDGER_ORDER_H_
