// LineReader reads a file or a pipe line by line, knowing each line's number and place.
//
// A line is complete when its '\n' is there. Memory is bounded: of a line longer than
// kLineBytesMax only the fact is reported. Not thread-safe.
#ifndef LOCKSTEP_PRODUCER_SOURCES_LINE_READER_H_
#define LOCKSTEP_PRODUCER_SOURCES_LINE_READER_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace lockstep {

inline constexpr size_t kLineBytesMax = size_t{64} << 20;

class LineReader {
 public:
  struct Line {
    int64_t number = 0;     // From 1.
    uint64_t start = 0;     // Byte offset of its first byte.
    std::string_view text;  // Without the '\n'. Valid until the next call.
    bool too_long = false;  // Then `text` is empty.
  };

  // "-" is standard input. NOT_FOUND, PERMISSION_DENIED or UNKNOWN say why not.
  static absl::StatusOr<std::unique_ptr<LineReader>> Open(const std::string& path);
  ~LineReader();
  LineReader(const LineReader&) = delete;
  LineReader& operator=(const LineReader&) = delete;

  bool regular_file() const { return regular_; }

  // The next line read begins at byte `start` and has this number. REQUIRES: regular_file()
  void Seek(uint64_t start, int64_t number);

  // The next complete line, waiting up to `timeout` for a pipe to give something. nullopt: none is
  // there; at_end() says whether that is the end. With `take_unterminated` what lies between the
  // last '\n' and the end counts as a line.
  absl::StatusOr<std::optional<Line>> Next(std::chrono::milliseconds timeout,
                                           bool take_unterminated);
  // The last Next met the end of the file (which may yet grow) or of the pipe (which will not).
  bool at_end() const { return at_end_; }
  // Bytes of a line without '\n' have been read behind the last line returned.
  bool has_unterminated() const { return skipping_ || buffer_.size() > begin_; }

  // FAILED_PRECONDITION if the file is shorter than what was read of it, or its name now belongs to
  // another file.
  absl::Status CheckSameFile() const;
  absl::StatusOr<uint64_t> Size() const;

 private:
  LineReader(std::string path, int fd, bool regular)
      : path_(std::move(path)), fd_(fd), regular_(regular) {}
  absl::Status Fill(std::chrono::milliseconds timeout);
  Line Take(size_t length, size_t terminator);

  const std::string path_;
  const int fd_;
  const bool regular_;

  std::string buffer_;  // Bytes read and not yet returned, from begin_ on.
  size_t begin_ = 0;
  size_t scanned_ = 0;     // No '\n' in [begin_, scanned_).
  uint64_t start_ = 0;     // The file's byte that begin_ is at.
  int64_t number_ = 1;     // Of the line at begin_.
  bool skipping_ = false;  // Inside a line that is too long.
  uint64_t skipped_ = 0;   // Its bytes dropped so far.
  bool at_end_ = false;
};

}  // namespace lockstep

#endif  // LOCKSTEP_PRODUCER_SOURCES_LINE_READER_H_
