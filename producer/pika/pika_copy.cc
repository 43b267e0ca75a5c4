#include "producer/pika/pika_copy.h"

#include <algorithm>
#include <filesystem>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"

#include "common/base/status_macros.h"
#include "common/log/log.h"
#include "common/model/ids.h"
#include "producer/pika/rsync_receive.h"
#include "producer/pika/snapshot_fetch.h"

namespace lockstep::pika {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kProgressEvery{10'000};

}  // namespace

PikaCopy::PikaCopy(std::string directory, PikaCopyOptions options, std::unique_ptr<FileLock> lock)
    : directory_(std::move(directory)),
      database_(std::move(options.database)),
      rate_(options.rate),
      push_port_(options.push_port),
      push_idle_max_(options.push_idle_max),
      lock_(std::move(lock)) {}

absl::StatusOr<std::unique_ptr<PikaCopy>> PikaCopy::Open(PikaCopyOptions options) {
  std::string name = options.address + "-" + options.database;
  std::replace_if(
      name.begin(), name.end(), [](char c) { return c == ':' || c == '[' || c == ']'; }, '_');
  const std::string directory = options.snapshot_dir + "/" + name;
  std::error_code error;
  fs::create_directories(directory, error);
  if (error) {
    return absl::InvalidArgumentError("cannot make the directory " + directory + ": " +
                                      error.message());
  }
  LOCKSTEP_ASSIGN_OR_RETURN(std::unique_ptr<FileLock> lock,
                            RealFileSystem().Lock(directory + "/lock"));
  RsyncReceive::RemoveRemains(directory + "/dump");
  return std::unique_ptr<PikaCopy>(new PikaCopy(directory, std::move(options), std::move(lock)));
}

absl::StatusOr<bool> PikaCopy::Resume(uint64_t id, BinlogPosition position, uint64_t known) {
  const auto mark = RealFileSystem().Read(MarkPath());
  if (!mark.ok() || *mark != absl::StrCat(id, "\n")) return false;
  place_ = {id, position, 0, known};
  LOCKSTEP_RETURN_IF_ERROR(BeginWalk());
  Log(LogLevel::kInfo, "snapshot_resumed", {{"db", database_}, {"id", id}, {"behind", known}});
  return true;
}

absl::Status PikaCopy::Ask(Protocol protocol, const std::string& host, int32_t port,
                           SlaveOptions slave, milliseconds timeout) {
  const bool push = pushes_ || protocol == Protocol::kLegacy;
  if (hold_ == nullptr) {
    RealFileSystem().Remove(MarkPath()).IgnoreError();  // It may not be there.
    slave.copy = true;
    slave.push = push;
    if (push) {
      // It must be there before the master is asked.
      LOCKSTEP_ASSIGN_OR_RETURN(std::unique_ptr<RsyncReceive> receive,
                                RsyncReceive::Begin({.protocol = protocol,
                                                     .host = host,
                                                     .port = port,
                                                     .database = database_,
                                                     .password = slave.password,
                                                     .slave_port = push_port_,
                                                     .directory = DumpDirectory(),
                                                     .idle_max = push_idle_max_}));
      slave.slave_port = receive->slave_port();
      transfer_ = std::move(receive);
    }
    hold_ = PikaLink::Open(protocol, host, port, std::move(slave));
  }
  const absl::StatusOr<PikaLink::Ready> ready = hold_->AwaitReady(timeout);
  if (!ready.ok()) {
    if (!hold_->failed()) return ready.status();
    StartOver();
    if (!absl::IsUnimplemented(ready.status()) || protocol == Protocol::kLegacy) {
      return ready.status();
    }
    pushes_ = !pushes_;
    return absl::UnavailableError(ready.status().message());
  }
  // Only a list that is asked for after this answer is the new dump's.
  if (!push) {
    transfer_ = std::make_unique<SnapshotFetch>(host, port, database_, DumpDirectory(), rate_);
  }
  asked_ = true;
  status_ = {};
  Log(LogLevel::kInfo, "snapshot_begun",
      {{"db", database_}, {"by", push ? "rsync" : "snapshot port"}});
  return absl::OkStatus();
}

void PikaCopy::StartOver() {
  transfer_.reset();
  hold_.reset();
  asked_ = false;
}

absl::StatusOr<std::optional<BinlogPosition>> PikaCopy::Fetch(Protocol protocol,
                                                              const std::string& host, int32_t port,
                                                              SlaveOptions slave, uint64_t id_above,
                                                              milliseconds timeout) {
  if (!asked_) LOCKSTEP_RETURN_IF_ERROR(Ask(protocol, host, port, std::move(slave), timeout));
  const Clock::time_point deadline = Clock::now() + timeout;
  while (!transfer_->done() && Clock::now() < deadline) {
    std::this_thread::sleep_for(milliseconds(10));
  }
  Progress("snapshot_receiving");
  if (!transfer_->done()) return std::nullopt;
  const absl::Status status = transfer_->status();
  status_.received_bytes = transfer_->received_bytes();
  transfer_.reset();
  if (!status.ok()) {
    StartOver();
    return status;
  }
  asked_ = false;
  LOCKSTEP_ASSIGN_OR_RETURN(const BinlogPosition position, Finish(id_above));
  Log(LogLevel::kInfo, "snapshot_received",
      {{"db", database_},
       {"id", place_.id},
       {"bytes", status_.received_bytes},
       {"position", position}});
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
  LOCKSTEP_RETURN_IF_ERROR(BeginWalk());
  LOCKSTEP_RETURN_IF_ERROR(
      ReplaceFile(RealFileSystem(), MarkPath(), absl::StrCat(place_.id, "\n")));
  return position;
}

absl::Status PikaCopy::BeginWalk() {
  LOCKSTEP_ASSIGN_OR_RETURN(
      reader_, DumpReader::Open(DumpDirectory(), static_cast<int64_t>(place_.id) * 1000));
  status_.keys_estimated = reader_->EstimateKeys();
  walk_begun_at_ = Clock::now();
  return absl::OkStatus();
}

absl::StatusOr<bool> PikaCopy::Walk(size_t max, PikaEventWriter& writer,
                                    std::vector<SourceEvent>& events) {
  const size_t before = events.size();
  DumpBatch batch;
  // Batches are counted, too: those that are known already give no event.
  for (size_t batches = 0; events.size() - before < max && batches < 4 * max; ++batches) {
    LOCKSTEP_ASSIGN_OR_RETURN(const bool more, reader_->Next(batch));
    status_.keys = reader_->keys();
    status_.bad_records = reader_->bad_records();
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
  const CopyStatus now = status();
  if (reader_ == nullptr) {
    Log(LogLevel::kInfo, event, {{"db", database_}, {"received_bytes", now.received_bytes}});
    return;
  }
  const auto left = now.SecondsLeft();
  Log(LogLevel::kInfo, event,
      {{"db", database_},
       {"keys", now.keys},
       {"keys_estimated", now.keys_estimated},
       {"left_s", left ? absl::StrCat(*left) : "unknown"}});
}

CopyStatus PikaCopy::status() const {
  CopyStatus status = status_;
  if (transfer_ != nullptr) status.received_bytes = transfer_->received_bytes();
  if (reader_ != nullptr) {
    status.walk_ms =
        std::chrono::duration_cast<milliseconds>(Clock::now() - walk_begun_at_).count();
  }
  return status;
}

void PikaCopy::Remove() {
  std::error_code ignored;  // What stays is removed by the next copy.
  fs::remove(MarkPath(), ignored);
  fs::remove_all(DumpDirectory(), ignored);
}

}  // namespace lockstep::pika
