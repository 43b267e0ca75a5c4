#include "producer/pika/snapshot_session.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

#include "common/base/status_macros.h"

namespace lockstep::pika {
namespace {

constexpr size_t kUuidBytes = 32;

}  // namespace

bool ValidDumpFileName(std::string_view name) {
  if (name.empty() || name.size() > 255 || name.front() == '/' || name.back() == '/') return false;
  if (std::count(name.begin(), name.end(), '/') > 1) return false;
  if (name.find("..") != std::string_view::npos) return false;
  return std::all_of(name.begin(), name.end(), [](char c) { return c > ' ' && c <= '~'; });
}

SnapshotSession::SnapshotSession(std::string database, int64_t now_ms)
    : database_(std::move(database)) {
  AskForList(now_ms);
}

void SnapshotSession::Send(const SnapshotRequest& request, int64_t now_ms) {
  AppendPbFrame(request.SerializeAsString(), output_);
  asked_at_ms_ = now_ms;
}

void SnapshotSession::AskForList(int64_t now_ms) {
  ask_again_ = false;
  SnapshotRequest request;
  request.set_type(SNAPSHOT_META);
  request.set_reader_index(0);
  request.set_db_name(database_);
  request.set_slot_id(0);
  Send(request, now_ms);
}

void SnapshotSession::AskForPiece(int64_t now_ms) {
  SnapshotRequest request;
  request.set_type(SNAPSHOT_FILE);
  request.set_reader_index(0);
  request.set_db_name(database_);
  request.set_slot_id(0);
  request.mutable_file()->set_filename(order_[next_file_]);
  request.mutable_file()->set_count(kPieceBytes);
  request.mutable_file()->set_offset(next_offset_);
  Send(request, now_ms);
}

void SnapshotSession::Fail(absl::Status status) {
  if (stage_ == Stage::kFailed) return;
  stage_ = Stage::kFailed;
  status_ = std::move(status);
}

void SnapshotSession::OnBytes(std::string_view bytes, int64_t now_ms) {
  if (stage_ == Stage::kFailed) return;
  reader_.Append(bytes);
  while (stage_ != Stage::kFailed) {
    const auto frame = reader_.Next();
    if (!frame.ok())
      return Fail(Annotate(frame.status(), "the snapshot port's bytes make no sense"));
    if (!*frame) return;
    OnFrame(**frame, now_ms);
  }
}

void SnapshotSession::OnFrame(std::string_view frame, int64_t now_ms) {
  SnapshotResponse response;
  if (!response.ParseFromArray(frame.data(), static_cast<int>(frame.size()))) {
    return Fail(absl::DataLossError(absl::StrCat("frame ", reader_.frames(), " at byte ",
                                                 reader_.frame_byte(), ", ", frame.size(),
                                                 " bytes, is no answer of the snapshot port's")));
  }
  absl::Status status;
  if (response.type() == SNAPSHOT_META && stage_ == Stage::kMeta) {
    status = OnList(response, now_ms);
  } else if (response.type() == SNAPSHOT_FILE && stage_ == Stage::kFiles) {
    status = OnPiece(response, now_ms);
  }
  if (!status.ok()) Fail(std::move(status));
}

absl::Status SnapshotSession::OnList(const SnapshotResponse& response, int64_t now_ms) {
  std::vector<std::string> files(response.meta().filenames().begin(),
                                 response.meta().filenames().end());
  const bool has_info = std::find(files.begin(), files.end(), "info") != files.end();
  // An error, or a list of nothing but `info`: the dump is not ready, or there is none yet.
  if (response.status() != SNAPSHOT_OK || response.snapshot_uuid().size() != kUuidBytes ||
      !has_info || files.size() < 2) {
    ask_again_ = true;
    return absl::OkStatus();
  }
  for (const std::string& file : files) {
    if (!ValidDumpFileName(file)) {
      return absl::DataLossError("the master lists a file whose name leaves the dump's directory");
    }
  }
  uuid_ = response.snapshot_uuid();
  std::sort(files.begin(), files.end());
  if (std::adjacent_find(files.begin(), files.end()) != files.end()) {
    return absl::DataLossError("the master lists a file twice");
  }
  files_ = files;
  files.erase(std::find(files.begin(), files.end(), "info"));
  files.emplace_back("info");
  order_ = std::move(files);
  stage_ = Stage::kFiles;
  AskForPiece(now_ms);
  return absl::OkStatus();
}

absl::Status SnapshotSession::OnPiece(SnapshotResponse& response, int64_t now_ms) {
  const std::string& file = order_[next_file_];
  const std::string where = absl::StrCat(file, " at byte ", next_offset_);
  SnapshotResponse::File& piece = *response.mutable_file();
  if (response.status() != SNAPSHOT_OK) {
    return absl::UnavailableError("the master can not read " + where + " of its dump");
  }
  if (response.snapshot_uuid() != uuid_) {
    return absl::AbortedError("the master has made another dump while " + where + " was read");
  }
  // A late answer to a request that was repeated.
  if (piece.filename() != file || piece.offset() != next_offset_) return absl::OkStatus();
  if (piece.count() != piece.data().size() || piece.data().size() > kPieceBytes ||
      (piece.data().empty() && piece.eof() == 0)) {
    return absl::DataLossError(absl::StrCat("the piece of ", where, " says ", piece.count(),
                                            " bytes and has ", piece.data().size()));
  }
  received_bytes_ += piece.data().size();
  const bool last = piece.eof() != 0;
  const uint64_t end = next_offset_ + piece.data().size();
  pieces_.push_back({file, next_offset_, std::move(*piece.mutable_data()), last});
  next_offset_ = last ? 0 : end;
  if (last && ++next_file_ == order_.size()) {
    stage_ = Stage::kDone;
    return absl::OkStatus();
  }
  AskForPiece(now_ms);
  return absl::OkStatus();
}

void SnapshotSession::OnTick(int64_t now_ms) {
  const int64_t waited_ms = now_ms - asked_at_ms_;
  if (stage_ == Stage::kMeta) {
    if (waited_ms >= (ask_again_ ? kAskAgainMs : kNoAnswerMs)) AskForList(now_ms);
  } else if (stage_ == Stage::kFiles && waited_ms >= kAnswerTimeoutMs) {
    Fail(absl::UnavailableError(
        absl::StrCat("the snapshot port does not answer for ", waited_ms / 1000, " s")));
  }
}

}  // namespace lockstep::pika
