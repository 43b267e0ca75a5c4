#include "reorder/group_runner.h"

#include <algorithm>
#include <utility>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/log/log.h"
#include "reorder/report.h"

namespace lockstep {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kTick{20};

const char* NameOf(GroupMembership::Change::Kind kind) {
  switch (kind) {
    case GroupMembership::Change::Kind::kAssigned:
      return "stream_assigned";
    case GroupMembership::Change::Kind::kRevoked:
      return "stream_revoked";
    case GroupMembership::Change::Kind::kLost:
      return "stream_lost";
  }
  return "";
}

bool Failed(const StreamResult& result) {
  return result.exit_code != ExitCode::kYes && result.exit_code != ExitCode::kInterrupted;
}

}  // namespace

AfterEnd JudgeEnd(const StreamResult& result) {
  // A new epoch fences everybody: this process belongs to one that is over.
  if (absl::IsAborted(result.why) && !result.epoch_is_over) return AfterEnd::kReopen;
  // Somebody may say meanwhile what became of it (`lockstep-ledger cursor set`).
  if (result.held_in_doubt) return AfterEnd::kReopen;
  if (result.could_not_reach) return AfterEnd::kReopen;
  return AfterEnd::kEndProgram;
}

GroupRunner::GroupRunner(GroupRunnerOptions options, GroupMembership& membership,
                         RunStream run_stream,
                         std::vector<std::unique_ptr<StreamProgress>>& progress)
    : options_(std::move(options)),
      membership_(&membership),
      run_stream_(std::move(run_stream)),
      progress_(&progress),
      results_(options_.streams.size()) {
  LOCKSTEP_CHECK(progress.size() == options_.streams.size(), "each stream shows its progress");
  for (size_t i = 0; i < options_.streams.size(); ++i) {
    ours_.push_back(std::make_unique<std::atomic<bool>>(false));
  }
}

GroupRunner::~GroupRunner() { Reap(/*wait=*/true); }

absl::Status GroupRunner::Run(const StopRequested& stop_requested,
                              const std::function<void()>& tick) {
  absl::Status status;
  while (status.ok() && !failed_ && !stop_requested()) {
    tick();
    Reap(/*wait=*/false);
    status = ServeGroup();
    std::this_thread::sleep_for(kTick);
  }
  // Whatever is given back has been drained: the others begin where these ended.
  Reap(/*wait=*/true);
  tick();
  membership_->Leave();
  return status;
}

absl::Status GroupRunner::Ready() const {
  for (size_t i = 0; i < ours_.size(); ++i) {
    if (*ours_[i] && !(*progress_)[i]->ready) {
      return absl::UnavailableError("a gate is not open yet");
    }
  }
  return absl::OkStatus();
}

// ---------------------------------------------------------------- the group

absl::Status GroupRunner::ServeGroup() {
  // Polled also while a change waits: a member that does not poll is thrown out.
  LOCKSTEP_ASSIGN_OR_RETURN(const std::optional<Change> change, membership_->Poll());
  if (change.has_value()) LOCKSTEP_RETURN_IF_ERROR(Begin(*change));
  if (!change_.has_value() || !AllEnded(*change_)) return absl::OkStatus();
  change_.reset();
  return membership_->Accept();
}

absl::Status GroupRunner::Begin(const Change& change) {
  for (const int32_t partition : change.partitions) {
    const auto index = static_cast<size_t>(partition);
    if (index >= options_.streams.size()) continue;
    Log(LogLevel::kInfo, NameOf(change.kind),
        {{"stream", options_.streams[index]}, {"group", options_.group}});
    const auto holding = holdings_.find(partition);
    if (change.kind != Change::Kind::kAssigned && holding != holdings_.end()) {
      holding->second->stop = true;
    }
  }
  if (change.kind != Change::Kind::kAssigned) {
    change_ = change;
    return absl::OkStatus();
  }
  LOCKSTEP_RETURN_IF_ERROR(membership_->Accept());
  for (const int32_t partition : change.partitions) StartStream(partition);
  return absl::OkStatus();
}

bool GroupRunner::AllEnded(const Change& change) const {
  return std::none_of(change.partitions.begin(), change.partitions.end(),
                      [&](int32_t partition) { return holdings_.contains(partition); });
}

// ---------------------------------------------------------------- the streams

void GroupRunner::StartStream(int32_t partition) {
  const auto index = static_cast<size_t>(partition);
  if (index >= options_.streams.size()) {
    Log(LogLevel::kWarn, "partition_left_alone",
        {{"partition", partition}, {"group", options_.group}});
    return;
  }
  auto& holding = holdings_[partition];
  LOCKSTEP_CHECK(holding == nullptr, "a stream is given back before it is assigned again");
  holding = std::make_unique<Holding>();
  holding->index = index;
  (*progress_)[index]->held_doubt.reset();  // It may have been elsewhere meanwhile.
  *ours_[index] = true;
  ++held_;
  holding->thread = std::thread([this, &work = *holding] { Work(work); });
}

void GroupRunner::Work(Holding& holding) {
  const StreamName& stream = options_.streams[holding.index];
  StreamProgress& progress = *(*progress_)[holding.index];
  const StopRequested stopped = [&] { return holding.stop || stop_; };
  int fences = 0;
  while (true) {
    const StreamResult result = run_stream_(stream, progress, stopped);
    if (absl::IsAborted(result.why) && ++fences > 1) TellOfAnother(stream, fences, result.why);
    holding.result.Add(result);
    progress.EndOfStream();
    holding.failed = Failed(result) && JudgeEnd(result) == AfterEnd::kEndProgram;
    if (holding.failed || stopped() || !PauseBeforeReopening(holding, result)) break;
  }
  // What is left, or held, is the next one's; a fence says that there is a next one.
  if (!holding.failed && (holding.stop || absl::IsAborted(holding.result.why))) {
    holding.result.exit_code = ExitCode::kYes;
    holding.result.why = absl::OkStatus();
    holding.result.in_doubt_records.clear();
  }
  holding.ended = true;
}

// One fence may be of an engine on its way out. Twice, and the stream still ours: whoever takes the
// term is no member of this group, and each of the two will fence the other for ever.
void GroupRunner::TellOfAnother(const StreamName& stream, int fences,
                                const absl::Status& why) const {
  Log(LogLevel::kError, "group_name_taken",
      {{"stream", stream},
       {"group", options_.group},
       {"fences", fences},
       {"why", why},
       {"hint",
        "a process that is no member of this Kafka group has the same --group: one with "
        "--assignment all, or one on other brokers. Stop it, or give it another --group"}});
}

// False iff the stream is to stop.
bool GroupRunner::PauseBeforeReopening(const Holding& holding, const StreamResult& ended) {
  Log(ended.held_before ? LogLevel::kDebug : LogLevel::kWarn, "stream_reopens",
      {{"stream", options_.streams[holding.index]},
       {"group", options_.group},
       {"in_s", std::chrono::duration_cast<std::chrono::seconds>(options_.reopen_pause).count()},
       {"why", ended.why}});
  PrintInDoubt(options_.streams[holding.index], ended);
  const auto until = steady_clock::now() + options_.reopen_pause;
  while (!holding.stop && !stop_ && steady_clock::now() < until) std::this_thread::sleep_for(kTick);
  return !holding.stop && !stop_;
}

// Takes leave of the streams that have ended; of all of them if `wait`.
void GroupRunner::Reap(bool wait) {
  if (wait) stop_ = true;
  for (auto it = holdings_.begin(); it != holdings_.end();) {
    Holding& holding = *it->second;
    if (!wait && !holding.ended) {
      ++it;
      continue;
    }
    holding.thread.join();
    failed_ = failed_ || holding.failed;
    results_[holding.index].Add(holding.result);
    *ours_[holding.index] = false;
    --held_;
    it = holdings_.erase(it);
  }
}

}  // namespace lockstep
