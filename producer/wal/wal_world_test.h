// A directory, a disk that can be full, and events, for the WAL's tests.
#ifndef LOCKSTEP_PRODUCER_WAL_WAL_WORLD_TEST_H_
#define LOCKSTEP_PRODUCER_WAL_WAL_WORLD_TEST_H_

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rocksdb/env.h>
#include <rocksdb/file_system.h>

#include "producer/wal/wal.h"

namespace lockstep {

// The machine's disk with a limit, that also knows what of the log files is not synced.
class LimitedDisk : public rocksdb::FileSystemWrapper {
 public:
  LimitedDisk() : FileSystemWrapper(rocksdb::FileSystem::Default()) {}
  const char* Name() const override { return "LimitedDisk"; }

  std::atomic<int64_t> room{INT64_MAX / 2};
  std::atomic<int64_t> unsynced_log_bytes{0};

  rocksdb::IOStatus NewWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* file,
                                    rocksdb::IODebugContext* debug) override {
    const rocksdb::IOStatus status = target()->NewWritableFile(path, options, file, debug);
    if (status.ok()) {
      const bool log = std::filesystem::path(path).extension() == ".log";
      *file = std::make_unique<File>(std::move(*file), *this, log);
    }
    return status;
  }

 private:
  class File : public rocksdb::FSWritableFileOwnerWrapper {
   public:
    File(std::unique_ptr<rocksdb::FSWritableFile> file, LimitedDisk& disk, bool log)
        : FSWritableFileOwnerWrapper(std::move(file)), disk_(disk), log_(log) {}
    rocksdb::IOStatus Append(const rocksdb::Slice& data, const rocksdb::IOOptions& options,
                             rocksdb::IODebugContext* debug) override {
      return Take(data) ? FSWritableFileOwnerWrapper::Append(data, options, debug) : Full();
    }
    rocksdb::IOStatus Append(const rocksdb::Slice& data, const rocksdb::IOOptions& options,
                             const rocksdb::DataVerificationInfo& info,
                             rocksdb::IODebugContext* debug) override {
      return Take(data) ? FSWritableFileOwnerWrapper::Append(data, options, info, debug) : Full();
    }
    rocksdb::IOStatus Sync(const rocksdb::IOOptions& options,
                           rocksdb::IODebugContext* debug) override {
      if (log_) disk_.unsynced_log_bytes = 0;
      return FSWritableFileOwnerWrapper::Sync(options, debug);
    }

   private:
    bool Take(const rocksdb::Slice& data) {
      if (log_) disk_.unsynced_log_bytes += static_cast<int64_t>(data.size());
      disk_.room -= static_cast<int64_t>(data.size());
      return disk_.room >= 0;
    }
    static rocksdb::IOStatus Full() { return rocksdb::IOStatus::NoSpace("no space left"); }

    LimitedDisk& disk_;
    const bool log_;
  };
};

class WalWorld : public testing::Test {
 protected:
  WalWorld() : env_(rocksdb::NewCompositeEnv(disk_)) {
    std::string pattern = std::filesystem::temp_directory_path() / "lockstep-wal-XXXXXX";
    parent_ = mkdtemp(pattern.data());
  }
  ~WalWorld() override { std::filesystem::remove_all(parent_); }

  std::string Directory() const { return parent_ + "/wal"; }
  std::unique_ptr<Wal> Open(const WalOwner& owner = {"A", "pika://h:1"}) {
    absl::StatusOr<std::unique_ptr<Wal>> wal = Wal::Open(Directory(), owner, env_.get());
    EXPECT_TRUE(wal.ok()) << wal.status();
    return *std::move(wal);
  }
  static SourceEvent Event(int n, size_t bytes = 10) {
    SourceEvent event;
    event.at = absl::StrCat("0:", n);
    event.payload.key = absl::StrCat("key-", n);
    event.payload.value = std::string(bytes, 'v');
    event.resume = {static_cast<uint64_t>(n), 0, 7};
    return event;
  }
  static std::vector<SourceEvent> Events(int first, int last, size_t bytes = 10) {
    std::vector<SourceEvent> events;
    for (int n = first; n <= last; ++n) events.push_back(Event(n, bytes));
    return events;
  }
  static std::vector<std::string> Positions(const std::vector<SourceEvent>& events) {
    std::vector<std::string> positions;
    for (const SourceEvent& event : events) positions.push_back(event.at);
    return positions;
  }
  static std::vector<std::string> Positions(int first, int last) {
    return Positions(Events(first, last));
  }
  // All that the WAL has from `place` on.
  static std::vector<std::string> Contents(const Wal& wal, uint64_t place) {
    std::vector<SourceEvent> events;
    while (place < wal.end()) {
      const absl::StatusOr<uint64_t> next = wal.Read(place, 7, 1 << 20, events);
      EXPECT_TRUE(next.ok()) << next.status();
      if (!next.ok()) break;
      place = *next;
    }
    return Positions(events);
  }
  uint64_t DiskBytes() const {
    uint64_t bytes = 0;
    for (const auto& entry : std::filesystem::directory_iterator(Directory())) {
      bytes += entry.file_size();
    }
    return bytes;
  }

  std::string parent_;
  std::shared_ptr<LimitedDisk> disk_ = std::make_shared<LimitedDisk>();
  std::unique_ptr<rocksdb::Env> env_;
};

}  // namespace lockstep

#endif  // LOCKSTEP_PRODUCER_WAL_WAL_WORLD_TEST_H_
