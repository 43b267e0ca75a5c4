#include "reorder/producer_fifo.h"

#include <algorithm>
#include <cstring>

#include "common/base/check.h"

namespace lockstep {
namespace {

constexpr uint32_t kNull = UINT32_MAX;
// The processor gets what is parked or taken out so far ahead.
constexpr size_t kAheadBytes = 1024;
constexpr int kForReading = 0;  // Of __builtin_prefetch.
constexpr int kForWriting = 1;
constexpr size_t kOwnChunkBytes = ChunkPool::kChunkBytesMax / 4;

// What stands before a parked record's bytes: source position, key, value, headers (name size,
// value size, name, value each).
struct Packed {
  int64_t seq;
  int64_t log_offset;
  int64_t timestamp_ms;
  uint32_t total_bytes;  // With this struct and the padding.
  uint32_t at_bytes;
  uint32_t key_bytes;
  uint32_t value_bytes;
  uint32_t headers_bytes;
  uint32_t unused;
};
// NOLINTNEXTLINE(misc-redundant-expression): so it is today.
static_assert(sizeof(Packed) == 48, "an overhead of less than 100 B a record is promised");
// NOLINTNEXTLINE(misc-redundant-expression): so it is today.
static_assert(sizeof(Packed) % alignof(Packed) == 0, "records lie one behind the other");

uint32_t SizeOf(const std::optional<std::string_view>& bytes) {
  return bytes.has_value() ? static_cast<uint32_t>(bytes->size()) : kNull;
}
size_t Length(uint32_t size) { return size == kNull ? 0 : size; }

std::byte* Put(std::byte* to, std::string_view bytes) {
  if (!bytes.empty()) std::memcpy(to, bytes.data(), bytes.size());
  return to + bytes.size();
}
std::byte* PutSize(std::byte* to, uint32_t size) {
  std::memcpy(to, &size, sizeof(size));
  return to + sizeof(size);
}
uint32_t TakeSize(const std::byte*& from) {
  uint32_t size = 0;
  std::memcpy(&size, from, sizeof(size));
  from += sizeof(size);
  return size;
}
std::string_view TakeText(const std::byte*& from, uint32_t size) {
  const std::string_view text(reinterpret_cast<const char*>(from), size);
  from += size;
  return text;
}
std::optional<std::string_view> TakeBytes(const std::byte*& from, uint32_t size) {
  if (size == kNull) return std::nullopt;
  return TakeText(from, size);
}

const std::byte* HeadersOf(const Packed* packed) {
  return reinterpret_cast<const std::byte*>(packed + 1) + packed->at_bytes +
         Length(packed->key_bytes) + Length(packed->value_bytes);
}

// All but the seq.
Packed Measure(const RecordView& record, const std::vector<HeaderView>& headers) {
  size_t headers_bytes = 0;
  for (const auto& [name, value] : headers) {
    headers_bytes += 2 * sizeof(uint32_t) + name.size() + (value.has_value() ? value->size() : 0);
  }
  Packed packed{0,
                record.log_offset.value(),
                record.timestamp_ms,
                0,
                static_cast<uint32_t>(record.at.size()),
                SizeOf(record.key),
                SizeOf(record.value),
                static_cast<uint32_t>(headers_bytes),
                0};
  const size_t used = sizeof(Packed) + packed.at_bytes + Length(packed.key_bytes) +
                      Length(packed.value_bytes) + headers_bytes;
  packed.total_bytes =
      static_cast<uint32_t>((used + alignof(Packed) - 1) / alignof(Packed) * alignof(Packed));
  return packed;
}

class PackedHeaders final : public HeaderSource {
 public:
  void Read(const void* handle, std::vector<HeaderView>& out) const override {
    out.clear();
    const auto* packed = static_cast<const Packed*>(handle);
    const std::byte* from = HeadersOf(packed);
    const std::byte* end = from + packed->headers_bytes;
    while (from != end) {
      const uint32_t name_bytes = TakeSize(from);
      const uint32_t value_bytes = TakeSize(from);
      const std::string_view name = TakeText(from, name_bytes);
      out.emplace_back(name, TakeBytes(from, value_bytes));
    }
  }
};
const PackedHeaders kPackedHeaders;

const Packed* At(const ChunkPool::Chunk& chunk, size_t place) {
  return reinterpret_cast<const Packed*>(chunk.bytes.get() + place);
}

// Into a fresh view.
void ReadPacked(const Packed* packed, RecordView& view) {
  const auto* from = reinterpret_cast<const std::byte*>(packed + 1);
  view.log_offset = Offset(packed->log_offset);
  view.timestamp_ms = packed->timestamp_ms;
  view.at = TakeText(from, packed->at_bytes);
  if (packed->key_bytes != kNull) view.key.emplace(TakeText(from, packed->key_bytes));
  if (packed->value_bytes != kNull) view.value.emplace(TakeText(from, packed->value_bytes));
  if (packed->headers_bytes > 0) {
    view.header_source = &kPackedHeaders;
    view.header_handle = packed;
  }
}

// Asks the processor for bytes that are needed soon; what lies behind the end does no harm.
template <int kAccess>
void Prefetch(const std::byte* from, size_t bytes) {
  constexpr size_t kLineBytes = 64;
  const std::byte* const end = from + std::min(bytes, kAheadBytes);
  for (; from < end; from += kLineBytes) __builtin_prefetch(from, kAccess);
}

}  // namespace

std::vector<ChunkPool::Bytes>* ChunkPool::SpareOf(size_t size) {
  if (!std::has_single_bit(size) || size < kChunkBytesMin || size > kChunkBytesMax) return nullptr;
  return &spare_[static_cast<size_t>(std::bit_width(size / kChunkBytesMin)) - 1];
}

size_t ChunkPool::UsualSize(size_t bytes) {
  return bytes > kChunkBytesMax ? bytes : std::max(std::bit_ceil(bytes), kChunkBytesMin);
}

ChunkPool::Chunk ChunkPool::Get(size_t size) {
  allocated_bytes_ += size;
  Chunk chunk;
  chunk.size = size;
  if (std::vector<Bytes>* spare = SpareOf(size); spare != nullptr && !spare->empty()) {
    spare_bytes_ -= size;
    chunk.bytes = std::move(spare->back());
    spare->pop_back();
  } else {
    chunk.bytes.reset(new std::byte[size]);
  }
  return chunk;
}

void ChunkPool::Give(Chunk chunk) {
  allocated_bytes_ -= chunk.size;
  std::vector<Bytes>* spare = SpareOf(chunk.size);
  if (spare == nullptr || spare_bytes_ + chunk.size > kSpareBytesMax) return;
  spare_bytes_ += chunk.size;
  spare->push_back(std::move(chunk.bytes));
}

Seq ProducerFifo::front_seq() const {
  LOCKSTEP_CHECK(!empty(), "the caller asks an empty fifo for its front");
  const ChunkPool::Chunk& chunk = chunks_.front();
  if (chunk.bytes != nullptr) return Seq(At(chunk, read_)->seq);
  return read_ == 0 ? chunk.first_seq : left_at_;
}

std::byte* ProducerFifo::Reserve(Seq seq, size_t bytes) {
  if (chunks_.empty() || chunks_.back().size - chunks_.back().filled < bytes) {
    // At most a quarter of what is there: the part not yet filled stays small beside the part in
    // use. A record that would leave much of a chunk unused gets one of its own.
    const size_t usual = std::clamp(std::bit_floor(unwritten_bytes_ / 4), ChunkPool::kChunkBytesMin,
                                    ChunkPool::kChunkBytesMax);
    chunks_.push_back(pool_->Get(bytes > kOwnChunkBytes ? bytes : std::max(usual, bytes)));
    unwritten_bytes_ += chunks_.back().size;
    DropUsedFront();
  }
  if (chunks_.back().filled == 0) chunks_.back().first_seq = seq;
  std::byte* place = chunks_.back().bytes.get() + chunks_.back().filled;
  chunks_.back().filled += bytes;
  return place;
}

size_t ProducerFifo::PackedBytes(const RecordView& record) {
  thread_local std::vector<HeaderView> headers;
  record.ReadHeaders(headers);
  return Measure(record, headers).total_bytes;
}

size_t ProducerFifo::Park(Seq seq, const RecordView& record) {
  LOCKSTEP_CHECK(seq > last_seq_, "parked seqs ascend (1)");
  thread_local std::vector<HeaderView> headers;
  record.ReadHeaders(headers);
  Packed packed = Measure(record, headers);
  packed.seq = seq.value();
  std::byte* to = Reserve(seq, packed.total_bytes);
  Prefetch<kForWriting>(to + kAheadBytes, packed.total_bytes);
  new (to) Packed(packed);
  to = Put(to + sizeof(Packed), record.at);
  to = Put(to, record.key.value_or(""));
  to = Put(to, record.value.value_or(""));
  for (const auto& [name, value] : headers) {
    to = PutSize(PutSize(to, static_cast<uint32_t>(name.size())), SizeOf(value));
    to = Put(Put(to, name), value.value_or(""));
  }
  last_seq_ = seq;
  ++records_;
  ++chunks_.back().records;
  return packed.total_bytes;
}

RecordView ProducerFifo::Unpark() {
  BeginUnpark();
  const Packed* packed = At(chunks_.front(), read_);
  RecordView view;
  ReadPacked(packed, view);
  FinishUnpark(read_ + packed->total_bytes, 1);
  return view;
}

size_t ProducerFifo::UnparkRun(size_t count, size_t bytes_max, std::vector<ReadyRecord>& out) {
  BeginUnpark();
  const ChunkPool::Chunk& chunk = chunks_.front();
  size_t place = read_;
  size_t bytes = 0;
  int64_t taken = 0;
  const Packed* packed = At(chunk, place);
  const int64_t first_seq = packed->seq;
  do {
    Prefetch<kForReading>(chunk.bytes.get() + place + kAheadBytes, packed->total_bytes);
    RecordView& view = out.emplace_back().view;
    ReadPacked(packed, view);
    bytes += view.payload_bytes();
    place += packed->total_bytes;
    packed = At(chunk, place);
    ++taken;
  } while (place < chunk.filled && static_cast<size_t>(taken) < count && bytes < bytes_max &&
           packed->seq == first_seq + taken);
  FinishUnpark(place, taken);
  return bytes;
}

void ProducerFifo::BeginUnpark() const {
  LOCKSTEP_CHECK(!empty(), "the caller takes from an empty fifo");
  LOCKSTEP_CHECK(missing_front() == nullptr, "the front is restored before it is taken");
}

// What lies below `place` in the front chunk was taken out.
void ProducerFifo::FinishUnpark(size_t place, int64_t records) {
  unparked_bytes_ = place - read_;
  read_ = place;
  records_ -= records;
  chunks_.front().records -= records;
  views_out_ = true;
  DropUsedFront();
}

void ProducerFifo::PrefetchFront() const {
  if (!empty() && missing_front() == nullptr) {
    Prefetch<kForReading>(chunks_.front().bytes.get() + read_, kAheadBytes);
  }
}

// The last chunk stays while it has room: parking and taking out in turn does not allocate.
void ProducerFifo::DropUsedFront() {
  ChunkPool::Chunk& front = chunks_.front();
  if (read_ < front.filled || (chunks_.size() == 1 && front.file == 0)) return;
  if (front.file != 0) {
    used_files_.push_back(front.file);
  } else {
    unwritten_bytes_ -= front.size;
  }
  released_bytes_ += front.size;
  released_.push_back(std::move(front));
  chunks_.pop_front();
  read_ = 0;
}

void ProducerFifo::ReleaseUnparked() {
  views_out_ = false;
  for (ChunkPool::Chunk& chunk : released_) pool_->Give(std::move(chunk));
  released_.clear();
  released_bytes_ = 0;
  if (records_ > 0 || chunks_.empty()) return;
  LOCKSTEP_CHECK(chunks_.size() == 1, "an empty fifo keeps its last chunk only");
  read_ = 0;
  chunks_.front().filled = 0;
  if (chunks_.front().size > ChunkPool::kChunkBytesMin) {
    pool_->Give(std::move(chunks_.front()));
    chunks_.clear();
    unwritten_bytes_ = 0;
  }
}

void ProducerFifo::Clear() {
  for (ChunkPool::Chunk& chunk : released_) pool_->Give(std::move(chunk));
  for (ChunkPool::Chunk& chunk : chunks_) {
    if (chunk.bytes != nullptr) pool_->Give(std::move(chunk));
  }
  *this = ProducerFifo(*pool_);
}

void ProducerFifo::LeaveMemory(uint64_t file, Seq first, Seq last) {
  if (empty()) return;
  left_at_ = front_seq();
  for (ChunkPool::Chunk& chunk : chunks_) {
    if (chunk.file != 0 || chunk.first_seq < first || chunk.first_seq > last) continue;
    ChunkPool::Chunk memory;
    memory.bytes = std::move(chunk.bytes);
    memory.size = chunk.size;
    unwritten_bytes_ -= chunk.size;
    chunk.size = chunk.filled;
    chunk.file = file;
    // Only the first chunk can have views into it.
    if (&chunk == &chunks_.front() && views_out_) {
      released_.push_back(std::move(memory));
    } else {
      pool_->Give(std::move(memory));
    }
  }
}

void ProducerFifo::RestoreFront(ChunkPool::Chunk memory) {
  LOCKSTEP_CHECK(missing_front() != nullptr && memory.size >= missing_front()->filled,
                 "what is missing is restored whole");
  chunks_.front().bytes = std::move(memory.bytes);
  chunks_.front().size = memory.size;
}

std::vector<ProducerFifo::RecordSize> ProducerFifo::SizesIn(std::string_view chunk) {
  std::vector<RecordSize> records;
  while (!chunk.empty()) {
    Packed packed = {};
    std::memcpy(&packed, chunk.data(), sizeof(packed));
    records.push_back({Seq(packed.seq), packed.total_bytes});
    chunk.remove_prefix(packed.total_bytes);
  }
  return records;
}

void ProducerFifo::PutSizes(const std::vector<RecordSize>& records, std::byte* to) {
  for (const RecordSize& record : records) {
    const auto value_bytes = static_cast<uint32_t>(record.bytes - sizeof(Packed));
    new (to) Packed{record.seq.value(), 0, 0, record.bytes, 0, kNull, value_bytes, 0, 0};
    to += record.bytes;
  }
}

}  // namespace lockstep
