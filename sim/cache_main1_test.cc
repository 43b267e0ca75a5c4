#include "sim/cache_main1.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sim/cache_merge.h"

namespace lockstep::sim {
namespace {

TEST(Main1, CountsWhatABurstByBurstCountSays) {
  for (const Interleaving interleaving :
       {Interleaving::kUniform, Interleaving::kBursts, Interleaving::kBatches,
        Interleaving::kSkewed, Interleaving::kAdversarial}) {
    for (const int64_t writers : {2, 7}) {
      SCOPED_TRACE(testing::Message() << ToString(interleaving) << ", " << writers << " writers");
      const CacheOrders orders = MakeOrders({.interleaving = interleaving,
                                             .records = 20'000,
                                             .writers = writers,
                                             .burst_max = 50,
                                             .seed = 3});
      const auto counts = RunMain1(orders, 20, [] { return true; });
      ASSERT_TRUE(counts.ok()) << counts.status();
      const MergeCounts expected = MergeByBurst(orders);
      EXPECT_EQ(counts->first_hits, expected.first_hits);
      EXPECT_EQ(counts->buffer_hits, expected.buffer_hits);
      EXPECT_EQ(counts->peak_records, expected.peak);
    }
  }
}

TEST(Main1, SaysWhenRecordsAreMissing) {
  const CacheOrders orders{.ledger = {{0, 1}, {1, 2}}, .log = {{1, 2}}, .records = 3, .writers = 2};
  EXPECT_EQ(RunMain1(orders, 20, [] { return true; }).status().code(), absl::StatusCode::kDataLoss);
}

TEST(Main1, StopsWhenItIsTold) {
  const CacheOrders orders = MakeOrders({.records = 10'000});
  EXPECT_EQ(RunMain1(orders, 20, [] { return false; }).status().code(),
            absl::StatusCode::kCancelled);
}

}  // namespace
}  // namespace lockstep::sim
