#include "producer/sources/pika_source.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#include "common/base/status_macros.h"
#include "common/log/log.h"
#include "producer/pika/pika_event.h"
#include "producer/pika/pika_link.h"

namespace lockstep {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kReadyWait{1'000};  // A look, not a deadline: the link has its own.

// FILENUM:OFFSET:LOGIC_ID:HASH, taken apart.
struct PikaCheckpoint {
  pika::BinlogPosition position;
  uint64_t logic_id = 0;
  uint64_t replication_hash = 0;
};

std::string FormatPikaCheckpoint(const SourceEvent& event) {
  return absl::StrCat(event.at, ":", event.resume[0], ":", event.resume[1]);
}

absl::StatusOr<PikaCheckpoint> ParsePikaCheckpoint(const std::string& text) {
  const std::vector<std::string> parts = absl::StrSplit(text, ':');
  PikaCheckpoint checkpoint;
  if (parts.size() == 4 && absl::SimpleAtoi(parts[2], &checkpoint.logic_id) &&
      absl::SimpleAtoi(parts[3], &checkpoint.replication_hash)) {
    const auto position = pika::ParseBinlogPosition(parts[0] + ":" + parts[1]);
    if (position.ok()) {
      checkpoint.position = *position;
      return checkpoint;
    }
  }
  return absl::FailedPreconditionError("the ledger's checkpoint '" + text +
                                       "' is not FILENUM:OFFSET:LOGIC_ID:HASH; was this "
                                       "producer's source something else than a Pika?");
}

class PikaSource final : public Source {
 public:
  PikaSource(const PikaSpec& spec, const SourceOptions& options) : spec_(spec), options_(options) {}

  absl::Status Start(const ResumePoint& point) override {
    if (point.checkpoint) {
      LOCKSTEP_ASSIGN_OR_RETURN(const PikaCheckpoint checkpoint,
                                ParsePikaCheckpoint(*point.checkpoint));
      position_ = checkpoint.position;
      logic_id_ = checkpoint.logic_id;
      replication_hash_ = checkpoint.replication_hash;
    }
    if (!point.floor.empty()) {
      LOCKSTEP_ASSIGN_OR_RETURN(const pika::BinlogPosition floor,
                                pika::ParseBinlogPosition(point.floor));
      if (floor > position_) {
        position_ = floor;
        logic_id_.reset();
      }
    }
    if (!point.seen.empty()) {
      LOCKSTEP_ASSIGN_OR_RETURN(seen_, pika::ParseBinlogPosition(point.seen));
    }
    return Connect();
  }

  absl::Status Poll(size_t max, milliseconds timeout, std::vector<SourceEvent>& events) override {
    if (ended_) return absl::OkStatus();
    LOCKSTEP_RETURN_IF_ERROR(Connect());
    items_.clear();
    const absl::Status status = Judge(link_->Take(max, timeout, items_));
    for (const pika::PbSession::ReceivedItem& item : items_) {
      LOCKSTEP_RETURN_IF_ERROR(TakeItem(item, events));
    }
    ended_ = options_.until_end && position_ >= end_;
    return status;
  }

  bool ended() const override { return ended_; }

  std::function<std::string(const SourceEvent&)> FormatCheckpoint() const override {
    return FormatPikaCheckpoint;
  }

 private:
  // Has a link that streams from position_. UNAVAILABLE: not yet.
  absl::Status Connect() {
    if (ready_) return absl::OkStatus();
    if (link_ == nullptr) {
      pika::PbSessionOptions session;
      session.password = options_.source_password;
      session.database = database_.empty() ? spec_.database : database_;
      session.position = position_;
      session.logic_id = logic_id_;
      session.replication_id = replication_id_;
      session.replication_hash = replication_hash_;
      link_ = std::make_unique<pika::PikaLink>(spec_.host, spec_.port, std::move(session));
    }
    const absl::StatusOr<pika::PikaLink::Ready> ready = link_->AwaitReady(kReadyWait);
    LOCKSTEP_RETURN_IF_ERROR(Judge(ready.status()));
    if (ready->master_end < seen_) {
      return absl::FailedPreconditionError(absl::StrCat(
          "source behind ledger: ", spec_.Address(), ": the binlog of ", ready->database,
          " ends at ", ToString(ready->master_end), "; ", ToString(seen_), " is in the ledger"));
    }
    OnReady(*ready);
    return absl::OkStatus();
  }

  void OnReady(const pika::PikaLink::Ready& ready) {
    ready_ = true;
    behind_since_.reset();
    database_ = ready.database;
    if (!ready.replication_id.empty()) {
      replication_id_ = ready.replication_id;
      replication_hash_ = pika::ReplicationHash(replication_id_);
    }
    if (!writer_) {
      end_ = ready.master_end;
      ended_ = options_.until_end && position_ >= end_;
      writer_.emplace(
          pika::PikaSourceDescriptor{spec_.Address(), spec_.host, spec_.port, replication_id_},
          database_);
    }
    Log(LogLevel::kInfo, "pika_streaming",
        {{"source", spec_.Address()},
         {"db", database_},
         {"position", position_},
         {"master_end", ready.master_end},
         {"replication_id", replication_id_}});
  }

  absl::Status TakeItem(const pika::PbSession::ReceivedItem& item,
                        std::vector<SourceEvent>& events) {
    LOCKSTEP_ASSIGN_OR_RETURN(std::optional<SourceEvent> event,
                              writer_->Write(item.bytes, item.end));
    position_ = item.end;
    // The session has parsed it, and checked that it counts on.
    const pika::BinlogItem parsed = pika::ParseBinlogItem(item.bytes).value();
    if (!pika::IsPaddingItem(parsed)) logic_id_ = parsed.logic_id;
    if (!event) return absl::OkStatus();
    if (writer_->unknown_commands() == 1 && !unknown_named_) {
      unknown_named_ = true;
      Log(LogLevel::kWarn, "unknown_command",
          {{"source", spec_.Address()},
           {"at", event->at},
           {"hint", "passed on with data_type unknown; further ones are not logged"}});
    }
    event->resume[1] = replication_hash_;
    events.push_back(*std::move(event));
    return absl::OkStatus();
  }

  // What an error of the link means for the source. After any the link is dropped, unless it only
  // needs more time.
  absl::Status Judge(const absl::Status& status) {
    if (status.ok() || (!ready_ && absl::IsUnavailable(status) && !link_->failed())) return status;
    link_.reset();
    ready_ = false;
    const std::string message(status.message());
    if (absl::IsDataLoss(status)) {
      // It may have been the connection, or a server that dropped entries from its queue: once
      // more, from the last good position.
      const bool again = lost_at_ == position_;
      lost_at_ = position_;
      if (again) return absl::FailedPreconditionError(message + " (seen twice)");
      Log(LogLevel::kWarn, "binlog_damaged", {{"source", spec_.Address()}, {"why", message}});
      return absl::UnavailableError(message);
    }
    if (absl::IsOutOfRange(status)) {
      const Clock::time_point now = Clock::now();
      if (!behind_since_) behind_since_ = now;
      return now - *behind_since_ < options_.pika_behind_max
                 ? absl::UnavailableError(message)
                 : absl::FailedPreconditionError(message);
    }
    return status;
  }

  const PikaSpec spec_;
  const SourceOptions options_;
  std::unique_ptr<pika::PikaLink> link_;
  bool ready_ = false;  // link_ streams.
  std::optional<pika::PikaEventWriter> writer_;
  std::vector<pika::PbSession::ReceivedItem> items_;

  std::string database_;
  std::string replication_id_;
  uint64_t replication_hash_ = 0;
  pika::BinlogPosition position_;     // The end of what was handed out.
  std::optional<uint64_t> logic_id_;  // Of the entry that ends there.
  pika::BinlogPosition seen_;         // The greatest that is ledgered.
  pika::BinlogPosition end_;          // until_end: where the master's log ended at the start.
  bool ended_ = false;
  bool unknown_named_ = false;
  std::optional<pika::BinlogPosition> lost_at_;
  std::optional<Clock::time_point> behind_since_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Source>> OpenPikaSource(const PikaSpec& spec,
                                                       const SourceOptions& options) {
  return std::make_unique<PikaSource>(spec, options);
}

}  // namespace lockstep
