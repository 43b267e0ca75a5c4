#include "sim/cache_command.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <limits>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "common/base/status_macros.h"
#include "common/io/file_system.h"
#include "sim/cache_pictures.h"
#include "sim/cache_recorded.h"
#include "sim/cache_reproduce.h"

namespace lockstep::sim {
namespace {

constexpr int64_t kRecordsMax = 1'000'000'000;
constexpr int64_t kWritersMax = 100'000;

// `200000`, `200k`, `10M`.
int64_t ParseCount(const std::string& flag, std::string text) {
  int64_t unit = 1;
  if (absl::EndsWith(text, "k")) unit = 1'000;
  if (absl::EndsWith(text, "M")) unit = 1'000'000;
  if (unit > 1) text.pop_back();
  const auto number = ParseDecimal(text);
  if (!number.ok() || *number == 0 || *number > kRecordsMax / unit) {
    throw CLI::ValidationError(
        flag, absl::StrCat("not a count such as 1000, 200k or 10M, up to ", kRecordsMax));
  }
  return *number * unit;
}

std::string FormatCount(int64_t count) {
  if (count % 1'000'000 == 0 && count > 0) return absl::StrCat(count / 1'000'000, "M");
  if (count % 1'000 == 0 && count > 0) return absl::StrCat(count / 1'000, "k");
  return absl::StrCat(count);
}

CLI::Option* AddCounts(CLI::App& app, const std::string& flag, std::vector<int64_t>& values,
                       const std::string& help) {
  const std::string usual = absl::StrJoin(
      values, ",", [](std::string* out, int64_t value) { out->append(FormatCount(value)); });
  return app
      .add_option_function<std::vector<std::string>>(
          flag,
          [&values, flag](const std::vector<std::string>& texts) {
            values.clear();
            for (const std::string& text : texts) values.push_back(ParseCount(flag, text));
          },
          help)
      ->type_name("N[,N]")
      ->delimiter(',')
      ->default_str(usual);
}

CLI::Option* AddCount(CLI::App& app, const std::string& flag, int64_t& value,
                      const std::string& help) {
  return app
      .add_option_function<std::string>(
          flag, [&value, flag](const std::string& text) { value = ParseCount(flag, text); }, help)
      ->type_name("N")
      ->default_str(value > 0 ? FormatCount(value) : "");
}

template <class Value, class Parse>
void LookUp(const std::vector<std::string>& names, const std::string& flag, Parse parse,
            std::vector<Value>& values, std::vector<std::string>& complaints) {
  values.clear();
  for (const std::string& name : names) {
    const auto value = parse(name);
    if (value) {
      values.push_back(*value);
    } else {
      complaints.push_back(absl::StrCat(flag, ": no ", name, "; --help names them"));
    }
  }
}

// ---------------------------------------------------------------- running

// Runs a plan's cells one after the other and keeps what came of them.
class CellRunner {
 public:
  CellRunner(const CacheArguments& arguments, OutputFormat format, const StopRequest& stop)
      : arguments_(arguments), format_(format), stop_(stop) {}

  // CANCELLED: a stop was requested.
  absl::StatusOr<std::vector<CacheRow>> Run(const CachePlan& plan) {
    ProgressBar progress("cells", CountCells(plan));
    int64_t done = 0;
    for (const CacheExperiment& experiment : plan) {
      LOCKSTEP_ASSIGN_OR_RETURN(const CacheOrders orders, Orders(experiment.orders));
      for (const CacheCell& cell : experiment.cells) {
        progress.Update(done++);
        LOCKSTEP_RETURN_IF_ERROR(RunOne(experiment, orders, cell));
      }
    }
    return std::move(rows_);
  }
  // What there is, after an error too.
  const std::vector<CacheRow>& rows() const { return rows_; }

 private:
  absl::StatusOr<CacheOrders> Orders(const CacheOrdersOptions& options) const {
    if (options.interleaving != Interleaving::kRecorded) return MakeOrders(options);
    std::ifstream ledger(arguments_.ledger_order);
    if (!ledger) return absl::NotFoundError("cannot read " + arguments_.ledger_order);
    std::ifstream log(arguments_.log_order);
    if (!log) return absl::NotFoundError("cannot read " + arguments_.log_order);
    return ReadRecordedOrders(ledger, arguments_.ledger_order, log, arguments_.log_order);
  }

  absl::Status RunOne(const CacheExperiment& experiment, const CacheOrders& orders,
                      const CacheCell& cell) {
    const CacheDriver driver{.go_on = [this] { return !stop_.requested(); },
                             .seconds =
                                 [] {
                                   return std::chrono::duration<double>(
                                              std::chrono::steady_clock::now().time_since_epoch())
                                       .count();
                                 }};
    LOCKSTEP_ASSIGN_OR_RETURN(const CacheResult result,
                              RunCacheCell(orders, cell, experiment.settings, driver));
    rows_.push_back({.cell = cell,
                     .result = result,
                     .interleaving = std::string(ToString(experiment.orders.interleaving)),
                     .records = orders.records,
                     .writers = orders.writers,
                     .seed = experiment.orders.seed});
    if (format_ == OutputFormat::kJson) PrintJson(rows_.back());
    return absl::OkStatus();
  }

  void PrintJson(const CacheRow& row) const {
    Summary summary = CacheRowJson(row);
    const std::string source = arguments_.reproduce ? SourceFigures(row) : "";
    if (!source.empty()) summary.Add("source", source);
    summary.Print(OutputFormat::kJson);
  }

  const CacheArguments& arguments_;
  const OutputFormat format_;
  const StopRequest& stop_;
  std::vector<CacheRow> rows_;
};

void PrintText(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

std::string GridTable(const std::vector<CacheRow>& rows) {
  if (rows.empty()) return "";
  TextTable table(CacheColumns());
  for (const CacheRow& row : rows) table.Add(CacheRowText(row));
  return table.Text();
}

// ---------------------------------------------------------------- pictures

// Whether the pictures can be drawn there, asked before their cells take minutes. Makes the
// directory.
absl::Status CheckPictures(const std::string& directory) {
  const char* const remedy = "; give --svg a directory that may be written to";
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) {
    return absl::InternalError(
        absl::StrCat("cannot make ", directory, ": ", error.message(), remedy));
  }
  if (access(directory.c_str(), W_OK | X_OK) != 0) {
    return absl::InternalError(absl::StrCat("cannot write to ", directory, remedy));
  }
  std::FILE* gnuplot = popen("gnuplot -e 'set terminal svg' >/dev/null 2>&1", "r");
  if (gnuplot == nullptr || pclose(gnuplot) != 0) {
    return absl::NotFoundError(
        "--svg draws with gnuplot, and there is none here that makes SVG; on Debian: apt install "
        "gnuplot-nox");
  }
  return absl::OkStatus();
}

absl::Status Gnuplot(const CachePicture& picture, const std::string& directory) {
  const std::string path = directory + "/" + picture.file;
  std::FILE* gnuplot = popen("gnuplot", "w");
  if (gnuplot == nullptr) return absl::InternalError("cannot start gnuplot");
  const std::string script = "set output '" + path + "'\n" + picture.script;
  std::fwrite(script.data(), 1, script.size(), gnuplot);
  if (pclose(gnuplot) != 0) return absl::InternalError("gnuplot failed on " + path);
  return absl::OkStatus();
}

absl::Status Draw(const std::vector<CacheRow>& rows, const std::string& directory) {
  for (const CachePicture& picture : DrawCachePictures(rows)) {
    LOCKSTEP_RETURN_IF_ERROR(Gnuplot(picture, directory));
    std::fprintf(stderr, "wrote %s/%s\n", directory.c_str(), picture.file.c_str());
  }
  return absl::OkStatus();
}

// Runs the plan and gives its rows to `show`; a stopped one's, too, where a table can be
// unfinished.
template <class Show>
absl::Status RunAndShow(const CachePlan& plan, const CacheArguments& arguments, OutputFormat format,
                        const StopRequest& stop, Show show) {
  CellRunner runner(arguments, format, stop);
  const auto rows = runner.Run(plan);
  if (format == OutputFormat::kText) show(rows.ok() ? *rows : runner.rows());
  return rows.status();
}

absl::Status RunAll(const CacheArguments& arguments, OutputFormat format, const StopRequest& stop) {
  if (!arguments.svg_directory.empty()) {
    LOCKSTEP_RETURN_IF_ERROR(CheckPictures(arguments.svg_directory));
  }
  const uint64_t seed = arguments.grid.seed;
  const auto print = [](const std::string& text) { PrintText(text); };
  if (!arguments.reproduce && arguments.svg_directory.empty()) {
    return RunAndShow(GridPlan(arguments.grid, arguments.settings), arguments, format, stop,
                      [&](const std::vector<CacheRow>& rows) { print(GridTable(rows)); });
  }
  if (arguments.reproduce) {
    LOCKSTEP_RETURN_IF_ERROR(
        RunAndShow(ReproducePlan(seed, arguments.settings), arguments, format, stop,
                   [&](const std::vector<CacheRow>& rows) { print(ReproducedTables(rows)); }));
  }
  if (arguments.svg_directory.empty()) return absl::OkStatus();
  CellRunner runner(arguments, format, stop);
  LOCKSTEP_ASSIGN_OR_RETURN(const std::vector<CacheRow> rows,
                            runner.Run(PicturePlan(seed, arguments.settings)));
  return Draw(rows, arguments.svg_directory);
}

}  // namespace

std::vector<std::string> CacheArguments::Resolve() {
  std::vector<std::string> complaints;
  if (!ledger_order.empty() || !log_order.empty()) {
    if (ledger_order.empty() || log_order.empty()) {
      complaints.emplace_back("--ledger-order and --log-order go together");
    }
    interleavings = {"recorded"};
    grid.records = {0};
    grid.writers = {0};
  } else if (std::count(interleavings.begin(), interleavings.end(), "recorded") > 0) {
    complaints.emplace_back("--interleaving recorded needs --ledger-order and --log-order");
  }
  LookUp(interleavings, "--interleaving", ParseInterleaving, grid.interleavings, complaints);
  LookUp(algorithms, "--algorithm", ParseCacheAlgorithm, grid.algorithms, complaints);
  LookUp(buffers, "--buffer", ParseCacheBuffer, grid.buffers, complaints);
  for (const int64_t writers : grid.writers) {
    if (writers <= kWritersMax) continue;
    complaints.push_back(absl::StrCat("--writers: at most ", kWritersMax));
  }
  if (complaints.empty() && CountCells(GridPlan(grid, settings)) == 0) {
    complaints.emplace_back("none of the algorithms has any of the buffers; --help says which has");
  }
  settings.steps = steps == "record"  ? CacheSteps::kRecord
                   : steps == "burst" ? CacheSteps::kBurst
                                      : CacheSteps::kAuto;
  settings.main2_seconds_max = std::chrono::duration<double>(main2_timeout).count();
  return complaints;
}

void AddCacheFlags(Program& program, CLI::App& cache, CacheArguments& arguments) {
  constexpr char kOrder[] = "The orders";
  constexpr char kCache[] = "The caches";
  constexpr char kReady[] = "Ready-made";
  CacheGrid& grid = arguments.grid;
  AddCounts(cache, "--records", grid.records, "How many")->group(kOrder);
  AddCounts(cache, "--writers", grid.writers, "Whose records interleave")->group(kOrder);
  cache
      .add_option("--interleaving", arguments.interleavings,
                  "How they do; uniform: record by record; bursts: up to 100 in a row; batches: up "
                  "to 10,000; skewed: batches, and the log prefers one writer; adversarial: the "
                  "log in turns, the ledger one writer after the other")
      ->type_name("NAME[,NAME]")
      ->delimiter(',')
      ->default_str("batches")
      ->group(kOrder);
  AddCount(cache, "--burst", grid.burst_max, "Up to so many in a row, instead of the above")
      ->group(kOrder);
  cache
      .add_option("--skew", grid.first_percent,
                  "How many per cent of the bursts are the preferred writer's, of skewed")
      ->check(CLI::Range(1, 99))
      ->group(kOrder);
  cache.add_option("--seed", grid.seed, "The same seed gives the same orders")->group(kOrder);
  cache
      .add_option("--ledger-order", arguments.ledger_order,
                  "Recorded instead: what `lockstep-ledger order --runs` printed, …")
      ->type_name("FILE")
      ->group(kOrder);
  cache
      .add_option("--log-order", arguments.log_order,
                  "… and the standby's log in the same form; what it lacks is put at its end, as "
                  "re-injection does")
      ->type_name("FILE")
      ->group(kOrder);
  cache
      .add_option("--algorithm", arguments.algorithms,
                  "main1: the source's hash table, without a bound (memory); main2: its bounded "
                  "one, which polls again from the first record not sent (bounded); lockstep: the "
                  "shipped code; optimal: what one who knew the whole log beforehand would fetch, "
                  "in whole chunks (bounded)")
      ->type_name("NAME[,NAME]")
      ->delimiter(',')
      ->default_str("main1,main2,lockstep")
      ->group(kCache);
  cache.add_option("--buffer", arguments.buffers, "Where records wait: memory, spill, bounded")
      ->type_name("NAME[,NAME]")
      ->delimiter(',')
      ->default_str("memory,spill,bounded")
      ->group(kCache);
  AddCounts(cache, "--budget", grid.budgets, "Records that spill and bounded have room for")
      ->group(kCache);
  AddCount(cache, "--chunk", arguments.settings.chunk_records,
           "Records a chunk of optimal; default: half a writer's share of the budget, one fetch at "
           "most")
      ->group(kCache);
  AddCount(cache, "--poll", arguments.settings.poll_records, "Records that one fetch gives")
      ->group(kCache);
  AddCount(cache, "--value-bytes", arguments.settings.value_bytes, "Bytes a value")->group(kCache);
  cache
      .add_option("--steps", arguments.steps,
                  "record: each one goes through the code; burst: they are only counted; auto: by "
                  "record up to 10 million. lockstep's bounded buffer always goes by record")
      ->check(CLI::IsMember({"auto", "record", "burst"}))
      ->group(kCache);
  cache
      .add_option("--passes", arguments.settings.passes,
                  "Run each cell so often in one process; its time is the fastest one's, and "
                  "first_seconds (JSON) the first one's, which pays for memory never used before")
      ->type_name("N")
      ->check(CLI::Range(1, 100))
      ->group(kCache);
  AddCount(cache, "--main2-polls", arguments.settings.polls_max,
           "main2 stops after so many (its cell then ends with a +)")
      ->group(kCache);
  program.AddDuration(cache, "--main2-timeout", arguments.main2_timeout, "And after such a time")
      ->group(kCache);
  cache
      .add_flag("--reproduce", arguments.reproduce,
                "The source document's tables beside ours; of the flags above --seed, "
                "--value-bytes, --poll and --main2-… count")
      ->group(kReady);
  cache
      .add_option("--svg", arguments.svg_directory,
                  "Draw docs/cache-sizes.md's pictures there, with gnuplot; flags as above")
      ->type_name("DIR")
      ->group(kReady);
}

int RunCache(const CacheArguments& arguments, OutputFormat format, const StopRequest& stop) {
  return ExitWith("lockstep-sim", RunAll(arguments, format, stop));
}

}  // namespace lockstep::sim
