// Finding the gap: its cost must follow the gap, not the topic. The same 1,000 records are missing
// behind a long mirrored log and behind a short one.
#include <string>

#include "bench/program.h"
#include "bench/suites.h"
#include "bench/two_logs.h"
#include "common/base/status_macros.h"

namespace lockstep::bench {

namespace {

constexpr int64_t kMissing = 1000;

absl::StatusOr<TwoLogs> Fill(Site& site, int64_t mirrored, int64_t burst_max) {
  return FillTwoLogs(site, {.records = mirrored + kMissing,
                            .missing = kMissing,
                            .same_order = true,
                            .burst_max = burst_max});
}

// Seconds of one `gap`, the program's start included, as an operator waits for it.
absl::StatusOr<double> TimeGap(Site& site, const TwoLogs& logs) {
  const Stopwatch watch;
  LOCKSTEP_ASSIGN_OR_RETURN(const rapidjson::Document summary,
                            RunProgram({site.options().program_dir + "/lockstep-mirror-reconcile",
                                        "gap", "--topic", logs.topic, "--brokers", site.brokers(),
                                        "--ledger", logs.ledger, "--format", "json"},
                                       {0, 1}));  // 1: there is a gap.
  const double seconds = watch.Seconds();
  if (Number(summary, "gap_records") != static_cast<double>(kMissing)) {
    return absl::DataLossError("gap found " + std::to_string(Number(summary, "gap_records")) +
                               " missing records instead of " + std::to_string(kMissing));
  }
  return seconds;
}

}  // namespace

absl::Status RunReconcile(Site& site, const Report& report) {
  const int64_t small_records = site.Scale(2'000, 10'000, 10'000);
  const int64_t large_records = site.Scale(20'000, 5'000'000, 5'000'000);
  const int64_t burst_max = site.smoke() ? 500 : 10'000;
  LOCKSTEP_ASSIGN_OR_RETURN(const TwoLogs small_logs, Fill(site, small_records, burst_max));
  LOCKSTEP_ASSIGN_OR_RETURN(const TwoLogs large_logs, Fill(site, large_records, burst_max));
  LOCKSTEP_ASSIGN_OR_RETURN(const Pair pair,
                            RunPairs(
                                site.pairs(), [&] { return TimeGap(site, large_logs); },
                                [&] { return TimeGap(site, small_logs); }));
  report({.name = "reconcile/gap/5M_vs_10k",
          .value = pair.value,
          .baseline = "the same gap behind the short log",
          .baseline_value = pair.baseline,
          .unit = "s",
          .better = Better::kLower,
          .params = {{"mirrored_records", large_records},
                     {"baseline_mirrored_records", small_records},
                     {"missing_records", kMissing}}});
  site.DropTopic(small_logs.topic);
  site.DropTopic(large_logs.topic);
  return absl::OkStatus();
}

}  // namespace lockstep::bench
