#include "producer/wal/wal_source.h"

#include <algorithm>
#include <atomic>
#include <deque>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "common/base/check.h"
#include "common/base/mutex.h"
#include "common/base/status_macros.h"
#include "common/log/log.h"
#include "producer/pika/pika_checkpoint.h"

namespace lockstep {
namespace {

using std::chrono::milliseconds;

constexpr size_t kBatchMax = 1000;
constexpr size_t kReadBytesMax = size_t{8} << 20;
constexpr uint64_t kRemoveBytesMin = uint64_t{4} << 20;  // Less is not worth a write.
constexpr milliseconds kPollWait{100};
constexpr milliseconds kAwayPause{200};

class WalSource final : public Source {
 public:
  WalSource(std::unique_ptr<Source> source, std::unique_ptr<Wal> wal, const WalLimits& limits)
      : source_(std::move(source)), wal_(std::move(wal)), limits_(limits) {}

  ~WalSource() override {
    {
      MutexLock lock(mu_);
      stop_ = true;
      changed_.NotifyAll();
    }
    if (!thread_.joinable()) return;
    thread_.join();
    TellSource();
  }

  absl::Status Start(const ResumePoint& point) override {
    if (!placed_) {
      LOCKSTEP_RETURN_IF_ERROR(Place(point));
      placed_ = true;
    }
    const absl::Status started = source_->Start(source_point_);
    // What the WAL has goes out though the source is away.
    const bool away = absl::IsUnavailable(started) && next_ < wal_->end();
    if (!started.ok() && !away) return started;
    thread_ = std::thread([this, away] { Receive(away); });
    return absl::OkStatus();
  }

  absl::Status Poll(size_t max, milliseconds timeout, std::vector<SourceEvent>& events) override {
    {
      const auto deadline = std::chrono::steady_clock::now() + timeout;
      MutexLock lock(mu_);
      while (next_ == wal_->end() && !done_) {
        const auto left = deadline - std::chrono::steady_clock::now();
        if (left.count() <= 0 || !changed_.WaitFor(mu_, left)) break;
      }
      if (next_ == wal_->end()) return done_ ? received_ : std::exchange(away_, absl::OkStatus());
    }
    LOCKSTEP_ASSIGN_OR_RETURN(next_, wal_->Read(next_, max, kReadBytesMax, events));
    if (!events.empty()) marks_.push_back({events.back().at, next_});
    return absl::OkStatus();
  }

  bool ended() const override {
    MutexLock lock(mu_);
    return done_ && received_.ok() && next_ == wal_->end();
  }

  void Acknowledge(std::string_view at, std::string_view checkpoint) override {
    uint64_t ledgered = 0;
    while (!marks_.empty() && CompareSourcePositions(marks_.front().at, at) <= 0) {
      ledgered = marks_.front().place;
      marks_.pop_front();
    }
    {
      MutexLock lock(mu_);
      told_.emplace(std::string(at), std::string(checkpoint));
      if (const auto position = pika::ParsePikaPosition(at); position.ok()) {
        ledgered_at_ = *position;
      }
      ledgered_ = std::max(ledgered_, ledgered);
      changed_.NotifyAll();
    }
    if (ledgered > limits_.keep_bytes) RemoveBelow(ledgered - limits_.keep_bytes);
  }

  std::function<std::string(const SourceEvent&)> FormatCheckpoint() const override {
    return source_->FormatCheckpoint();
  }

  std::optional<SourceStatus> Status() const override {
    std::optional<SourceStatus> status = source_->Status();
    MutexLock lock(mu_);
    if (!status) return status;
    // The source goes on behind the WAL, and hears of the ledger later.
    status->ledgered = ledgered_at_;
    status->wal_unledgered_bytes = wal_->end() - ledgered_;
    return status;
  }

 private:
  // Where Poll goes on, and where the source.
  absl::Status Place(const ResumePoint& point) {
    LOCKSTEP_ASSIGN_OR_RETURN(const pika::PikaPosition position, pika::ResumePosition(point));
    const std::string resume = ToString(position);
    {
      MutexLock lock(mu_);
      ledgered_at_ = position;
    }
    source_point_ = point;
    const std::string last = wal_->last_at();
    if (last.empty() || CompareSourcePositions(last, resume) <= 0) {
      next_ = wal_->end();
      SetLedgered(next_);
      return last == resume ? absl::OkStatus() : wal_->GoOnFrom(resume);
    }
    if (CompareSourcePositions(resume, wal_->unbroken_from()) < 0) {
      return absl::FailedPreconditionError(absl::StrCat(
          "the WAL goes on behind ", wal_->unbroken_from(), ", the ledger is only at ", resume,
          ": was the ledger restored from a backup, or is it another one? Move the WAL's directory "
          "away, and the source is read from ",
          resume));
    }
    LOCKSTEP_ASSIGN_OR_RETURN(next_, wal_->PlaceBehind(resume));
    SetLedgered(next_);
    LOCKSTEP_ASSIGN_OR_RETURN(const std::optional<WalEntry> newest, wal_->EntryBefore(wal_->end()));
    LOCKSTEP_CHECK(newest.has_value(), "what lies above unbroken_from is there");
    source_point_.checkpoint = source_->FormatCheckpoint()(newest->event);
    source_point_.floor.clear();
    Log(LogLevel::kInfo, "wal_replay",
        {{"from", resume}, {"to", last}, {"bytes", wal_->end() - next_}});
    return absl::OkStatus();
  }

  void SetLedgered(uint64_t place) {
    MutexLock lock(mu_);
    ledgered_ = place;
  }

  void RemoveBelow(uint64_t place) {
    if (place < wal_->begin() + kRemoveBytesMin) return;
    const absl::Status removed = wal_->RemoveBelow(place);
    if (!removed.ok()) Log(LogLevel::kWarn, "wal_not_shortened", {{"why", removed}});
  }

  // ---------------------------------------------------------------- the thread

  void Receive(bool away) {
    std::vector<SourceEvent> batch;
    absl::Status status = away ? StartSource() : absl::OkStatus();
    while (status.ok() && AwaitRoom()) {
      batch.clear();
      status = source_->Poll(kBatchMax, kPollWait, batch);
      if (const absl::Status appended = wal_->Append(batch); !appended.ok()) {
        status = appended;
        break;
      }
      TellSource();
      if (!batch.empty()) Wake();
      if (absl::IsUnavailable(status)) {
        if (!Pause(status)) break;
        status = absl::OkStatus();
      }
      if (source_->ended()) break;
    }
    MutexLock lock(mu_);
    received_ = std::move(status);
    done_ = true;
    changed_.NotifyAll();
  }

  // Until it is there. UNAVAILABLE: it is to stop.
  absl::Status StartSource() {
    for (;;) {
      const absl::Status status = source_->Start(source_point_);
      if (!absl::IsUnavailable(status) || !Pause(status)) return status;
    }
  }

  // False: it is to stop.
  bool AwaitRoom() {
    bool slowed = false;
    for (;;) {
      {
        MutexLock lock(mu_);
        if (stop_) return false;
        if (wal_->end() - ledgered_ < limits_.max_bytes) break;
        (void)changed_.WaitFor(mu_, kPollWait);
      }
      TellSource();
      if (!std::exchange(slowed, true)) {
        Log(LogLevel::kWarn, "wal_full",
            {{"unledgered_bytes_max", limits_.max_bytes},
             {"hint", "the source waits until the ledger has some of it"}});
      }
    }
    return true;
  }

  // False: it is to stop.
  bool Pause(const absl::Status& why) {
    MutexLock lock(mu_);
    away_ = why;
    if (!stop_) (void)changed_.WaitFor(mu_, kAwayPause);
    return !stop_;
  }

  void Wake() {
    MutexLock lock(mu_);
    changed_.NotifyAll();
  }

  void TellSource() {
    std::optional<std::pair<std::string, std::string>> told;
    {
      MutexLock lock(mu_);
      told.swap(told_);
    }
    if (told) source_->Acknowledge(told->first, told->second);
  }

  struct Mark {
    std::string at;
    uint64_t place;  // Behind it.
  };

  const std::unique_ptr<Source> source_;  // After Start: the thread's alone.
  const std::unique_ptr<Wal> wal_;
  const WalLimits limits_;

  // The caller's thread only.
  bool placed_ = false;
  ResumePoint source_point_;  // Constant once the thread is there.
  uint64_t next_ = 0;         // Where Poll goes on.
  std::deque<Mark> marks_;    // The ends of what Poll gave and the ledger has not got.

  mutable Mutex mu_;
  CondVar changed_;
  bool stop_ ABSL_GUARDED_BY(mu_) = false;
  bool done_ ABSL_GUARDED_BY(mu_) = false;  // Nothing more will be appended.
  absl::Status received_ ABSL_GUARDED_BY(mu_);
  absl::Status away_ ABSL_GUARDED_BY(mu_);  // Once.
  uint64_t ledgered_ ABSL_GUARDED_BY(mu_) = 0;
  pika::PikaPosition ledgered_at_ ABSL_GUARDED_BY(mu_);
  std::optional<std::pair<std::string, std::string>> told_ ABSL_GUARDED_BY(mu_);

  std::thread thread_;  // Last: it uses the rest.
};

}  // namespace

std::unique_ptr<Source> ReadThroughWal(std::unique_ptr<Source> source, std::unique_ptr<Wal> wal,
                                       const WalLimits& limits) {
  return std::make_unique<WalSource>(std::move(source), std::move(wal), limits);
}

}  // namespace lockstep
