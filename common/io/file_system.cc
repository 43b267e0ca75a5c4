#include "common/io/file_system.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <system_error>

#include "common/base/status_macros.h"

namespace lockstep {
namespace {

absl::Status ErrnoStatus(int error, const char* what, const std::string& path) {
  const std::string message =
      std::string(what) + " \"" + path + "\": " + std::generic_category().message(error);
  switch (error) {
    case ENOENT:
      return absl::NotFoundError(message);
    case EEXIST:
      return absl::AlreadyExistsError(message);
    case EACCES:
    case EPERM:
    case EROFS:
      return absl::PermissionDeniedError(message);
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      return absl::ResourceExhaustedError(message);
    default:
      return absl::UnknownError(message);
  }
}

// Owns a descriptor; Close reports what close(2) says.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  int get() const { return fd_; }
  bool ok() const { return fd_ >= 0; }
  int Close() {
    const int result = close(fd_);
    fd_ = -1;
    return result;
  }

 private:
  int fd_;
};

absl::Status WriteAll(const std::string& path, int flags, std::string_view contents) {
  Descriptor file(open(path.c_str(), flags | O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
  if (!file.ok()) return ErrnoStatus(errno, "open", path);
  while (!contents.empty()) {
    const ssize_t written = write(file.get(), contents.data(), contents.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      return ErrnoStatus(errno, "write", path);
    }
    contents.remove_prefix(static_cast<size_t>(written));
  }
  if (file.Close() != 0) return ErrnoStatus(errno, "close", path);
  return absl::OkStatus();
}

absl::Status Sync(const std::string& path, int flags) {
  const Descriptor file(open(path.c_str(), flags | O_RDONLY | O_CLOEXEC));
  if (!file.ok()) return ErrnoStatus(errno, "open", path);
  if (fsync(file.get()) != 0) return ErrnoStatus(errno, "sync", path);
  return absl::OkStatus();
}

std::string DirectoryOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

class RealLock : public FileLock {
 public:
  explicit RealLock(int fd) : file_(fd) {}
  int fd() const { return file_.get(); }

 private:
  Descriptor file_;  // Closing it gives the lock back.
};

class Disk : public FileSystem {
 public:
  absl::Status Write(const std::string& path, std::string_view contents) override {
    return WriteAll(path, O_TRUNC, contents);
  }

  absl::Status Append(const std::string& path, std::string_view contents) override {
    return WriteAll(path, O_APPEND, contents);
  }

  absl::StatusOr<std::string> Read(const std::string& path) override {
    const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file.ok()) return ErrnoStatus(errno, "open", path);
    std::string contents;
    char buffer[65536];
    while (true) {
      const ssize_t count = read(file.get(), buffer, sizeof(buffer));
      if (count == 0) return contents;
      if (count < 0) {
        if (errno == EINTR) continue;
        return ErrnoStatus(errno, "read", path);
      }
      contents.append(buffer, static_cast<size_t>(count));
    }
  }

  absl::StatusOr<std::string> ReadAt(const std::string& path, int64_t offset,
                                     int64_t size) override {
    const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file.ok()) return ErrnoStatus(errno, "open", path);
    std::string contents(static_cast<size_t>(size), '\0');
    size_t filled = 0;
    while (filled < contents.size()) {
      const ssize_t count = pread(file.get(), contents.data() + filled, contents.size() - filled,
                                  offset + static_cast<int64_t>(filled));
      if (count == 0) break;
      if (count < 0) {
        if (errno == EINTR) continue;
        return ErrnoStatus(errno, "read", path);
      }
      filled += static_cast<size_t>(count);
    }
    contents.resize(filled);
    return contents;
  }

  absl::StatusOr<int64_t> Size(const std::string& path) override {
    struct stat info;
    if (stat(path.c_str(), &info) != 0) return ErrnoStatus(errno, "stat", path);
    return static_cast<int64_t>(info.st_size);
  }

  absl::Status Truncate(const std::string& path, int64_t size) override {
    if (truncate(path.c_str(), size) != 0) return ErrnoStatus(errno, "truncate", path);
    return absl::OkStatus();
  }

  absl::Status Rename(const std::string& from, const std::string& to) override {
    if (rename(from.c_str(), to.c_str()) != 0) return ErrnoStatus(errno, "rename", from);
    return absl::OkStatus();
  }

  absl::Status Remove(const std::string& path) override {
    if (unlink(path.c_str()) != 0) return ErrnoStatus(errno, "remove", path);
    return absl::OkStatus();
  }

  absl::Status SyncFile(const std::string& path) override { return Sync(path, 0); }

  absl::Status SyncDirectory(const std::string& path) override {
    return Sync(DirectoryOf(path), O_DIRECTORY);
  }

  absl::StatusOr<std::unique_ptr<FileLock>> Lock(const std::string& path) override {
    auto lock = std::make_unique<RealLock>(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
    if (lock->fd() < 0) return ErrnoStatus(errno, "open", path);
    if (flock(lock->fd(), LOCK_EX | LOCK_NB) != 0) {
      if (errno != EWOULDBLOCK) return ErrnoStatus(errno, "lock", path);
      return absl::FailedPreconditionError("\"" + path + "\" is locked by another process");
    }
    return lock;
  }
};

}  // namespace

FileSystem& RealFileSystem() {
  static FileSystem& disk = *new Disk;
  return disk;
}

absl::Status ReplaceFile(FileSystem& fs, const std::string& path, std::string_view contents) {
  const std::string temporary = path + ".tmp";
  LOCKSTEP_RETURN_IF_ERROR(fs.Write(temporary, contents));
  // A durable name must not point at bytes that are not.
  LOCKSTEP_RETURN_IF_ERROR(fs.SyncFile(temporary));
  LOCKSTEP_RETURN_IF_ERROR(fs.Rename(temporary, path));
  return fs.SyncDirectory(path);
}

}  // namespace lockstep
