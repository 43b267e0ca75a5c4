// SnapshotSession fetches a database's dump from a master's snapshot port, as a state machine
// without socket, disk or clock: bytes and time in, bytes and pieces of files out.
//
//   kMeta ──list──► kFiles ──last piece of `info`──► kDone        any ──► kFailed
//
// While the master makes the dump the list is asked for again, once a second, for as long as the
// owner has patience. Files come one after the other, `info` last.
//
// How it fails: UNAVAILABLE  the master says nothing, or an error: start over on a new connection.
//               ABORTED      the dump was replaced meanwhile: likewise.
//               DATA_LOSS    an answer that makes no sense; it is named.
//
// Not thread-safe. No bytes break it.
#ifndef LOCKSTEP_PRODUCER_PIKA_SNAPSHOT_SESSION_H_
#define LOCKSTEP_PRODUCER_PIKA_SNAPSHOT_SESSION_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"

#include "producer/pika/pb_frame.h"
#include "producer/pika/snapshot.pb.h"

namespace lockstep::pika {

class SnapshotSession {
 public:
  static constexpr int64_t kAnswerTimeoutMs = 30'000;
  static constexpr int64_t kAskAgainMs = 1'000;
  static constexpr int64_t kNoAnswerMs = 5'000;  // 3.5.0 to 3.5.2 are silent while they dump.
  static constexpr uint64_t kPieceBytes = uint64_t{4} << 20;

  enum class Stage { kMeta, kFiles, kDone, kFailed };

  struct Piece {
    std::string file;  // Relative, at most one '/', safe to append to a directory's name.
    uint64_t offset = 0;
    std::string data;
    bool last = false;  // Of the file.
  };

  // The connection stands.
  SnapshotSession(std::string database, int64_t now_ms);

  void OnBytes(std::string_view bytes, int64_t now_ms);
  void OnTick(int64_t now_ms);  // At least once a second.

  std::string TakeOutput() { return std::exchange(output_, {}); }
  std::vector<Piece> TakePieces() { return std::exchange(pieces_, {}); }

  Stage stage() const { return stage_; }
  const absl::Status& status() const { return status_; }
  // From kFiles on: which dump it is, and its files, sorted. A second session that finds the same
  // after kDone has seen that nothing was mixed.
  const std::string& uuid() const { return uuid_; }
  const std::vector<std::string>& files() const { return files_; }
  uint64_t received_bytes() const { return received_bytes_; }

 private:
  void AskForList(int64_t now_ms);
  void AskForPiece(int64_t now_ms);
  void OnFrame(std::string_view frame, int64_t now_ms);
  absl::Status OnList(const SnapshotResponse& response, int64_t now_ms);
  absl::Status OnPiece(SnapshotResponse& response, int64_t now_ms);
  void Send(const SnapshotRequest& request, int64_t now_ms);
  void Fail(absl::Status status);

  const std::string database_;
  Stage stage_ = Stage::kMeta;
  absl::Status status_;
  PbFrameReader reader_;
  std::string output_;
  std::vector<Piece> pieces_;
  std::string uuid_;
  std::vector<std::string> files_;
  std::vector<std::string> order_;  // files_, `info` last.
  size_t next_file_ = 0;
  uint64_t next_offset_ = 0;
  uint64_t received_bytes_ = 0;
  int64_t asked_at_ms_ = 0;
  bool ask_again_ = false;
};

// True iff `name` is fit to name a file below a dump's directory.
bool ValidDumpFileName(std::string_view name);

}  // namespace lockstep::pika

#endif  // LOCKSTEP_PRODUCER_PIKA_SNAPSHOT_SESSION_H_
