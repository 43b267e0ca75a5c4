// reorder/engine/…: the reorderer's decisions alone, no Kafka, no database. The baseline is the
// obvious way, a hash table of the records that wait, keyed by (producer, seq).
#include <cstdint>
#include <string>
#include <utility>

#include "bench/suites.h"
#include "common/base/status_macros.h"
#include "reorder/parking/fifo_parking.h"
#include "sim/cache_lockstep.h"
#include "sim/cache_main1.h"

namespace lockstep::bench {

namespace {

constexpr int64_t kValueBytes = 100;

constexpr auto kGoOn = [] { return true; };

// Records a second of the shipped decisions. Copying the ledger's page is not counted.
absl::StatusOr<double> Resequence(const sim::CacheOrders& orders, const sim::OrdersLog& log,
                                  const StreamPage& ledger) {
  StreamPage page = ledger;
  FifoParking parking;
  const Stopwatch watch;
  LOCKSTEP_RETURN_IF_ERROR(sim::RunLockstep(orders, log, std::move(page), parking, kGoOn).status());
  return static_cast<double>(orders.records) / watch.Seconds();
}

// Wait in a hash table, look the next one up.
absl::StatusOr<double> RunHashTable(const sim::CacheOrders& orders) {
  const Stopwatch watch;
  LOCKSTEP_RETURN_IF_ERROR(sim::RunMain1(orders, kValueBytes, kGoOn).status());
  return static_cast<double>(orders.records) / watch.Seconds();
}

absl::Status Measure(Site& site, const Report& report, int64_t writers, const std::string& name) {
  if (!site.Wants(name)) return absl::OkStatus();
  const int64_t records = site.Scale(50'000, 1'000'000, 10'000'000) / writers * writers;
  // The same number of bursts a writer must interleave, whatever their number.
  const int64_t burst_max = site.smoke() ? 50 : writers > 2 ? 100 : 10'000;
  const sim::CacheOrders orders = sim::MakeOrders({.interleaving = sim::Interleaving::kBatches,
                                                   .records = records,
                                                   .writers = writers,
                                                   .burst_max = burst_max,
                                                   .seed = 7});
  const sim::OrdersLog log(orders, kValueBytes);
  const StreamPage ledger = sim::LedgerPage(orders.ledger, writers);
  LOCKSTEP_ASSIGN_OR_RETURN(const Pair pair,
                            RunPairs(
                                site.pairs(), [&] { return Resequence(orders, log, ledger); },
                                [&] { return RunHashTable(orders); }));
  report({.name = name,
          .value = pair.value,
          .baseline = "hash table of waiting records",
          .baseline_value = pair.baseline,
          .unit = "records/s",
          .better = Better::kHigher,
          .params = {{"records", records},
                     {"writers", writers},
                     {"burst_max", burst_max},
                     {"value_bytes", kValueBytes}}});
  return absl::OkStatus();
}

}  // namespace

absl::Status RunEngine(Site& site, const Report& report) {
  LOCKSTEP_RETURN_IF_ERROR(Measure(site, report, 2, "reorder/engine/2w"));
  return Measure(site, report, 1000, "reorder/engine/1000w");
}

}  // namespace lockstep::bench
