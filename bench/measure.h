// What every benchmark here has in common: interleaved pairs, medians, one line a figure.
//
// A figure is worth something only beside another one taken in the same minute: each is the median
// of several runs, run in pairs with its baseline (ours, baseline, baseline, ours, …), so that a
// machine that slows down slows both.
#ifndef LOCKSTEP_BENCH_MEASURE_H_
#define LOCKSTEP_BENCH_MEASURE_H_

#include <cstdint>
#include <functional>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"

namespace lockstep::bench {

// A parameter or a part of a figure, in the order it is printed.
using Param = std::pair<std::string, std::variant<int64_t, double, std::string>>;
using Params = std::vector<Param>;

enum class Better { kHigher, kLower };

struct Figure {
  std::string name;  // As in the contract: "reorder/memory/2w".
  double value = 0;
  std::string baseline;  // What it is compared with, in words.
  double baseline_value = 0;
  std::string unit;
  Better better = Better::kHigher;
  Params params;

  // value / baseline_value; 0 if the baseline is 0.
  double ratio() const;
};

// One line, with a line end: JSON, or columns for people.
void PrintJson(const Figure& figure, std::ostream& out);
void PrintText(const Figure& figure, std::ostream& out);

// REQUIRES: !values.empty(). The mean of the middle two for an even count.
double Median(std::vector<double> values);
// The smallest value that at least `fraction` of the values do not exceed. REQUIRES:
// !values.empty()
double Quantile(std::vector<double> values, double fraction);

struct Pair {
  double value = 0;  // Medians.
  double baseline = 0;
  std::vector<double> values;
  std::vector<double> baselines;
};

// Runs `ours` and `baseline` `pairs` times each, taking turns at going first. The first error ends
// it.
absl::StatusOr<Pair> RunPairs(int pairs, const std::function<absl::StatusOr<double>()>& ours,
                              const std::function<absl::StatusOr<double>()>& baseline);

// Seconds since construction.
class Stopwatch {
 public:
  Stopwatch();
  double Seconds() const;

 private:
  int64_t start_ns_;
};

}  // namespace lockstep::bench

#endif  // LOCKSTEP_BENCH_MEASURE_H_
