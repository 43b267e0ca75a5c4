#include "reorder/buffer.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "reorder/kafka_log_fetcher.h"
#include "reorder/parking/chunk_parking.h"
#include "reorder/parking/fifo_parking.h"
#include "reorder/parking/rocks_chunk_store.h"

namespace lockstep {
namespace {

// kBounded: a quarter of the budget is not for parked records. Of it the reader fetches a sixteenth
// of the budget ahead, as much again is in the batch under way, and the rest is for the fetcher's
// batches. A budget that is told in records does not count them.
constexpr int64_t kAsidePart = 4;
constexpr int64_t kAheadPart = 16;
static_assert(kAheadPart / kAsidePart > 2, "ahead and the batch under way leave the fetcher some");
constexpr int64_t kKbytesAheadMin = 64;

// What is taken out for one batch stays in memory beside the rest.
constexpr int64_t kReadyPart = 4;

class MemoryBuffer final : public Buffer {
 public:
  ParkingBuffer& parking() override { return parking_; }

 private:
  FifoParking parking_;
};

// A store that knows how long the stream waited for its longest write.
class TimedStore final : public ChunkStore {
 public:
  explicit TimedStore(ChunkStore& store) : store_(&store) {}
  absl::Status Write(uint64_t file, const std::vector<Chunk>& chunks) override {
    const auto begin = std::chrono::steady_clock::now();
    const absl::Status written = store_->Write(file, chunks);
    longest_ = std::max(longest_, std::chrono::duration_cast<std::chrono::milliseconds>(
                                      std::chrono::steady_clock::now() - begin));
    return written;
  }
  absl::Status Read(uint64_t file, size_t queue, Seq first_seq, std::byte* to,
                    size_t size) override {
    return store_->Read(file, queue, first_seq, to, size);
  }
  void Drop(uint64_t file) override { store_->Drop(file); }
  int64_t bytes() const override { return store_->bytes(); }

  std::chrono::milliseconds longest_write() const { return longest_; }

 private:
  ChunkStore* const store_;
  std::chrono::milliseconds longest_{0};
};

class SpillBuffer final : public Buffer {
 public:
  explicit SpillBuffer(const BufferOptions& options)
      : at_once_(options.spill_at_once),
        store_(options.spill_directory),
        timed_(store_),
        parking_(options.budget, timed_, options.spill_bytes_max) {}
  absl::Status Open() override { return at_once_ ? store_.Open() : absl::OkStatus(); }
  ParkingBuffer& parking() override { return parking_; }
  absl::Status SetBudget(ParkingBudget budget) override { return parking_.SetBudget(budget); }
  int64_t spill_bytes() const override { return store_.bytes(); }
  std::chrono::milliseconds longest_pause() const override { return timed_.longest_write(); }

 private:
  const bool at_once_;
  RocksChunkStore store_;
  TimedStore timed_;
  FifoParking parking_;
};

class BoundedBuffer final : public Buffer {
 public:
  BoundedBuffer(const ParkingBudget& budget, const KafkaLogFetcherOptions& fetcher)
      : fetcher_(fetcher),
        parking_(BoundedParkingBudget(budget), static_cast<int>(fetcher.topics.size()), &fetcher_) {
  }
  ParkingBuffer& parking() override { return parking_; }
  absl::Status SetBudget(ParkingBudget budget) override {
    parking_.SetBudget(BoundedParkingBudget(budget));
    return absl::OkStatus();
  }
  void StopWhen(const std::function<bool()>& stop_requested) override {
    fetcher_.StopWhen(stop_requested);
  }
  int64_t wire_bytes() const override { return fetcher_.wire_bytes(); }

 private:
  KafkaLogFetcher fetcher_;
  ChunkParking parking_;
};

int32_t KbytesAhead(const ParkingBudget& budget, int32_t usual) {
  return static_cast<int32_t>(
      std::clamp<int64_t>(budget.bytes / kAheadPart / 1024, kKbytesAheadMin, usual));
}

}  // namespace

void LimitBatch(const ParkingBudget& budget, StreamReaderOptions& reader) {
  if (budget.bytes == INT64_MAX) return;
  reader.ready_bytes_max =
      std::min(reader.ready_bytes_max, static_cast<size_t>(budget.bytes / kReadyPart));
}

ParkingBudget BoundedParkingBudget(ParkingBudget budget) {
  if (budget.bytes != INT64_MAX) budget.bytes -= budget.bytes / kAsidePart;
  return budget;
}

std::unique_ptr<Buffer> Buffer::Make(const BufferOptions& options, StreamReaderOptions& reader) {
  if (options.kind != BufferOptions::Kind::kMemory) LimitBatch(options.budget, reader);
  switch (options.kind) {
    case BufferOptions::Kind::kMemory:
      return std::make_unique<MemoryBuffer>();
    case BufferOptions::Kind::kSpill:
      return std::make_unique<SpillBuffer>(options);
    case BufferOptions::Kind::kBounded:
      break;
  }
  KafkaLogFetcherOptions fetcher;
  fetcher.kafka = reader.kafka;
  fetcher.topics = reader.topics;
  fetcher.partition = reader.stream.partition;
  reader.ahead_kbytes_max = KbytesAhead(options.budget, reader.ahead_kbytes_max);
  return std::make_unique<BoundedBuffer>(options.budget, fetcher);
}

}  // namespace lockstep
