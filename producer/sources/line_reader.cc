#include "producer/sources/line_reader.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "common/base/check.h"
#include "common/base/status_macros.h"

namespace lockstep {
namespace {

constexpr size_t kReadBytes = 1 << 20;

absl::Status FileError(const std::string& attempted, const std::string& path, int error) {
  const std::string message = attempted + " " + path + ": " + std::strerror(error);
  if (error == ENOENT) return absl::NotFoundError(message);
  if (error == EACCES || error == EPERM) return absl::PermissionDeniedError(message);
  return absl::UnknownError(message);
}

}  // namespace

absl::StatusOr<std::unique_ptr<LineReader>> LineReader::Open(const std::string& path) {
  const bool standard_input = path == "-";
  const int fd = standard_input ? ::dup(STDIN_FILENO) : ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return FileError("open", path, errno);
  struct stat status {};
  if (::fstat(fd, &status) != 0) {
    const int error = errno;
    ::close(fd);
    return FileError("look at", path, error);
  }
  if (S_ISDIR(status.st_mode)) {
    ::close(fd);
    return absl::InvalidArgumentError(path + " is a directory");
  }
  // Standard input is read as a stream even if a file stands behind it: a restart pipes it again
  // from its start.
  const bool regular = S_ISREG(status.st_mode) && !standard_input;
  return std::unique_ptr<LineReader>(new LineReader(path, fd, regular));
}

LineReader::~LineReader() { ::close(fd_); }

void LineReader::Seek(uint64_t start, int64_t number) {
  LOCKSTEP_CHECK(regular_, "Seek REQUIRES a regular file");
  buffer_.clear();
  begin_ = scanned_ = 0;
  start_ = start;
  number_ = number;
  skipping_ = false;
  skipped_ = 0;
  at_end_ = false;
}

absl::Status LineReader::Fill(std::chrono::milliseconds timeout) {
  if (begin_ > 0) {
    buffer_.erase(0, begin_);
    scanned_ -= begin_;
    begin_ = 0;
  }
  if (!regular_) {
    pollfd ready{fd_, POLLIN, 0};
    const int count = ::poll(&ready, 1, static_cast<int>(timeout.count()));
    if (count == 0 || (count < 0 && errno == EINTR)) return absl::OkStatus();
    if (count < 0) return FileError("wait for", path_, errno);
  }
  const size_t held = buffer_.size();
  buffer_.resize(held + kReadBytes);
  ssize_t got = 0;
  do {
    got = regular_ ? ::pread(fd_, buffer_.data() + held, kReadBytes,
                             static_cast<off_t>(start_ + skipped_ + held))
                   : ::read(fd_, buffer_.data() + held, kReadBytes);
  } while (got < 0 && errno == EINTR);
  const int error = errno;
  buffer_.resize(held + (got > 0 ? static_cast<size_t>(got) : 0));
  if (got < 0) return FileError("read", path_, error);
  at_end_ = got == 0;
  return absl::OkStatus();
}

LineReader::Line LineReader::Take(size_t length, size_t terminator) {
  Line line{number_, start_, {}, skipping_ || length > kLineBytesMax};
  if (!line.too_long) line.text = std::string_view(buffer_).substr(begin_, length);
  start_ += skipped_ + length + terminator;
  begin_ += length + terminator;
  scanned_ = begin_;
  ++number_;
  skipping_ = false;
  skipped_ = 0;
  return line;
}

absl::StatusOr<std::optional<LineReader::Line>> LineReader::Next(std::chrono::milliseconds timeout,
                                                                 bool take_unterminated) {
  at_end_ = false;
  for (;;) {
    const size_t newline = buffer_.find('\n', scanned_);
    if (newline != std::string::npos) return Take(newline - begin_, 1);
    scanned_ = buffer_.size();
    if (buffer_.size() - begin_ > kLineBytesMax) {
      skipping_ = true;
      skipped_ += buffer_.size() - begin_;
      buffer_.clear();
      begin_ = scanned_ = 0;
    }
    const size_t held = buffer_.size() - begin_;
    LOCKSTEP_RETURN_IF_ERROR(Fill(timeout));
    if (buffer_.size() - begin_ > held) continue;
    if (at_end_ && take_unterminated && (held > 0 || skipping_)) return Take(held, 0);
    return std::nullopt;
  }
}

absl::StatusOr<uint64_t> LineReader::Size() const {
  struct stat status {};
  if (::fstat(fd_, &status) != 0) return FileError("look at", path_, errno);
  return static_cast<uint64_t>(status.st_size);
}

absl::Status LineReader::CheckSameFile() const {
  if (!regular_) return absl::OkStatus();
  struct stat open {};
  struct stat named {};
  if (::fstat(fd_, &open) != 0) return FileError("look at", path_, errno);
  if (static_cast<uint64_t>(open.st_size) < start_) {
    return absl::FailedPreconditionError(
        "source behind ledger: " + path_ + " has " + std::to_string(open.st_size) + " bytes, but " +
        std::to_string(start_) + " were read of it: it was shortened");
  }
  if (::stat(path_.c_str(), &named) == 0 &&
      (named.st_ino != open.st_ino || named.st_dev != open.st_dev)) {
    return absl::FailedPreconditionError(
        path_ + " was replaced by another file while it was being read; append to it instead");
  }
  return absl::OkStatus();
}

}  // namespace lockstep
