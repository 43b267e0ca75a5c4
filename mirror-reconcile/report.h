// How results are told, to a person and to a program.
#ifndef LOCKSTEP_MIRROR_RECONCILE_REPORT_H_
#define LOCKSTEP_MIRROR_RECONCILE_REPORT_H_

#include <string>
#include <vector>

#include "common/config/json_text.h"
#include "mirror-reconcile/failover_plan.h"
#include "mirror-reconcile/gap.h"
#include "mirror-reconcile/in_doubt.h"
#include "mirror-reconcile/reinject.h"
#include "mirror-reconcile/verify.h"

namespace lockstep {

// `pieces_max` pieces of the gap at most are spelled out.
inline constexpr size_t kPiecesTold = 100;

std::string GapJson(const Gap& gap);
std::string GapText(const Gap& gap);

std::string VerdictsJson(const StreamName& stream, const Verdicts& verdicts);
std::string VerdictsText(const StreamName& stream, const Verdicts& verdicts);

std::string GivenUpJson(const std::vector<GivenUpRecord>& records);
std::string InDoubtJson(const std::vector<InDoubtRecord>& records);
std::string InDoubtText(const std::vector<InDoubtRecord>& records);
std::string NoGoJson(const std::vector<NoGoReason>& reasons);
std::string NoGoText(const std::vector<NoGoReason>& reasons);

// After a plan, on stderr.
void SayThatNothingWasDone();

}  // namespace lockstep

#endif  // LOCKSTEP_MIRROR_RECONCILE_REPORT_H_
