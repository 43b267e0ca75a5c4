#include "reorder/sinks/jsonl_sink.h"

#include <errno.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"

#include "common/base/mutex.h"
#include "common/base/status_macros.h"
#include "common/log/log.h"

namespace lockstep {
namespace {

constexpr int64_t kTailBytes = 256 * 1024;

// A pipe takes a batch piece by piece; another stream's pieces must not come between.
Mutex& StdoutMutex() {
  static Mutex* const mutex = new Mutex;  // Never destroyed.
  return *mutex;
}

}  // namespace

void AppendRecordLines(std::span<const ReadyRecord> records, std::string_view stream,
                       RecordJsonWriter& writer, std::vector<HeaderView>& headers,
                       std::string& lines) {
  for (const ReadyRecord& record : records) {
    record.view.ReadHeaders(headers);
    lines += writer.Write({.stream = stream,
                           .epoch = record.position.epoch,
                           .offset = record.position.offset,
                           .producer = record.producer,
                           .term = record.term,
                           .seq = record.seq,
                           .at = record.view.at,
                           .key = record.view.key,
                           .value = record.view.value,
                           .headers = headers,
                           .timestamp_ms = record.view.timestamp_ms,
                           .replayed = record.replayed,
                           .in_doubt = record.in_doubt});
    lines += '\n';
  }
}

absl::StatusOr<std::shared_ptr<JsonlFile>> JsonlFile::Open(FileSystem& fs, const std::string& path,
                                                           const std::vector<StreamName>& streams) {
  std::shared_ptr<JsonlFile> file(new JsonlFile(fs, path));
  LOCKSTEP_ASSIGN_OR_RETURN(file->lock_, fs.Lock(path));
  LOCKSTEP_RETURN_IF_ERROR(file->Repair());
  LOCKSTEP_RETURN_IF_ERROR(file->FindLast(streams));
  return file;
}

// Cuts off a torn last line and makes the rest, and the name, durable.
absl::Status JsonlFile::Repair() {
  const auto found = fs_->Size(path_);
  if (absl::IsNotFound(found.status())) {
    LOCKSTEP_RETURN_IF_ERROR(fs_->Append(path_, ""));
  } else {
    LOCKSTEP_RETURN_IF_ERROR(found.status());
    size_ = *found;
  }
  int64_t end = size_;
  while (end > 0) {
    const int64_t from = std::max<int64_t>(0, end - kTailBytes);
    LOCKSTEP_ASSIGN_OR_RETURN(const std::string tail, fs_->ReadAt(path_, from, end - from));
    const size_t newline = tail.rfind('\n');
    if (newline != std::string::npos) {
      end = from + static_cast<int64_t>(newline) + 1;
      break;
    }
    end = from;
  }
  if (end < size_) {
    Log(LogLevel::kWarn, "torn_line_cut", {{"file", path_}, {"bytes", size_ - end}});
    LOCKSTEP_RETURN_IF_ERROR(fs_->Truncate(path_, end));
    size_ = end;
  }
  // A line that only the page cache holds must not be taken for one that left for good.
  LOCKSTEP_RETURN_IF_ERROR(fs_->SyncFile(path_));
  return fs_->SyncDirectory(path_);
}

// Reads backwards until every stream's last line was seen.
absl::Status JsonlFile::FindLast(const std::vector<StreamName>& streams) {
  std::string carried;  // The start of a line that the chunk before cut.
  int64_t end = size_;
  while (end > 0 && last_.size() < streams.size()) {
    const int64_t from = std::max<int64_t>(0, end - kTailBytes);
    LOCKSTEP_ASSIGN_OR_RETURN(std::string chunk, fs_->ReadAt(path_, from, end - from));
    chunk += carried;
    const size_t first = from == 0 ? 0 : chunk.find('\n') + 1;  // npos + 1 = 0 is handled below.
    if (from > 0 && first == 0) {
      carried = std::move(chunk);
    } else {
      LOCKSTEP_ASSIGN_OR_RETURN(
          const bool all, TakeLines(std::string_view(chunk).substr(first), streams, end == size_));
      if (all) return absl::OkStatus();
      carried = chunk.substr(0, first);
    }
    end = from;
  }
  return absl::OkStatus();
}

// Looks at whole lines, the last one first; true once every stream was seen. The file's newest line
// has to be a record, whosesoever.
absl::StatusOr<bool> JsonlFile::TakeLines(std::string_view lines,
                                          const std::vector<StreamName>& streams, bool newest) {
  while (!lines.empty() && last_.size() < streams.size()) {
    lines.remove_suffix(1);  // The line's end.
    const size_t before = lines.rfind('\n');
    const size_t start = before == std::string_view::npos ? 0 : before + 1;
    const std::string_view line = lines.substr(start);
    const bool wanted = std::any_of(streams.begin(), streams.end(), [&](const StreamName& stream) {
      const std::string begin = absl::StrCat("{\"stream\":\"", ToString(stream), "\"");
      return !last_.contains(stream) && line.substr(0, begin.size()) == begin;
    });
    if (wanted || newest) {
      const auto record = ParseRecordJson(line);
      if (!record.ok()) {
        return absl::InvalidArgumentError(absl::StrCat(
            "\"", path_, "\" is not a file of records: ", std::string(record.status().message())));
      }
      if (wanted) last_.try_emplace(record->stream, Position{record->epoch, record->offset});
    }
    newest = false;
    lines = lines.substr(0, start);
  }
  return last_.size() == streams.size();
}

std::optional<Position> JsonlFile::Last(const StreamName& stream) const {
  const auto found = last_.find(stream);
  if (found == last_.end()) return std::nullopt;
  return found->second;
}

absl::Status JsonlFile::Append(std::string_view lines) {
  const MutexLock lock(mu_);
  LOCKSTEP_RETURN_IF_ERROR(broken_);
  broken_ = fs_->Append(path_, lines);
  return broken_;
}

absl::Status JsonlFile::Sync() {
  const MutexLock lock(mu_);
  LOCKSTEP_RETURN_IF_ERROR(broken_);
  // After a failed sync nobody knows what is on the disk: broken for good.
  broken_ = fs_->SyncFile(path_);
  return broken_;
}

absl::Status JsonlSink::Write(std::span<const ReadyRecord> records) {
  lines_.clear();
  AppendRecordLines(records, stream_text_, writer_, headers_, lines_);
  return file_->Append(lines_);
}

absl::Status JsonlStdoutSink::Write(std::span<const ReadyRecord> records) {
  lines_.clear();
  AppendRecordLines(records, stream_text_, writer_, headers_, lines_);
  std::string_view rest = lines_;
  const MutexLock lock(StdoutMutex());
  while (!rest.empty()) {
    const ssize_t count = write(fd_, rest.data(), rest.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) {
      return absl::UnavailableError(
          absl::StrCat("standard output: ", std::generic_category().message(errno)));
    }
    rest.remove_prefix(static_cast<size_t>(count));
  }
  return absl::OkStatus();
}

bool LocksFence(const std::string& path) {
  constexpr int64_t kNfs = 0x6969;
  constexpr int64_t kSmb = 0x517B;
  constexpr int64_t kCifs = 0xFF534D42;
  constexpr int64_t kSmb2 = 0xFE534D42;
  constexpr int64_t kFuse = 0x65735546;
  struct statfs info {};
  if (statfs(path.c_str(), &info) != 0) return false;
  const auto type = static_cast<int64_t>(static_cast<uint32_t>(info.f_type));
  return type != kNfs && type != kSmb && type != kCifs && type != kSmb2 && type != kFuse;
}

}  // namespace lockstep
