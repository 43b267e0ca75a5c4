#include "sim/cache_pictures.h"

#include <functional>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"

namespace lockstep::sim {
namespace {

// A line: its title and its points. Several values at one place become their mean.
class Line {
 public:
  explicit Line(std::string title, std::string style = "linespoints")
      : title_(std::move(title)), style_(std::move(style)) {}

  void Add(int64_t x, double y) {
    Sum& sum = points_[x];
    sum.of += y;
    ++sum.count;
  }
  const std::string& title() const { return title_; }
  const std::string& style() const { return style_; }
  bool empty() const { return points_.empty(); }
  std::string Data(const std::string& name) const {
    std::string text = name + " << END\n";
    for (const auto& [x, sum] : points_) absl::StrAppend(&text, x, " ", sum.of / sum.count, "\n");
    return text + "END\n";
  }

 private:
  struct Sum {
    double of = 0;
    int count = 0;
  };
  std::string title_;
  std::string style_;
  std::map<int64_t, Sum> points_;
};

std::string Script(const std::string& title, const std::string& axes,
                   const std::vector<Line>& lines) {
  std::string script =
      "set terminal svg size 720,420 font 'sans-serif,12' background 'white'\n"
      "set key outside right top width -2\nset grid\nset format x '%.0s%c'\n";
  absl::StrAppend(&script, "set title \"", title, "\"\n", axes);
  std::string plot = "plot ";
  for (size_t i = 0; i < lines.size(); ++i) {
    const std::string name = absl::StrCat("$line", i);
    script += lines[i].Data(name);
    absl::StrAppend(&plot, i == 0 ? "" : ", ", name, " with ", lines[i].style(), " title '",
                    lines[i].title(), "'");
  }
  return script + plot + "\n";
}

using Wanted = std::function<bool(const CacheRow&)>;
using Value = std::function<double(const CacheRow&)>;

template <class Place>
Line Collect(const std::vector<CacheRow>& rows, Line line, const Wanted& wanted, Place place,
             const Value& value) {
  for (const CacheRow& row : rows) {
    if (wanted(row)) line.Add(place(row), value(row));
  }
  return line;
}

int64_t Records(const CacheRow& row) { return row.records; }
int64_t Budget(const CacheRow& row) { return row.cell.budget_records; }

CachePicture PeakByRecords(const std::vector<CacheRow>& rows) {
  std::vector<Line> lines;
  for (const std::string order : {"adversarial", "skewed", "batches", "bursts", "uniform"}) {
    lines.push_back(Collect(
        rows, Line(order),
        [&](const CacheRow& row) {
          return row.interleaving == order && row.cell.buffer == CacheBuffer::kMemory;
        },
        Records, [](const CacheRow& row) { return static_cast<double>(row.result.peak_records); }));
  }
  return {"peak-by-records.svg",
          Script("Records that wait at the peak, two writers",
                 "set logscale xy\nset format y '%.0s%c'\nset xlabel 'records'\n"
                 "set ylabel 'waiting at the peak'\n",
                 lines)};
}

CachePicture FetchesByCache(const std::vector<CacheRow>& rows) {
  std::vector<Line> lines;
  const auto add = [&](const std::string& title, const std::string& order, CacheAlgorithm algorithm,
                       int64_t CacheResult::*value, const std::string& style) {
    lines.push_back(Collect(
        rows, Line(title, style),
        [&](const CacheRow& row) {
          return row.interleaving == order && row.cell.algorithm == algorithm &&
                 row.cell.buffer == CacheBuffer::kBounded && row.finished();
        },
        Budget, [value](const CacheRow& row) { return static_cast<double>(row.result.*value); }));
  };
  add("main2, skewed", "skewed", CacheAlgorithm::kMain2, &CacheResult::polls, "linespoints");
  add("main2, batches", "batches", CacheAlgorithm::kMain2, &CacheResult::polls, "linespoints");
  add("lockstep, skewed", "skewed", CacheAlgorithm::kLockstep, &CacheResult::polls, "linespoints");
  add("lockstep, batches", "batches", CacheAlgorithm::kLockstep, &CacheResult::polls,
      "linespoints");
  add("its bound", "batches", CacheAlgorithm::kLockstep, &CacheResult::bound, "lines dt 2");
  add("the least", "batches", CacheAlgorithm::kLockstep, &CacheResult::least, "lines dt 3");
  return {"fetches-by-cache.svg",
          Script("Fetches with a bounded cache, 10 million records, two writers",
                 "set logscale xy\nset format y '%.0s%c'\nset xlabel 'cache, records'\n"
                 "set ylabel 'fetches of up to 10,000 records'\n",
                 lines)};
}

CachePicture SpillByBudget(const std::vector<CacheRow>& rows) {
  std::vector<Line> lines;
  for (const std::string order : {"skewed", "batches", "bursts"}) {
    lines.push_back(Collect(
        rows, Line(order),
        [&](const CacheRow& row) {
          return row.interleaving == order && row.cell.buffer == CacheBuffer::kSpill;
        },
        Budget,
        [](const CacheRow& row) {
          return 100 * static_cast<double>(row.result.spilled_records) /
                 static_cast<double>(row.records);
        }));
  }
  return {"spill-by-budget.svg",
          Script("Records that pass through the disk, 10 million records, two writers",
                 "set logscale x\nset xlabel 'budget, records'\nset ylabel '% of all records'\n"
                 "set yrange [0:]\n",
                 lines)};
}

}  // namespace

std::vector<CachePicture> DrawCachePictures(const std::vector<CacheRow>& rows) {
  return {PeakByRecords(rows), FetchesByCache(rows), SpillByBudget(rows)};
}

}  // namespace lockstep::sim
