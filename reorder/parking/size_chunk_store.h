// SizeChunkStore is a disk that keeps of each record its seq and size only: 16 B. What it gives
// back is a chunk of as many records of the same sizes. With it FifoParking spills as in a run, to
// the byte, and needs no disk (--plan).
//
// Not thread-safe.
#ifndef LOCKSTEP_REORDER_PARKING_SIZE_CHUNK_STORE_H_
#define LOCKSTEP_REORDER_PARKING_SIZE_CHUNK_STORE_H_

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "reorder/parking/chunk_store.h"
#include "reorder/producer_fifo.h"

namespace lockstep {

class SizeChunkStore final : public ChunkStore {
 public:
  absl::Status Write(uint64_t file, const std::vector<Chunk>& chunks) override {
    for (const Chunk& chunk : chunks) {
      bytes_ += static_cast<int64_t>(chunk.bytes.size());
      files_[file][{chunk.queue, chunk.first_seq}] = ProducerFifo::SizesIn(chunk.bytes);
    }
    return absl::OkStatus();
  }
  absl::Status Read(uint64_t file, size_t queue, Seq first_seq, std::byte* to,
                    size_t size) override {
    static_cast<void>(size);  // The sum of the sizes.
    ProducerFifo::PutSizes(files_.at(file).at({queue, first_seq}), to);
    return absl::OkStatus();
  }
  void Drop(uint64_t file) override {
    for (const auto& [place, records] : files_.at(file)) {
      for (const ProducerFifo::RecordSize& record : records) bytes_ -= record.bytes;
    }
    files_.erase(file);
  }
  int64_t bytes() const override { return bytes_; }

 private:
  using Place = std::pair<size_t, Seq>;
  std::map<uint64_t, std::map<Place, std::vector<ProducerFifo::RecordSize>>> files_;
  int64_t bytes_ = 0;
};

}  // namespace lockstep

#endif  // LOCKSTEP_REORDER_PARKING_SIZE_CHUNK_STORE_H_
