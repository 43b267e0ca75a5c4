// The commands of lockstep-mirror-reconcile. Each prints its result (one JSON object as the last
// line with --format json) and returns the exit code; an error is the caller's to print.
#ifndef LOCKSTEP_MIRROR_RECONCILE_COMMANDS_H_
#define LOCKSTEP_MIRROR_RECONCILE_COMMANDS_H_

#include "absl/status/statusor.h"

#include "common/config/exit_code.h"
#include "mirror-reconcile/reinject.h"
#include "mirror-reconcile/session.h"

namespace lockstep {

absl::StatusOr<ExitCode> RunGap(Session& session);
absl::StatusOr<ExitCode> RunVerify(Session& session);
absl::StatusOr<ExitCode> RunReinject(Session& session);
absl::StatusOr<ExitCode> RunStatus(Session& session);
absl::StatusOr<ExitCode> RunFailover(Session& session);

struct ReinjectOutcome {
  int64_t reinjected = 0;
  std::vector<GivenUpRecord> given_up;
};
// Writes the gaps (of session.streams(), in that order) into the mirrored topic.
absl::StatusOr<ReinjectOutcome> ReinjectAll(Session& session, const std::vector<Gap>& gaps,
                                            Epoch label);

}  // namespace lockstep

#endif  // LOCKSTEP_MIRROR_RECONCILE_COMMANDS_H_
