// The small pieces that every record goes through, each against what one would write without them.
#include <xxhash.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include <benchmark/benchmark.h>

#include "bench/suites.h"
#include "common/model/digest.h"
#include "common/model/offset_ranges.h"
#include "common/model/record_header.h"

namespace lockstep::bench {

namespace {

constexpr char kHeaderText[] = "4/2301987/98231/payments-north";
constexpr RecordHeader kHeader{Term(4), Seq(2301987), "98231", "payments-north"};
constexpr int kRecordsPerRun = 1000;

void ParseHeader(benchmark::State& state) {
  for (auto _ : state) {
    std::string_view text = kHeaderText;
    benchmark::DoNotOptimize(text);
    benchmark::DoNotOptimize(ParseRecordHeader(text));
  }
}

void SplitHeader(benchmark::State& state) {
  for (auto _ : state) {
    absl::string_view text = kHeaderText;
    benchmark::DoNotOptimize(text);
    const std::vector<absl::string_view> fields = absl::StrSplit(text, absl::MaxSplits('/', 3));
    int64_t term = 0;
    int64_t seq = 0;
    benchmark::DoNotOptimize(absl::SimpleAtoi(fields[0], &term));
    benchmark::DoNotOptimize(absl::SimpleAtoi(fields[1], &seq));
  }
}

void FormatHeader(benchmark::State& state) {
  std::string text;
  for (auto _ : state) {
    text.clear();
    AppendRecordHeader(kHeader, text);
    benchmark::DoNotOptimize(text.data());
  }
}

void PrintHeader(benchmark::State& state) {
  char text[128];
  for (auto _ : state) {
    const int size = std::snprintf(
        text, sizeof(text), "%lld/%lld/%.*s/%.*s", static_cast<long long>(kHeader.term.value()),
        static_cast<long long>(kHeader.seq.value()), static_cast<int>(kHeader.at.size()),
        kHeader.at.data(), static_cast<int>(kHeader.producer.size()), kHeader.producer.data());
    benchmark::DoNotOptimize(size);
    benchmark::DoNotOptimize(text);
  }
}

void DigestRecord(benchmark::State& state) {
  const std::string value(100, 'v');
  RunDigest digest;
  int64_t seq = 0;
  for (auto _ : state) {
    digest.Add(kHeader.producer, kHeader.term, Seq(++seq), std::nullopt, value, {});
  }
  benchmark::DoNotOptimize(digest.Value());
}

void HashValue(benchmark::State& state) {
  const std::string value(100, 'v');
  XXH3_state_t* hash = XXH3_createState();
  XXH3_64bits_reset(hash);
  for (auto _ : state) {
    XXH3_64bits_update(hash, value.data(), value.size());
  }
  benchmark::DoNotOptimize(XXH3_64bits_digest(hash));
  XXH3_freeState(hash);
}

// Two writers taking turns in bursts of 50: what a run's offsets look like.
int64_t NextOffset(int64_t i) { return i + i / 50 * 50; }

void AppendRanges(benchmark::State& state) {
  for (auto _ : state) {
    OffsetRanges ranges;
    for (int64_t i = 0; i < kRecordsPerRun; ++i) ranges.Append(Offset(NextOffset(i)));
    benchmark::DoNotOptimize(ranges.count());
  }
  state.SetItemsProcessed(state.iterations() * kRecordsPerRun);
}

void AppendOffsets(benchmark::State& state) {
  for (auto _ : state) {
    std::vector<int64_t> offsets;
    for (int64_t i = 0; i < kRecordsPerRun; ++i) offsets.push_back(NextOffset(i));
    benchmark::DoNotOptimize(offsets.data());
  }
  state.SetItemsProcessed(state.iterations() * kRecordsPerRun);
}

struct Case {
  const char* name;
  void (*ours)(benchmark::State&);
  const char* baseline;
  void (*theirs)(benchmark::State&);
  int64_t items;  // Per iteration.
};

constexpr Case kCases[] = {
    {"micro/header/parse", ParseHeader, "StrSplit and SimpleAtoi", SplitHeader, 1},
    {"micro/header/format", FormatHeader, "snprintf", PrintHeader, 1},
    {"micro/digest/100B", DigestRecord, "XXH3 of the value alone", HashValue, 1},
    {"micro/ranges/append", AppendRanges, "vector of offsets", AppendOffsets, kRecordsPerRun},
};

// Keeps every repetition's nanoseconds per iteration by benchmark name.
class Collector : public benchmark::BenchmarkReporter {
 public:
  bool ReportContext(const Context&) override { return true; }
  void ReportRuns(const std::vector<Run>& runs) override {
    for (const Run& run : runs) {
      if (run.run_type == Run::RT_Iteration) {
        nanoseconds[run.run_name.function_name].push_back(run.GetAdjustedRealTime());
      }
    }
  }
  std::map<std::string, std::vector<double>> nanoseconds;
};

std::string TheirName(const Case& c) { return std::string(c.name) + "/baseline"; }

}  // namespace

absl::Status RunMicro(Site& site, const Report& report) {
  std::vector<std::string> arguments = {
      "lockstep-bench", "--benchmark_enable_random_interleaving=true",
      "--benchmark_repetitions=" + std::to_string(std::max(5, site.pairs())),
      std::string("--benchmark_min_time=") + (site.smoke() ? "0.002" : "0.05")};
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  int argc = static_cast<int>(argv.size());
  benchmark::Initialize(&argc, argv.data());
  for (const Case& c : kCases) {
    benchmark::RegisterBenchmark(c.name, c.ours);
    benchmark::RegisterBenchmark(TheirName(c).c_str(), c.theirs);
  }
  Collector collector;
  benchmark::RunSpecifiedBenchmarks(&collector);
  for (const Case& c : kCases) {
    const auto per_item = [&](const std::string& name) {
      return Median(collector.nanoseconds.at(name)) / static_cast<double>(c.items);
    };
    report({.name = c.name,
            .value = per_item(c.name),
            .baseline = c.baseline,
            .baseline_value = per_item(TheirName(c)),
            .unit = "ns/record",
            .better = Better::kLower,
            .params = {}});
  }
  benchmark::Shutdown();
  return absl::OkStatus();
}

}  // namespace lockstep::bench
