// The everyday check: every scenario over many seeds, and that the same seed is the same history.
#include "sim/disaster.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include <gtest/gtest.h>

#include "sim/world.h"

namespace lockstep::sim {
namespace {

TEST(DisasterTest, InvariantsHoldOverAllScenarios) {
  DisasterOptions options;
  options.seeds = 2000;
  const DisasterReport report = RunDisasters(options, [] { return true; });
  EXPECT_EQ(report.violations, 0) << report.first_violation << "\n"
                                  << absl::StrJoin(report.first_trace, "\n") << "\n"
                                  << report.replay;
  EXPECT_EQ(report.seeds, options.seeds);
}

TEST(DisasterTest, OneSeedIsOneHistory) {
  for (int64_t seed = 1; seed <= 12; ++seed) {
    const auto trace = [seed] {
      World world(ScenarioOf(seed), nullptr, static_cast<uint64_t>(seed), true);
      world.Run();
      return world.journal().trace();
    };
    EXPECT_EQ(trace(), trace());
  }
}

TEST(DisasterTest, KeepingTheTraceChangesNothing) {
  for (int64_t seed = 1; seed <= 12; ++seed) {
    const auto coverage = [seed](bool keep_trace) {
      World world(ScenarioOf(seed), nullptr, static_cast<uint64_t>(seed), keep_trace);
      world.Run();
      return world.journal().coverage();
    };
    EXPECT_EQ(coverage(false), coverage(true));
  }
}

// Each rule switched off and each bug planted is found, for what it is there for, within seeds that
// a person can wait for.
class BreakTest : public testing::TestWithParam<Break> {};

TEST_P(BreakTest, IsFound) {
  DisasterOptions options;
  options.seeds = 10'000;
  options.broken = &GetParam();
  options.wanted = GetParam().shows;
  if (!GetParam().scenario.empty()) options.scenario = FindScenario(GetParam().scenario);
  const DisasterReport report = RunDisasters(options, [] { return true; });
  EXPECT_EQ(report.violations, 1) << "not one of " << report.seeds << " seeds shows "
                                  << GetParam().shows;
  RecordProperty("seeds", static_cast<int>(report.seeds));
}

INSTANTIATE_TEST_SUITE_P(AllBreaks, BreakTest,
                         testing::ValuesIn(AllBreaks().begin(), AllBreaks().end()),
                         [](const auto& each) {
                           std::string name(each.param.name);
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace lockstep::sim
