// ProducerFifo parks one producer's records of one topic until the ledger calls for them.
//
// A log holds each producer's records in seq order (I1), so a queue is enough. Records are copied
// once into chunks that grow from 1 KiB to 64 KiB; a chunk whose records were all taken out is
// given back. No allocation and no hashing a record.
//
// A chunk is also the unit in which records wait elsewhere (ChunkStore): it is written once, its
// memory is given back, and it is read again when its first record is next. Chunks that left
// memory may lie between others that did not.
//
// Invariants:
//   (1) Parked seqs ascend, and so do the seqs taken out.
//   (2) Memory is at most 1.5 × payload (key, value, other headers, source position) + 100 B a
//   record, plus one chunk at each end. (A record above 16 KiB has a chunk of its own and may
//   leave the one before it unfilled.)
//
// Not thread-safe. No I/O, no clock: the same calls give the same records.
#ifndef LOCKSTEP_REORDER_PRODUCER_FIFO_H_
#define LOCKSTEP_REORDER_PRODUCER_FIFO_H_

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "common/model/ids.h"
#include "reorder/record.h"

namespace lockstep {

// Memory for records. Chunks of the usual sizes (powers of two) are used again, the one given back
// last first: it is still in the processor's cache.
class ChunkPool {
 public:
  struct Chunk {
    std::unique_ptr<std::byte[]> bytes;  // Null: it waits in its file.
    size_t size = 0;
    size_t filled = 0;    // Bytes in use, from the start.
    int64_t records = 0;  // Not taken out.
    Seq first_seq;
    Position turn;      // When first_seq is needed, if anybody said.
    uint64_t file = 0;  // Where it was written; 0: nowhere, and records may be added.

    std::string_view view() const { return {reinterpret_cast<const char*>(bytes.get()), filled}; }
  };
  static constexpr size_t kChunkBytesMin = 1024;
  static constexpr size_t kChunkBytesMax = 64 * 1024;

  // The smallest size that is used again for so many bytes; `bytes` where there is none.
  static size_t UsualSize(size_t bytes);
  // A chunk of `size` bytes.
  Chunk Get(size_t size);
  void Give(Chunk chunk);

  size_t allocated_bytes() const { return allocated_bytes_; }  // Handed out, not the spare ones.

 private:
  using Bytes = std::unique_ptr<std::byte[]>;
  static constexpr size_t kSizes = std::bit_width(kChunkBytesMax / kChunkBytesMin);
  static constexpr size_t kSpareBytesMax = 64 * kChunkBytesMax;

  // The spare ones of a size; nullptr: not a usual one.
  std::vector<Bytes>* SpareOf(size_t size);

  std::array<std::vector<Bytes>, kSizes> spare_;  // Of 1 KiB, 2 KiB, … 64 KiB.
  size_t spare_bytes_ = 0;
  size_t allocated_bytes_ = 0;
};

class ProducerFifo {
 public:
  // `pool` must outlive this.
  explicit ProducerFifo(ChunkPool& pool) : pool_(&pool) {}
  ProducerFifo(ProducerFifo&&) = default;
  ProducerFifo& operator=(ProducerFifo&&) = default;

  bool empty() const { return records_ == 0; }
  int64_t records() const { return records_; }
  // Seq of the oldest record. REQUIRES: !empty()
  Seq front_seq() const;

  // What Park of this record takes.
  static size_t PackedBytes(const RecordView& record);

  // Copies the record to the end and returns the bytes that it takes. REQUIRES: seq above every
  // one parked before (1).
  size_t Park(Seq seq, const RecordView& record);
  // Whether the record parked last began a chunk; if so, set_turn says when it is needed. REQUIRES:
  // !empty()
  bool began_chunk() const { return chunks_.back().first_seq == last_seq_; }
  void set_turn(Position turn) { chunks_.back().turn = turn; }

  // Takes out the oldest record. The view is valid until ReleaseUnparked. REQUIRES: !empty()
  RecordView Unpark();
  // Takes out the oldest records as long as they lie in one chunk and their seqs follow each other:
  // at most `count`, and none after so many bytes of keys and values. Appends one ReadyRecord each,
  // with the view alone, and returns their keys' and values' bytes. REQUIRES: !empty(), 0 < count
  size_t UnparkRun(size_t count, size_t bytes_max, std::vector<ReadyRecord>& out);
  // Bytes that the last call of either took out.
  size_t unparked_bytes() const { return unparked_bytes_; }
  // A hint that the oldest records are taken out soon.
  void PrefetchFront() const;

  // Views from Unpark end here; used-up chunks go back to the pool.
  void ReleaseUnparked();
  // True iff there may be views since the last ReleaseUnparked.
  bool views_out() const { return views_out_; }

  // Memory of used-up chunks that waits for ReleaseUnparked.
  size_t released_bytes() const { return released_bytes_; }

  // Forgets everything; its memory goes back to the pool. Views end too.
  void Clear();

  // --- chunks elsewhere

  // Memory of the chunks that are nowhere else.
  size_t unwritten_bytes() const { return unwritten_bytes_; }
  // Calls visit(const ChunkPool::Chunk&, bool) for each of them that holds records, oldest first;
  // true: it is the one that records are added to.
  template <class Visit>
  void ForEachUnwritten(Visit visit) const {
    if (empty()) return;
    for (const ChunkPool::Chunk& chunk : chunks_) {
      if (chunk.file == 0) visit(chunk, &chunk == &chunks_.back());
    }
  }
  // Those of them with first_seq in [first, last] are in `file` now: gives their memory back (what
  // views point into: with ReleaseUnparked).
  void LeaveMemory(uint64_t file, Seq first, Seq last);

  // The oldest record's chunk, iff it is not in memory: RestoreFront, before Unpark.
  const ChunkPool::Chunk* missing_front() const {
    return empty() || chunks_.front().bytes != nullptr ? nullptr : &chunks_.front();
  }
  // Whether the oldest record is in a file too. REQUIRES: !empty()
  bool front_is_written() const { return chunks_.front().file != 0; }
  // `memory`: with its bytes, and room for them.
  void RestoreFront(ChunkPool::Chunk memory);

  // --- a chunk's bytes without what its records carry (--plan)

  struct RecordSize {
    Seq seq;
    uint32_t bytes = 0;  // As Park says.
  };
  static std::vector<RecordSize> SizesIn(std::string_view chunk);
  // Makes a chunk of records of these sizes, each with its seq and a value that says nothing.
  // REQUIRES: `to` has room for all of them.
  static void PutSizes(const std::vector<RecordSize>& records, std::byte* to);

  // The files of the chunks that were used up since the last call, one entry a chunk.
  std::vector<uint64_t> TakeUsedFiles() { return std::exchange(used_files_, {}); }

 private:
  std::byte* Reserve(Seq seq, size_t bytes);
  void BeginUnpark() const;
  void FinishUnpark(size_t place, int64_t records);
  void DropUsedFront();

  ChunkPool* pool_;
  std::deque<ChunkPool::Chunk> chunks_;
  std::vector<ChunkPool::Chunk> released_;  // Done with, but views may point into them.
  size_t released_bytes_ = 0;
  std::vector<uint64_t> used_files_;
  bool views_out_ = false;      // Since the last ReleaseUnparked.
  Seq left_at_;                 // front_seq() when the front chunk left memory.
  size_t unwritten_bytes_ = 0;  // Of chunks_ without a file.
  size_t read_ = 0;             // Place of the oldest record in chunks_.front().
  int64_t records_ = 0;
  Seq last_seq_;
  size_t unparked_bytes_ = 0;
};

}  // namespace lockstep

#endif  // LOCKSTEP_REORDER_PRODUCER_FIFO_H_
