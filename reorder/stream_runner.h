// What runs one stream, whichever its mode: what it is told, what it answers, what others may look
// at meanwhile.
#ifndef LOCKSTEP_REORDER_STREAM_RUNNER_H_
#define LOCKSTEP_REORDER_STREAM_RUNNER_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"

#include "common/config/exit_code.h"
#include "common/model/ids.h"
#include "reorder/budget_share.h"
#include "reorder/buffer.h"
#include "reorder/gate.h"
#include "reorder/record_reader.h"
#include "reorder/resequencer.h"

namespace lockstep {

enum class ReorderMode { kGate, kRecover, kReplay, kPerProducer };

// Why a group without a cursor on `stream` is not let in: FAILED_PRECONDITION. Not in kGate, which
// makes one.
absl::Status NoCursorError(const std::string& group, const StreamName& stream, ReorderMode mode);

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
  // A cursor that is locked by another gate's commit, or not durable, is asked for so long before
  // it counts as not reached.
  std::chrono::milliseconds open_patience{10'000};
  // kPerProducer, what is in doubt is listed: so long without one of its records, and the rest
  // counts as gone. (A topic's end may lag behind the ledger or mirror.)
  std::chrono::milliseconds listing_patience{5'000};
  BufferOptions buffer = {};
  const BudgetShare* share = nullptr;  // If the budget changes under way; must outlive the engine.
  StreamReaderOptions reader = {};     // `stream`, `kafka`, `cluster_id`, `topics`, `foreign`.
};

// What an engine leaves to the next one of its stream: doubt that was listed and is held. As long
// as the cursor says the same there is nothing to say of it again.
struct HeldDoubt {
  StreamId stream;
  std::string place;  // Done and intent, as text.
  absl::Status why;
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
  std::vector<DoubtfulRecord> in_doubt_records =
      {};                      // Iff kept in doubt; 1,000: the first, and the last.
  bool waiting = false;        // It waited for something when it was stopped.
  std::string checksum = {};   // The sink's.
  bool held_in_doubt = false;  // It ended because what is in doubt was held, …
  bool held_before = false;    // … and had been by the engine before: it is not listed again.
  int64_t held_records = 0;    // Of in_doubt, those that were listed and held last.
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
  // Of the stream's thread alone, and of whoever starts it.
  std::optional<HeldDoubt> held_doubt = {};

  // What it sent stays; it holds nothing any more and waits for nothing.
  void EndOfStream();
};

// Of an engine that has listed what is in doubt: leaves what is held, if anything was found, to the
// next one of its stream.
void LeaveHeldDoubt(HeldDoubt doubt, bool listed_whole, StreamResult& result,
                    StreamProgress& progress);

// What a stream's thread runs.
class StreamRunner {
 public:
  using StopRequested = std::function<bool()>;

  virtual ~StreamRunner() = default;
  // Until the end, a stop, or an error. Call once.
  virtual StreamResult Run(const StopRequested& stop_requested) = 0;
};

}  // namespace lockstep

#endif  // LOCKSTEP_REORDER_STREAM_RUNNER_H_
