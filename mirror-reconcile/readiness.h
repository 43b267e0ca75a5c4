// Readiness: would a failover to this site lose anything? The reasons against it, each with its
// cure in the message.
#ifndef LOCKSTEP_MIRROR_RECONCILE_READINESS_H_
#define LOCKSTEP_MIRROR_RECONCILE_READINESS_H_

#include <vector>

#include "absl/status/statusor.h"

#include "mirror-reconcile/failover_plan.h"
#include "mirror-reconcile/gap.h"
#include "mirror-reconcile/session.h"

namespace lockstep {

struct Readiness {
  std::vector<Gap> gaps;  // Of session.streams(), in that order.
  int64_t gap_records = 0;
  int64_t unfilled = 0;             // Records of the gap that were found to be unobtainable.
  std::vector<NoGoReason> reasons;  // Empty: go.
  std::vector<std::string> warnings;
  bool go() const { return reasons.empty(); }
};

// Finds the gaps and judges them. Of each gap at most `fetch_records_max` records are fetched and
// proved beforehand; of a larger one each producer's first and last missing runs. Re-injection
// proves every run anyway.
absl::StatusOr<Readiness> JudgeReadiness(Session& session, int64_t fetch_records_max);

}  // namespace lockstep

#endif  // LOCKSTEP_MIRROR_RECONCILE_READINESS_H_
