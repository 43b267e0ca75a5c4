// Wal keeps a source's events on disk, in a RocksDB, from their receipt on: for the time that Kafka
// is away, and as a payload source for re-injection. docs/formats/wal.md has its bytes.
//
// What it is for, and what not. I6 rests on Kafka and the ledger alone; the source is never told
// anything because of the WAL. What the WAL adds: an event that was appended is not asked of the
// source again, so a source that forgets (a purged binlog, a lost master) costs nothing that was
// received. As a payload source it has RPO 0 only where its directory outlives the site (a
// synchronously replicated volume); on a local disk it helps when Kafka is lost and the producer's
// host is not. Hence an event stays beyond its ledger row: the mirror may not have it yet, and the
// producer cannot know. How long is bounded in bytes by the caller (RemoveBelow).
//
// An event has a *place*: how many bytes lay before it since the WAL was made. So the bytes between
// two events are the difference of their places.
//
// Promises:
//   (1) Events that Append returned OK for are there after a power cut. A batch is there whole or
//       not at all.
//   (2) Positions ascend from place to place.
//   (3) Behind unbroken_from() no event of the source is missing, up to last_at().
//
// One thread appends; all may read. The directory belongs to one process and one producer.
#ifndef LOCKSTEP_PRODUCER_WAL_WAL_H_
#define LOCKSTEP_PRODUCER_WAL_WAL_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "common/base/mutex.h"
#include "producer/source_event.h"

namespace rocksdb {
class ColumnFamilyHandle;
class DB;
class Env;
class Iterator;
class Status;
}  // namespace rocksdb

namespace lockstep {

// Whose events; another one's directory is refused.
struct WalOwner {
  std::string producer;
  std::string source;  // The SOURCE text.
  bool operator==(const WalOwner&) const = default;
};

struct WalEntry {
  SourceEvent event;
  uint64_t place = 0;
  uint64_t end = 0;  // The next one's place.
};

class Wal {
 public:
  // Makes the directory if need be (its parent must exist). FAILED_PRECONDITION: another process
  // has it open, or it is another producer's. DATA_LOSS: damaged.
  static absl::StatusOr<std::unique_ptr<Wal>> Open(const std::string& directory,
                                                   const WalOwner& owner,
                                                   rocksdb::Env* env = nullptr);
  // For reading as of now, also beside a process that appends. NOT_FOUND: there is none.
  static absl::StatusOr<std::unique_ptr<Wal>> OpenForReading(const std::string& directory);
  ~Wal();

  const WalOwner& owner() const { return owner_; }

  // RESOURCE_EXHAUSTED: the disk is full. After any error nothing more can be appended; what is
  // there can be read. REQUIRES: positions ascend.
  absl::Status Append(std::span<const SourceEvent> events);

  // Places of the first event and behind the last one. Equal: it is empty.
  uint64_t begin() const;
  uint64_t end() const;
  // Empty: nothing was ever appended.
  std::string last_at() const;
  std::string unbroken_from() const;

  // Appends the events from `place` on to `events`, until there are `max`, or `max_bytes` of them,
  // or no more; at least one if there is one. Returns the place behind the last one.
  // REQUIRES: begin() ≤ place ≤ end()
  absl::StatusOr<uint64_t> Read(uint64_t place, size_t max, size_t max_bytes,
                                std::vector<SourceEvent>& events) const;
  // The last event below `place`; nullopt iff there is none.
  absl::StatusOr<std::optional<WalEntry>> EntryBefore(uint64_t place) const;
  // The place of the first event whose position is above `at`.
  absl::StatusOr<uint64_t> PlaceBehind(std::string_view at) const;

  // The events behind `at` were never here: the source goes on from there. REQUIRES: at ≥ last_at()
  absl::Status GoOnFrom(std::string_view at);
  // Forgets events below `place`, but at most those; disk space follows in files of some MiB.
  absl::Status RemoveBelow(uint64_t place);

 private:
  explicit Wal(std::string directory);
  absl::Status Load();
  absl::StatusOr<std::optional<std::string>> ReadMeta(const char* key) const;
  absl::Status WriteMeta(const char* key, const std::string& text);
  absl::Status SetRange(uint64_t begin, std::string_view unbroken_from);
  absl::Status Why(const rocksdb::Status& status) const;
  std::unique_ptr<rocksdb::Iterator> Iterate() const;
  absl::StatusOr<WalEntry> EntryAt(const rocksdb::Iterator& entry) const;

  // Constant after opening.
  const std::string directory_;
  std::unique_ptr<rocksdb::DB> db_;
  std::vector<rocksdb::ColumnFamilyHandle*> families_;
  WalOwner owner_;

  mutable Mutex mu_;
  uint64_t begin_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t end_ ABSL_GUARDED_BY(mu_) = 0;
  std::string last_at_ ABSL_GUARDED_BY(mu_);
  std::string unbroken_from_ ABSL_GUARDED_BY(mu_);
};

// One event as the WAL keeps it. For Wal and its tests.
void AppendWalEvent(const SourceEvent& event, std::string& out);
// INVALID_ARGUMENT: it is none.
absl::StatusOr<SourceEvent> ParseWalEvent(std::string_view bytes);

}  // namespace lockstep

#endif  // LOCKSTEP_PRODUCER_WAL_WAL_H_
