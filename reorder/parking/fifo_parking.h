// FifoParking keeps parked records in memory, one ProducerFifo a queue over one pool of chunks:
// without a bound, or up to a budget, beyond which they wait in a ChunkStore.
//
// With a budget: when it is reached, an eighth of it (8 MiB at most) is written as one sorted file:
// the chunks that are needed furthest ahead. The ledger is the future, so that is known, and what
// is needed soon never leaves memory (Belady's rule). The stream stands still for one piece only,
// and the next comes when as much was parked again. A chunk comes back when its first record is
// next, and a file goes when its last chunk was used up. So a parked record is written and read
// once at most, in large sequential pieces. No thread writes beside the stream: a piece goes to the
// page cache in the time of a few batches (buffer.h measures it).
//
// Invariants:
//   (1) Memory is at most the budget, and for each queue the chunk that it is read from (64 KiB, or
//       one record), and what was taken out since the last ReleaseUnparked.
//   (2) A file holds a piece: their number follows from their size.
//   (3) After an error nothing parked is lost, and the same call may be made again.
//
// Not thread-safe. No I/O but the store's.
#ifndef LOCKSTEP_REORDER_PARKING_FIFO_PARKING_H_
#define LOCKSTEP_REORDER_PARKING_FIFO_PARKING_H_

#include <cstdint>
#include <map>
#include <vector>

#include "common/base/check.h"
#include "reorder/parking/chunk_store.h"
#include "reorder/parking/parking_buffer.h"
#include "reorder/producer_fifo.h"

namespace lockstep {

// A chunk in memory, as far as it matters for the choice.
struct ParkedChunk {
  size_t queue = 0;
  bool growing = false;  // Records are added to it.
  const ChunkPool::Chunk* chunk = nullptr;
};

// What is written to make room for `piece` (either limit is enough): of `chunks` those that are
// needed furthest ahead, one at least; growing ones only where others are not enough. Of a queue's
// chunks they lie side by side.
std::vector<ParkedChunk> ChoosePiece(std::vector<ParkedChunk> chunks, ParkingBudget piece);

class FifoParking final : public ParkingBuffer {
 public:
  // In memory, without a bound; Park and Unpark never fail.
  FifoParking() = default;
  // `store` must outlive this and be empty; it takes `store_bytes_max` at most (Park:
  // RESOURCE_EXHAUSTED).
  FifoParking(ParkingBudget budget, ChunkStore& store, int64_t store_bytes_max = INT64_MAX)
      : budget_(budget), store_(&store), store_bytes_max_(store_bytes_max) {}

  // Another budget from now on; what it does not hold is written at once. REQUIRES: a store.
  absl::Status SetBudget(ParkingBudget budget);

  // Without an order the seq says what is needed furthest ahead.
  void Bind(const ParkedOrder& order) override { order_ = &order; }
  absl::Status Park(size_t queue, Seq seq, const RecordView& record) override;
  std::optional<Seq> Front(size_t queue) const override;
  absl::StatusOr<RecordView> Unpark(size_t queue) override;
  absl::Status UnparkRun(size_t queue, size_t count, size_t bytes_max,
                         std::vector<ReadyRecord>& out) override;
  void ExpectUnpark(size_t queue) const override;
  void ReleaseUnparked() override;
  bool ReleaseFirst() const override;
  void Clear() override;
  const ParkingStats& stats() const override { return stats_; }

  // What the allocator was asked for; tests compare it with the payload and the budget.
  size_t allocated_bytes() const { return pool_.allocated_bytes(); }

 private:
  ChunkStore& store() {
    LOCKSTEP_CHECK(store_ != nullptr, "without a budget nothing leaves memory");
    return *store_;
  }
  bool BudgetIsReached() const;
  absl::Status MakeRoom();
  ParkingBudget Piece() const;
  std::vector<ParkedChunk> Unwritten() const;
  absl::Status Write(std::vector<ParkedChunk> piece);
  absl::Status CheckRoomFor(int64_t bytes);
  template <class UnparkFront>
  void TakeOut(size_t queue, const UnparkFront& unpark);
  absl::Status Restore(size_t queue, const ChunkPool::Chunk& chunk);
  void DropUsedFiles(ProducerFifo& fifo);

  ParkingBudget budget_ = {};
  const ParkedOrder* order_ = nullptr;
  ChunkStore* const store_ = nullptr;
  const int64_t store_bytes_max_ = INT64_MAX;
  ChunkPool pool_;
  std::vector<ProducerFifo> queues_;
  std::vector<size_t> touched_;        // Queues taken from since the last release; may repeat.
  size_t released_bytes_ = 0;          // In chunks that were used up since the last release.
  size_t unwritten_bytes_ = 0;         // Of all queues …
  int64_t unwritten_records_ = 0;      // … and the records in them.
  uint64_t last_file_ = 0;             // Numbers ascend, also over Clear.
  std::map<uint64_t, int64_t> files_;  // Chunks in each that were not used up.
  ParkingStats stats_;
};

}  // namespace lockstep

#endif  // LOCKSTEP_REORDER_PARKING_FIFO_PARKING_H_
