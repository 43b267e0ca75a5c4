// GroupRunner runs the streams that a consumer group gives to this process, each on a thread of its
// own, for as long as they are its own. (`--assignment group`)
//
//   assigned → its engine starts        revoked → it stops: the batch under way is finished and
//   done written; only then the group may give the stream to another        lost → the same, but
//   another may have it already: the cursor's term fences whoever is the older gate.
//
// Who may send is decided by the ledger alone (I7); the group only spreads the work. So an engine
// that is fenced is no error here: its stream was given to another, which this process may learn a
// moment later. If it is still ours after a while, it was an engine on its way out that took the
// last term, and ours is opened again.
//
// Threads: Run's, which serves the group whatever the sinks do, and one a stream.
#ifndef LOCKSTEP_REORDER_GROUP_RUNNER_H_
#define LOCKSTEP_REORDER_GROUP_RUNNER_H_

#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"

#include "common/kafka/group_membership.h"
#include "common/model/ids.h"
#include "reorder/stream_engine.h"

namespace lockstep {

// What becomes of a stream whose engine has ended by itself.
enum class AfterEnd {
  kReopen,      // It is opened again after a pause, if it is still ours.
  kEndProgram,  // It would end the same way anywhere else: a person, or a supervisor, must act.
};
AfterEnd JudgeEnd(const StreamResult& result);

struct GroupRunnerOptions {
  std::string group = {};
  std::vector<StreamName> streams = {};  // By partition; others that are assigned are left alone.
  // Longer than a session takes to expire: by then a fenced member knows what it has lost.
  std::chrono::milliseconds reopen_pause{15'000};
};

class GroupRunner {
 public:
  using StopRequested = StreamEngine::StopRequested;
  // Opens one stream and runs it until its end or a stop; on the stream's thread.
  using RunStream =
      std::function<StreamResult(const StreamName&, StreamProgress&, const StopRequested&)>;

  // `membership` must outlive this. `progress` has one entry a stream of the options and outlives
  // it, too.
  GroupRunner(GroupRunnerOptions options, GroupMembership& membership, RunStream run_stream,
              std::vector<std::unique_ptr<StreamProgress>>& progress);
  ~GroupRunner();

  // Until a stop or a failure; leaves the group. `tick` is called now and then. Returns what the
  // group said if that was why it ended. Call once.
  absl::Status Run(const StopRequested& stop_requested, const std::function<void()>& tick);

  // After Run: one result a stream of the options, of all the times that it was here.
  std::vector<StreamResult> TakeResults() { return std::move(results_); }

  // Streams that run here now. Thread-safe.
  int64_t held() const { return held_; }
  // UNAVAILABLE while a stream that is ours is not open; a process with none is ready. Thread-safe.
  absl::Status Ready() const;

 private:
  using Change = GroupMembership::Change;
  struct Holding {
    size_t index = 0;  // Of the stream.
    std::atomic<bool> stop{false};
    std::atomic<bool> ended{false};
    // The thread's until `ended`.
    StreamResult result;
    bool failed = false;
    std::thread thread;
  };

  absl::Status ServeGroup();
  absl::Status Begin(const Change& change);
  bool AllEnded(const Change& change) const;
  void StartStream(int32_t partition);
  void Work(Holding& holding);
  void TellOfAnother(const StreamName& stream, int fences, const absl::Status& why) const;
  bool PauseBeforeReopening(const Holding& holding, const StreamResult& ended);
  void Reap(bool wait);

  // Constant after construction.
  const GroupRunnerOptions options_;
  GroupMembership* const membership_;
  const RunStream run_stream_;
  std::vector<std::unique_ptr<StreamProgress>>* const progress_;

  // Run's thread only.
  std::map<int32_t, std::unique_ptr<Holding>> holdings_;  // By partition.
  std::optional<Change> change_;                          // Not accepted yet.
  bool failed_ = false;
  std::vector<StreamResult> results_;

  std::atomic<bool> stop_{false};  // For all streams.
  std::atomic<int64_t> held_{0};
  std::vector<std::unique_ptr<std::atomic<bool>>> ours_;  // By stream.
};

}  // namespace lockstep

#endif  // LOCKSTEP_REORDER_GROUP_RUNNER_H_
