#include "bench/bursts.h"

#include <algorithm>

#include "common/base/check.h"

namespace lockstep::bench {

std::vector<Burst> RandomBursts(std::mt19937_64& random, int64_t records, int64_t writers,
                                int64_t burst_max) {
  LOCKSTEP_CHECK(writers > 0 && records % writers == 0, "each writer has the same share");
  std::vector<int64_t> left(static_cast<size_t>(writers), records / writers);
  std::vector<int64_t> unfinished;
  for (int64_t writer = 0; writer < writers; ++writer) unfinished.push_back(writer);
  std::vector<Burst> bursts;
  while (!unfinished.empty()) {
    const size_t pick = random() % unfinished.size();
    const int64_t writer = unfinished[pick];
    int64_t& rest = left[static_cast<size_t>(writer)];
    const auto size = static_cast<int64_t>(random() % static_cast<uint64_t>(burst_max)) + 1;
    const int64_t count = std::min(rest, size);
    bursts.push_back({.writer = writer, .count = count});
    rest -= count;
    if (rest == 0) {
      unfinished[pick] = unfinished.back();
      unfinished.pop_back();
    }
  }
  return bursts;
}

void BringForward(std::vector<Burst>& bursts, int64_t writer, int64_t count) {
  int64_t left = count;
  for (Burst& burst : bursts) {
    if (burst.writer != writer) continue;
    const int64_t taken = std::min(left, burst.count);
    burst.count -= taken;
    left -= taken;
  }
  LOCKSTEP_CHECK(left == 0, "no more is brought forward than there is");
  std::erase_if(bursts, [](const Burst& burst) { return burst.count == 0; });
  bursts.insert(bursts.begin(), {.writer = writer, .count = count});
}

void CutTail(std::vector<Burst>& bursts, int64_t count) {
  while (count > 0) {
    LOCKSTEP_CHECK(!bursts.empty(), "no more is cut off than there is");
    const int64_t cut = std::min(count, bursts.back().count);
    bursts.back().count -= cut;
    count -= cut;
    if (bursts.back().count == 0) bursts.pop_back();
  }
}

}  // namespace lockstep::bench
