// Bursts: how several writers' records lie in one log. Each writer's own records are in order, seq
// 1, 2, 3…; a burst is so many of them in a row. What experiments and benchmarks are made of.
#ifndef LOCKSTEP_SIM_BURSTS_H_
#define LOCKSTEP_SIM_BURSTS_H_

#include <cstdint>
#include <vector>

#include "sim/random.h"

namespace lockstep::sim {

// `count` records of one writer in a row. Small: there may be a hundred million.
struct Burst {
  int32_t writer = 0;
  int32_t count = 0;
  bool operator==(const Burst&) const = default;
};
using Bursts = std::vector<Burst>;

// How many records each of `writers` has, as alike as `records` allows. REQUIRES: writers > 0
std::vector<int64_t> EqualShares(int64_t records, int64_t writers);

struct MergeOptions {
  int64_t burst_max = 1;
  // So many per cent of the picks go to the first writer that has records left, the rest to the
  // others alike; 0: all alike. An order so made drifts away from one that is not.
  int64_t first_percent = 0;
};

// Bursts of 1 to burst_max records of random writers until each has written what `totals` says.
// O(bursts)
Bursts RandomMerge(Random& random, const std::vector<int64_t>& totals, const MergeOptions& options);

// How many records each writer has in `bursts`; as long as its greatest writer needs.
std::vector<int64_t> TotalsOf(const Bursts& bursts);

// Moves the first `count` records of `writer` to the front. REQUIRES: there are so many.
void BringForward(Bursts& bursts, int32_t writer, int64_t count);

// Takes the last `count` records away. REQUIRES: there are so many.
void CutTail(Bursts& bursts, int64_t count);

}  // namespace lockstep::sim

#endif  // LOCKSTEP_SIM_BURSTS_H_
