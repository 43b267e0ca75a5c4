// Restoring the ledger's order.
//
// reorder/memory/…: the shipped program reads a standby's log whose writers interleave in another
// way than the ledger says, and throws the result away (`null` sink). The baseline is a raw
// consumer that reads the same log and looks at each record's header: what any consumer pays.
// reorder/spill/…: the same with 64 MiB for parked records. 2w: 45 % of all are parked at the peak,
// because one writer's nine tenths lie first in the log; 64w: in the order of memory/64w, whose
// writers wait for each other.
// reorder/bounded/…: as memory, with memory for 50,000 records and no disk.
// …/source_algorithm: ours against the source document's algorithm over that raw consumer.
// reorder/rss/…: the memory that the process takes at the peak, against budget + 150 MiB.
// reorder/bounded_cells/…: see RunBoundedCells.
// reorder/streams/4: four streams against one, and raw consumers the same. reorder/startup/…: until
// the first record comes out. reorder/engine/…: see engine_bench.cc.
#include <cstdint>
#include <filesystem>
#include <iostream>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"

#include "bench/program.h"
#include "bench/raw_kafka.h"
#include "bench/source_algorithm.h"
#include "bench/suites.h"
#include "bench/two_logs.h"
#include "common/base/status_macros.h"
#include "common/config/text_table.h"

namespace lockstep::bench {

namespace {

struct Case {
  std::string name;
  int64_t value_bytes = 100;
  int64_t writers = 2;
  std::string buffer = "memory";
  double ahead_share = 0;
  bool source_algorithm = false;  // Compare with it, too.
};

std::vector<std::string> ReorderCommand(const Site& site, const TwoLogs& logs,
                                        const std::vector<std::string>& more) {
  static int64_t group = 0;
  std::vector<std::string> argv = {site.options().program_dir + "/lockstep-reorder",
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
                                   logs.ledger};
  argv.insert(argv.end(), more.begin(), more.end());
  return argv;
}

// Records a second of the program, all of them into `null`; `summary` is what it said.
absl::StatusOr<double> Reorder(const Site& site, const TwoLogs& logs,
                               const std::vector<std::string>& buffer,
                               rapidjson::Document& summary) {
  std::vector<std::string> more = {"--sink", "null", "--until-end", "--format", "json"};
  more.insert(more.end(), buffer.begin(), buffer.end());
  LOCKSTEP_ASSIGN_OR_RETURN(summary, RunProgram(ReorderCommand(site, logs, more)));
  const double emitted = Number(summary, "emitted");
  if (emitted != static_cast<double>(logs.logged)) {
    return absl::DataLossError("lockstep-reorder emitted " + std::to_string(emitted) + " of " +
                               std::to_string(logs.logged));
  }
  return emitted / Number(summary, "seconds");
}

Params ParamsOf(const Case& what, int64_t records, const rapidjson::Document& summary) {
  const auto number = [&](const char* name) { return static_cast<int64_t>(Number(summary, name)); };
  const double peak = Number(summary, "parked_peak_records");
  return {{"records", records},
          {"value_bytes", what.value_bytes},
          {"first_hits", number("first_hits")},
          {"buffer_hits", number("buffer_hits")},
          {"parked_peak_records", number("parked_peak_records")},
          {"parked_peak_bytes", number("parked_peak_bytes")},
          {"spilled_bytes", number("spilled_bytes")},
          {"spill_peak_bytes", number("spill_peak_bytes")},
          {"fetches", number("fetches")},
          {"fetches_bound", number("fetches_bound")},
          {"records_fetched", number("records_fetched")},
          {"fetched_wire_bytes", number("fetched_wire_bytes")},
          {"peak_memory_bytes", number("peak_memory_bytes")},
          {"bytes_per_parked_record", peak > 0 ? Number(summary, "parked_peak_bytes") / peak : 0}};
}

// Removed at the end, whatever happened.
class SpillDirectory {
 public:
  ~SpillDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }

 private:
  const std::string path_ = std::filesystem::temp_directory_path() / "lockstep-bench-spill";
};

absl::Status MeasureProgram(Site& site, const Report& report, const Case& what) {
  if (!site.Wants(what.name)) return absl::OkStatus();
  const int64_t records = what.value_bytes > 500 ? site.Scale(2'048, 512'000, 1'024'000)
                                                 : site.Scale(20'480, 2'048'000, 10'240'000);
  LOCKSTEP_ASSIGN_OR_RETURN(const TwoLogs logs,
                            FillTwoLogs(site, {.records = records,
                                               .ahead_share = what.ahead_share,
                                               .writers = what.writers,
                                               .burst_max = site.smoke() ? 500 : 10'000,
                                               .value_bytes = what.value_bytes}));
  const SpillDirectory spill;
  const std::string in_bytes = site.smoke() ? "1MiB" : "64MiB";
  const std::string in_records = site.smoke() ? "1000records" : "50000records";
  rapidjson::Document summary;
  const auto ours = [&] {
    return Reorder(site, logs,
                   {"--buffer", what.buffer, "--buffer-memory",
                    what.buffer == "bounded" ? in_records : in_bytes, "--spill-dir", spill.path()},
                   summary);
  };
  const RawTarget target{.brokers = site.brokers(), .topic = logs.topic, .partition = 0};
  const auto per_second = [&](const absl::StatusOr<double>& seconds) -> absl::StatusOr<double> {
    if (!seconds.ok()) return seconds;
    return static_cast<double>(records) / *seconds;
  };
  LOCKSTEP_ASSIGN_OR_RETURN(const Pair pair, RunPairs(site.pairs(), ours, [&] {
                              return per_second(RawConsume(target, records));
                            }));
  if (what.buffer == "spill" && !site.smoke() && Number(summary, "spilled_bytes") == 0) {
    return absl::InternalError("lockstep-reorder did not spill");
  }
  if (what.buffer == "bounded" && Number(summary, "fetches") == 0) {
    return absl::InternalError("lockstep-reorder fetched nothing again");
  }
  Figure figure{.name = what.name,
                .value = pair.value,
                .baseline = "raw consumer that reads the header",
                .baseline_value = pair.baseline,
                .unit = "records/s",
                .better = Better::kHigher,
                .params = ParamsOf(what, records, summary)};
  report(figure);
  if (what.source_algorithm) {
    LOCKSTEP_ASSIGN_OR_RETURN(
        const Pair other, RunPairs(site.pairs(), ours, [&] {
          return per_second(ConsumeBySourceAlgorithm(target, logs.order, what.writers));
        }));
    figure.name += "/source_algorithm";
    figure.value = other.value;
    figure.baseline = "raw consumer, hash table of the messages that wait";
    figure.baseline_value = other.baseline;
    report(figure);
  }
  site.DropTopic(logs.topic);
  return absl::OkStatus();
}

// The memory of a process whose buffer overflows, with many writers.
absl::Status MeasureRss(Site& site, const Report& report, const std::string& buffer,
                        int64_t value_bytes) {
  constexpr int64_t kWriters = 64;
  constexpr int64_t kMebibyte = 1 << 20;
  constexpr int64_t kBudgetMebibytes = 64;
  constexpr int64_t kAllowedMebibytes = kBudgetMebibytes + 150;
  const std::string name =
      absl::StrCat("reorder/rss/", buffer, "/64w/", value_bytes == 100 ? "100B" : "1kB");
  if (!site.WantsApart(name)) return absl::OkStatus();
  const int64_t records = value_bytes > 500 ? site.Scale(2'048, 512'000, 2'048'000)
                                            : site.Scale(20'480, 2'048'000, 10'240'000);
  LOCKSTEP_ASSIGN_OR_RETURN(const TwoLogs logs,
                            FillTwoLogs(site, {.records = records,
                                               .writers = kWriters,
                                               .burst_max = site.smoke() ? 500 : 10'000,
                                               .value_bytes = value_bytes}));
  const SpillDirectory spill;
  rapidjson::Document summary;
  LOCKSTEP_RETURN_IF_ERROR(
      Reorder(site, logs,
              {"--buffer", buffer, "--buffer-memory", absl::StrCat(kBudgetMebibytes, "MiB"),
               "--spill-dir", spill.path()},
              summary)
          .status());
  const double peak = Number(summary, "peak_memory_bytes") / static_cast<double>(kMebibyte);
  report({.name = name,
          .value = peak,
          .baseline = "the budget and 150 MiB",
          .baseline_value = static_cast<double>(kAllowedMebibytes),
          .unit = "MiB",
          .better = Better::kLower,
          .params = ParamsOf({.name = name, .value_bytes = value_bytes}, records, summary)});
  site.DropTopic(logs.topic);
  if (peak > static_cast<double>(kAllowedMebibytes)) {
    return absl::InternalError(
        absl::StrCat(name, ": ", peak, " MiB are more than the budget and 150 MiB"));
  }
  return absl::OkStatus();
}

// One log of the source document's experiments with each of its cache sizes.
absl::Status MeasureBoundedCells(Site& site, const Report& report, const std::string& size,
                                 int64_t records, TextTable& table) {
  const std::string prefix = "reorder/bounded_cells/" + size + "/";
  const std::vector<int64_t> caches = {10'000, 20'000, 50'000, 100'000};
  LOCKSTEP_ASSIGN_OR_RETURN(
      const TwoLogs logs,
      FillTwoLogs(site, {.records = records, .burst_max = site.smoke() ? 500 : 10'000}));
  const absl::Cleanup dropped = [&] { site.DropTopic(logs.topic); };
  LOCKSTEP_ASSIGN_OR_RETURN(
      const double raw_seconds,
      RawConsume({.brokers = site.brokers(), .topic = logs.topic, .partition = 0}, records));
  for (const int64_t cache : caches) {
    const std::string name = absl::StrCat(prefix, cache / 1000, "k");
    if (!site.WantsApart(name)) continue;
    rapidjson::Document summary;
    const std::string budget = absl::StrCat(site.smoke() ? cache / 100 : cache, "records");
    LOCKSTEP_ASSIGN_OR_RETURN(
        const double per_second,
        Reorder(site, logs, {"--buffer", "bounded", "--buffer-memory", budget}, summary));
    const auto number = [&](const char* of) { return static_cast<int64_t>(Number(summary, of)); };
    const double share = 1 + Number(summary, "records_fetched") / static_cast<double>(records);
    Figure figure{.name = name,
                  .value = share,
                  .baseline = "times the log, as wanted",
                  .baseline_value = 1.5,
                  .unit = "x N",
                  .better = Better::kLower,
                  .params = ParamsOf({.name = name}, records, summary)};
    const double raw_share = per_second * raw_seconds / static_cast<double>(records);
    figure.params.emplace_back("of_raw_consumer", raw_share);
    report(figure);
    table.Add({WithSeparators(records), WithSeparators(cache), WithSeparators(number("fetches")),
               WithSeparators(number("fetches_bound")), ThreeDigits(share) + " x N",
               ThreeDigits(Number(summary, "fetched_wire_bytes") / 1e6),
               ThreeDigits(Number(summary, "seconds")), ThreeDigits(raw_share)});
    if (number("fetches") > number("fetches_bound")) {
      return absl::InternalError(name + ": fetched more often than fetches_bound allows");
    }
  }
  return absl::OkStatus();
}

// Records a second of raw consumers that read a topic's partitions at once, a thread each.
absl::StatusOr<double> RawConsumeAll(const Site& site, const TwoLogs& logs, int32_t partitions) {
  std::vector<absl::StatusOr<double>> seconds(static_cast<size_t>(partitions));
  const Stopwatch watch;
  std::vector<std::thread> threads;
  for (int32_t i = 0; i < partitions; ++i) {
    threads.emplace_back([&, i] {
      seconds[static_cast<size_t>(i)] =
          RawConsume({.brokers = site.brokers(), .topic = logs.topic, .partition = i},
                     logs.logged / partitions);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& one : seconds) LOCKSTEP_RETURN_IF_ERROR(one.status());
  return static_cast<double>(logs.logged) / watch.Seconds();
}

// Several streams at once against all records in one; and what the machine gives raw consumers.
absl::Status MeasureStreams(Site& site, const Report& report) {
  if (!site.Wants("reorder/streams/4")) return absl::OkStatus();
  constexpr int32_t kStreams = 4;
  TwoLogsOptions options{.records = site.Scale(20'480, 4'096'000, 20'480'000),
                         .burst_max = site.smoke() ? 500 : 10'000};
  LOCKSTEP_ASSIGN_OR_RETURN(const TwoLogs one, FillTwoLogs(site, options));
  options.partitions = kStreams;
  LOCKSTEP_ASSIGN_OR_RETURN(const TwoLogs several, FillTwoLogs(site, options));
  rapidjson::Document summary;
  const std::vector<std::string> memory = {"--buffer", "memory"};
  LOCKSTEP_ASSIGN_OR_RETURN(
      const Pair pair, RunPairs(
                           site.pairs(), [&] { return Reorder(site, several, memory, summary); },
                           [&] { return Reorder(site, one, memory, summary); }));
  report({.name = "reorder/streams/4",
          .value = pair.value,
          .baseline = "the same records in one stream",
          .baseline_value = pair.baseline,
          .unit = "records/s",
          .better = Better::kHigher,
          .params = {{"records", options.records}, {"streams", int64_t{kStreams}}}});
  LOCKSTEP_ASSIGN_OR_RETURN(
      const Pair raw, RunPairs(
                          site.pairs(), [&] { return RawConsumeAll(site, several, kStreams); },
                          [&] { return RawConsumeAll(site, one, 1); }));
  report({.name = "reorder/streams/4/raw",
          .value = raw.value,
          .baseline = "one raw consumer of the same records",
          .baseline_value = raw.baseline,
          .unit = "records/s",
          .better = Better::kHigher,
          .params = {{"records", options.records}, {"consumers", int64_t{kStreams}}}});
  site.DropTopic(one.topic);
  site.DropTopic(several.topic);
  return absl::OkStatus();
}

// From the start of the program to its first record, with all of the ledger before it. The log
// holds the beginning only: nobody waits for more of it.
absl::Status MeasureStartup(Site& site, const Report& report, const std::string& name,
                            int64_t burst_max, int64_t bursts_per_commit) {
  if (!site.Wants(name)) return absl::OkStatus();
  constexpr double kAllowedSeconds = 2;
  constexpr double kSecondsMax = 60;
  const int64_t records = site.Scale(50'000, 10'000'000, 10'000'000);
  LOCKSTEP_ASSIGN_OR_RETURN(const TwoLogs logs,
                            FillTwoLogs(site, {.records = records,
                                               .missing = records - 10'000,
                                               .same_order = true,
                                               .burst_max = burst_max,
                                               .bursts_per_commit = bursts_per_commit}));
  std::vector<double> seconds;
  for (int i = 0; i < site.pairs(); ++i) {
    LOCKSTEP_ASSIGN_OR_RETURN(
        const double one,
        SecondsToFirstOutput(
            ReorderCommand(site, logs, {"--sink", "jsonl:-", "--log-level", "warn"}), kSecondsMax));
    seconds.push_back(one);
  }
  report({.name = name,
          .value = Median(std::move(seconds)),
          .baseline = "what is allowed",
          .baseline_value = kAllowedSeconds,
          .unit = "s",
          .better = Better::kLower,
          .params = {{"records", records}, {"burst_max", burst_max}}});
  site.DropTopic(logs.topic);
  return absl::OkStatus();
}

}  // namespace

absl::Status RunBoundedCells(Site& site, const Report& report) {
  TextTable table(
      {"records", "cache", "fetches", "bound", "read", "fetched MB", "seconds", "of raw consumer"});
  bool measured = false;
  for (const auto& [size, records] :
       {std::pair<std::string, int64_t>{"1M", 1'000'000}, {"10M", 10'000'000}}) {
    const std::string prefix = "reorder/bounded_cells/" + size + "/";
    if (!site.WantsApart(prefix) && !site.options().only.starts_with(prefix)) continue;
    measured = true;
    LOCKSTEP_RETURN_IF_ERROR(
        MeasureBoundedCells(site, report, size, site.Scale(10'000, records, records), table));
  }
  if (measured) std::cerr << table.Text();  // For people; figures are on stdout.
  return absl::OkStatus();
}

absl::Status RunReorder(Site& site, const Report& report) {
  LOCKSTEP_RETURN_IF_ERROR(RunEngine(site, report));
  for (const Case& what :
       {Case{.name = "reorder/memory/2w", .source_algorithm = true},
        Case{.name = "reorder/memory/64w", .writers = 64, .source_algorithm = true},
        Case{.name = "reorder/memory/2w/1kB", .value_bytes = 1000},
        Case{.name = "reorder/spill/2w", .buffer = "spill", .ahead_share = 0.45},
        Case{.name = "reorder/spill/2w/1kB",
        .value_bytes = 1000,
        .buffer = "spill",
        .ahead_share = 0.45},
        Case{.name = "reorder/spill/64w", .writers = 64, .buffer = "spill"},
        Case{.name = "reorder/bounded/2w", .buffer = "bounded"},
        Case{.name = "reorder/bounded/64w", .writers = 64, .buffer = "bounded"}}) {
    LOCKSTEP_RETURN_IF_ERROR(MeasureProgram(site, report, what));
  }
  for (const char* const buffer : {"spill", "bounded"}) {
    for (const int64_t value_bytes : {100, 1000}) {
      LOCKSTEP_RETURN_IF_ERROR(MeasureRss(site, report, buffer, value_bytes));
    }
  }
  LOCKSTEP_RETURN_IF_ERROR(RunBoundedCells(site, report));
  LOCKSTEP_RETURN_IF_ERROR(RunSpillCompression(site, report));
  LOCKSTEP_RETURN_IF_ERROR(MeasureStreams(site, report));
  LOCKSTEP_RETURN_IF_ERROR(MeasureStartup(site, report, "reorder/startup/10M", 100, 1'000));
  return MeasureStartup(site, report, "reorder/startup/10M/alternating", 1, 10'000);
}

}  // namespace lockstep::bench
