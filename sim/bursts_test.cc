#include "sim/bursts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lockstep::sim {
namespace {

using testing::AllOf;
using testing::Each;
using testing::ElementsAre;
using testing::Field;
using testing::Ge;
using testing::Le;

TEST(EqualShares, DifferByOneAtMost) { EXPECT_THAT(EqualShares(11, 3), ElementsAre(4, 4, 3)); }

TEST(RandomMerge, GivesEveryWriterItsShareInBurstsWithinTheBound) {
  Random random(1);
  const Bursts bursts = RandomMerge(random, {3'000, 10, 0, 5'990}, {.burst_max = 100});
  EXPECT_THAT(TotalsOf(bursts), ElementsAre(3'000, 10, 0, 5'990));
  EXPECT_THAT(bursts, Each(Field(&Burst::count, AllOf(Ge(1), Le(100)))));
}

TEST(RandomMerge, TheSameSeedGivesTheSameAndAnotherDoesNot) {
  const auto merge = [](uint64_t seed) {
    Random random(seed);
    return RandomMerge(random, {500, 500}, {.burst_max = 50});
  };
  EXPECT_EQ(merge(7), merge(7));
  EXPECT_NE(merge(7), merge(8));
}

TEST(RandomMerge, PrefersTheFirstWriterAsToldTo) {
  Random random(1);
  Bursts bursts =
      RandomMerge(random, {10'000, 10'000, 10'000}, {.burst_max = 1, .first_percent = 70});
  CutTail(bursts, 20'000);
  EXPECT_NEAR(static_cast<double>(TotalsOf(bursts)[0]), 7'000, 300);
}

TEST(CutTail, TakesTheLastRecordsAcrossBursts) {
  Bursts bursts = {{0, 5}, {1, 3}, {0, 2}};
  CutTail(bursts, 4);
  EXPECT_THAT(bursts, ElementsAre(Burst{0, 5}, Burst{1, 1}));
  CutTail(bursts, 6);
  EXPECT_TRUE(bursts.empty());
}

TEST(BringForward, MovesOneWritersFirstRecordsToTheFront) {
  Bursts bursts = {{0, 5}, {1, 3}, {0, 2}, {1, 4}};
  BringForward(bursts, 1, 5);
  EXPECT_THAT(bursts, ElementsAre(Burst{1, 5}, Burst{0, 5}, Burst{0, 2}, Burst{1, 2}));
}

}  // namespace
}  // namespace lockstep::sim
