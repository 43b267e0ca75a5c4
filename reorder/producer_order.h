// ProducerOrder gives each producer's records in its own seq order, and no other: the decisions of
// `--mode per-producer`, for one stream.
//
// A record goes out once the ledger names its identity (term included) and every earlier seq of its
// producer went out; from whichever topic it comes first. What is not settled, or comes too early,
// is parked and holds up its own producer only. A record of a closed term that no run names is
// void, a seq that went out is a duplicate; both are dropped. A seq that no topic has is never
// stepped over: its producer waits.
//
// Promises:
//   (1) Of each producer exactly the seqs above its cursor come out, in order, each once.
//   (2) What comes out has the identity that the ledger names.
//
//   (3) Of each producer the run that names its next record is at hand, if the ledger has one; runs
//       further on are read when those at hand are half used up, whatever comes. So a producer
//       never has more at hand than one and a half pages give it, however much is unsent.
//
// How to drive it: offer the topics' records in offset order from their starts; add a page of the
// ledger, read with MarksToRead, whenever wants_page(); Release and DrainParked while
// drain_pending(). Views in what came out live until Release.
//
// Not thread-safe. No I/O, no clock.
#ifndef LOCKSTEP_REORDER_PRODUCER_ORDER_H_
#define LOCKSTEP_REORDER_PRODUCER_ORDER_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "common/model/ids.h"
#include "db-ledger/ledger.h"
#include "reorder/parking/parking_buffer.h"
#include "reorder/record.h"
#include "reorder/resequencer.h"

namespace lockstep {

struct ProducerOrderOptions {
  StreamName stream;  // For messages.
  Epoch epoch;        // The current one.
  int topics = 1;
  ForeignPolicy foreign = ForeignPolicy::kFail;
  size_t ready_max = 10'000;  // Parked records are taken out until `out` holds so many, or …
  size_t ready_bytes_max = size_t{16} << 20;  // … so many bytes of keys and values were taken out.
};

// Consecutive seqs of one producer.
struct SeqRange {
  ProducerId producer;
  Seq first;
  Seq last;
  bool operator==(const SeqRange&) const = default;
};

class ProducerOrder {
 public:
  // `done`: the last seq of each producer that was sent; one that is missing has sent nothing.
  // `parking` must outlive this.
  ProducerOrder(ProducerOrderOptions options, std::map<ProducerId, Seq> done,
                ParkingBuffer& parking);

  // --- the ledger

  // To begin later than at each producer's first run; the run that holds its `done` is wanted.
  void set_marks(RunMarks marks) { marks_ = std::move(marks); }
  // Where to read the next page, which has at most so many runs a producer. A producer that has
  // enough at hand is passed over: its mark lies behind every run.
  RunMarks MarksToRead(int64_t runs_per_producer);
  // How many producers the runs of a page may be of.
  int64_t ProducersToRead() const;
  // REQUIRES: the page was read with the last MarksToRead. ABORTED: another epoch began.
  // FAILED_PRECONDITION: rows were pruned above the cursor. DATA_LOSS: rows contradict each other.
  // What is settled by now is appended to `out`.
  absl::Status AddPage(StreamPage page, std::vector<ReadyRecord>& out);
  // A producer's runs at hand are used up and the ledger has more: read on at once.
  bool needs_page() const { return !has_page_ || used_up_ > 0; }
  // The same, or something parked may be settled by a page: look again soon.
  bool wants_page() const { return needs_page() || unsettled_ > 0; }
  // Producers of which something is parked that no page has settled.
  int64_t unsettled() const { return unsettled_; }

  // Parked records whose turn it is wait only for room in `out`, or for a Release.
  bool drain_pending() const { return drain_pending_; }
  absl::Status DrainParked(std::vector<ReadyRecord>& out);

  // --- the logs

  // REQUIRES: !needs_page(), !drain_pending().
  absl::Status Take(int topic, const FetchedRecord& record, std::vector<ReadyRecord>& out);

  // What came out since the last Release: one range a producer, whatever the records' order.
  std::vector<SeqRange> given() const;
  void Release();

  // --- facts

  struct Wanted {
    std::string producer;
    Term term;
    Seq seq;
    Position position;
  };
  // The first record that the ledger names and no topic has shown; nullopt: none.
  std::optional<Wanted> Missing() const;
  struct Unnamed {
    std::string producer;
    Term term;
    Seq seq;
    int topic = 0;
    std::optional<Offset> log_offset;  // There, if it is known: of the first that was parked.
  };
  // A record that is parked first of its producer and not settled; nullopt: none.
  std::optional<Unnamed> Unsettled() const;
  // The highest offset of the current epoch's log that the cursor says was sent, as far as the
  // runs read tell.
  std::optional<Offset> LastSent() const;
  // Of a producer that the page at hand has: the seq went out …
  bool WentOut(std::string_view producer, Seq seq) const;
  // … or no page has said yet what its record of that term is.
  bool IsUnsettled(std::string_view producer, Term term, Seq seq) const;
  // The lowest offset of the current epoch's log, which begins with `log_start`, that may hold what
  // has still to go out; nullopt: something lies in an earlier epoch's. REQUIRES: !needs_page().
  std::optional<Offset> FirstWanted(Offset log_start) const;
  // What is left of the heads.
  int64_t Left(const std::vector<Head>& heads) const;
  // Whether the page at hand has the producer. If not, add one before its record is offered.
  bool Knows(std::string_view producer) const { return ids_.contains(producer); }
  // REQUIRES: Knows(producer).
  ProducerId id(std::string_view producer) const;
  const ResequencerCounts& counts() const { return counts_; }
  // Read and not used up, of all producers.
  int64_t runs_at_hand() const;

 private:
  // Records of one term and topic, parked in a queue of the buffer, which is theirs for good: seqs
  // only ascend in it.
  struct Segment {
    size_t queue = 0;
    int topic = 0;
    Term term;
    Seq last_seq;
    Seq first_seq;        // Parked when nothing was, …
    Offset first_offset;  // … and where it lies.
  };
  struct Producer {
    Head head;
    std::string_view name;         // As long as this lives, whatever pages come.
    Seq next;                      // To go out next.
    std::deque<Run> runs;          // At hand, from `next` on.
    Seq read_to;                   // Last seq of the runs read.
    bool asked = true;             // The page under way is read for it, too.
    std::list<Segment> parked;     // Of terms that are not closed, also empty ones.
    Seq given_from;                // First since Release; 0: none.
    std::optional<Position> done;  // Where the cursor's last one lies, if the runs read say so.
    size_t range = 0;              // Of the first run at hand: `next` lies in it or above, …
    int64_t range_index = 0;       // … its first offset is that of the run's so-many-th seq.
    bool unsettled = false;        // It counts in unsettled_.

    // The ledger has runs that are not read and that something has still to go out of.
    bool has_more() const { return head.last_seq > read_to && head.last_seq >= next; }
    bool used_up() const { return runs.empty() && has_more(); }
  };
  enum class Known { kNamed, kVoid, kUnsettled };

  Seq DoneOf(ProducerId producer) const;
  static Position PositionOfNext(Producer& producer);
  Known Judge(const Producer& producer, Term term, Seq seq) const;
  void Emit(Producer& producer, const RecordView& view, std::vector<ReadyRecord>& out);
  absl::Status Park(Producer& producer, int topic, const FetchedRecord& record);
  absl::Status Drain(Producer& producer, std::vector<ReadyRecord>& out);
  absl::StatusOr<bool> DrainSegment(Producer& producer, const Segment& segment,
                                    std::vector<ReadyRecord>& out);
  bool IsFull(const std::vector<ReadyRecord>& out) const;
  // The first seq that is parked there and no page has settled; nullopt: another one, or none, is
  // first. (What is settled and waits for its predecessor is not unsettled.)
  std::optional<Seq> UnsettledFront(const Producer& producer, const Segment& segment) const;
  void NoteUnsettled(Producer& producer);
  absl::Status AddRun(Run run);
  absl::Status WrongRun(const Run& run, const char* why) const;
  absl::Status CheckWhole(const StreamPage& page) const;
  absl::Status CheckRead(const StreamPage& page) const;

  const ProducerOrderOptions options_;
  const std::map<ProducerId, Seq> done_;
  ParkingBuffer* const parking_;
  RunMarks marks_;
  bool has_page_ = false;
  bool drain_pending_ = false;
  size_t unparked_bytes_ = 0;  // Since Release.
  int64_t used_up_ = 0;        // Producers that are; see needs_page.
  int64_t unsettled_ = 0;      // Producers with something parked first that is not settled.
  std::map<ProducerId, Producer> producers_;
  std::map<std::string, ProducerId, std::less<>> ids_;
  std::vector<ProducerId> given_;  // Producers of which something came out since Release.
  size_t queues_ = 0;
  ResequencerCounts counts_;
};

}  // namespace lockstep

#endif  // LOCKSTEP_REORDER_PRODUCER_ORDER_H_
