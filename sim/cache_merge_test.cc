#include "sim/cache_merge.h"

#include <gtest/gtest.h>

namespace lockstep::sim {
namespace {

// A and B are writers 0 and 1.
TEST(MergeByBurst, CountsWhatWaits) {
  // ledger A1-A3 B1-B2 A4; log B1-B2 A1-A4: B waits for A3, A4 for B.
  const CacheOrders orders{
      .ledger = {{0, 3}, {1, 2}, {0, 1}}, .log = {{1, 2}, {0, 4}}, .records = 6, .writers = 2};
  const MergeCounts counts = MergeByBurst(orders);
  EXPECT_EQ(counts.first_hits, 4);  // A1-A3, and A4 directly behind B2.
  EXPECT_EQ(counts.buffer_hits, 2);
  EXPECT_EQ(counts.peak, 2);
  EXPECT_EQ(counts.spilled, 0);
}

TEST(MergeByBurst, NothingWaitsInTheLedgersOwnOrder) {
  const CacheOrders orders{
      .ledger = {{0, 3}, {1, 2}}, .log = {{0, 1}, {0, 2}, {1, 2}}, .records = 5, .writers = 2};
  EXPECT_EQ(MergeByBurst(orders).first_hits, 5);
  EXPECT_EQ(MergeByBurst(orders).peak, 0);
}

TEST(MergeByBurst, AFullBudgetIsRelievedOfWhatIsNeededFurthestAhead) {
  // Ten of B wait; room for four: the newest is written whenever another one comes.
  const CacheOrders orders{
      .ledger = {{0, 1}, {1, 10}}, .log = {{1, 10}, {0, 1}}, .records = 11, .writers = 2};
  EXPECT_EQ(MergeByBurst(orders, 4).spilled, 6);
  EXPECT_EQ(MergeByBurst(orders, 10).spilled, 0);
  EXPECT_EQ(MergeByBurst(orders, 9).spilled, 1);
  EXPECT_EQ(MergeByBurst(orders, 4).peak, 10);

  // C comes first and is needed last: C goes, and B, which is next, never leaves memory.
  const CacheOrders two{.ledger = {{0, 1}, {1, 8}, {2, 8}},
                        .log = {{2, 8}, {1, 8}, {0, 1}},
                        .records = 17,
                        .writers = 3};
  EXPECT_EQ(MergeByBurst(two, 8).spilled, 8);
}

TEST(MergeByBurst, WhatWentOutOfMemoryMakesRoom) {
  // Never more than two wait at once.
  const CacheOrders orders{.ledger = {{0, 1}, {1, 2}, {0, 1}, {1, 2}},
                           .log = {{1, 2}, {0, 1}, {1, 2}, {0, 1}},
                           .records = 6,
                           .writers = 2};
  EXPECT_EQ(MergeByBurst(orders, 2).spilled, 0);
}

}  // namespace
}  // namespace lockstep::sim
