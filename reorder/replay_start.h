// Replay's question before it gives anything out: does the ledger still have the beginning?
//
// Runs below every cursor may be pruned. A state rebuilt from what is left would lack what is gone,
// so that is refused unless the caller names a position from which all is there.
//
// Pure.
#ifndef LOCKSTEP_REORDER_REPLAY_START_H_
#define LOCKSTEP_REORDER_REPLAY_START_H_

#include <optional>

#include "absl/status/status.h"

#include "common/model/ids.h"
#include "db-ledger/ledger.h"

namespace lockstep {

// The position from which on the ledger has every record; nullopt: from the first. `first_runs` was
// read without marks and holds at least each producer's first run.
std::optional<Position> LedgerWholeFrom(const StreamPage& first_runs);

// A replay from `from` begins above this; nullopt: at the first record.
std::optional<Position> ReplayAfter(std::optional<Position> from);

// FAILED_PRECONDITION iff a replay from `from` (nullopt: the first record) would lack something, or
// begin above `done`, the last position that was sent, and so leave out what was not.
absl::Status CheckReplayStart(const StreamName& stream, const StreamPage& first_runs,
                              std::optional<Position> from, std::optional<Position> done);

}  // namespace lockstep

#endif  // LOCKSTEP_REORDER_REPLAY_START_H_
