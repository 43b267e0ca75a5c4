#include "sim/cache_cell.h"

#include <cstddef>
#include <vector>

#include <gtest/gtest.h>

namespace lockstep::sim {
namespace {

TEST(RunCacheCell, TheFastestOfThePassesCountsAndTheFirstIsSaidToo) {
  const CacheOrders orders =
      MakeOrders({.interleaving = Interleaving::kBursts, .records = 100, .writers = 2, .seed = 1});
  const std::vector<double> clock = {0, 7, 10, 12, 20, 24};  // 7, 2 and 4 seconds.
  size_t asked = 0;
  const auto result = RunCacheCell(
      orders, {.algorithm = CacheAlgorithm::kMain1, .buffer = CacheBuffer::kMemory}, {.passes = 3},
      {.go_on = [] { return true; }, .seconds = [&] { return clock.at(asked++); }});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(asked, clock.size());
  EXPECT_EQ(result->first_seconds, 7);
  EXPECT_EQ(result->seconds, 2);
}

}  // namespace
}  // namespace lockstep::sim
