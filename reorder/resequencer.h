// Resequencer turns logs into the ledger's order: the decisions of the reorderer, for one stream.
//
// Frozen epochs (all before the current one) go in ledger order by identity. Their records may lie
// in several topics (the mirrored and the local one); each is a queue per producer, because I1
// holds per log and not across two. The record that is next goes straight through, others are
// parked.
//
// The current epoch is read from its own log only and comes in log order, which is ledger order:
// the record at offset o goes out iff the ledger names it there, and only after everything below
// is settled (I3): ledgered at its offset, a duplicate of one ledgered elsewhere, or void.
//
//   gate at the primary:    cursor in the current epoch; nothing frozen is left; log order.
//   recover at the standby: what is left of the frozen epochs from the mirror, then the new epoch.
//
// Promises:
//   (1) What comes out ascends by position, begins after `after` and leaves no ledgered position
//       out (I5).
//   (2) What comes out has the identity that the ledger names (term included).
//   (3) In the current epoch nothing comes out above a record that is not settled (I3).
//   (4) A contradiction between log and ledger (I2) is an error (`inconsistent-offsets`), a seq
//       that no topic can hold any more is DATA_LOSS naming it, never a silent step.
//
// How to drive it: read the ledger with marks() and AddPage while needs_page(). In kFrozen offer
// every topic's records in offset order, beginning at or below the first one wanted; in kCurrent
// offer the own log's from current_start on. A record answered kBlocked is not taken: add a page,
// offer it again. `out` is filled with what is ready; its views live until Release.
//
// Not thread-safe. No I/O, no clock: the same calls give the same records.
#ifndef LOCKSTEP_REORDER_RESEQUENCER_H_
#define LOCKSTEP_REORDER_RESEQUENCER_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "common/model/ids.h"
#include "common/model/rules.h"
#include "db-ledger/ledger.h"
#include "reorder/ledger_order.h"
#include "reorder/parking/parking_buffer.h"
#include "reorder/record.h"

namespace lockstep {

// What to do with a record that carries no record header.
enum class ForeignPolicy { kFail, kPass };

struct ResequencerOptions {
  Rules rules = kAllRules;
  StreamName stream;              // For messages.
  Epoch epoch;                    // The current one.
  std::optional<Position> after;  // The cursor's done; nullopt: from the start.
  int topics = 1;                 // Logs that frozen records are looked for in.
  ForeignPolicy foreign = ForeignPolicy::kFail;
  size_t ready_max = 10'000;  // Parked records are taken out until `out` holds so many, or …
  size_t ready_bytes_max = size_t{16} << 20;  // … so many bytes of keys and values were taken out.
};

struct ResequencerCounts {
  int64_t first_hits = 0;   // Went straight through.
  int64_t buffer_hits = 0;  // Had been parked.
  int64_t duplicates_dropped = 0;
  int64_t void_dropped = 0;
  int64_t foreign_passed = 0;
};

class Resequencer final : public ParkedOrder {
 public:
  enum class Phase { kFrozen, kCurrent };
  enum class Taken {
    kTaken,    // Ready, parked or dropped; the next record may be offered.
    kBlocked,  // Not settled in the ledger at hand, or a page, or DrainParked, is needed first.
  };

  // What is waited for: the next position of a frozen epoch, or the record that blocks.
  struct Wanted {
    std::string producer;
    Term term;
    Seq seq;
    Position position;  // Of a blocking record: where it lies in the log.
  };

  // `parking` must outlive this, and holds nothing yet.
  Resequencer(ResequencerOptions options, ParkingBuffer& parking);
  Resequencer(const Resequencer&) = delete;  // `parking` knows it.
  Resequencer& operator=(const Resequencer&) = delete;

  // --- the ledger

  const RunMarks& marks() const { return order_.marks(); }
  // What Ledger::MarksAfter(after) said. Before the first page.
  void set_marks(RunMarks marks) { order_.set_marks(std::move(marks)); }
  // True iff nothing further can be decided without another page.
  bool needs_page() const { return order_.needs_page(); }
  // A page read with marks(). ABORTED: another epoch began, this gate is no longer in office.
  // Parked records whose turn it is by now are appended to `out`.
  absl::Status AddPage(StreamPage page, std::vector<ReadyRecord>& out);

  // True iff parked records wait only for room in `out`, or for a buffer that could not give one
  // back just now; nothing is taken until DrainParked. UNAVAILABLE: call it again later.
  bool drain_pending() const { return drain_pending_; }
  absl::Status DrainParked(std::vector<ReadyRecord>& out);

  // --- the logs

  // Starts in kFrozen and changes once, when no frozen position is left (AddPage, TakeFrozen).
  Phase phase() const { return phase_; }

  // kFrozen. Offers the next record of a topic.
  absl::StatusOr<Taken> TakeFrozen(int topic, const FetchedRecord& record,
                                   std::vector<ReadyRecord>& out);

  // kCurrent. Offers the next record of the current epoch's log. REQUIRES: offsets ascend from
  // current_start on.
  absl::StatusOr<Taken> TakeCurrent(const FetchedRecord& record, std::vector<ReadyRecord>& out);

  // Where the current epoch's log is read from, if it begins at `log_start` (LogInfo::start).
  Offset current_start(Offset log_start) const;

  // Views in what came out end here.
  void Release() {
    parking_->ReleaseUnparked();
    unparked_bytes_ = 0;
  }

  // --- facts

  // The next position of a frozen epoch; nullopt in kCurrent or when all are out.
  std::optional<Wanted> FrozenWanted() const;
  // The next position that the ledger names in the current epoch and the log has not shown yet.
  std::optional<Wanted> CurrentWanted() const;

  // True iff everything that `heads` name went out.
  bool ReachedAll(const std::vector<Head>& heads) const;

  std::optional<Seq> next_seq(std::string_view producer) const;
  const ResequencerCounts& counts() const { return counts_; }

  // --- what the buffer asks

  Position TurnOf(size_t queue, Seq seq) const override;
  Seq NextSeq(size_t queue) const override { return *order_.next_seq(ProducerOf(queue)); }
  Position NextTurn(size_t queue) const override;
  std::optional<size_t> QueueOf(int topic, const RecordHeader& header) const override;
  int64_t producers() const override { return order_.producer_count(); }

 private:
  // What a record is judged by. The ledger never changes it.
  struct RunFacts {
    Seq first_seq{1};
    Seq last_seq{0};
    Epoch epoch;
    Term term;
    bool Holds(Seq seq) const { return seq >= first_seq && seq <= last_seq; }
  };
  // One producer's records in one topic.
  struct Queue {
    Seq next_seq;          // Every record below it was taken from this topic or need not be.
    int64_t run_hint = 0;  // Of LedgerOrder::Find.
    RunFacts run;          // The one found last.
    mutable LedgerOrder::PlaceHint turn_hint;
  };

  size_t QueueIndex(int32_t producer, int topic) const {
    return static_cast<size_t>(producer) * static_cast<size_t>(options_.topics) +
           static_cast<size_t>(topic);
  }
  void UpdatePhase();
  LedgerOrder::Known FindRun(int32_t producer, Seq seq, Queue& queue) const;
  bool MayBeParked(const LedgerOrder::Next& next) const;
  void Emit(const RecordView& view, std::vector<ReadyRecord>& out);
  void NameReady(std::span<ReadyRecord> records);
  int32_t ProducerOf(size_t queue) const {
    return static_cast<int32_t>(queue / static_cast<size_t>(options_.topics));
  }
  absl::StatusOr<bool> UnparkNext(std::vector<ReadyRecord>& out);
  absl::Status CheckPassed() const;
  absl::StatusOr<Taken> TakeForeign(const FetchedRecord& record);
  absl::StatusOr<Taken> JudgeUnledgered(const FetchedRecord& record);
  absl::Status Inconsistent(const LedgerOrder::Next& row, const FetchedRecord* found) const;
  Taken Drop(int64_t ResequencerCounts::*count) {
    counts_.*count += 1;
    return Taken::kTaken;
  }
  Wanted Describe(const LedgerOrder::Next& next) const;

  const ResequencerOptions options_;
  ParkingBuffer* const parking_;
  LedgerOrder order_;
  std::vector<Queue> queues_;
  bool drain_pending_ = false;
  size_t unparked_bytes_ = 0;  // Since Release.
  Phase phase_ = Phase::kFrozen;
  std::optional<Offset> passed_;  // kCurrent: the offset taken last.
  std::optional<Position> last_out_;
  ResequencerCounts counts_;
};

// True iff the status says that log and ledger contradict each other (I2).
bool IsInconsistentOffsets(const absl::Status& status);

}  // namespace lockstep

#endif  // LOCKSTEP_REORDER_RESEQUENCER_H_
