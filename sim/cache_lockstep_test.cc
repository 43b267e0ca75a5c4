// The shipped code in the experiments: it emits the ledger's order in every interleaving
// (RunLockstep compares each record), and the burst by burst count tells the truth about it.
#include "sim/cache_lockstep.h"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "reorder/parking/fifo_parking.h"
#include "sim/cache_merge.h"
#include "sim/memory_chunk_store.h"

namespace lockstep::sim {
namespace {

constexpr int64_t kValueBytes = 100;

absl::StatusOr<ResequencerCounts> Count(const CacheOrders& orders, ParkingBuffer& parking) {
  return RunLockstep(orders, OrdersLog(orders, kValueBytes),
                     LedgerPage(orders.ledger, orders.writers), parking, [] { return true; });
}

TEST(RunLockstep, EmitsTheLedgersOrderInEveryInterleaving) {
  for (const Interleaving interleaving :
       {Interleaving::kUniform, Interleaving::kBursts, Interleaving::kBatches,
        Interleaving::kSkewed, Interleaving::kAdversarial}) {
    for (const int64_t writers : {1, 2, 5, 64}) {
      SCOPED_TRACE(testing::Message() << ToString(interleaving) << ", " << writers << " writers");
      const CacheOrders orders = MakeOrders(
          {.interleaving = interleaving, .records = 30'001, .writers = writers, .seed = 5});
      FifoParking parking;
      const auto counts = Count(orders, parking);
      ASSERT_TRUE(counts.ok()) << counts.status();
      const MergeCounts expected = MergeByBurst(orders);
      EXPECT_EQ(counts->first_hits, expected.first_hits);
      EXPECT_EQ(counts->buffer_hits, expected.buffer_hits);
      EXPECT_EQ(parking.stats().records_peak, expected.peak);
      EXPECT_EQ(parking.stats().bytes_peak, expected.peak * ParkedBytes(kValueBytes));
    }
  }
}

TEST(RunLockstep, SpillsAboutWhatTheCountSays) {
  for (const Interleaving interleaving : {Interleaving::kBatches, Interleaving::kSkewed}) {
    for (const int64_t budget : {10'000, 50'000}) {
      SCOPED_TRACE(testing::Message() << ToString(interleaving) << ", budget " << budget);
      const CacheOrders orders =
          MakeOrders({.interleaving = interleaving, .records = 1'000'000, .seed = 5});
      MemoryChunkStore store;
      FifoParking parking({.records = budget}, store);
      const auto counts = Count(orders, parking);
      ASSERT_TRUE(counts.ok()) << counts.status();
      const auto counted = static_cast<double>(MergeByBurst(orders, budget).spilled);
      const auto spilled = static_cast<double>(parking.stats().bytes_written) /
                           static_cast<double>(ParkedBytes(kValueBytes));
      // Chunks are written whole, with what had gone out of them.
      EXPECT_NEAR(spilled, counted, 0.1 * counted);
      EXPECT_EQ(store.bytes(), 0);
    }
  }
}

// Both the one that the buffer counts while it parks, and the theorem's k·⌈N/c⌉.
TEST(RunLockstep, BoundedStaysWithinItsBudgetAndTheTheoremsBound) {
  constexpr int64_t kRecords = 100'000;
  constexpr int64_t kBudget = 4'000;
  for (const Interleaving interleaving :
       {Interleaving::kUniform, Interleaving::kBursts, Interleaving::kBatches,
        Interleaving::kSkewed, Interleaving::kAdversarial}) {
    for (const int64_t writers : {2, 5, 64}) {
      SCOPED_TRACE(testing::Message() << ToString(interleaving) << ", " << writers << " writers");
      const CacheOrders orders = MakeOrders(
          {.interleaving = interleaving, .records = kRecords, .writers = writers, .seed = 5});
      OrdersLog log(orders, kValueBytes);
      ChunkParking parking({.records = kBudget}, 1, &log);
      const auto counts = Count(orders, parking);
      ASSERT_TRUE(counts.ok()) << counts.status();
      EXPECT_EQ(counts->first_hits, MergeByBurst(orders).first_hits);
      EXPECT_TRUE(parking.premise_holds());
      EXPECT_LE(parking.stats().fetches, parking.stats().fetches_bound);
      const int64_t chunk = kBudget / (2 * writers);
      EXPECT_LE(parking.stats().fetches, writers * ((kRecords + chunk - 1) / chunk));
      EXPECT_EQ(parking.stats().fetches > 0, MergeByBurst(orders).peak > kBudget);
    }
  }
}

// The source document's two cells that fetch most, with the order that needs most.
TEST(RunLockstep, BoundedReadsTheLogOneAndAHalfTimesAtMost) {
  const CacheOrders orders = MakeOrders(
      {.interleaving = Interleaving::kSkewed, .records = 10'000'000, .writers = 2, .seed = 1});
  OrdersLog log(orders, 1);
  for (const int64_t budget : {10'000, 20'000}) {
    SCOPED_TRACE(testing::Message() << "budget " << budget);
    ChunkParking parking({.records = budget}, 1, &log);
    const auto counts = Count(orders, parking);
    ASSERT_TRUE(counts.ok()) << counts.status();
    EXPECT_GT(parking.stats().records_fetched, orders.records / 3);
    EXPECT_LE(parking.stats().records_fetched, orders.records / 2);
  }
}

TEST(OrdersLog, GivesAnyPartOnceMore) {
  const CacheOrders orders{
      .ledger = {{0, 3}, {1, 2}}, .log = {{1, 1}, {0, 3}, {1, 1}}, .records = 5, .writers = 2};
  OrdersLog log(orders, 3);
  std::vector<std::string> got;
  ASSERT_TRUE(log.Fetch(0, Offset(2), Offset(5),
                        [&](const FetchedRecord& record) {
                          got.push_back(std::string(record.header.producer) +
                                        ToString(record.header.seq) + "@" +
                                        ToString(record.view.log_offset));
                          return absl::OkStatus();
                        })
                  .ok());
  EXPECT_THAT(got, testing::ElementsAre("W02@2", "W03@3", "W12@4"));
}

TEST(RunLockstep, SaysWhenARecordIsMissing) {
  const CacheOrders orders{.ledger = {{0, 1}, {1, 2}}, .log = {{1, 2}}, .records = 3, .writers = 2};
  FifoParking parking;
  EXPECT_EQ(Count(orders, parking).status().code(), absl::StatusCode::kDataLoss);
}

TEST(RunLockstep, StopsWhenItIsTold) {
  const CacheOrders orders = MakeOrders({.records = 100'000});
  FifoParking parking;
  EXPECT_EQ(RunLockstep(orders, OrdersLog(orders, kValueBytes), LedgerPage(orders.ledger, 2),
                        parking, [] { return false; })
                .status()
                .code(),
            absl::StatusCode::kCancelled);
}

}  // namespace
}  // namespace lockstep::sim
