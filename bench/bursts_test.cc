#include "bench/bursts.h"

#include <numeric>

#include <gtest/gtest.h>

#include "bench/ledger_writer.h"

namespace lockstep::bench {
namespace {

int64_t Total(const std::vector<Burst>& bursts, int64_t writer) {
  return std::accumulate(bursts.begin(), bursts.end(), int64_t{0},
                         [&](int64_t sum, const Burst& burst) {
                           return burst.writer == writer ? sum + burst.count : sum;
                         });
}

TEST(RandomBursts, GivesEveryWriterItsShare) {
  std::mt19937_64 random(1);
  const std::vector<Burst> bursts = RandomBursts(random, 9'000, 3, 100);
  for (int64_t writer = 0; writer < 3; ++writer) EXPECT_EQ(Total(bursts, writer), 3'000);
  for (const Burst& burst : bursts) {
    EXPECT_GE(burst.count, 1);
    EXPECT_LE(burst.count, 100);
  }
}

TEST(RandomBursts, TheSameSeedGivesTheSameAndAnotherDoesNot) {
  const auto counts = [](uint64_t seed) {
    std::mt19937_64 random(seed);
    std::vector<int64_t> flat;
    for (const Burst& burst : RandomBursts(random, 1'000, 2, 50)) {
      flat.push_back(burst.writer * 1000 + burst.count);
    }
    return flat;
  };
  EXPECT_EQ(counts(7), counts(7));
  EXPECT_NE(counts(7), counts(8));
}

TEST(CutTail, TakesTheLastRecordsAcrossBursts) {
  std::vector<Burst> bursts = {{0, 5}, {1, 3}, {0, 2}};
  CutTail(bursts, 4);
  ASSERT_EQ(bursts.size(), 2U);
  EXPECT_EQ(bursts[1].count, 1);
  CutTail(bursts, 6);
  EXPECT_TRUE(bursts.empty());
}

TEST(BringForward, MovesOneWritersFirstRecordsToTheFront) {
  std::vector<Burst> bursts = {{0, 5}, {1, 3}, {0, 2}, {1, 4}};
  BringForward(bursts, 1, 5);
  ASSERT_EQ(bursts.size(), 4U);
  EXPECT_EQ(bursts[0].writer, 1);
  EXPECT_EQ(bursts[0].count, 5);
  EXPECT_EQ(bursts[1].count, 5);
  EXPECT_EQ(bursts[2].count, 2);
  EXPECT_EQ(bursts[3].count, 2);
}

TEST(CutRanges, KeepsOrderAndCount) {
  OffsetRanges offsets;
  for (int64_t i = 0; i < 5; ++i) offsets.Append(Offset(2 * i));
  const std::vector<OffsetRanges> pieces = CutRanges(offsets, 2);
  ASSERT_EQ(pieces.size(), 3U);
  EXPECT_EQ(pieces[0].ToString(), "{[0,1),[2,3)}");
  EXPECT_EQ(pieces[2].ToString(), "{[8,9)}");
}

}  // namespace
}  // namespace lockstep::bench
