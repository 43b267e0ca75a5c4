#include "producer/wal/wal.h"

#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include <rocksdb/convenience.h>
#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/iterator.h>
#include <rocksdb/options.h>
#include <rocksdb/write_batch.h>

#include "common/base/check.h"
#include "common/base/status_macros.h"

namespace lockstep {
namespace {

constexpr char kFormat = 2;
constexpr uint32_t kNull = 0xffffffff;
constexpr size_t kFileBytes = size_t{16} << 20;

// Apart from the entries, whose files can then be dropped whole.
constexpr char kMetaFamily[] = "meta";
constexpr char kOwnerKey[] = "owner";
constexpr char kRangeKey[] = "range";

std::vector<rocksdb::ColumnFamilyDescriptor> Families() {
  rocksdb::ColumnFamilyOptions entries;
  entries.write_buffer_size = kFileBytes;
  entries.target_file_size_base = kFileBytes;
  entries.compression = rocksdb::kNoCompression;
  // Files never overlap, so that they move down as they are; only from there can they be dropped.
  entries.level0_file_num_compaction_trigger = 1;
  return {{rocksdb::kDefaultColumnFamilyName, entries},
          {kMetaFamily, rocksdb::ColumnFamilyOptions()}};
}

rocksdb::WriteOptions Synced() {
  rocksdb::WriteOptions write;
  write.sync = true;
  return write;
}

std::string_view View(const rocksdb::Slice& slice) { return {slice.data(), slice.size()}; }

// ---------------------------------------------------------------- bytes

template <class Int>
void AppendInt(Int value, std::string& out) {
  for (size_t i = 0; i < sizeof(Int); ++i) {
    out += static_cast<char>(static_cast<uint64_t>(value) >> (8 * i) & 0xff);
  }
}

void AppendText(std::string_view text, std::string& out) {
  AppendInt(static_cast<uint32_t>(text.size()), out);
  out += text;
}

void AppendText(const std::optional<std::string>& text, std::string& out) {
  if (text) {
    AppendText(std::string_view(*text), out);
  } else {
    AppendInt(kNull, out);
  }
}

// Takes values off the front; after the first that is not there all are empty and ok() is false.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}
  bool ok() const { return ok_; }
  bool at_end() const { return ok_ && bytes_.empty(); }

  template <class Int>
  Int TakeInt() {
    const std::string_view raw = Take(sizeof(Int));
    uint64_t value = 0;
    for (size_t i = 0; i < raw.size(); ++i) {
      value |= uint64_t{static_cast<unsigned char>(raw[i])} << (8 * i);
    }
    return static_cast<Int>(value);
  }
  std::optional<std::string> TakeText() {
    const auto size = TakeInt<uint32_t>();
    if (!ok_ || size == kNull) return std::nullopt;
    return std::string(Take(size));
  }

 private:
  std::string_view Take(size_t size) {
    ok_ = ok_ && size <= bytes_.size();
    if (!ok_) return {};
    const std::string_view taken = bytes_.substr(0, size);
    bytes_.remove_prefix(size);
    return taken;
  }
  std::string_view bytes_;
  bool ok_ = true;
};

// The place, high byte first, so that RocksDB's order is the places'.
std::string EntryKey(uint64_t place) {
  std::string key;
  for (int shift = 56; shift >= 0; shift -= 8) key += static_cast<char>(place >> shift & 0xff);
  return key;
}

uint64_t PlaceOf(std::string_view key) {
  uint64_t place = 0;
  for (const char c : key) place = place << 8 | static_cast<unsigned char>(c);
  return place;
}

uint64_t BytesOf(const rocksdb::Iterator& entry) {
  return entry.key().size() + entry.value().size();
}

}  // namespace

void AppendWalEvent(const SourceEvent& event, std::string& out) {
  out += kFormat;
  AppendText(std::string_view(event.at), out);
  AppendText(event.payload.key, out);
  AppendText(event.payload.value, out);
  AppendInt(event.payload.timestamp_ms, out);
  AppendInt(event.partition.value_or(-1), out);
  AppendText(event.partition_key, out);
  for (const uint64_t number : event.resume) AppendInt(number, out);
  AppendInt(static_cast<uint32_t>(event.payload.headers.size()), out);
  for (const auto& [name, content] : event.payload.headers) {
    AppendText(std::string_view(name), out);
    AppendText(content, out);
  }
}

absl::StatusOr<SourceEvent> ParseWalEvent(std::string_view bytes) {
  Reader reader(bytes);
  SourceEvent event;
  const bool known = reader.TakeInt<char>() == kFormat;
  event.at = reader.TakeText().value_or("");
  event.payload.key = reader.TakeText();
  event.payload.value = reader.TakeText();
  event.payload.timestamp_ms = reader.TakeInt<int64_t>();
  if (const auto partition = reader.TakeInt<int32_t>(); partition >= 0) event.partition = partition;
  event.partition_key = reader.TakeText();
  for (uint64_t& number : event.resume) number = reader.TakeInt<uint64_t>();
  for (auto left = reader.TakeInt<uint32_t>(); left > 0 && reader.ok(); --left) {
    std::string name = reader.TakeText().value_or("");
    event.payload.headers.emplace_back(std::move(name), reader.TakeText());
  }
  if (!known || !reader.at_end()) return absl::InvalidArgumentError("not an event of this format");
  return event;
}

// ---------------------------------------------------------------- the store

Wal::Wal(std::string directory) : directory_(std::move(directory)) {}

Wal::~Wal() {
  for (rocksdb::ColumnFamilyHandle* family : families_) {
    (void)db_->DestroyColumnFamilyHandle(family);
  }
}

absl::Status Wal::Why(const rocksdb::Status& status) const {
  const std::string what = absl::StrCat("wal ", directory_, ": ", status.ToString());
  if (status.IsNoSpace()) {
    return absl::ResourceExhaustedError(
        what +
        "; nothing is lost: what it lacks is still at the source. Free some space, or lower "
        "--wal-max and --wal-keep, and start again");
  }
  if (status.IsCorruption()) return absl::DataLossError(what);
  return absl::InternalError(what);
}

absl::StatusOr<std::unique_ptr<Wal>> Wal::Open(const std::string& directory, const WalOwner& owner,
                                               rocksdb::Env* env) {
  rocksdb::Options options;
  if (env != nullptr) options.env = env;
  options.create_if_missing = true;
  options.create_missing_column_families = true;
  options.max_total_wal_size = 2 * kFileBytes;  // Else the few meta writes hold on to every log.
  // A torn last batch was never acknowledged; anything worse is told.
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kTolerateCorruptedTailRecords;
  std::unique_ptr<Wal> wal(new Wal(directory));
  rocksdb::DB* raw = nullptr;
  const rocksdb::Status opened =
      rocksdb::DB::Open(options, directory, Families(), &wal->families_, &raw);
  wal->db_.reset(raw);
  if (opened.IsIOError() && opened.ToString().find("lock") != std::string::npos) {
    return absl::FailedPreconditionError(
        absl::StrCat("wal ", directory, ": another process has it open: ", opened.ToString()));
  }
  if (!opened.ok()) return wal->Why(opened);
  LOCKSTEP_RETURN_IF_ERROR(wal->Load());
  if (wal->owner_ == WalOwner()) {
    std::string text;
    AppendText(std::string_view(owner.producer), text);
    AppendText(std::string_view(owner.source), text);
    LOCKSTEP_RETURN_IF_ERROR(wal->WriteMeta(kOwnerKey, text));
    wal->owner_ = owner;
  }
  if (wal->owner_ != owner) {
    return absl::FailedPreconditionError(absl::StrCat(
        "wal ", directory, " belongs to producer '", wal->owner_.producer, "' and source '",
        wal->owner_.source, "'; name another --wal directory for this one"));
  }
  return wal;
}

absl::StatusOr<std::unique_ptr<Wal>> Wal::OpenForReading(const std::string& directory) {
  rocksdb::Options options;
  if (!options.env->FileExists(directory + "/CURRENT").ok()) {
    return absl::NotFoundError("wal " + directory + ": there is no WAL");
  }
  std::unique_ptr<Wal> wal(new Wal(directory));
  rocksdb::DB* raw = nullptr;
  const rocksdb::Status opened =
      rocksdb::DB::OpenForReadOnly(options, directory, Families(), &wal->families_, &raw);
  wal->db_.reset(raw);
  if (!opened.ok()) return wal->Why(opened);
  LOCKSTEP_RETURN_IF_ERROR(wal->Load());
  return wal;
}

absl::Status Wal::Load() {
  MutexLock lock(mu_);
  LOCKSTEP_ASSIGN_OR_RETURN(const std::optional<std::string> owner, ReadMeta(kOwnerKey));
  if (owner) {
    Reader reader(*owner);
    owner_.producer = reader.TakeText().value_or("");
    owner_.source = reader.TakeText().value_or("");
  }
  LOCKSTEP_ASSIGN_OR_RETURN(const std::optional<std::string> range, ReadMeta(kRangeKey));
  if (range) {
    Reader reader(*range);
    begin_ = reader.TakeInt<uint64_t>();
    unbroken_from_ = reader.TakeText().value_or("");
  }
  end_ = begin_;
  last_at_ = unbroken_from_;
  const std::unique_ptr<rocksdb::Iterator> entry = Iterate();
  entry->SeekToLast();
  if (!entry->status().ok()) return Why(entry->status());
  if (!entry->Valid() || PlaceOf(View(entry->key())) < begin_) return absl::OkStatus();
  LOCKSTEP_ASSIGN_OR_RETURN(const WalEntry last, EntryAt(*entry));
  end_ = last.end;
  // Unless it was to go on behind a hole, and nothing came.
  if (CompareSourcePositions(last.event.at, last_at_) > 0) last_at_ = last.event.at;
  return absl::OkStatus();
}

uint64_t Wal::begin() const {
  MutexLock lock(mu_);
  return begin_;
}

uint64_t Wal::end() const {
  MutexLock lock(mu_);
  return end_;
}

std::string Wal::last_at() const {
  MutexLock lock(mu_);
  return last_at_;
}

std::string Wal::unbroken_from() const {
  MutexLock lock(mu_);
  return unbroken_from_;
}

absl::Status Wal::Append(std::span<const SourceEvent> events) {
  if (events.empty()) return absl::OkStatus();
  uint64_t place = end();
  std::string last = last_at();
  rocksdb::WriteBatch batch;
  std::string bytes;
  for (const SourceEvent& event : events) {
    LOCKSTEP_CHECK(CompareSourcePositions(event.at, last) > 0, "a source's positions ascend");
    last = event.at;
    const std::string key = EntryKey(place);
    bytes.clear();
    AppendWalEvent(event, bytes);
    batch.Put(key, bytes);
    place += key.size() + bytes.size();
  }
  if (const rocksdb::Status status = db_->Write(Synced(), &batch); !status.ok()) {
    return Why(status);
  }
  MutexLock lock(mu_);
  end_ = place;
  last_at_ = std::move(last);
  return absl::OkStatus();
}

std::unique_ptr<rocksdb::Iterator> Wal::Iterate() const {
  return std::unique_ptr<rocksdb::Iterator>(db_->NewIterator(rocksdb::ReadOptions()));
}

absl::StatusOr<WalEntry> Wal::EntryAt(const rocksdb::Iterator& entry) const {
  const uint64_t place = PlaceOf(View(entry.key()));
  absl::StatusOr<SourceEvent> event = ParseWalEvent(View(entry.value()));
  if (!event.ok()) {
    return absl::DataLossError(absl::StrCat("wal ", directory_, ": the entry at place ", place,
                                            ": ", std::string(event.status().message())));
  }
  return WalEntry{*std::move(event), place, place + BytesOf(entry)};
}

absl::StatusOr<uint64_t> Wal::Read(uint64_t place, size_t max, size_t max_bytes,
                                   std::vector<SourceEvent>& events) const {
  const uint64_t from = place;
  const uint64_t end = this->end();
  if (place == end) return place;
  const std::unique_ptr<rocksdb::Iterator> entry = Iterate();
  entry->Seek(EntryKey(place));
  for (; max > 0 && place < end && place - from < max_bytes; --max, entry->Next()) {
    if (!entry->status().ok()) return Why(entry->status());
    if (!entry->Valid() || PlaceOf(View(entry->key())) != place) {
      return absl::DataLossError(
          absl::StrCat("wal ", directory_, ": nothing lies at place ", place, " below its end"));
    }
    LOCKSTEP_ASSIGN_OR_RETURN(WalEntry read, EntryAt(*entry));
    place = read.end;
    events.push_back(std::move(read.event));
  }
  return place;
}

absl::StatusOr<std::optional<WalEntry>> Wal::EntryBefore(uint64_t place) const {
  const uint64_t begin = this->begin();
  if (place <= begin) return std::nullopt;
  const std::unique_ptr<rocksdb::Iterator> entry = Iterate();
  entry->SeekForPrev(EntryKey(place - 1));
  if (!entry->status().ok()) return Why(entry->status());
  if (!entry->Valid() || PlaceOf(View(entry->key())) < begin) return std::nullopt;
  LOCKSTEP_ASSIGN_OR_RETURN(WalEntry read, EntryAt(*entry));
  return read;
}

absl::StatusOr<uint64_t> Wal::PlaceBehind(std::string_view at) const {
  uint64_t low = begin();  // Everything below it is at or below `at`.
  uint64_t high = end();   // Everything from it on is above.
  while (low < high) {
    // The entry that lies across the middle, so that both ends move to entries.
    LOCKSTEP_ASSIGN_OR_RETURN(const std::optional<WalEntry> entry,
                              EntryBefore(low + (high - low) / 2 + 1));
    if (!entry) {
      return absl::DataLossError(
          absl::StrCat("wal ", directory_, ": nothing lies at place ", low, " below its end"));
    }
    if (CompareSourcePositions(entry->event.at, at) <= 0) {
      low = entry->end;
    } else {
      high = entry->place;
    }
  }
  return low;
}

absl::StatusOr<std::optional<std::string>> Wal::ReadMeta(const char* key) const {
  std::string text;
  const rocksdb::Status status = db_->Get(rocksdb::ReadOptions(), families_[1], key, &text);
  if (status.IsNotFound()) return std::nullopt;
  if (!status.ok()) return Why(status);
  return text;
}

absl::Status Wal::WriteMeta(const char* key, const std::string& text) {
  const rocksdb::Status status = db_->Put(Synced(), families_[1], key, text);
  return status.ok() ? absl::OkStatus() : Why(status);
}

absl::Status Wal::SetRange(uint64_t begin, std::string_view unbroken_from) {
  std::string text;
  AppendInt(begin, text);
  AppendText(unbroken_from, text);
  LOCKSTEP_RETURN_IF_ERROR(WriteMeta(kRangeKey, text));
  MutexLock lock(mu_);
  begin_ = begin;
  unbroken_from_ = unbroken_from;
  return absl::OkStatus();
}

absl::Status Wal::GoOnFrom(std::string_view at) {
  LOCKSTEP_CHECK(CompareSourcePositions(at, last_at()) >= 0, "what is there is not taken back");
  LOCKSTEP_RETURN_IF_ERROR(SetRange(begin(), at));
  MutexLock lock(mu_);
  last_at_ = at;
  return absl::OkStatus();
}

absl::Status Wal::RemoveBelow(uint64_t place) {
  // The last one that ends at or below `place`.
  LOCKSTEP_ASSIGN_OR_RETURN(std::optional<WalEntry> last, EntryBefore(place));
  if (last && last->end > place) {
    LOCKSTEP_ASSIGN_OR_RETURN(last, EntryBefore(last->place));
  }
  if (!last) return absl::OkStatus();
  std::string from = unbroken_from();
  if (CompareSourcePositions(last->event.at, from) > 0) from = last->event.at;
  // First what is valid, then the space.
  LOCKSTEP_RETURN_IF_ERROR(SetRange(last->end, from));
  const std::string first_key = EntryKey(0);
  const std::string end_key = EntryKey(last->end);
  const rocksdb::Slice first = first_key;
  const rocksdb::Slice end = end_key;
  const rocksdb::Status status = rocksdb::DeleteFilesInRange(db_.get(), db_->DefaultColumnFamily(),
                                                             &first, &end, /*include_end=*/false);
  return status.ok() ? absl::OkStatus() : Why(status);
}

}  // namespace lockstep
