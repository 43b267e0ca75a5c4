// Restoring the ledger's order.
//
// reorder/memory/…: the shipped program reads a standby's log whose writers interleave in another
// way than the ledger says, and throws the result away (`null` sink). The baseline is a raw
// consumer that reads the same log and looks at each record's header: what any consumer pays.
// reorder/spill/…: the same with 64 MiB for parked records, and 45 % of all records parked at the
// peak, because one writer's nine tenths lie first in the log.
// reorder/bounded/…: as memory, with memory for 50,000 records and no disk.
// reorder/engine/…: see engine_bench.cc.
#include <cstdint>
#include <filesystem>
#include <string>
#include <system_error>

#include "absl/cleanup/cleanup.h"

#include "bench/program.h"
#include "bench/raw_kafka.h"
#include "bench/suites.h"
#include "bench/two_logs.h"
#include "common/base/status_macros.h"

namespace lockstep::bench {

namespace {

struct Case {
  std::string name;
  int64_t value_bytes = 100;
  int64_t writers = 2;
  std::string buffer = "memory";
  double ahead_share = 0;
};

absl::Status MeasureProgram(Site& site, const Report& report, const Case& what) {
  const int64_t records = what.value_bytes > 500 ? site.Scale(2'048, 512'000, 1'024'000)
                                                 : site.Scale(20'480, 2'048'000, 10'240'000);
  LOCKSTEP_ASSIGN_OR_RETURN(const TwoLogs logs,
                            FillTwoLogs(site, {.records = records,
                                               .ahead_share = what.ahead_share,
                                               .writers = what.writers,
                                               .burst_max = site.smoke() ? 500 : 10'000,
                                               .value_bytes = what.value_bytes}));
  const std::string spill_dir = std::filesystem::temp_directory_path() / "lockstep-bench-spill";
  const absl::Cleanup removed = [&] {
    std::error_code ignored;
    std::filesystem::remove_all(spill_dir, ignored);
  };
  const std::string in_bytes = site.smoke() ? "1MiB" : "64MiB";
  const std::string in_records = site.smoke() ? "1000records" : "50000records";
  rapidjson::Document summary;
  int64_t group = 0;
  const auto ours = [&]() -> absl::StatusOr<double> {
    LOCKSTEP_ASSIGN_OR_RETURN(summary, RunProgram({site.options().program_dir + "/lockstep-reorder",
                                                   "--mode",
                                                   "recover",
                                                   "--group",
                                                   "bench-" + std::to_string(++group),
                                                   "--from",
                                                   "start",
                                                   "--topic",
                                                   logs.topic,
                                                   "--brokers",
                                                   site.brokers(),
                                                   "--ledger",
                                                   logs.ledger,
                                                   "--buffer",
                                                   what.buffer,
                                                   "--buffer-memory",
                                                   what.buffer == "bounded" ? in_records : in_bytes,
                                                   "--spill-dir",
                                                   spill_dir,
                                                   "--sink",
                                                   "null",
                                                   "--until-end",
                                                   "--format",
                                                   "json"}));
    if (Number(summary, "emitted") != static_cast<double>(records)) {
      return absl::DataLossError("lockstep-reorder emitted " +
                                 std::to_string(Number(summary, "emitted")) + " of " +
                                 std::to_string(records));
    }
    return Number(summary, "emitted") / Number(summary, "seconds");
  };
  const auto baseline = [&]() -> absl::StatusOr<double> {
    LOCKSTEP_ASSIGN_OR_RETURN(
        const double seconds,
        RawConsume({.brokers = site.brokers(), .topic = logs.topic, .partition = 0}, records));
    return static_cast<double>(records) / seconds;
  };
  LOCKSTEP_ASSIGN_OR_RETURN(const Pair pair, RunPairs(site.pairs(), ours, baseline));
  const double peak_records = Number(summary, "parked_peak_records");
  const double peak_bytes = Number(summary, "parked_peak_bytes");
  if (what.buffer == "spill" && !site.smoke() && Number(summary, "spilled_bytes") == 0) {
    return absl::InternalError("lockstep-reorder did not spill");
  }
  if (what.buffer == "bounded" && Number(summary, "fetches") == 0) {
    return absl::InternalError("lockstep-reorder fetched nothing again");
  }
  report({.name = what.name,
          .value = pair.value,
          .baseline = "raw consumer that reads the header",
          .baseline_value = pair.baseline,
          .unit = "records/s",
          .better = Better::kHigher,
          .params = {
              {"records", records},
              {"value_bytes", what.value_bytes},
              {"first_hits", static_cast<int64_t>(Number(summary, "first_hits"))},
              {"buffer_hits", static_cast<int64_t>(Number(summary, "buffer_hits"))},
              {"parked_peak_records", static_cast<int64_t>(peak_records)},
              {"parked_peak_bytes", static_cast<int64_t>(peak_bytes)},
              {"spilled_bytes", static_cast<int64_t>(Number(summary, "spilled_bytes"))},
              {"spill_peak_bytes", static_cast<int64_t>(Number(summary, "spill_peak_bytes"))},
              {"fetches", static_cast<int64_t>(Number(summary, "fetches"))},
              {"fetches_bound", static_cast<int64_t>(Number(summary, "fetches_bound"))},
              {"records_fetched", static_cast<int64_t>(Number(summary, "records_fetched"))},
              {"fetched_wire_bytes", static_cast<int64_t>(Number(summary, "fetched_wire_bytes"))},
              {"peak_memory_bytes", static_cast<int64_t>(Number(summary, "peak_memory_bytes"))},
              {"bytes_per_parked_record", peak_records > 0 ? peak_bytes / peak_records : 0}}});
  site.DropTopic(logs.topic);
  return absl::OkStatus();
}

}  // namespace

absl::Status RunReorder(Site& site, const Report& report) {
  LOCKSTEP_RETURN_IF_ERROR(RunEngine(site, report));
  for (const Case& what :
       {Case{.name = "reorder/memory/2w"}, Case{.name = "reorder/memory/64w", .writers = 64},
        Case{.name = "reorder/memory/2w/1kB", .value_bytes = 1000},
        Case{.name = "reorder/spill/2w", .buffer = "spill", .ahead_share = 0.45},
        Case{.name = "reorder/spill/2w/1kB",
        .value_bytes = 1000,
        .buffer = "spill",
        .ahead_share = 0.45},
        Case{.name = "reorder/bounded/2w", .buffer = "bounded"},
        Case{.name = "reorder/bounded/64w", .writers = 64, .buffer = "bounded"}}) {
    LOCKSTEP_RETURN_IF_ERROR(MeasureProgram(site, report, what));
  }
  return absl::OkStatus();
}

}  // namespace lockstep::bench
