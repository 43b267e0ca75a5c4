#include "reorder/page_size.h"

#include <gtest/gtest.h>

namespace lockstep {
namespace {

// A page of `producers`, each with `runs` of `ranges`.
StreamPage Page(int32_t producers, int64_t runs, int64_t ranges) {
  StreamPage page;
  for (int32_t producer = 1; producer <= producers; ++producer) {
    for (int64_t i = 0; i < runs; ++i) {
      Run& run = page.runs.emplace_back();
      run.producer = ProducerId(producer);
      for (int64_t range = 0; range < ranges; ++range) run.offsets.Append(Offset(2 * range));
    }
  }
  return page;
}

TEST(PageSize, BeginsSmallAndGrowsWithPlainRuns) {
  PageSize size;
  EXPECT_EQ(size.runs_per_producer(), 4);
  for (const int64_t expected : {32, 256, 1'000, 1'000}) {
    size.Saw(Page(2, size.runs_per_producer(), 1));
    EXPECT_EQ(size.runs_per_producer(), expected);
  }
}

TEST(PageSize, StaysSmallWhereRunsAreLong) {
  PageSize size;
  size.Saw(Page(2, 4, 10'000));
  EXPECT_EQ(size.runs_per_producer(), 5);
  size.Saw(Page(64, 1, 10'000));
  EXPECT_EQ(size.runs_per_producer(), 1);
}

TEST(PageSize, OneProducersPageIsNoMeasureOfAPageOfMany) {
  PageSize size;
  for (int i = 0; i < 5; ++i) size.Saw(Page(1, size.runs_per_producer(), 1), 1'000);
  EXPECT_EQ(size.runs_per_producer(), 100);
}

TEST(PageSize, APageWithoutRunsSaysNothing) {
  PageSize size;
  size.Saw(Page(2, 4, 1));
  size.Saw(Page(2, 0, 0));
  EXPECT_EQ(size.runs_per_producer(), 32);
}

}  // namespace
}  // namespace lockstep
