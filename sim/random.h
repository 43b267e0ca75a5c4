// Random: the simulation's only source of chance. The same seed gives the same run, everywhere.
//
// SplitMix64: small, fast, and its whole state is one number.
#ifndef LOCKSTEP_SIM_RANDOM_H_
#define LOCKSTEP_SIM_RANDOM_H_

#include <cstdint>

#include "common/base/check.h"

namespace lockstep::sim {

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint64_t Next() {
    uint64_t z = (state_ += 0x9E3779B97F4A7C15ull);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
  }

  // A number in [0, n). REQUIRES: n > 0
  int64_t Below(int64_t n) {
    LOCKSTEP_CHECK(n > 0, "nothing to choose from");
    return static_cast<int64_t>(Next() % static_cast<uint64_t>(n));
  }
  // A number in [first, last].
  int64_t Between(int64_t first, int64_t last) { return first + Below(last - first + 1); }
  size_t Index(size_t n) { return static_cast<size_t>(Below(static_cast<int64_t>(n))); }

  bool Percent(int64_t percent) { return Below(100) < percent; }

 private:
  uint64_t state_;
};

}  // namespace lockstep::sim

#endif  // LOCKSTEP_SIM_RANDOM_H_
