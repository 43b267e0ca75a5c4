#include "sim/cache_optimal.h"

#include <algorithm>
#include <array>
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include "sim/cache_merge.h"
#include "sim/published_cells_test.h"

namespace lockstep::sim {
namespace {

TEST(RunOptimal, DropsTheChunkThatIsNeededFurthestAhead) {
  // log [0,1] A1 A2 [2,3] B1 B2 [4,5] C1 C2, chunks of two; room for two.
  // ledger A1 B1 C1 | A2 B2 C2: C replaces B, which is needed after A.
  const CacheOrders orders{.ledger = {{0, 1}, {1, 1}, {2, 1}, {0, 1}, {1, 1}, {2, 1}},
                           .log = {{0, 2}, {1, 2}, {2, 2}},
                           .records = 6,
                           .writers = 3};
  const OptimalCounts counts = RunOptimal(orders, {.budget_records = 4, .chunk_records = 2});
  EXPECT_EQ(counts.loads, 4);  // A B C, and B again.
  EXPECT_EQ(counts.records_fetched, 8);
  EXPECT_EQ(counts.bound, 0);  // Two chunks for three writers: nothing is promised.
  EXPECT_EQ(counts.least, 3);
  EXPECT_EQ(counts.first_hits, 4);
  EXPECT_EQ(counts.buffer_hits, 2);
  EXPECT_EQ(RunOptimal(orders, {.budget_records = 6, .chunk_records = 2}).loads, 3);
}

TEST(RunOptimal, TheLastChunkMayBeShort) {
  const CacheOrders orders{.ledger = {{0, 5}}, .log = {{0, 5}}, .records = 5, .writers = 1};
  const OptimalCounts counts = RunOptimal(orders, {.budget_records = 4, .chunk_records = 2});
  EXPECT_EQ(counts.records_fetched, 5);
  EXPECT_EQ(counts.loads, 3);
  EXPECT_EQ(counts.bound, 3);
}

// Every choice of what to drop; the fewest loads.
int64_t FewestLoads(const std::vector<int>& visits, size_t at, const std::set<int>& held,
                    size_t capacity) {
  if (at == visits.size()) return 0;
  if (held.contains(visits[at])) return FewestLoads(visits, at + 1, held, capacity);
  int64_t fewest = INT64_MAX;
  std::set<int> with = held;
  with.insert(visits[at]);
  if (with.size() <= capacity) return 1 + FewestLoads(visits, at + 1, with, capacity);
  for (const int drop : held) {
    std::set<int> one = with;
    one.erase(drop);
    fewest = std::min(fewest, 1 + FewestLoads(visits, at + 1, one, capacity));
  }
  return fewest;
}

TEST(RunOptimal, NobodyWhoKeepsWholeChunksDoesBetter) {
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    // Chunks of one record: the visits are the log's offsets in the ledger's order.
    const CacheOrders orders = MakeOrders({.interleaving = Interleaving::kBursts,
                                           .records = 12,
                                           .writers = 3,
                                           .burst_max = 3,
                                           .seed = seed});
    std::array<std::vector<int>, 3> offsets;
    int offset = 0;
    for (const Burst& burst : orders.log) {
      for (int i = 0; i < burst.count; ++i) {
        offsets[static_cast<size_t>(burst.writer)].push_back(offset++ / 2);
      }
    }
    std::array<size_t, 3> next{};
    std::vector<int> visits;
    for (const Burst& burst : orders.ledger) {
      const auto writer = static_cast<size_t>(burst.writer);
      for (int i = 0; i < burst.count; ++i) visits.push_back(offsets[writer][next[writer]++]);
    }
    EXPECT_EQ(RunOptimal(orders, {.budget_records = 4, .chunk_records = 2}).loads,
              FewestLoads(visits, 0, {}, 2))
        << "seed " << seed;
  }
}

TEST(RunOptimal, StaysBetweenTheLeastAndTheBound) {
  for (const Interleaving interleaving :
       {Interleaving::kUniform, Interleaving::kBursts, Interleaving::kBatches,
        Interleaving::kSkewed, Interleaving::kAdversarial}) {
    for (const int64_t writers : {2, 3, 16, 64}) {
      for (uint64_t seed = 1; seed <= 3; ++seed) {
        SCOPED_TRACE(testing::Message()
                     << ToString(interleaving) << ", " << writers << " writers, seed " << seed);
        const CacheOrders orders = MakeOrders(
            {.interleaving = interleaving, .records = 100'000, .writers = writers, .seed = seed});
        const int64_t budget = 4'000;
        const int64_t chunk = ChunkFor(budget, writers, 1'000);
        const OptimalCounts counts =
            RunOptimal(orders, {.budget_records = budget, .chunk_records = chunk});
        EXPECT_GE(counts.loads, counts.least);
        EXPECT_LE(counts.loads, counts.bound);
        EXPECT_LE(counts.bound, writers * counts.least);
        EXPECT_LE(counts.peak_records, budget);
        EXPECT_EQ(counts.first_hits + counts.buffer_hits, orders.records);
      }
    }
  }
}

TEST(RunOptimal, TheWorstCaseLoadsEveryChunkOnceAWriter) {
  for (const int64_t writers : {2, 4, 8, 16}) {
    const CacheOrders orders = MakeOrders(
        {.interleaving = Interleaving::kAdversarial, .records = 160'000, .writers = writers});
    const OptimalCounts counts =
        RunOptimal(orders, {.budget_records = 1'000 * writers, .chunk_records = 1'000});
    EXPECT_NEAR(static_cast<double>(counts.records_fetched) / 160'000, static_cast<double>(writers),
                0.25 * static_cast<double>(writers));
    EXPECT_LE(counts.loads, counts.bound);
  }
}

TEST(ChunkFor, IsHalfAWritersShareAndOneFetchAtMost) {
  EXPECT_EQ(ChunkFor(10'000, 2, 10'000), 2'500);
  EXPECT_EQ(ChunkFor(100'000, 2, 10'000), 10'000);
  EXPECT_EQ(ChunkFor(50'000, 1'000, 10'000), 25);
  EXPECT_EQ(ChunkFor(3, 2, 10'000), 0);
}

TEST(RunOptimal, GivesThePublishedNumbers) {
  for (const PublishedCell& cell : PublishedCells()) {
    const CacheOrders orders = PublishedOrders(cell);
    EXPECT_EQ(MergeByBurst(orders).peak, cell.peak);
    for (size_t i = 0; i < kPublishedCaches.size(); ++i) {
      const int64_t cache = kPublishedCaches[i];
      SCOPED_TRACE(testing::Message() << cell.records << " records, cache " << cache);
      const OptimalCounts counts = RunOptimal(
          orders, {.budget_records = cache, .chunk_records = ChunkFor(cache, 2, 10'000)});
      EXPECT_EQ(counts.loads, cell.loads[i]);
      EXPECT_EQ(counts.bound, cell.bound[i]);
    }
  }
}

}  // namespace
}  // namespace lockstep::sim
