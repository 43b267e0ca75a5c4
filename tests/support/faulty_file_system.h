// FaultyFileSystem is a disk in memory whose power can fail before any operation, and which then
// forgets what was not synced: bytes without SyncFile, names without SyncDirectory.
//
// With seed 0 a crash forgets all of it, always. With another seed the disk may have kept some of
// it all the same, as real ones do: a prefix of the unsynced bytes, the names of some directories.
// Not thread-safe.
#ifndef LOCKSTEP_TESTS_SUPPORT_FAULTY_FILE_SYSTEM_H_
#define LOCKSTEP_TESTS_SUPPORT_FAULTY_FILE_SYSTEM_H_

#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <utility>

#include "common/io/file_system.h"

namespace lockstep {

class FaultyFileSystem : public FileSystem {
 public:
  explicit FaultyFileSystem(uint64_t seed = 0) : keeps_some_(seed != 0), random_(seed) {}

  // The power fails before the operation after the next `operations` ones.
  void PowerOffAfter(int operations) { operations_left_ = operations; }
  // True iff an operation found the power off.
  bool powered_off() const { return powered_off_; }
  // The next operation that changes something fails by `status`; an Append leaves half behind.
  void FailNext(absl::Status status) { next_failure_ = std::move(status); }
  // Restarts the machine: locks are gone, what was not synced is forgotten, the power is on.
  void Crash();

  absl::Status Write(const std::string& path, std::string_view contents) override;
  absl::Status Append(const std::string& path, std::string_view contents) override;
  absl::StatusOr<std::string> Read(const std::string& path) override;
  absl::StatusOr<std::string> ReadAt(const std::string& path, int64_t offset,
                                     int64_t size) override;
  absl::StatusOr<int64_t> Size(const std::string& path) override;
  absl::Status Truncate(const std::string& path, int64_t size) override;
  absl::Status Rename(const std::string& from, const std::string& to) override;
  absl::Status Remove(const std::string& path) override;
  absl::Status SyncFile(const std::string& path) override;
  absl::Status SyncDirectory(const std::string& path) override;
  absl::StatusOr<std::unique_ptr<FileLock>> Lock(const std::string& path) override;

 private:
  struct File {
    std::string bytes;
    std::string durable_bytes;
  };
  using Names =
      std::map<std::string, std::shared_ptr<File>>;  // Shared by present and durable name.
  class HeldLock;

  std::string SomeOf(const File& file);
  absl::Status Step();    // Every operation passes here.
  absl::Status Change();  // Those that change something, here.
  absl::StatusOr<File*> Find(const std::string& path);
  File& FindOrCreate(const std::string& path);

  const bool keeps_some_;
  std::mt19937_64 random_;
  std::optional<int> operations_left_;
  bool powered_off_ = false;
  absl::Status next_failure_;
  Names names_;
  Names durable_names_;
  std::set<std::string> locks_;
};

}  // namespace lockstep

#endif  // LOCKSTEP_TESTS_SUPPORT_FAULTY_FILE_SYSTEM_H_
