// PlanStream reads a stream once beside the ledger, as recover would, and says what each buffer
// would cost. It changes nothing: no gate is opened, no cursor moves, no disk is used. Of what
// would be spilled it keeps sizes only (16 B a record), so it takes the budget and that.
#ifndef LOCKSTEP_REORDER_PLAN_H_
#define LOCKSTEP_REORDER_PLAN_H_

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "common/model/ids.h"
#include "db-ledger/ledger.h"
#include "reorder/stream_reader.h"

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
  std::optional<Position> from;  // The cursor's done.
  int64_t records = 0;           // That would be sent.
  ResequencerCounts counts = {};
  std::vector<BufferPlan> buffers = {};
  int64_t polls = 0;
  std::optional<Waiting> missing;  // What stops it before the end, if anything does.
};

inline constexpr double kDiskBytesPerSecond = 200e6;
inline constexpr double kSecondsPerFetch = 0.005;

// `options` are those of the run, with `after`, `stream_id` and `epoch` set by the caller. Reads
// until the heads are reached, or something is missing for `stall_timeout`. `budget`: of spill and
// bounded.
absl::StatusOr<StreamPlan> PlanStream(StreamReaderOptions options, Ledger& ledger,
                                      const ParkingBudget& budget,
                                      std::chrono::milliseconds stall_timeout,
                                      const std::function<bool()>& stop_requested);

}  // namespace lockstep

#endif  // LOCKSTEP_REORDER_PLAN_H_
