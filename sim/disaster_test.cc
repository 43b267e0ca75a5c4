// The everyday check: every scenario over many seeds, and that the same seed is the same history.
#include "sim/disaster.h"

#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include <gtest/gtest.h>

#include "sim/world.h"

namespace lockstep::sim {
namespace {

// LOCKSTEP_SOAK_SEEDS asks for more, `ctest -L soak` sets it.
int64_t Seeds() {
  const char* soak = std::getenv("LOCKSTEP_SOAK_SEEDS");
  return soak != nullptr ? std::atoll(soak) : 2000;
}

TEST(DisasterTest, InvariantsHoldOverAllScenarios) {
  DisasterOptions options;
  options.seeds = Seeds();
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

}  // namespace
}  // namespace lockstep::sim
