// StreamEngine runs one stream: reader → gate → sink, on the thread that calls Run.
//
//   gate, recover and replay are this one engine; they differ in how they start: where the cursor
//   has to come from, and whether reading begins behind it or at the ledger's first record.
//
// A batch is what the reader has ready. Its intent is made durable, its effects leave, the sink
// syncs, its done goes with the next batch's intent, or alone when nothing is ready. A sink in the
// ledger's own database takes effects and cursor in one transaction instead.
//
// Replay gives what lies up to the cursor's done to the sink first, marked `replayed`: no intent,
// no done, the cursor stays. What lies above goes out as always.
#ifndef LOCKSTEP_REORDER_STREAM_ENGINE_H_
#define LOCKSTEP_REORDER_STREAM_ENGINE_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"

#include "common/config/exit_code.h"
#include "common/model/ids.h"
#include "db-ledger/ledger.h"
#include "reorder/budget_share.h"
#include "reorder/buffer.h"
#include "reorder/gate.h"
#include "reorder/sinks/sink.h"
#include "reorder/stream_end.h"
#include "reorder/stream_reader.h"
#include "reorder/waiting_log.h"

namespace lockstep {

enum class ReorderMode { kGate, kRecover, kReplay, kPerProducer };

struct StreamEngineOptions {
  ReorderMode mode = ReorderMode::kGate;
  std::string group = {};
  bool from_start = false;
  bool from_start_if_new = false;  // A group that has sent something goes on, whatever from_start.
  // kReplay: the first position wanted; nullopt: all, which is refused once the ledger or the log
  // has lost its start.
  std::optional<Position> replay_from = {};
  InDoubtPolicy in_doubt = InDoubtPolicy::kHold;
  bool old_gate_is_dead = false;
  bool until_end = false;
  std::chrono::milliseconds stall_timeout{30'000};
  std::chrono::milliseconds drain_timeout{30'000};
  BufferOptions buffer = {};
  const BudgetShare* share = nullptr;  // If the budget changes under way; must outlive the engine.
  StreamReaderOptions reader = {};     // `stream`, `kafka`, `cluster_id`, `topics`, `foreign`.
};

// One record that may have been sent, to ask the outside with.
struct DoubtfulRecord {
  Position position;
  std::string producer;
  Term term;
  Seq seq;
  std::string at;
  std::optional<std::string> key;
};

struct StreamResult {
  ExitCode exit_code = ExitCode::kYes;
  absl::Status why;  // Of a code other than kYes.
  int64_t emitted = 0;
  int64_t replayed = 0;  // Beside those.
  ResequencerCounts counts = {};
  ParkingStats parking = {};
  int64_t polls = 0;
  int64_t wire_bytes = 0;                   // That the buffer had fetched again.
  std::chrono::milliseconds spill_pause{};  // The longest.
  int64_t in_doubt = 0;  // Records that were in doubt at start; kept in doubt iff exit_code 3.
  std::vector<DoubtfulRecord> in_doubt_records = {};  // Iff kept in doubt; at most 1,000.
  bool waiting = false;        // It waited for something when it was stopped.
  std::string checksum = {};   // The sink's.
  bool held_in_doubt = false;  // It ended because what is in doubt was held.
  // Ledger or sink could not be reached when the stream was opened. That passes; a process that
  // ended would hand its streams to others that cannot reach it either.
  bool could_not_reach = false;
  bool epoch_is_over = false;  // It was fenced by a new epoch, not by another gate.

  // Adds what another stream, or this one at another time, counted (peaks, too: an upper bound);
  // how it ended is the later one's.
  void Add(const StreamResult& later);
};

// What other threads may look at while Run is under way.
struct StreamProgress {
  std::atomic<int64_t> emitted{0};
  std::atomic<int64_t> replayed{0};
  std::atomic<int64_t> parked_records{0};
  std::atomic<int64_t> parked_bytes{0};
  std::atomic<int64_t> spill_bytes{0};       // Taken on disk.
  std::atomic<int64_t> expected{0};          // Records up to the heads at start; 0: not known yet.
  std::atomic<int64_t> waiting_since_ms{0};  // Steady clock; 0: it does not wait.
  std::atomic<bool> ready{false};            // The gate is in office and nothing is in doubt.

  // What it sent stays; it holds nothing any more and waits for nothing.
  void EndOfStream();
};

// What a stream's thread runs.
class StreamRunner {
 public:
  using StopRequested = std::function<bool()>;

  virtual ~StreamRunner() = default;
  // Until the end, a stop, or an error. Call once.
  virtual StreamResult Run(const StopRequested& stop_requested) = 0;
};

class StreamEngine final : public StreamRunner, private SinkHost {
 public:
  // `ledger`, `sink` and `progress` must outlive this. Nothing else may use `ledger` meanwhile.
  StreamEngine(StreamEngineOptions options, Ledger& ledger, Sink& sink, StreamProgress& progress);

  // Runs until the end (until_end), a stop, or an error. Call once.
  StreamResult Run(const StopRequested& stop_requested) override;

 private:
  using Ended = StreamEnd;

  // SinkHost.
  std::optional<std::chrono::steady_clock::time_point> StopBy() override;
  void Waits(const std::string& for_what, std::chrono::steady_clock::time_point since) override;

  bool EpochIsOver();
  absl::Status OpenGate();
  absl::Status ResolveDoubt();
  absl::Status ListInDoubt();
  absl::Status OpenReader();
  Ended Loop(const StopRequested& stop_requested);
  absl::Status CheckReplay();
  bool Replaying() const;
  Ended EndedBy(const absl::Status& status) const;
  absl::Status GiveOut(std::vector<ReadyRecord>& records, const StopRequested& stop_requested);
  absl::Status Replay(std::span<ReadyRecord> records);
  absl::Status SendOut(std::span<ReadyRecord> records, const StopRequested& stop_requested);
  absl::Status LetOut(std::span<ReadyRecord> records);
  absl::Status Commit(const MoveCursorRequest& move, const StopRequested& stop_requested,
                      const std::function<lockstep::Commit<Moved>()>& call);
  absl::Status WriteDone(const StopRequested& stop_requested);
  std::optional<Ended> Stalled() const;
  void NoteWaiting();
  void NoteProgress();
  absl::Status FollowBudget();

  // Constant after construction.
  StreamEngineOptions options_;
  Ledger* const ledger_;
  Sink* const sink_;
  StreamProgress* const progress_;

  std::optional<Gate> gate_;
  std::optional<Position> replayed_to_;   // kReplay: what was given out last.
  const std::unique_ptr<Buffer> buffer_;  // Before the reader, which holds on to it.
  std::unique_ptr<StreamReader> reader_;
  StreamResult result_;
  const int64_t emitted_before_;  // By engines of this stream before this one.
  WaitingLog waiting_log_;
  const StopRequested* stop_requested_ = nullptr;  // Run's.
  std::atomic<int64_t> stop_by_ms_{0};             // Steady clock; 0: no stop was seen yet.
};

}  // namespace lockstep

#endif  // LOCKSTEP_REORDER_STREAM_ENGINE_H_
