#include "producer/sources/pika_source.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "common/base/mutex.h"
#include "common/base/status_macros.h"
#include "common/log/log.h"
#include "producer/pika/pika_checkpoint.h"
#include "producer/pika/pika_copy.h"
#include "producer/pika/pika_event.h"
#include "producer/pika/pika_link.h"

namespace lockstep {
namespace {

using Clock = std::chrono::steady_clock;
using pika::ParsePikaPosition;
using pika::PikaPosition;
using std::chrono::milliseconds;

constexpr milliseconds kReadyWait{1'000};   // A look, not a deadline: the link has its own.
constexpr milliseconds kQuietAfter{1'000};  // An entry's time is whole seconds.

int64_t UnixMs() {
  return std::chrono::duration_cast<milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

class PikaSource final : public Source {
 public:
  PikaSource(const PikaSpec& spec, const SourceOptions& options)
      : spec_(spec),
        options_(options),
        protocol_(spec.protocol == PikaProtocol::kLegacy ? pika::Protocol::kLegacy
                                                         : pika::Protocol::kPb) {}

  absl::Status Start(const ResumePoint& point) override {
    if (phase_ == Phase::kNew) {
      LOCKSTEP_RETURN_IF_ERROR(SetPosition(point));
      phase_ = Phase::kConnecting;
    }
    const absl::Status status = Connect();
    Publish();
    return status;
  }

  absl::Status Poll(size_t max, milliseconds timeout, std::vector<SourceEvent>& events) override {
    const absl::Status status = PollOnce(max, timeout, events);
    Publish();
    return status;
  }

  std::optional<SourceStatus> Status() const override {
    MutexLock lock(mu_);
    return published_;
  }

  absl::Status PollOnce(size_t max, milliseconds timeout, std::vector<SourceEvent>& events) {
    if (ended_) return absl::OkStatus();
    if (phase_ == Phase::kConnecting) {
      LOCKSTEP_RETURN_IF_ERROR(Connect());
    }
    switch (phase_) {
      case Phase::kCopying:
        return FetchCopy(timeout);
      case Phase::kWalking:
        return WalkCopy(max, events);
      default:
        return Stream(max, timeout, events);
    }
  }

  bool ended() const override { return ended_; }

  void Acknowledge(std::string_view at, std::string_view /*checkpoint*/) override {
    // Once the binlog behind the copy is ledgered, nobody goes back into the copy.
    const auto position = ParsePikaPosition(at);
    if (position.ok()) {
      MutexLock lock(mu_);
      published_.ledgered = *position;
    }
    if (copy_ == nullptr || phase_ != Phase::kStreaming || !position.ok() ||
        position->snapshot_id != 0) {
      return;
    }
    copy_->Remove();
    copy_.reset();
  }

  std::function<std::string(const SourceEvent&)> FormatCheckpoint() const override {
    return pika::FormatPikaCheckpoint;
  }

 private:
  enum class Phase { kNew, kConnecting, kCopying, kWalking, kStreaming };

  absl::Status SetPosition(const ResumePoint& point) {
    if (point.checkpoint) {
      const auto checkpoint = pika::ParsePikaCheckpoint(*point.checkpoint);
      if (!checkpoint.ok()) {
        return absl::FailedPreconditionError(
            "the ledger's checkpoint: " + std::string(checkpoint.status().message()) +
            "; was this producer's source something else than a Pika?");
      }
      resume_ = checkpoint->position;
      if (resume_.snapshot_id == 0) {
        logic_id_ = checkpoint->logic_id;
        content_mark_ = checkpoint->content_mark;
      }
      replication_hash_ = checkpoint->replication_hash;
    }
    position_ = resume_.binlog;
    if (!point.floor.empty()) {
      LOCKSTEP_ASSIGN_OR_RETURN(const PikaPosition floor, ParsePikaPosition(point.floor));
      if (floor > resume_) {
        resume_ = floor;
        // What can be verified is read from there, and not handed out again.
        if (content_mark_ == 0 || floor.number != 0) {
          content_mark_ = 0;
          logic_id_.reset();
          position_ = floor.binlog;
        }
      }
    }
    read_to_ = position_;
    {
      MutexLock lock(mu_);
      published_.ledgered = resume_;
    }
    if (resume_.snapshot_id == 0) parts_ = resume_.number;
    seen_ = resume_;
    if (!point.seen.empty()) {
      LOCKSTEP_ASSIGN_OR_RETURN(const PikaPosition seen, ParsePikaPosition(point.seen));
      seen_ = std::max(seen_, seen);
    }
    return absl::OkStatus();
  }

  pika::SlaveOptions MakeSlave() const {
    pika::SlaveOptions slave;
    slave.password = options_.source_password;
    slave.database = database_.empty() ? spec_.database : database_;
    // By pb nobody dials back, and the copy's slave lives beside the stream's.
    if (protocol_ == pika::Protocol::kLegacy) slave.slave_port = options_.pika_slave_port;
    slave.position = position_;
    slave.parts = parts_;
    slave.content_mark = content_mark_;
    if (content_mark_ == 0) slave.logic_id = logic_id_;
    slave.replication_id = replication_id_;
    slave.replication_hash = replication_hash_;
    return slave;
  }

  // Leaves kConnecting, or says why not. UNAVAILABLE: not yet.
  absl::Status Connect() {
    if (phase_ != Phase::kConnecting) return absl::OkStatus();
    if (link_ == nullptr) {
      link_ = pika::PikaLink::Open(protocol_, spec_.host, spec_.port, MakeSlave());
    }
    const absl::StatusOr<pika::PikaLink::Ready> ready = link_->AwaitReady(kReadyWait);
    if (!ready.ok()) return Judge(ready.status());
    if (ready->master_end < seen_.binlog) {
      return Judge(absl::OutOfRangeError(
          absl::StrCat("source behind ledger: ", spec_.Address(), ": the binlog of ",
                       ready->database, " ends at ", ToString(ready->master_end), "; ",
                       ToString(seen_.binlog), " is in the ledger")));
    }
    return OnReady(*ready);
  }

  absl::Status OnReady(const pika::PikaLink::Ready& ready) {
    behind_since_.reset();
    database_ = ready.database;
    if (!ready.replication_id.empty()) {
      replication_id_ = ready.replication_id;
      replication_hash_ = pika::ReplicationHash(replication_id_);
    }
    if (!writer_) end_ = ready.master_end;
    status_.master_end = ready.master_end;
    if (writer_) {
      unknown_commands_ += writer_->unknown_commands();
      filtered_ += writer_->filtered();
    }
    const std::string& id = options_.source_id;
    writer_.emplace(pika::PikaSourceDescriptor{id.empty() ? spec_.Address() : id, spec_.host,
                                               spec_.port, replication_id_, protocol_},
                    database_, spec_.filter);
    // A process that died in the middle of a copy goes on with it, or makes another.
    if (resume_.snapshot_id != 0 && !walk_) {
      LOCKSTEP_RETURN_IF_ERROR(OpenCopy());
      LOCKSTEP_ASSIGN_OR_RETURN(walk_,
                                copy_->Resume(resume_.snapshot_id, resume_.binlog, resume_.number));
      if (!walk_) {
        link_.reset();
        phase_ = Phase::kCopying;
        return absl::OkStatus();
      }
    }
    if (options_.full_copy && !walk_ && !std::exchange(copy_asked_, true)) {
      LOCKSTEP_RETURN_IF_ERROR(OpenCopy());
      link_.reset();
      phase_ = Phase::kCopying;
      return absl::OkStatus();
    }
    if (copy_ != nullptr) copy_->Release();
    phase_ = walk_ ? Phase::kWalking : Phase::kStreaming;
    ended_ = options_.until_end && !walk_ && read_to_ >= end_;
    Log(LogLevel::kInfo, "pika_streaming",
        {{"source", spec_.Address()},
         {"db", database_},
         {"position", position_},
         {"master_end", ready.master_end},
         {"replication_id", replication_id_}});
    return absl::OkStatus();
  }

  // ---------------------------------------------------------------- the full copy

  absl::Status OpenCopy() {
    if (copy_ != nullptr) return absl::OkStatus();
    if (options_.snapshot_dir.empty()) {
      return absl::FailedPreconditionError(
          spec_.Address() +
          ": going on needs a full copy of the database: give a directory for it with "
          "--snapshot-dir, or keep more binlog on the master (expire-logs-nums, "
          "expire-logs-days)");
    }
    LOCKSTEP_ASSIGN_OR_RETURN(copy_,
                              pika::PikaCopy::Open({.snapshot_dir = options_.snapshot_dir,
                                                    .address = spec_.Address(),
                                                    .database = database_,
                                                    .rate = options_.snapshot_rate,
                                                    .push_port = options_.pika_slave_port,
                                                    .push_idle_max = options_.pika_push_idle_max}));
    return absl::OkStatus();
  }

  absl::Status FetchCopy(milliseconds timeout) {
    const auto position =
        copy_->Fetch(protocol_, spec_.host, spec_.port, MakeSlave(), seen_.snapshot_id, timeout);
    LOCKSTEP_RETURN_IF_ERROR(position.status());
    if (!*position) return absl::OkStatus();
    if (**position < seen_.binlog) {
      return absl::FailedPreconditionError(absl::StrCat(
          "source behind ledger: ", spec_.Address(), ": the full copy of ", database_, " ends at ",
          ToString(**position), "; ", ToString(seen_.binlog), " is in the ledger"));
    }
    position_ = read_to_ = **position;
    parts_ = 0;
    content_mark_ = 0;
    end_ = std::max(end_, position_);
    logic_id_.reset();
    resume_ = PikaPosition();
    walk_ = true;
    phase_ = Phase::kConnecting;
    return absl::OkStatus();
  }

  absl::Status WalkCopy(size_t max, std::vector<SourceEvent>& events) {
    const size_t before = events.size();
    LOCKSTEP_ASSIGN_OR_RETURN(walk_, copy_->Walk(max, *writer_, events));
    for (size_t i = before; i < events.size(); ++i) events[i].resume[2] = replication_hash_;
    status_.snapshot_events += static_cast<int64_t>(events.size() - before);
    if (walk_) return absl::OkStatus();
    resume_ = PikaPosition();
    phase_ = Phase::kStreaming;
    ended_ = options_.until_end && read_to_ >= end_;
    return absl::OkStatus();
  }

  // ---------------------------------------------------------------- the binlog

  absl::Status Stream(size_t max, milliseconds timeout, std::vector<SourceEvent>& events) {
    items_.clear();
    const absl::Status status = link_->Take(max, timeout, items_);
    for (const pika::ReceivedItem& item : items_) {
      LOCKSTEP_RETURN_IF_ERROR(TakeItem(item, events));
    }
    ended_ = options_.until_end && read_to_ >= end_;
    return status.ok() ? status : Judge(status);
  }

  absl::Status OnUnknownCommand(const pika::BinlogPosition& end) {
    const std::string& name = writer_->last_unknown_command();
    if (options_.unknown_stops) {
      return absl::FailedPreconditionError(absl::StrCat(
          spec_.Address(), ": the entry of ", database_, " that ends at ", ToString(end),
          " is the command '", name,
          "', which this version does not know; --unknown pass hands such on with data_type "
          "unknown"));
    }
    if (std::exchange(unknown_named_, true)) return absl::OkStatus();
    Log(LogLevel::kWarn, "unknown_command",
        {{"source", spec_.Address()},
         {"at", end},
         {"command", name},
         {"hint", "passed on with data_type unknown; further ones are counted, not logged"}});
    return absl::OkStatus();
  }

  absl::Status TakeItem(const pika::ReceivedItem& item, std::vector<SourceEvent>& events) {
    LOCKSTEP_RETURN_IF_ERROR(CheckLedgered(item.end));
    read_to_ = item.end;
    if (item.bytes.empty()) return absl::OkStatus();
    const int64_t unknown_before = writer_->unknown_commands();
    LOCKSTEP_ASSIGN_OR_RETURN(std::optional<SourceEvent> event,
                              writer_->Write(item.bytes, item.end));
    if (writer_->unknown_commands() > unknown_before && item.end > resume_.binlog) {
      LOCKSTEP_RETURN_IF_ERROR(OnUnknownCommand(item.end));
    }
    // The session has parsed it, and checked that it counts on.
    const pika::BinlogItem parsed = pika::ParseBinlogItem(item.bytes).value();
    position_ = item.part == 0 ? item.end : parsed.start;
    parts_ = item.part;
    if (item.verified) LogIfMoved(parsed);
    content_mark_ = 0;
    copied_ = false;
    if (!pika::IsPaddingItem(parsed)) {
      logic_id_ = parsed.logic_id;
      const int64_t logged_at_ms = int64_t{parsed.exec_time_s} * 1000;
      status_.current_at_ms = std::max(status_.current_at_ms, logged_at_ms);
    }
    if (!event || (parts_ == 0 && position_ <= resume_.binlog)) return absl::OkStatus();
    if (parts_ > 0) {
      event->at = absl::StrCat(ToString(position_), ":0:", parts_);
      event->resume[3] = 0;
    }
    event->resume[2] = replication_hash_;
    events.push_back(*std::move(event));
    ++status_.binlog_events;
    return absl::OkStatus();
  }

  // The last ledgered entry is there: from here on the server's own count counts.
  void LogIfMoved(const pika::BinlogItem& verified) const {
    if (!logic_id_ || *logic_id_ == verified.logic_id) return;
    Log(LogLevel::kInfo, "source_moved",
        {{"source", spec_.Address()},
         {"db", database_},
         {"position", read_to_},
         {"logic_id", verified.logic_id},
         {"logic_id_before", *logic_id_}});
  }

  // What is ledgered ends where an entry ends; in another history it would be by chance.
  absl::Status CheckLedgered(const pika::BinlogPosition& end) const {
    for (const PikaPosition& ledgered : {resume_, seen_}) {
      if (ledgered.snapshot_id == 0 && ledgered.number == 0 && read_to_ < ledgered.binlog &&
          ledgered.binlog < end) {
        return absl::FailedPreconditionError(absl::StrCat(
            "source behind ledger: this is another history: the ledger has an entry of ", database_,
            " that ends at ", ToString(ledgered.binlog), ", but ", spec_.Address(),
            " has one from ", ToString(read_to_), " to ", ToString(end),
            "; name a Pika that has it"));
      }
    }
    return absl::OkStatus();
  }

  // What an error of the link means for the source. The link is dropped, unless it only needs more
  // time.
  absl::Status Judge(const absl::Status& status) {
    if (absl::IsUnavailable(status) && !link_->failed()) return status;
    if (database_.empty()) database_ = link_->database();
    if (phase_ == Phase::kStreaming) ++status_.disconnects;
    if (absl::IsDataLoss(status)) ++status_.damages;
    const bool other_protocol = TryOtherProtocol(status.code());
    link_.reset();
    phase_ = Phase::kConnecting;
    const std::string message(status.message());
    if (other_protocol) return absl::UnavailableError(message);
    switch (status.code()) {
      case absl::StatusCode::kDataLoss: {
        // It may have been the connection, or a server that dropped entries from its queue: once
        // more, from the last good position.
        const bool again = lost_at_ == position_;
        lost_at_ = position_;
        if (again) return absl::FailedPreconditionError(message + " (seen twice)");
        Log(LogLevel::kWarn, "binlog_damaged", {{"source", spec_.Address()}, {"why", message}});
        return absl::UnavailableError(message);
      }
      case absl::StatusCode::kOutOfRange: {
        const Clock::time_point now = Clock::now();
        if (!behind_since_) behind_since_ = now;
        return now - *behind_since_ < options_.pika_behind_max
                   ? absl::UnavailableError(message)
                   : absl::FailedPreconditionError(message);
      }
      case absl::StatusCode::kAborted:
        return OnPurged(message);
      default:
        return status;
    }
  }

  // protocol=auto: true iff the link failed because the master does not speak our protocol; the
  // next one tries the other.
  bool TryOtherProtocol(absl::StatusCode code) {
    const bool perhaps_foreign = code == absl::StatusCode::kUnavailable ||
                                 code == absl::StatusCode::kUnimplemented ||
                                 code == absl::StatusCode::kDataLoss;
    if (spec_.protocol != PikaProtocol::kAuto || !perhaps_foreign || link_->understood()) {
      return false;
    }
    if (protocol_ == pika::Protocol::kPb && link_->connected()) {
      protocol_ = pika::Protocol::kLegacy;
      return true;
    }
    // Whatever is wrong there: a Pika that can be read by pb does not need its client port.
    return std::exchange(protocol_, pika::Protocol::kPb) == pika::Protocol::kLegacy;
  }

  absl::Status OnPurged(const std::string& message) {
    if (std::exchange(copied_, true)) {
      return absl::FailedPreconditionError(
          message + "; right behind a full copy that cannot be helped by another one");
    }
    if (const absl::Status status = OpenCopy(); !status.ok()) return Annotate(status, message);
    Log(LogLevel::kWarn, "binlog_purged", {{"source", spec_.Address()}, {"why", message}});
    walk_ = false;
    phase_ = Phase::kCopying;
    return absl::OkStatus();
  }

  // ---------------------------------------------------------------- what others may see

  void Publish() {
    const Clock::time_point now = Clock::now();
    if (status_.received != read_to_) received_at_ = now;
    status_.received = read_to_;
    switch (phase_) {
      case Phase::kCopying:
        status_.state = SourceState::kCopying;
        break;
      case Phase::kWalking:
        status_.state = SourceState::kWalking;
        break;
      case Phase::kStreaming:
        status_.state = SourceState::kStreaming;
        break;
      default:
        status_.state = SourceState::kConnecting;
    }
    status_.protocol = protocol_ == pika::Protocol::kPb ? "pb" : "legacy";
    if (link_ != nullptr && status_.master_end) {
      status_.master_end = std::max(*status_.master_end, link_->received_end());
    }
    // A backlog comes without a pause; only a pause tells that there is none.
    status_.caught_up = phase_ == Phase::kStreaming && read_to_ >= status_.master_end &&
                        now - received_at_ >= kQuietAfter;
    if (status_.caught_up) status_.current_at_ms = UnixMs();
    if (copy_ != nullptr) status_.copy = copy_->status();
    status_.unknown_commands = unknown_commands_ + (writer_ ? writer_->unknown_commands() : 0);
    status_.filtered = filtered_ + (writer_ ? writer_->filtered() : 0);
    WatchFilters(now);
    MutexLock lock(mu_);
    const PikaPosition ledgered = published_.ledgered;
    published_ = status_;
    published_.ledgered = ledgered;
  }

  // What is dropped moves no checkpoint.
  void WatchFilters(Clock::time_point now) {
    const int64_t events = status_.binlog_events + status_.snapshot_events;
    if (std::exchange(events_seen_, events) != events) filtered_seen_ = status_.filtered;
    if (status_.filtered == filtered_seen_) event_at_ = now;
    if (now - event_at_ < options_.pika_filtered_after) return;
    Log(LogLevel::kWarn, "all_filtered",
        {{"source", spec_.Address()},
         {"entries", status_.filtered - std::exchange(filtered_seen_, status_.filtered)},
         {"received", status_.received},
         {"hint",
          "nothing passes the SOURCE's filters, so the ledger's checkpoint stands still: after a "
          "restart the master must still have its binlog from there"}});
    event_at_ = now;
  }

  const PikaSpec spec_;
  const SourceOptions options_;
  pika::Protocol protocol_;  // Of link_.
  Phase phase_ = Phase::kNew;
  std::unique_ptr<pika::PikaLink> link_;  // At position_; not in kCopying.
  std::unique_ptr<pika::PikaCopy> copy_;  // From the first need on, until its files are removed.
  std::optional<pika::PikaEventWriter> writer_;
  std::vector<pika::ReceivedItem> items_;

  std::string database_;
  std::string replication_id_;
  uint64_t replication_hash_ = 0;
  PikaPosition resume_;  // Where the ledger is, until we are past it.
  PikaPosition seen_;    // The greatest that is ledgered.
  // Where to read on: the end of what was handed out, or the copy's; of the record there so many
  // commands were handed out (ReceivedItem::part).
  pika::BinlogPosition position_;
  uint64_t parts_ = 0;
  std::optional<uint64_t> logic_id_;  // Of the last entry that was handed out.
  uint64_t content_mark_ = 0;         // Of the entry that ends at position_, while not verified.
  pika::BinlogPosition read_to_;      // Where that ends.
  pika::BinlogPosition end_;          // until_end: where the master's log ended at the start.
  bool copy_asked_ = false;           // SourceOptions::full_copy has been obeyed.
  bool walk_ = false;                 // A copy is there and not walked to its end.
  bool copied_ = false;               // A copy was made, and no entry came since.
  bool ended_ = false;
  bool unknown_named_ = false;
  std::optional<pika::BinlogPosition> lost_at_;
  std::optional<Clock::time_point> behind_since_;

  SourceStatus status_;
  Clock::time_point received_at_;
  int64_t unknown_commands_ = 0;  // Of earlier writers.
  int64_t filtered_ = 0;
  int64_t filtered_seen_ = 0;  // When something passed last, or all_filtered was logged.
  int64_t events_seen_ = 0;
  Clock::time_point event_at_;
  mutable Mutex mu_;
  SourceStatus published_ ABSL_GUARDED_BY(mu_);  // status_, and `ledgered`.
};

}  // namespace

absl::StatusOr<std::unique_ptr<Source>> OpenPikaSource(const PikaSpec& spec,
                                                       const SourceOptions& options) {
  return std::make_unique<PikaSource>(spec, options);
}

}  // namespace lockstep
