// PlanStream reads a stream once beside the ledger, as recover would, and says what it would cost.
// It changes nothing: no gate is opened, no cursor moves, nothing is kept but sizes.
#ifndef LOCKSTEP_REORDER_PLAN_H_
#define LOCKSTEP_REORDER_PLAN_H_

#include <functional>
#include <optional>

#include "absl/status/statusor.h"

#include "common/model/ids.h"
#include "db-ledger/ledger.h"
#include "reorder/stream_reader.h"

namespace lockstep {

struct StreamPlan {
  std::optional<Position> from;  // The cursor's done.
  int64_t records = 0;           // That would be sent.
  ResequencerCounts counts = {};
  ParkingStats parking = {};
  int64_t polls = 0;
  std::optional<Waiting> missing;  // What stops it before the end, if anything does.
};

// `options.after`, `stream_id` and `epoch` are set by the caller. Reads until the heads are
// reached, or something is missing for `stall_timeout`. `buffer_bytes`: the budget beyond which
// records would be written to disk; how many bytes is right but for what is lost in chunks.
absl::StatusOr<StreamPlan> PlanStream(const StreamReaderOptions& options, Ledger& ledger,
                                      int64_t buffer_bytes, std::chrono::milliseconds stall_timeout,
                                      const std::function<bool()>& stop_requested);

}  // namespace lockstep

#endif  // LOCKSTEP_REORDER_PLAN_H_
