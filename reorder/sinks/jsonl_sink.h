// JsonlSink appends one line of JSON a record to a file (docs/formats/record-json.md).
//
// The file is the outside: its end answers what left. It is locked exclusively as long as the
// process lives, so an old gate can write no more (where the file system honours locks: on NFS,
// SMB and FUSE the sink says that it does not fence).
//
// Promises:
//   (1) What was synced is never lost; lines are synced before the gate's done.
//   (2) At start a torn last line is cut off, and what is left is synced before Last() answers.
//   (3) After a failed write or sync (disk full) nothing more is written: the file is some prefix
//   of
//       what was to be written, and the next start goes on from there.
//
// Several streams may share one file; their lines interleave, each stream's own are in order.
#ifndef LOCKSTEP_REORDER_SINKS_JSONL_SINK_H_
#define LOCKSTEP_REORDER_SINKS_JSONL_SINK_H_

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"

#include "common/base/mutex.h"
#include "common/io/file_system.h"
#include "common/model/record_json.h"
#include "reorder/sinks/sink.h"

namespace lockstep {

// The file, shared by the sinks of all streams. Thread-safe.
class JsonlFile {
 public:
  // Locks and repairs the file, creates it if need be, finds each stream's last position. `fs` must
  // outlive it. FAILED_PRECONDITION: another process holds it. INVALID_ARGUMENT: its last line is
  // not a record of ours.
  static absl::StatusOr<std::shared_ptr<JsonlFile>> Open(FileSystem& fs, const std::string& path,
                                                         const std::vector<StreamName>& streams);

  std::optional<Position> Last(const StreamName& stream) const;
  absl::Status Append(std::string_view lines);
  absl::Status Sync();

 private:
  JsonlFile(FileSystem& fs, std::string path) : fs_(&fs), path_(std::move(path)) {}
  absl::Status Repair();
  absl::Status FindLast(const std::vector<StreamName>& streams);
  absl::StatusOr<bool> TakeLines(std::string_view lines, const std::vector<StreamName>& streams,
                                 bool newest);

  // Constant after Open.
  FileSystem* const fs_;
  const std::string path_;
  std::unique_ptr<FileLock> lock_;
  int64_t size_ = 0;
  std::map<StreamName, Position> last_;

  Mutex mu_;
  absl::Status broken_ ABSL_GUARDED_BY(mu_);  // The first failure.
};

class JsonlSink final : public Sink {
 public:
  JsonlSink(std::shared_ptr<JsonlFile> file, StreamName stream, bool fences)
      : file_(std::move(file)),
        stream_(std::move(stream)),
        stream_text_(ToString(stream_)),
        fences_(fences) {}

  SinkKind kind() const override {
    return fences_ ? SinkKind::kQueryableFencing : SinkKind::kQueryable;
  }
  absl::StatusOr<std::optional<Position>> Last() override { return file_->Last(stream_); }
  absl::Status Write(std::span<const ReadyRecord> records) override;
  absl::Status Sync() override { return file_->Sync(); }

 private:
  const std::shared_ptr<JsonlFile> file_;
  const StreamName stream_;
  const std::string stream_text_;
  const bool fences_;
  RecordJsonWriter writer_;
  std::vector<HeaderView> headers_;
  std::string lines_;
};

// `jsonl:-`: standard output. Blind: what a pipe took cannot be asked back. Lines of several
// streams of a process do not mix.
class JsonlStdoutSink final : public Sink {
 public:
  // `fd` is written to as it is.
  JsonlStdoutSink(const StreamName& stream, int fd) : stream_text_(ToString(stream)), fd_(fd) {}

  SinkKind kind() const override { return SinkKind::kBlind; }
  absl::StatusOr<std::optional<Position>> Last() override {
    return absl::UnimplementedError("standard output cannot be asked");
  }
  absl::Status Write(std::span<const ReadyRecord> records) override;
  absl::Status Sync() override { return absl::OkStatus(); }

 private:
  const std::string stream_text_;
  const int fd_;
  RecordJsonWriter writer_;
  std::vector<HeaderView> headers_;
  std::string lines_;
};

// The records as lines (docs/formats/record-json.md), each with its end. `writer` and `headers` are
// buffers of the caller's.
void AppendRecordLines(std::span<const ReadyRecord> records, std::string_view stream,
                       RecordJsonWriter& writer, std::vector<HeaderView>& headers,
                       std::string& lines);

// False where locks do not reach the other host (NFS, SMB, FUSE).
bool LocksFence(const std::string& path);

}  // namespace lockstep

#endif  // LOCKSTEP_REORDER_SINKS_JSONL_SINK_H_
