// Scenario: which world is simulated and what may go wrong in it. A row of the table in
// scenario.cc; the seed decides everything within it.
#ifndef LOCKSTEP_SIM_SCENARIO_H_
#define LOCKSTEP_SIM_SCENARIO_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/model/rules.h"

namespace lockstep::sim {

enum class MirrorKind { kNone, kIdentity, kDefault };

struct Scenario {
  std::string_view name;
  std::string_view about;
  int partitions = 1;
  int producers = 2;
  int events_max = 4;  // Of each producer, in the first epoch.
  int faults_max = 4;  // Crashes, lost answers, second processes …; the site's loss is extra.
  int sites_lost = 0;  // 1: a failover; 2: and a fail-back, lost again.
  MirrorKind mirror = MirrorKind::kIdentity;
  bool payload_in_ledger = true;  // Else regenerated from the source, the same at every attempt.
  bool unordered = false;         // reinject --order=none
};

std::span<const Scenario> AllScenarios();
// Null: there is none of that name.
const Scenario* FindScenario(std::string_view name);

// Bugs of the simulated parts and of their use, to see that the checks notice.
struct Plants {
  bool reply_before_flush = false;  // A commit is called durable before the standby has it.
  bool mirror_skips = false;        // The mirror loses a record in the middle.
  bool effect_twice = false;        // A gate process sends an effect twice.
  bool source_told_early = false;   // The source is told at the delivery report.
  bool reinject_loses = false;      // The re-injection drops a record of its plan.
};

// One thing switched off (a rule) or planted (a bug).
struct Break {
  std::string_view name;
  std::string_view about;
  std::string_view shows;  // What the violation it is there for says; others may come first.
  bool Rules::*rule = nullptr;
  bool Plants::*plant = nullptr;
  std::string_view scenario = "";  // Where it shows soonest; empty: anywhere.
};

std::span<const Break> AllBreaks();
const Break* FindBreak(std::string_view name);

}  // namespace lockstep::sim

#endif  // LOCKSTEP_SIM_SCENARIO_H_
