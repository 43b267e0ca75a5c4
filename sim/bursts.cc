#include "sim/bursts.h"

#include <algorithm>
#include <numeric>

#include "common/base/check.h"

namespace lockstep::sim {
namespace {

// Place in `unfinished` of the next burst's writer.
size_t Pick(Random& random, const std::vector<int32_t>& unfinished, int64_t first_percent) {
  const size_t count = unfinished.size();
  if (count == 1) return 0;
  if (first_percent == 0) return random.Index(count);
  return random.Percent(first_percent) ? 0 : 1 + random.Index(count - 1);
}

}  // namespace

std::vector<int64_t> EqualShares(int64_t records, int64_t writers) {
  LOCKSTEP_CHECK(writers > 0, "somebody writes");
  std::vector<int64_t> shares(static_cast<size_t>(writers), records / writers);
  for (int64_t i = 0; i < records % writers; ++i) ++shares[static_cast<size_t>(i)];
  return shares;
}

Bursts RandomMerge(Random& random, const std::vector<int64_t>& totals,
                   const MergeOptions& options) {
  std::vector<int64_t> left = totals;
  std::vector<int32_t> unfinished;
  for (size_t writer = 0; writer < left.size(); ++writer) {
    if (left[writer] > 0) unfinished.push_back(static_cast<int32_t>(writer));
  }
  Bursts bursts;
  const int64_t records = std::accumulate(left.begin(), left.end(), int64_t{0});
  bursts.reserve(static_cast<size_t>(records / ((options.burst_max + 1) / 2 + 1)));
  while (!unfinished.empty()) {
    const size_t pick = Pick(random, unfinished, options.first_percent);
    const int32_t writer = unfinished[pick];
    int64_t& rest = left[static_cast<size_t>(writer)];
    const int64_t size = options.burst_max == 1 ? 1 : random.Between(1, options.burst_max);
    const int64_t count = std::min(rest, size);
    bursts.push_back({writer, static_cast<int32_t>(count)});
    rest -= count;
    if (rest == 0) unfinished.erase(unfinished.begin() + static_cast<std::ptrdiff_t>(pick));
  }
  return bursts;
}

std::vector<int64_t> TotalsOf(const Bursts& bursts) {
  std::vector<int64_t> totals;
  for (const Burst& burst : bursts) {
    const auto writer = static_cast<size_t>(burst.writer);
    if (totals.size() <= writer) totals.resize(writer + 1);
    totals[writer] += burst.count;
  }
  return totals;
}

void BringForward(Bursts& bursts, int32_t writer, int64_t count) {
  int64_t left = count;
  for (Burst& burst : bursts) {
    if (burst.writer != writer) continue;
    const int64_t taken = std::min<int64_t>(left, burst.count);
    burst.count -= static_cast<int32_t>(taken);
    left -= taken;
  }
  LOCKSTEP_CHECK(left == 0, "no more is brought forward than there is");
  std::erase_if(bursts, [](const Burst& burst) { return burst.count == 0; });
  bursts.insert(bursts.begin(), {writer, static_cast<int32_t>(count)});
}

void CutTail(Bursts& bursts, int64_t count) {
  while (count > 0) {
    LOCKSTEP_CHECK(!bursts.empty(), "no more is cut off than there is");
    const int64_t cut = std::min<int64_t>(count, bursts.back().count);
    bursts.back().count -= static_cast<int32_t>(cut);
    count -= cut;
    if (bursts.back().count == 0) bursts.pop_back();
  }
}

}  // namespace lockstep::sim
