// EngineLoop runs one stream, on the thread that calls Run: reader → gate → sink. The engines of
// all modes are this loop; they differ in the kind of their cursor, and so in the order that their
// reader keeps and in how they start.
//
// A batch is what the reader has ready. Its intent is made durable, its effects leave, the sink
// syncs, its done goes with the next batch's intent, or alone when nothing is ready. A sink in the
// ledger's own database takes effects and cursor in one transaction instead.
//
// A stop is obeyed within `drain_timeout` of the moment it was first seen, whatever is under way: a
// sink that waits, a commit that is not durable. (Not while a write to standard output blocks: a
// pipe that nobody reads holds its stream up.)
#ifndef LOCKSTEP_REORDER_ENGINE_LOOP_H_
#define LOCKSTEP_REORDER_ENGINE_LOOP_H_

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"

#include "db-ledger/ledger.h"
#include "reorder/buffer.h"
#include "reorder/gate.h"
#include "reorder/record_reader.h"
#include "reorder/sinks/sink.h"
#include "reorder/stream_end.h"
#include "reorder/stream_runner.h"
#include "reorder/waiting_log.h"

namespace lockstep {

class EngineLoop : public StreamRunner, private SinkHost {
 public:
  StreamResult Run(const StopRequested& stop_requested) final;

 protected:
  // `ledger`, `sink` and `progress` must outlive this. Nothing else may use `ledger` meanwhile.
  EngineLoop(StreamEngineOptions options, Ledger& ledger, Sink& sink, StreamProgress& progress);

  // --- what a kind of cursor is asked, in this order

  // Takes the group's cursor; fills options_.reader.stream_id and epoch.
  virtual absl::Status OpenGate() = 0;
  // Ends what is in doubt, or says why not, having listed it.
  virtual absl::Status ResolveDoubt() = 0;
  // Where to go on.
  virtual absl::StatusOr<std::unique_ptr<RecordReader>> OpenReader() = 0;
  // Lets a batch out. REQUIRES: not empty.
  virtual absl::Status GiveOut(std::vector<ReadyRecord>& records) = 0;
  virtual bool owes_done() const = 0;
  // Commits the done that is owed, if any.
  virtual absl::Status WriteDone() = 0;
  // Whether waiting for this ends the stream after a while.
  virtual bool HasEnd(const Waiting& waiting) const;
  virtual StreamEnd EndedBy(const absl::Status& status) const;

  // --- what they share

  // An open that is not known to be durable is abandoned, its term never used (C6); a new one takes
  // a new term.
  template <class Opened>
  lockstep::Commit<Opened> OpenPatiently(const std::function<lockstep::Commit<Opened>()>& open) {
    lockstep::Commit<Opened> opened;
    for (const auto give_up = OpenBy(); true;) {
      opened = open();
      if (!MayPass(opened.outcome, opened.refusal)) return opened;
      if (!PauseBefore(give_up)) break;
    }
    result_.could_not_reach = true;
    return opened;
  }
  // Of an open that did not commit.
  absl::Status WhyNotOpened(Refusal refusal, const absl::Status& why, bool create) const;

  // Repeats a commit until its outcome is known; `gate` says what an answer means for `move`.
  // Nothing leaves meanwhile.
  template <class AnyGate, class Move, class Call>
  absl::Status Commit(AnyGate& gate, const Move& move, const Call& call) {
    return CommitRepeatedly([&](lockstep::Commit<Moved>& commit) {
      commit = call();
      return gate.Moved(move, commit);
    });
  }

  bool stop_requested() const { return (*stop_requested_)(); }

  // Adds to what is in doubt, for the operator to ask the outside with.
  void ListDoubtful(const ReadyRecord& record);
  // Clears what listing has parked. Returns what became of the doubt, `resolved`; CANCELLED if a
  // stop ended the listing: nothing is decided then, the next start lists all of it.
  absl::Status EndListing(const absl::Status& resolved, const absl::Status& listed);

  StreamEngineOptions options_;  // What OpenGate and the budget's share do not change is constant.
  Ledger* const ledger_;
  Sink* const sink_;
  StreamProgress* const progress_;
  const std::unique_ptr<Buffer> buffer_;  // Before the reader, which holds on to it.
  std::unique_ptr<RecordReader> reader_;
  StreamResult result_;
  bool listed_whole_ = false;  // The last EndListing.

 private:
  using Attempt = std::function<Gate::Answer(lockstep::Commit<Moved>&)>;

  // SinkHost.
  std::optional<std::chrono::steady_clock::time_point> StopBy() override;
  void Waits(const std::string& for_what, std::chrono::steady_clock::time_point since) override;

  absl::Status Open();
  StreamEnd Loop();
  bool Drained(std::vector<ReadyRecord>& records);
  StreamEnd End(StreamEnd end);
  absl::Status FollowBudget();
  std::optional<StreamEnd> Stalled() const;
  bool EpochIsOver();
  void NoteProgress();
  absl::Status CommitRepeatedly(const Attempt& attempt);
  std::chrono::steady_clock::time_point OpenBy() const;
  static bool MayPass(CommitOutcome outcome, Refusal refusal);
  bool PauseBefore(std::chrono::steady_clock::time_point give_up);

  const int64_t emitted_before_;  // By engines of this stream before this one.
  WaitingLog waiting_log_;
  const StopRequested* stop_requested_ = nullptr;  // Run's.
  std::atomic<bool> ending_{false};                // As if a stop had been requested.
  std::atomic<int64_t> stop_by_ms_{0};             // Steady clock; 0: no stop was seen yet.
};

}  // namespace lockstep

#endif  // LOCKSTEP_REORDER_ENGINE_LOOP_H_
