#include "producer/pika/pika_copy.h"

#include <algorithm>
#include <filesystem>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"

#include "common/base/status_macros.h"
#include "common/log/log.h"
#include "common/model/ids.h"

namespace lockstep::pika {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kProgressEvery{10'000};

}  // namespace

PikaCopy::PikaCopy(std::string directory, std::string database, std::unique_ptr<FileLock> lock)
    : directory_(std::move(directory)), database_(std::move(database)), lock_(std::move(lock)) {}

absl::StatusOr<std::unique_ptr<PikaCopy>> PikaCopy::Open(const std::string& snapshot_dir,
                                                         const std::string& address,
                                                         const std::string& database) {
  std::string name = address + "-" + database;
  std::replace_if(
      name.begin(), name.end(), [](char c) { return c == ':' || c == '[' || c == ']'; }, '_');
  const std::string directory = snapshot_dir + "/" + name;
  std::error_code error;
  fs::create_directories(directory, error);
  if (error) {
    return absl::InvalidArgumentError("cannot make the directory " + directory + ": " +
                                      error.message());
  }
  LOCKSTEP_ASSIGN_OR_RETURN(std::unique_ptr<FileLock> lock,
                            RealFileSystem().Lock(directory + "/lock"));
  return std::unique_ptr<PikaCopy>(new PikaCopy(directory, database, std::move(lock)));
}

absl::StatusOr<bool> PikaCopy::Resume(uint64_t id, BinlogPosition position, uint64_t known) {
  const auto mark = RealFileSystem().Read(MarkPath());
  if (!mark.ok() || *mark != absl::StrCat(id, "\n")) return false;
  place_ = {id, position, 0, known};
  LOCKSTEP_ASSIGN_OR_RETURN(reader_,
                            DumpReader::Open(DumpDirectory(), static_cast<int64_t>(id) * 1000));
  Log(LogLevel::kInfo, "snapshot_resumed", {{"db", database_}, {"id", id}, {"behind", known}});
  return true;
}

absl::StatusOr<std::optional<BinlogPosition>> PikaCopy::Fetch(const std::string& host, int32_t port,
                                                              SlaveOptions session,
                                                              uint64_t id_above,
                                                              milliseconds timeout) {
  if (fetch_ == nullptr) {
    if (hold_ == nullptr) {
      RealFileSystem().Remove(MarkPath()).IgnoreError();  // It may not be there.
      session.copy = true;
      hold_ = PikaLink::Open(Protocol::kPb, host, port, std::move(session));
    }
    const absl::StatusOr<PikaLink::Ready> ready = hold_->AwaitReady(timeout);
    if (!ready.ok()) {
      if (hold_->failed()) hold_.reset();
      return ready.status();
    }
    // Only a list that is asked for after this answer is the new dump's.
    Log(LogLevel::kInfo, "snapshot_begun", {{"db", database_}});
    fetch_ = std::make_unique<SnapshotFetch>(host, port, database_, DumpDirectory());
  }
  const Clock::time_point deadline = Clock::now() + timeout;
  while (!fetch_->done() && Clock::now() < deadline) {
    std::this_thread::sleep_for(milliseconds(10));
  }
  Progress("snapshot_receiving");
  if (!fetch_->done()) return std::nullopt;
  const absl::Status status = fetch_->status();
  const uint64_t bytes = fetch_->received_bytes();
  fetch_.reset();
  LOCKSTEP_RETURN_IF_ERROR(status);
  LOCKSTEP_ASSIGN_OR_RETURN(const BinlogPosition position, Finish(id_above));
  Log(LogLevel::kInfo, "snapshot_received",
      {{"db", database_}, {"id", place_.id}, {"bytes", bytes}, {"position", position}});
  return position;
}

absl::StatusOr<BinlogPosition> PikaCopy::Finish(uint64_t id_above) {
  LOCKSTEP_ASSIGN_OR_RETURN(const std::string info,
                            RealFileSystem().Read(DumpDirectory() + "/info"));
  LOCKSTEP_ASSIGN_OR_RETURN(const BinlogPosition position, ParseDumpInfo(info));
  const auto now_s = static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::seconds>(
                                               std::chrono::system_clock::now().time_since_epoch())
                                               .count());
  place_ = {std::max(now_s, id_above + 1), position, 0, 0};
  LOCKSTEP_ASSIGN_OR_RETURN(
      reader_, DumpReader::Open(DumpDirectory(), static_cast<int64_t>(place_.id) * 1000));
  LOCKSTEP_RETURN_IF_ERROR(
      ReplaceFile(RealFileSystem(), MarkPath(), absl::StrCat(place_.id, "\n")));
  return position;
}

absl::StatusOr<bool> PikaCopy::Walk(size_t max, PikaEventWriter& writer,
                                    std::vector<SourceEvent>& events) {
  const size_t before = events.size();
  DumpBatch batch;
  // Batches are counted, too: those that are known already give no event.
  for (size_t batches = 0; events.size() - before < max && batches < 4 * max; ++batches) {
    LOCKSTEP_ASSIGN_OR_RETURN(const bool more, reader_->Next(batch));
    if (!more) {
      Log(LogLevel::kInfo, "snapshot_walked",
          {{"db", database_},
           {"id", place_.id},
           {"keys", reader_->keys()},
           {"events", place_.number},
           {"bad_records", reader_->bad_records()}});
      reader_.reset();
      return false;
    }
    writer.WriteSnapshot(batch, place_, events);
  }
  Progress("snapshot_walking");
  return true;
}

void PikaCopy::Progress(const char* event) {
  if (Clock::now() - logged_at_ < kProgressEvery) return;
  logged_at_ = Clock::now();
  Log(LogLevel::kInfo, event,
      {{"db", database_},
       {"received_bytes", fetch_ == nullptr ? uint64_t{0} : fetch_->received_bytes()},
       {"keys", reader_ == nullptr ? int64_t{0} : reader_->keys()}});
}

void PikaCopy::Remove() {
  std::error_code ignored;  // What stays is removed by the next copy.
  fs::remove(MarkPath(), ignored);
  fs::remove_all(DumpDirectory(), ignored);
}

}  // namespace lockstep::pika
