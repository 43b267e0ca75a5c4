// PlanStream reads a stream once beside the ledger, as recover would, and says what each buffer
// would cost. It changes nothing: no gate is opened, no cursor moves, no disk is used. Of what
// would be spilled it keeps sizes only (16 B a record), so it takes the budget and that.
#ifndef LOCKSTEP_REORDER_PLAN_H_
#define LOCKSTEP_REORDER_PLAN_H_

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "common/model/ids.h"
#include "db-ledger/ledger.h"
#include "reorder/stream_reader.h"
#include "reorder/stream_runner.h"

namespace lockstep {

// What one buffer would do. Numbers are those of a run over the same logs; only the time is a
// guess.
struct BufferPlan {
  std::string buffer;    // `memory`, `spill`, `bounded`.
  ParkingStats parking;  // memory: all of it is in memory at the peak.
  bool premise = true;   // bounded: the budget holds a chunk for every producer.
  // The time that this reading took, and for what is written, read or fetched again what
  // kDiskBytesPerSecond and kSecondsPerFetch say.
  double estimated_seconds = 0;
};

struct StreamPlan {
  // Not OK: it could not be read to the end (CANCELLED: it was stopped); the numbers say what was
  // read until then.
  absl::Status why = {};
  std::optional<Position> from = {};  // The run begins above it; nullopt: at the first record.
  int64_t records = 0;                // That would be sent.
  ResequencerCounts counts = {};
  std::vector<BufferPlan> buffers = {};
  int64_t polls = 0;
  std::optional<Waiting> missing = {};  // What stops it before the end, if anything does.
};

inline constexpr double kDiskBytesPerSecond = 200e6;
inline constexpr double kSecondsPerFetch = 0.005;

// Above which position a run of a group with a cursor would begin; nullopt: at the first record.
// FAILED_PRECONDITION, in the run's words, where it would not begin: the group has no cursor (and
// neither the mode nor --from start makes one), or a replay would lack something.
absl::StatusOr<std::optional<Position>> PlanStart(const StreamEngineOptions& options,
                                                  StreamId stream, Ledger& ledger);

// What goes on outside while a plan is made.
struct PlanHooks {
  std::function<bool()> stop_requested;
  // Records read from the log so far, and how many are to be sent (0: not known yet); the log may
  // hold more.
  std::function<void(int64_t read, int64_t expected)> on_progress = [](int64_t, int64_t) {};
};

// `options` are those of the run, with `after`, `stream_id` and `epoch` set by the caller. Reads
// until the heads are reached, or something is missing for `stall_timeout`. `budget`: of spill and
// bounded.
StreamPlan PlanStream(StreamReaderOptions options, Ledger& ledger, const ParkingBudget& budget,
                      std::chrono::milliseconds stall_timeout, const PlanHooks& hooks);

}  // namespace lockstep

#endif  // LOCKSTEP_REORDER_PLAN_H_
