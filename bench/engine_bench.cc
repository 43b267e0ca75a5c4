// reorder/engine/…: the reorderer's decisions alone, no Kafka, no database: what `lockstep-sim
// cache` says of them. The baseline is the obvious way, a hash table of the records that wait,
// keyed by (producer, seq), in the same program. Making the orders and the ledger's page is not
// counted, making each record on its way into the engine is. Of three passes in one process, which
// gives no memory back between them, the fastest counts, ours and the baseline's: the first one
// waits for the kernel, which clears memory never used before, and how long differs by ten from one
// minute to the next on a virtual machine.
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "bench/program.h"
#include "bench/suites.h"
#include "common/base/status_macros.h"
#include "rapidjson/document.h"

namespace lockstep::bench {
namespace {

constexpr int64_t kValueBytes = 100;
constexpr int kPasses = 3;

struct Orders {
  int64_t records = 0;
  int64_t writers = 0;
  int64_t burst_max = 0;
};

absl::StatusOr<double> RecordsPerSecond(const Site& site, const Orders& orders,
                                        const std::string& algorithm) {
  LOCKSTEP_ASSIGN_OR_RETURN(const rapidjson::Document cell,
                            RunProgram({"/usr/bin/env",
                                        "MALLOC_CONF=dirty_decay_ms:-1",
                                        site.options().program_dir + "/lockstep-sim",
                                        "cache",  //
                                        "--records",
                                        std::to_string(orders.records),  //
                                        "--writers",
                                        std::to_string(orders.writers),  //
                                        "--burst",
                                        std::to_string(orders.burst_max),
                                        "--seed",
                                        "7",  //
                                        "--algorithm",
                                        algorithm,
                                        "--buffer",
                                        "memory",
                                        "--steps",
                                        "record",  //
                                        "--passes",
                                        std::to_string(kPasses),  //
                                        "--value-bytes",
                                        std::to_string(kValueBytes),
                                        "--format",
                                        "json"}));
  return static_cast<double>(orders.records) / Number(cell, "seconds");
}

absl::Status Measure(Site& site, const Report& report, int64_t writers, const std::string& name) {
  if (!site.Wants(name)) return absl::OkStatus();
  // About the same number of bursts a writer must interleave, whatever their number.
  const Orders orders{.records = site.Scale(50'000, 4'000'000, 10'000'000),
                      .writers = writers,
                      .burst_max = site.smoke()  ? 50
                                   : writers > 2 ? 100
                                                 : 10'000};
  LOCKSTEP_ASSIGN_OR_RETURN(
      const Pair pair, RunPairs(
                           site.pairs(), [&] { return RecordsPerSecond(site, orders, "lockstep"); },
                           [&] { return RecordsPerSecond(site, orders, "main1"); }));
  report({.name = name,
          .value = pair.value,
          .baseline = "hash table of waiting records",
          .baseline_value = pair.baseline,
          .unit = "records/s",
          .better = Better::kHigher,
          .params = {{"records", orders.records},
                     {"writers", writers},
                     {"burst_max", orders.burst_max},
                     {"passes", kPasses},
                     {"value_bytes", kValueBytes}}});
  return absl::OkStatus();
}

}  // namespace

absl::Status RunEngine(Site& site, const Report& report) {
  LOCKSTEP_RETURN_IF_ERROR(Measure(site, report, 2, "reorder/engine/2w"));
  return Measure(site, report, 1000, "reorder/engine/1000w");
}

}  // namespace lockstep::bench
