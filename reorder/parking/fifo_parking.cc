#include "reorder/parking/fifo_parking.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"

#include "common/base/check.h"
#include "common/base/status_macros.h"

namespace lockstep {

namespace {

constexpr int64_t kPiecePart = 8;
constexpr size_t kReleasedBytesMax = 16 << 20;  // As much as the records of a batch.
constexpr int64_t kPieceBytesMax = 8 << 20;

}  // namespace

std::vector<ParkedChunk> ChoosePiece(std::vector<ParkedChunk> chunks, ParkingBudget piece) {
  std::sort(chunks.begin(), chunks.end(), [](const ParkedChunk& a, const ParkedChunk& b) {
    return std::tie(a.growing, b.chunk->turn, b.queue) <
           std::tie(b.growing, a.chunk->turn, a.queue);
  });
  int64_t bytes = 0;
  int64_t records = 0;
  size_t count = 0;
  while (count < chunks.size() &&
         (count == 0 || (bytes < piece.bytes && records < piece.records))) {
    bytes += static_cast<int64_t>(chunks[count].chunk->size);
    records += chunks[count].chunk->records;
    ++count;
  }
  chunks.resize(count);
  return chunks;
}

bool FifoParking::BudgetIsReached() const {
  return static_cast<int64_t>(unwritten_bytes_) >= budget_.bytes ||
         unwritten_records_ >= budget_.records;
}

absl::Status FifoParking::SetBudget(ParkingBudget budget) {
  budget_ = budget;
  return MakeRoom();
}

absl::Status FifoParking::Park(size_t queue, Seq seq, const RecordView& record) {
  if (BudgetIsReached()) LOCKSTEP_RETURN_IF_ERROR(MakeRoom());
  while (queues_.size() <= queue) queues_.emplace_back(pool_);
  ProducerFifo& fifo = queues_[queue];
  const size_t before = fifo.unwritten_bytes();
  stats_.bytes += static_cast<int64_t>(fifo.Park(seq, record));
  unwritten_bytes_ += fifo.unwritten_bytes() - before;
  unwritten_records_ += 1;
  if (store_ != nullptr && fifo.began_chunk()) {
    fifo.set_turn(order_ != nullptr ? order_->TurnOf(queue, seq)
                                    : Position{Epoch(0), Offset(seq.value())});
  }
  stats_.records += 1;
  stats_.records_peak = std::max(stats_.records_peak, stats_.records);
  stats_.bytes_peak = std::max(stats_.bytes_peak, stats_.bytes);
  return absl::OkStatus();
}

std::optional<Seq> FifoParking::Front(size_t queue) const {
  if (queue >= queues_.size() || queues_[queue].empty()) return std::nullopt;
  return queues_[queue].front_seq();
}

absl::StatusOr<RecordView> FifoParking::Unpark(size_t queue) {
  LOCKSTEP_CHECK(queue < queues_.size(), "only what was parked is taken out");
  ProducerFifo& fifo = queues_[queue];
  if (const ChunkPool::Chunk* missing = fifo.missing_front(); missing != nullptr) {
    LOCKSTEP_RETURN_IF_ERROR(Restore(queue, *missing));
  }
  RecordView view;
  TakeOut(queue, [&] {
    view = fifo.Unpark();
    return int64_t{1};
  });
  return view;
}

absl::Status FifoParking::UnparkRun(size_t queue, size_t count, size_t bytes_max,
                                    std::vector<ReadyRecord>& out) {
  LOCKSTEP_CHECK(queue < queues_.size(), "only what was parked is taken out");
  ProducerFifo& fifo = queues_[queue];
  const Seq first = fifo.front_seq();
  size_t bytes = 0;
  for (size_t taken = 0; taken < count && bytes < bytes_max;) {
    if (fifo.empty() || fifo.front_seq() != first + static_cast<int64_t>(taken)) break;
    if (const ChunkPool::Chunk* missing = fifo.missing_front(); missing != nullptr) {
      const absl::Status restored = Restore(queue, *missing);
      if (!restored.ok()) return taken > 0 ? absl::OkStatus() : restored;
    }
    TakeOut(queue, [&] {
      const size_t before = out.size();
      bytes += fifo.UnparkRun(count - taken, bytes_max - bytes, out);
      taken += out.size() - before;
      return static_cast<int64_t>(out.size() - before);
    });
  }
  return absl::OkStatus();
}

// Keeps the sums while `unpark` takes records out of the queue's front chunk and says how many.
template <class UnparkFront>
void FifoParking::TakeOut(size_t queue, const UnparkFront& unpark) {
  ProducerFifo& fifo = queues_[queue];
  if (touched_.empty() || touched_.back() != queue) touched_.push_back(queue);
  const size_t unwritten_before = fifo.unwritten_bytes();
  const size_t released_before = fifo.released_bytes();
  const bool in_memory_only = !fifo.front_is_written();
  const int64_t records = unpark();
  if (in_memory_only) unwritten_records_ -= records;
  unwritten_bytes_ -= unwritten_before - fifo.unwritten_bytes();
  released_bytes_ += fifo.released_bytes() - released_before;
  stats_.bytes -= static_cast<int64_t>(fifo.unparked_bytes());
  stats_.records -= records;
}

void FifoParking::ExpectUnpark(size_t queue) const {
  if (queue < queues_.size()) queues_[queue].PrefetchFront();
}

void FifoParking::ReleaseUnparked() {
  for (const size_t queue : touched_) {
    ProducerFifo& fifo = queues_[queue];
    const size_t before = fifo.unwritten_bytes();
    fifo.ReleaseUnparked();
    unwritten_bytes_ -= before - fifo.unwritten_bytes();
    DropUsedFiles(fifo);
  }
  touched_.clear();
  released_bytes_ = 0;
}

bool FifoParking::ReleaseFirst() const {
  return store_ != nullptr && released_bytes_ >= kReleasedBytesMax;
}

void FifoParking::Clear() {
  touched_.clear();
  queues_.clear();
  pool_ = ChunkPool();
  released_bytes_ = 0;
  unwritten_bytes_ = 0;
  unwritten_records_ = 0;
  for (const auto& [file, chunks] : files_) store().Drop(file);
  files_.clear();
  stats_.records = 0;
  stats_.bytes = 0;
}

// ---------------------------------------------------------------- beyond the budget

absl::Status FifoParking::MakeRoom() {
  while (BudgetIsReached()) {
    std::vector<ParkedChunk> piece = ChoosePiece(Unwritten(), Piece());
    if (piece.empty()) return absl::OkStatus();  // Emptied queues keep a little room.
    LOCKSTEP_RETURN_IF_ERROR(Write(std::move(piece)));
  }
  return absl::OkStatus();
}

// A part of the budget; more if a smaller budget has to be reached; not so much that it takes long.
ParkingBudget FifoParking::Piece() const {
  const int64_t bytes_above = static_cast<int64_t>(unwritten_bytes_) - budget_.bytes + 1;
  return {
      .bytes = std::min(std::max(budget_.bytes / kPiecePart, bytes_above), kPieceBytesMax),
      .records = std::max(budget_.records / kPiecePart, unwritten_records_ - budget_.records + 1)};
}

std::vector<ParkedChunk> FifoParking::Unwritten() const {
  std::vector<ParkedChunk> chunks;
  for (size_t queue = 0; queue < queues_.size(); ++queue) {
    queues_[queue].ForEachUnwritten([&](const ChunkPool::Chunk& chunk, bool growing) {
      chunks.push_back({queue, growing, &chunk});
    });
  }
  return chunks;
}

absl::Status FifoParking::CheckRoomFor(int64_t bytes) {
  if (bytes <= store_bytes_max_ - store().bytes()) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat(
      "parked records would take more than ", store_bytes_max_,
      " bytes on disk, which is the limit; nothing is lost: allow more (--spill-max), give more "
      "memory (--buffer-memory), or take --buffer bounded, which needs no disk"));
}

absl::Status FifoParking::Write(std::vector<ParkedChunk> piece) {
  std::sort(piece.begin(), piece.end(), [](const ParkedChunk& a, const ParkedChunk& b) {
    return std::pair(a.queue, a.chunk->first_seq) < std::pair(b.queue, b.chunk->first_seq);
  });
  std::vector<ChunkStore::Chunk> chunks;
  int64_t bytes = 0;
  int64_t records = 0;
  for (const auto& [queue, growing, chunk] : piece) {
    chunks.push_back({queue, chunk->first_seq, chunk->view()});
    bytes += static_cast<int64_t>(chunk->filled);
    records += chunk->records;
  }
  LOCKSTEP_RETURN_IF_ERROR(CheckRoomFor(bytes));
  const uint64_t file = last_file_ + 1;
  LOCKSTEP_RETURN_IF_ERROR(store().Write(file, chunks));
  last_file_ = file;
  files_[file] = static_cast<int64_t>(chunks.size());
  for (size_t first = 0; first < chunks.size();) {
    size_t last = first;
    while (last + 1 < chunks.size() && chunks[last + 1].queue == chunks[first].queue) ++last;
    ProducerFifo& fifo = queues_[chunks[first].queue];
    const size_t before = fifo.unwritten_bytes();
    fifo.LeaveMemory(file, chunks[first].first_seq, chunks[last].first_seq);
    unwritten_bytes_ -= before - fifo.unwritten_bytes();
    first = last + 1;
  }
  unwritten_records_ -= records;
  stats_.bytes_written += bytes;
  stats_.store_bytes_peak = std::max(stats_.store_bytes_peak, store().bytes());
  return absl::OkStatus();
}

absl::Status FifoParking::Restore(size_t queue, const ChunkPool::Chunk& chunk) {
  ChunkPool::Chunk memory = pool_.Get(ChunkPool::UsualSize(chunk.filled));
  const absl::Status read =
      store().Read(chunk.file, queue, chunk.first_seq, memory.bytes.get(), chunk.filled);
  if (!read.ok()) {
    pool_.Give(std::move(memory));
    return read;
  }
  stats_.bytes_reread += static_cast<int64_t>(chunk.filled);
  queues_[queue].RestoreFront(std::move(memory));
  return absl::OkStatus();
}

void FifoParking::DropUsedFiles(ProducerFifo& fifo) {
  for (const uint64_t file : fifo.TakeUsedFiles()) {
    const auto found = files_.find(file);
    LOCKSTEP_CHECK(found != files_.end() && found->second > 0, "a chunk is used up once");
    if (--found->second > 0) continue;
    store().Drop(file);
    files_.erase(found);
  }
}

}  // namespace lockstep
