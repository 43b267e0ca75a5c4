// ChunkParking keeps parked records within a hard budget and without a disk: the log is the disk.
// (`--buffer bounded`)
//
// What is parked is kept in whole chunks, cut from the log as it is read. When the budget is
// reached, the chunk that is needed furthest ahead is dropped; the ledger is the future, so that is
// known (Belady's rule, optimal among whole-chunk policies). What stays of it is where it lies.
// When the first of its records is next, its part of the log that is still needed is fetched again.
//
// How often. Let a chunk span c offsets at most and take at most that part of the budget, k
// producers have records, the log have N, and the budget be M.
//
//   Theorem. If M ≥ k·c, fetches ≤ Σₚ (chunks holding a parked record of p), and that is at most
//   k·⌈N/c⌉ where no chunk was closed early because its records are large.
//
//   Proof. Which chunks are asked for, and in which order, follows from log and ledger alone, not
//   from what is kept. For that order consider the policy that keeps for each producer the chunk
//   with its oldest parked record from the moment a record is taken from it until that producer
//   needs nothing more in it, and otherwise nothing. It keeps k chunks at most, so it fits. It
//   fetches a chunk only when a producer begins with it: once for every (producer, chunk). For
//   chunks that take the same room Belady's rule fetches at most as often as any policy, so at most
//   as often as this one.
//
// Here chunks differ, shrink as they are used, and what views point into stays a little longer. So
// c is M/2k, twice the room that the theorem wants. A record may be larger than a chunk should be:
// premise_holds() compares with the largest one that there was.
//
// stats().fetches_bound counts segments: consecutive seqs of one producer in one chunk. It is never
// below the theorem's sum, but may be above it, and above k·⌈N/c⌉: a producer of which nothing is
// parked for a moment and then something again in the same chunk counts twice (two writers in turn
// by a coin, 100,000 records, M 4,000: 381 segments, k·⌈N/c⌉ 200, and no fetch at all). Property
// tests over 2 to 64 producers hold fetches against it, with budgets in records and in bytes, and,
// with budgets in records, against k·⌈N/c⌉ worked out on its own. None holds the sum itself.
//
// Reading the log for the first time comes on top: nobody knows a log before reading it. (A policy
// that did know it would still need ⌈N/c⌉ fetches.) A chunk of which nothing was dropped is not
// fetched again: with M above the peak of what is parked there is no fetch at all.
//
// Dropping single records has no such bound: to restore one, a fetch brings its neighbours, which
// are thrown away and fetched again for their own sake.
//
// Invariant: what is charged for chunks in memory, what only views keep, and the index (some 140 B
// for each producer's part of a chunk that is not sent yet) are the budget at most; or the index
// and one chunk, if that is more. What was taken out since the last ReleaseUnparked comes on top.
//
// Not thread-safe. No I/O but the fetcher's; no clock.
#ifndef LOCKSTEP_REORDER_PARKING_CHUNK_PARKING_H_
#define LOCKSTEP_REORDER_PARKING_CHUNK_PARKING_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "reorder/parking/parking_buffer.h"
#include "reorder/producer_fifo.h"
#include "reorder/record.h"

namespace lockstep {

// Reads a part of a log once more.
class LogFetcher {
 public:
  using Take = std::function<absl::Status(const FetchedRecord&)>;

  virtual ~LogFetcher() = default;
  // Gives the records of `topic` with offsets in [first, end) to `take`, in order, until an error;
  // views live as long as the call to `take`. The record at end - 1 was there once. UNAVAILABLE:
  // the brokers are away, the same call may be made again. DATA_LOSS: it is not there any more.
  virtual absl::Status Fetch(int topic, Offset first, Offset end, const Take& take) = 0;
};

class ChunkParking final : public ParkingBuffer {
 public:
  // Smaller chunks are fetched with less between their records that is not needed, but more often:
  // 8,000 keep what is fetched of each of the source's bounded cells (sim cache) below half of the
  // log; with 10,000 one of them had 0.51.
  static constexpr int64_t kChunkRecordsMax = 8'000;

  // `fetcher` must outlive this. nullptr: keeps sizes only and gives back empty records; statistics
  // are the same (--plan, experiments).
  ChunkParking(ParkingBudget budget, int topics, LogFetcher* fetcher)
      : budget_(budget), fetcher_(fetcher), open_(static_cast<size_t>(topics)) {}

  // Another budget from now on; what it does not hold is dropped at once. The theorem holds for the
  // smallest one.
  void SetBudget(ParkingBudget budget);

  void Bind(const ParkedOrder& order) override;
  absl::Status Park(size_t queue, Seq seq, const RecordView& record) override;
  std::optional<Seq> Front(size_t queue) const override;
  absl::StatusOr<RecordView> Unpark(size_t queue) override;
  absl::Status Skip(size_t queue) override;
  void ReleaseUnparked() override;
  bool ReleaseFirst() const override;
  void Clear() override;
  const ParkingStats& stats() const override { return stats_; }

  // Whether the budget held a chunk for every producer, as the theorem wants it, so far.
  bool premise_holds() const;
  // Offsets that a chunk spans at most.
  int64_t chunk_records() const { return chunk_records_; }
  // What the allocator was asked for.
  size_t allocated_bytes() const { return pool_.allocated_bytes(); }

 private:
  struct Chunk;
  // What it takes to know a record without having it; for --plan.
  struct Size {
    uint32_t bytes;
    uint32_t offset;  // From the chunk's first.
  };
  // Consecutive seqs of one queue within one chunk.
  struct Segment {
    Chunk* chunk = nullptr;
    size_t queue = 0;
    Seq next_seq;  // Up to last_seq they are parked.
    Seq last_seq;
    Offset next_offset;  // Not below it.
    Offset last_offset;
    int64_t bytes = 0;
    Position turn;                            // When the first of them is needed.
    std::unique_ptr<ProducerFifo> memory;     // Iff in memory, and there is a fetcher.
    std::unique_ptr<std::deque<Size>> sizes;  // Iff there is none.

    int64_t records() const { return last_seq - next_seq + 1; }
  };
  struct Chunk {
    int topic = 0;
    Offset first_offset;
    bool open = true;  // Records may be added.
    bool in_memory = true;
    int64_t bytes = 0;  // Of its segments.
    int64_t records = 0;
    std::vector<Segment*> segments;
  };

  // An upper bound of what a chunk's records take in memory: fifos grow by a quarter.
  static int64_t Charge(const Chunk& chunk);

  void SetChunkSize();
  Chunk& OpenChunk(int topic, Offset offset, int64_t bytes);
  Segment& AddTo(Chunk& chunk, size_t queue, Seq seq, Offset offset);
  void Close(Chunk& chunk);
  Segment& FrontOf(size_t queue);
  void Forget(Segment& segment, int64_t bytes, Offset next_offset);

  bool Fits(int64_t more_bytes, int64_t more_records) const;
  bool DropOne(const Chunk* but);
  Position NeededAt(const Chunk& chunk) const;
  void Drop(Chunk& chunk);
  // A dropped chunk comes back by these three: Restore makes room for it and takes it into account,
  // FetchParked reads the part of the log that holds what is still parked of it, and ParkAgain
  // takes a record of that part if it is one of these.
  absl::Status Restore(Chunk& chunk);
  absl::Status FetchParked(Chunk& chunk);
  struct Place {  // Where the next of a segment's records is parked again.
    Segment* segment = nullptr;
    Seq expected = {};
  };
  void ParkAgain(int topic, const FetchedRecord& record, std::vector<Place>& places);
  void Count(const Chunk& chunk, int64_t sign);

  ParkingBudget budget_;
  LogFetcher* const fetcher_;
  const ParkedOrder* order_ = nullptr;

  int64_t chunk_bytes_ = 0;  // 0: not known yet.
  int64_t chunk_records_ = 0;
  int64_t producers_ = 1;
  int64_t largest_bytes_ = 0;    // Charged for a chunk …
  int64_t largest_records_ = 0;  // … and in one.

  ChunkPool pool_;
  std::vector<std::deque<std::unique_ptr<Segment>>> queues_;
  std::map<const Chunk*, std::unique_ptr<Chunk>> chunks_;
  std::vector<Chunk*> open_;       // Per topic; may be nullptr.
  std::vector<Chunk*> in_memory_;  // In no order.
  int64_t charged_bytes_ = 0;      // Of them.
  int64_t charged_records_ = 0;
  int64_t segments_ = 0;    // In the index.
  int64_t held_bytes_ = 0;  // Of chunks dropped while there were views.
  int64_t held_records_ = 0;
  std::vector<size_t> touched_;                          // Queues taken from; may repeat.
  std::vector<std::unique_ptr<ProducerFifo>> released_;  // Done with, but views may point there.
  ParkingStats stats_;
};

}  // namespace lockstep

#endif  // LOCKSTEP_REORDER_PARKING_CHUNK_PARKING_H_
