#include "reorder/parking/chunk_parking.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

#include "common/base/check.h"
#include "common/base/status_macros.h"

namespace lockstep {
namespace {

// With every producer's chunk twice in the budget, Belady's rule has something to choose from.
constexpr int64_t kChunksPerProducer = 2;
// What only views keep is that part of the budget at most.
constexpr int64_t kHeldPart = 8;
// A segment, its places in two lists, and what the allocator adds.
constexpr int64_t kIndexBytes = 144;
constexpr auto kSegmentBytes = static_cast<int64_t>(ChunkPool::kChunkBytesMin);

}  // namespace

int64_t ChunkParking::Charge(const Chunk& chunk) {
  return chunk.bytes + chunk.bytes / 4 +
         static_cast<int64_t>(chunk.segments.size()) * kSegmentBytes;
}

void ChunkParking::Bind(const ParkedOrder& order) {
  LOCKSTEP_CHECK(stats_.records == 0, "what is parked belongs to the order that was bound");
  order_ = &order;
  chunk_bytes_ = 0;
}

void ChunkParking::SetBudget(ParkingBudget budget) {
  budget_ = budget;
  chunk_bytes_ = 0;
  while (!Fits(0, 0) && DropOne(nullptr)) {
  }
}

void ChunkParking::SetChunkSize() {
  producers_ = std::max<int64_t>(order_->producers(), 1);
  const int64_t parts = producers_ * kChunksPerProducer;
  chunk_records_ = std::clamp<int64_t>(budget_.records / parts, 1, kChunkRecordsMax);
  chunk_bytes_ = std::max<int64_t>(budget_.bytes / parts, 2 * kSegmentBytes);
}

bool ChunkParking::premise_holds() const {
  return budget_.records / producers_ >= largest_records_ &&
         budget_.bytes / producers_ >= largest_bytes_;
}

// ---------------------------------------------------------------- parking

absl::Status ChunkParking::Park(size_t queue, Seq seq, const RecordView& record) {
  LOCKSTEP_CHECK(order_ != nullptr, "bound before anything is parked");
  if (chunk_bytes_ == 0) SetChunkSize();
  if (queues_.size() <= queue) queues_.resize(queue + 1);
  const auto bytes = static_cast<int64_t>(ProducerFifo::PackedBytes(record));
  Chunk& chunk = OpenChunk(static_cast<int>(queue % open_.size()), record.log_offset, bytes);
  if (chunk.in_memory) Count(chunk, -1);
  Segment& segment = AddTo(chunk, queue, seq, record.log_offset);
  segment.bytes += bytes;
  chunk.bytes += bytes;
  chunk.records += 1;
  largest_bytes_ = std::max(largest_bytes_, Charge(chunk));
  largest_records_ = std::max(largest_records_, chunk.records);
  if (fetcher_ == nullptr) {
    if (segment.sizes == nullptr) segment.sizes = std::make_unique<std::deque<Size>>();
    segment.sizes->push_back({static_cast<uint32_t>(bytes),
                              static_cast<uint32_t>(record.log_offset - chunk.first_offset)});
  } else if (chunk.in_memory) {
    if (segment.memory == nullptr) segment.memory = std::make_unique<ProducerFifo>(pool_);
    segment.memory->Park(seq, record);
  }
  stats_.records += 1;
  stats_.bytes += bytes;
  stats_.records_peak = std::max(stats_.records_peak, stats_.records);
  stats_.bytes_peak = std::max(stats_.bytes_peak, stats_.bytes);
  if (!chunk.in_memory) return absl::OkStatus();
  Count(chunk, +1);
  while (!Fits(0, 0) && DropOne(nullptr)) {
  }
  return absl::OkStatus();
}

// The chunk that a record of so many bytes at `offset` belongs to.
ChunkParking::Chunk& ChunkParking::OpenChunk(int topic, Offset offset, int64_t bytes) {
  Chunk*& open = open_[static_cast<size_t>(topic)];
  const bool full =
      open != nullptr && (offset - open->first_offset >= chunk_records_ ||
                          (open->records > 0 && Charge(*open) + bytes > chunk_bytes_));
  if (full) Close(*open);
  if (open == nullptr) {
    auto chunk = std::make_unique<Chunk>();
    chunk->topic = topic;
    chunk->first_offset = offset;
    open = chunk.get();
    in_memory_.push_back(open);
    Count(*open, +1);
    chunks_.emplace(open, std::move(chunk));
  }
  return *open;
}

void ChunkParking::Close(Chunk& chunk) {
  chunk.open = false;
  open_[static_cast<size_t>(chunk.topic)] = nullptr;
  if (chunk.segments.empty()) {
    if (chunk.in_memory) {
      Count(chunk, -1);
      std::erase(in_memory_, &chunk);
    }
    chunks_.erase(&chunk);
  }
}

// The queue's segment in the chunk, grown by one seq.
ChunkParking::Segment& ChunkParking::AddTo(Chunk& chunk, size_t queue, Seq seq, Offset offset) {
  std::deque<std::unique_ptr<Segment>>& segments = queues_[queue];
  LOCKSTEP_CHECK(segments.empty() || segments.back()->last_seq < seq, "parked seqs ascend");
  if (segments.empty() || segments.back()->chunk != &chunk ||
      segments.back()->last_seq + 1 != seq) {
    auto segment = std::make_unique<Segment>();
    segment->chunk = &chunk;
    segment->queue = queue;
    segment->next_seq = seq;
    segment->next_offset = offset;
    segment->turn = order_->TurnOf(queue, seq);
    chunk.segments.push_back(segment.get());
    segments.push_back(std::move(segment));
    segments_ += 1;
    stats_.fetches_bound += 1;
  }
  Segment& segment = *segments.back();
  segment.last_seq = seq;
  segment.last_offset = offset;
  return segment;
}

// ---------------------------------------------------------------- taking out

std::optional<Seq> ChunkParking::Front(size_t queue) const {
  if (queue >= queues_.size() || queues_[queue].empty()) return std::nullopt;
  return queues_[queue].front()->next_seq;
}

ChunkParking::Segment& ChunkParking::FrontOf(size_t queue) {
  LOCKSTEP_CHECK(Front(queue).has_value(), "only what was parked is taken out");
  return *queues_[queue].front();
}

absl::StatusOr<RecordView> ChunkParking::Unpark(size_t queue) {
  Segment& segment = FrontOf(queue);
  if (!segment.chunk->in_memory) LOCKSTEP_RETURN_IF_ERROR(Restore(*segment.chunk));
  if (fetcher_ == nullptr) {
    LOCKSTEP_RETURN_IF_ERROR(Skip(queue));
    return RecordView{};
  }
  const RecordView view = segment.memory->Unpark();
  if (touched_.empty() || touched_.back() != queue) touched_.push_back(queue);
  Forget(segment, static_cast<int64_t>(segment.memory->unparked_bytes()), view.log_offset + 1);
  return view;
}

absl::Status ChunkParking::Skip(size_t queue) {
  Segment& segment = FrontOf(queue);
  const bool in_memory = segment.memory != nullptr && !segment.memory->empty() &&
                         segment.memory->front_seq() == segment.next_seq;
  if (in_memory) return Unpark(queue).status();
  // Not in memory (any more): its bytes are not known one by one, but with sizes.
  int64_t bytes = segment.bytes / segment.records();
  Offset next_offset = segment.next_offset + 1;
  if (fetcher_ == nullptr) {
    bytes = segment.sizes->front().bytes;
    next_offset = segment.chunk->first_offset + segment.sizes->front().offset + 1;
    segment.sizes->pop_front();
  }
  Forget(segment, bytes, next_offset);
  return absl::OkStatus();
}

// The oldest record of the queue is not parked any more.
void ChunkParking::Forget(Segment& segment, int64_t bytes, Offset next_offset) {
  Chunk& chunk = *segment.chunk;
  const bool last = segment.next_seq == segment.last_seq;
  bytes = last ? segment.bytes : std::min(bytes, segment.bytes);  // It may be an average.
  if (chunk.in_memory) Count(chunk, -1);
  stats_.records -= 1;
  stats_.bytes -= bytes;
  chunk.records -= 1;
  chunk.bytes -= bytes;
  segment.bytes -= bytes;
  segment.next_offset = next_offset;
  ++segment.next_seq;
  if (last) std::erase(chunk.segments, &segment);
  if (chunk.in_memory) Count(chunk, +1);
  if (!last) return;
  segments_ -= 1;
  if (segment.memory != nullptr) released_.push_back(std::move(segment.memory));
  if (chunk.segments.empty() && !chunk.open) {
    if (chunk.in_memory) {
      Count(chunk, -1);
      std::erase(in_memory_, &chunk);
    }
    chunks_.erase(&chunk);
  }
  queues_[segment.queue].pop_front();
}

void ChunkParking::ReleaseUnparked() {
  for (const size_t queue : touched_) {
    if (queues_[queue].empty() || queues_[queue].front()->memory == nullptr) continue;
    queues_[queue].front()->memory->ReleaseUnparked();
  }
  touched_.clear();
  for (const auto& memory : released_) memory->Clear();
  released_.clear();
  held_bytes_ = 0;
  held_records_ = 0;
}

bool ChunkParking::ReleaseFirst() const {
  return held_bytes_ > budget_.bytes / kHeldPart || held_records_ > budget_.records / kHeldPart;
}

void ChunkParking::Clear() {
  touched_.clear();
  released_.clear();
  queues_.clear();
  in_memory_.clear();
  chunks_.clear();
  std::fill(open_.begin(), open_.end(), nullptr);
  pool_ = ChunkPool();
  charged_bytes_ = held_bytes_ = 0;
  charged_records_ = held_records_ = 0;
  segments_ = 0;
  stats_.records = 0;
  stats_.bytes = 0;
}

// ---------------------------------------------------------------- what is in memory

void ChunkParking::Count(const Chunk& chunk, int64_t sign) {
  charged_bytes_ += sign * Charge(chunk);
  charged_records_ += sign * chunk.records;
}

bool ChunkParking::Fits(int64_t more_bytes, int64_t more_records) const {
  return charged_bytes_ + held_bytes_ + segments_ * kIndexBytes + more_bytes <= budget_.bytes &&
         charged_records_ + held_records_ + more_records <= budget_.records;
}

// When a chunk is needed next. What went out from another topic is not needed any more.
Position ChunkParking::NeededAt(const Chunk& chunk) const {
  Position needed{Epoch(INT64_MAX), Offset(INT64_MAX)};
  for (const Segment* segment : chunk.segments) {
    const Seq next = order_->NextSeq(segment->queue);
    if (segment->last_seq < next) continue;
    const bool begun = segment->next_seq <= next;
    needed = std::min(needed, begun ? order_->NextTurn(segment->queue) : segment->turn);
  }
  return needed;
}

// Drops the chunk that is needed furthest ahead; false: there is none but `but`.
bool ChunkParking::DropOne(const Chunk* but) {
  Chunk* furthest = nullptr;
  Position needed;
  for (Chunk* chunk : in_memory_) {
    if (chunk == but || chunk->segments.empty()) continue;
    const Position at = NeededAt(*chunk);
    if (furthest != nullptr && at <= needed) continue;
    furthest = chunk;
    needed = at;
  }
  if (furthest == nullptr) return false;
  Drop(*furthest);
  return true;
}

void ChunkParking::Drop(Chunk& chunk) {
  Count(chunk, -1);
  std::erase(in_memory_, &chunk);
  chunk.in_memory = false;
  for (Segment* segment : chunk.segments) {
    if (segment->memory == nullptr) continue;
    if (segment->memory->views_out()) {
      held_bytes_ += segment->bytes;
      held_records_ += segment->records();
      released_.push_back(std::move(segment->memory));
    } else {
      segment->memory->Clear();
      segment->memory.reset();
    }
  }
}

absl::Status ChunkParking::Restore(Chunk& chunk) {
  while (!Fits(Charge(chunk), chunk.records) && DropOne(&chunk)) {
  }
  const absl::Status fetched = FetchParked(chunk);
  if (!fetched.ok()) {
    for (Segment* segment : chunk.segments) {
      if (segment->memory != nullptr) segment->memory->Clear();
      segment->memory.reset();
    }
    return fetched;
  }
  stats_.fetches += 1;
  chunk.in_memory = true;
  in_memory_.push_back(&chunk);
  Count(chunk, +1);
  return absl::OkStatus();
}

// Fetches the part of the log that holds what is still parked of the chunk.
absl::Status ChunkParking::FetchParked(Chunk& chunk) {
  Offset first(INT64_MAX);
  Offset last(-1);
  for (const Segment* segment : chunk.segments) {
    first = std::min(first, segment->next_offset);
    last = std::max(last, segment->last_offset);
  }
  if (fetcher_ == nullptr) {
    stats_.records_fetched += last - first + 1;
    stats_.bytes_reread += chunk.bytes;
    return absl::OkStatus();
  }
  std::vector<Place> places;
  for (Segment* segment : chunk.segments) {
    // What went out from another topic is not parked again; Skip will pass over it.
    const Seq expected = std::max(segment->next_seq, order_->NextSeq(segment->queue));
    if (expected > segment->last_seq) continue;
    segment->memory = std::make_unique<ProducerFifo>(pool_);
    places.push_back({segment, expected});
  }
  std::sort(places.begin(), places.end(), [](const Place& a, const Place& b) {
    return std::pair(a.segment->queue, a.expected) < std::pair(b.segment->queue, b.expected);
  });
  LOCKSTEP_RETURN_IF_ERROR(
      fetcher_->Fetch(chunk.topic, first, last + 1, [&](const FetchedRecord& record) {
        stats_.records_fetched += 1;
        stats_.bytes_reread += static_cast<int64_t>(ProducerFifo::PackedBytes(record.view));
        if (!record.foreign) ParkAgain(chunk.topic, record, places);
        return absl::OkStatus();
      }));
  for (const Place& place : places) {
    if (place.expected > place.segment->last_seq) continue;
    return absl::DataLossError(absl::StrCat("seq ", place.expected.value(), ", read before in [",
                                            first.value(), ",", last.value() + 1,
                                            ") of the log, is not there any more"));
  }
  return absl::OkStatus();
}

// `places` are sorted.
void ChunkParking::ParkAgain(int topic, const FetchedRecord& record, std::vector<Place>& places) {
  const std::optional<size_t> queue = order_->QueueOf(topic, record.header);
  if (!queue.has_value()) return;
  const Seq seq = record.header.seq;
  const auto behind =
      std::upper_bound(places.begin(), places.end(), std::pair(*queue, seq),
                       [](const std::pair<size_t, Seq>& at, const Place& place) {
                         return at < std::pair(place.segment->queue, place.segment->next_seq);
                       });
  if (behind == places.begin()) return;
  Place& place = *std::prev(behind);
  // Else it was sent, or it is a duplicate.
  if (place.segment->queue != *queue || place.expected != seq || seq > place.segment->last_seq)
    return;
  place.segment->memory->Park(seq, record.view);
  ++place.expected;
}

}  // namespace lockstep
