// FileSystem is the seam between a decision about durable files and the disk.
//
// The real one works on paths as they are. tests/support/faulty_file_system.h fails any operation
// and forgets what was not synced, so that every crash window can be tried.
//
// Durable: the bytes after SyncFile, a name (created, renamed, removed) after SyncDirectory.
// Thread-safe for different files.
#ifndef LOCKSTEP_COMMON_IO_FILE_SYSTEM_H_
#define LOCKSTEP_COMMON_IO_FILE_SYSTEM_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace lockstep {

// Held until destroyed.
class FileLock {
 public:
  virtual ~FileLock() = default;
};

// Errors name the path. NOT_FOUND: no such file. RESOURCE_EXHAUSTED: the disk is full.
class FileSystem {
 public:
  virtual ~FileSystem() = default;

  // Creates or empties the file and writes all of `contents`.
  virtual absl::Status Write(const std::string& path, std::string_view contents) = 0;
  // Creates the file if need be and writes at its end. After an error a part may be there.
  virtual absl::Status Append(const std::string& path, std::string_view contents) = 0;
  virtual absl::StatusOr<std::string> Read(const std::string& path) = 0;
  // At most `size` bytes from `offset` on; fewer at the file's end.
  virtual absl::StatusOr<std::string> ReadAt(const std::string& path, int64_t offset,
                                             int64_t size) = 0;
  virtual absl::StatusOr<int64_t> Size(const std::string& path) = 0;
  // Cuts the file to `size` bytes. REQUIRES: size ≤ its size.
  virtual absl::Status Truncate(const std::string& path, int64_t size) = 0;
  // `to` is replaced in one step.
  virtual absl::Status Rename(const std::string& from, const std::string& to) = 0;
  virtual absl::Status Remove(const std::string& path) = 0;
  // The file's bytes are durable when it returns OK.
  virtual absl::Status SyncFile(const std::string& path) = 0;
  // The names in the directory that `path` lies in are durable when it returns OK.
  virtual absl::Status SyncDirectory(const std::string& path) = 0;
  // Creates the file if need be and takes an exclusive lock on it, which a dead process loses.
  // FAILED_PRECONDITION: another one holds it.
  virtual absl::StatusOr<std::unique_ptr<FileLock>> Lock(const std::string& path) = 0;
};

// The disk. Lives until the process ends.
FileSystem& RealFileSystem();

// Replaces `path` so that a crash at any point leaves the old contents or the new; durable when it
// returns OK. The one way in which a durable file is replaced.
absl::Status ReplaceFile(FileSystem& fs, const std::string& path, std::string_view contents);

}  // namespace lockstep

#endif  // LOCKSTEP_COMMON_IO_FILE_SYSTEM_H_
