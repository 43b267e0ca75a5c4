// Disaster: many seeds, one report.
#ifndef LOCKSTEP_SIM_DISASTER_H_
#define LOCKSTEP_SIM_DISASTER_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "sim/journal.h"
#include "sim/scenario.h"

namespace lockstep::sim {

struct DisasterOptions {
  int64_t seeds = 2000;
  int64_t from_seed = 1;
  const Scenario* scenario = nullptr;  // Null: seeds go round over all.
  const Break* broken = nullptr;       // Null: every rule on, nothing planted.
  std::string_view wanted;  // With `broken`: go on until a violation says this. Empty: any does.
  bool trace = false;       // Keep the first seed's trace also when nothing is wrong.
};

struct DisasterReport {
  int64_t seeds = 0;  // Run; fewer than asked for after a violation with `broken`, or interrupted.
  int64_t violations = 0;
  std::optional<int64_t> first_failing_seed;
  std::string first_violation;
  std::vector<std::string> first_trace;  // Of the first failing seed (or of the first, if asked).
  std::string replay;                    // The command that runs the first failing seed again.
  Coverage coverage{};
};

// The scenario that a seed runs when none is named.
const Scenario& ScenarioOf(int64_t seed);

// Runs the seeds one after another. With `broken` it stops at the first violation. `go_on` is asked
// before every seed.
DisasterReport RunDisasters(const DisasterOptions& options, const std::function<bool()>& go_on);

// The summary: one JSON object, without a newline.
std::string SummaryJson(const DisasterOptions& options, const DisasterReport& report,
                        double seconds);

}  // namespace lockstep::sim

#endif  // LOCKSTEP_SIM_DISASTER_H_
