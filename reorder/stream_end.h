// StreamEnd: how a stream's run ended, and when waiting has to end it.
#ifndef LOCKSTEP_REORDER_STREAM_END_H_
#define LOCKSTEP_REORDER_STREAM_END_H_

#include <chrono>
#include <optional>

#include "absl/status/status.h"

#include "common/config/exit_code.h"
#include "common/model/ids.h"
#include "reorder/record_reader.h"

namespace lockstep {

struct StreamEnd {  // OK and kYes: all is done.
  ExitCode exit_code = ExitCode::kYes;
  absl::Status why;
};

// The exit code for a reader's, gate's or sink's error.
ExitCode StreamExitCode(const absl::Status& status);

// Whether the stream ends because it has waited so long; nullopt: it waits on. A follower ends only
// where log and ledger contradict each other.
std::optional<StreamEnd> EndOfWaiting(const StreamName& stream, const Waiting& waiting,
                                      std::chrono::steady_clock::duration waited, bool until_end,
                                      std::chrono::milliseconds stall_timeout);

}  // namespace lockstep

#endif  // LOCKSTEP_REORDER_STREAM_END_H_
