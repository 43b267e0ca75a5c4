// Bursts: how several writers interleave in one log.
#ifndef LOCKSTEP_BENCH_BURSTS_H_
#define LOCKSTEP_BENCH_BURSTS_H_

#include <cstdint>
#include <random>
#include <vector>

namespace lockstep::bench {

// `count` records of one writer in a row.
struct Burst {
  int64_t writer = 0;
  int64_t count = 0;
};

// Bursts of 1 to `burst_max` records of random writers until each writer has written its equal
// share of `records`. REQUIRES: records a multiple of writers.
std::vector<Burst> RandomBursts(std::mt19937_64& random, int64_t records, int64_t writers,
                                int64_t burst_max);

// Moves the first `count` records of `writer` to the front. REQUIRES: there are so many.
void BringForward(std::vector<Burst>& bursts, int64_t writer, int64_t count);

// Takes the last `count` records away. REQUIRES: there are so many.
void CutTail(std::vector<Burst>& bursts, int64_t count);

}  // namespace lockstep::bench

#endif  // LOCKSTEP_BENCH_BURSTS_H_
