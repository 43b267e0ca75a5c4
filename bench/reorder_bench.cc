// Restoring the ledger's order.
//
// reorder/memory/2w: the shipped program reads a standby's log whose two writers interleave in
// another way than the ledger says, and throws the result away (`null` sink). The baseline is a raw
// consumer that reads the same log and looks at each record's header: what any consumer pays.
// reorder/engine/…: see engine_bench.cc.
#include <cstdint>
#include <string>

#include "bench/program.h"
#include "bench/raw_kafka.h"
#include "bench/suites.h"
#include "bench/two_logs.h"
#include "common/base/status_macros.h"

namespace lockstep::bench {

namespace {

absl::Status MeasureProgram(Site& site, const Report& report, int64_t value_bytes,
                            const std::string& name) {
  const int64_t records = value_bytes > 500 ? site.Scale(2'000, 500'000, 1'000'000)
                                            : site.Scale(20'000, 2'000'000, 5'000'000);
  LOCKSTEP_ASSIGN_OR_RETURN(const TwoLogs logs,
                            FillTwoLogs(site, {.records = records,
                                               .burst_max = site.smoke() ? 500 : 10'000,
                                               .value_bytes = value_bytes}));
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
                                                   "memory",
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
  report(
      {.name = name,
       .value = pair.value,
       .baseline = "raw consumer that reads the header",
       .baseline_value = pair.baseline,
       .unit = "records/s",
       .better = Better::kHigher,
       .params = {{"records", records},
                  {"value_bytes", value_bytes},
                  {"first_hits", static_cast<int64_t>(Number(summary, "first_hits"))},
                  {"buffer_hits", static_cast<int64_t>(Number(summary, "buffer_hits"))},
                  {"parked_peak_records", static_cast<int64_t>(peak_records)},
                  {"parked_peak_bytes", static_cast<int64_t>(peak_bytes)},
                  {"bytes_per_parked_record", peak_records > 0 ? peak_bytes / peak_records : 0}}});
  site.DropTopic(logs.topic);
  return absl::OkStatus();
}

}  // namespace

absl::Status RunReorder(Site& site, const Report& report) {
  LOCKSTEP_RETURN_IF_ERROR(RunEngine(site, report));
  LOCKSTEP_RETURN_IF_ERROR(MeasureProgram(site, report, 100, "reorder/memory/2w"));
  return MeasureProgram(site, report, 1000, "reorder/memory/2w/1kB");
}

}  // namespace lockstep::bench
