// The cells that the reference simulation of the bounded buffer (in Python) published, and the very
// orders that it ran on.
#ifndef LOCKSTEP_SIM_PUBLISHED_CELLS_TEST_H_
#define LOCKSTEP_SIM_PUBLISHED_CELLS_TEST_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <random>
#include <sstream>
#include <vector>

#include "sim/cache_orders.h"

namespace lockstep::sim {

// Python's random.Random, as far as the simulation uses it.
class PythonRandom {
 public:
  // Seeded as init_by_array({seed}) of the Mersenne Twister's authors.
  explicit PythonRandom(uint32_t seed) {
    std::array<uint32_t, 624> mt{};
    mt[0] = 19650218;
    for (size_t i = 1; i < mt.size(); ++i) {
      mt[i] = 1812433253U * (mt[i - 1] ^ (mt[i - 1] >> 30U)) + static_cast<uint32_t>(i);
    }
    size_t i = 1;
    const auto step = [&] {
      if (++i < mt.size()) return;
      mt[0] = mt[mt.size() - 1];
      i = 1;
    };
    for (size_t k = 0; k < mt.size(); ++k) {
      mt[i] = (mt[i] ^ ((mt[i - 1] ^ (mt[i - 1] >> 30U)) * 1664525U)) + seed;
      step();
    }
    for (size_t k = 0; k < mt.size() - 1; ++k) {
      mt[i] = (mt[i] ^ ((mt[i - 1] ^ (mt[i - 1] >> 30U)) * 1566083941U)) - static_cast<uint32_t>(i);
      step();
    }
    mt[0] = 0x80000000U;
    std::stringstream state;
    for (const uint32_t word : mt) state << word << ' ';
    state << mt.size();
    state >> twister_;
  }

  uint32_t Below(uint32_t n) {
    uint32_t bits = 0;
    while (n >> bits != 0) ++bits;
    for (;;) {
      const auto value = static_cast<uint32_t>(twister_()) >> (32 - bits);
      if (value < n) return value;
    }
  }
  double Fraction() {
    const auto high = static_cast<double>(static_cast<uint32_t>(twister_()) >> 5U);
    const auto low = static_cast<double>(static_cast<uint32_t>(twister_()) >> 6U);
    return (high * 67108864.0 + low) / 9007199254740992.0;
  }

 private:
  std::mt19937 twister_;
};

inline Bursts PythonMerge(PythonRandom& random, std::vector<int64_t> left, uint32_t batch,
                          double first_share) {
  Bursts bursts;
  for (;;) {
    std::vector<int32_t> alive;
    for (size_t writer = 0; writer < left.size(); ++writer) {
      if (left[writer] > 0) alive.push_back(static_cast<int32_t>(writer));
    }
    if (alive.empty()) return bursts;
    size_t pick = 0;
    const auto count = static_cast<uint32_t>(alive.size());
    if (count > 1) {
      if (first_share == 0) {
        pick = random.Below(count);
      } else if (random.Fraction() >= first_share) {
        pick = 1 + random.Below(count - 1);
      }
    }
    int64_t& rest = left[static_cast<size_t>(alive[pick])];
    const int64_t size = std::min<int64_t>(rest, 1 + random.Below(batch));
    bursts.push_back({alive[pick], static_cast<int32_t>(size)});
    rest -= size;
  }
}

// Two writers, batches of up to 10,000, polls of as many.
struct PublishedCell {
  int64_t records;
  double first_share;  // How much the log prefers one writer; 0: not.
  int64_t peak;
  std::array<int64_t, 4> loads;  // Of kPublishedCaches: whole chunks, by the ledger, …
  std::array<int64_t, 4> bound;  // … the theorem's bound …
  std::array<int64_t, 4> blind;  // … and the polls of a blind cache.
};
inline constexpr std::array<int64_t, 4> kPublishedCaches = {10'000, 20'000, 50'000, 100'000};

inline std::vector<PublishedCell> PublishedCells() {
  return {
      {1'000'000, 0, 88'911, {468, 259, 132, 109}, {500, 292, 175, 175}, {1'560, 935, 329, 101}},
      {1'000'000,
       0.7,
       327'739,
       {443, 241, 127, 115},
       {454, 252, 141, 141},
       {1'605, 1'258, 755, 230}},
      {10'000'000,
       0,
       207'568,
       {4'793, 2'707, 1'463, 1'246},
       {4'975, 2'894, 1'717, 1'717},
       {173'054, 132'246, 58'622, 18'956}},
      {10'000'000,
       0.7,
       3'028'097,
       {4'538, 2'494, 1'400, 1'375},
       {4'554, 2'510, 1'423, 1'423},
       {242'883, 217'279, 160'301, 136'736}},
  };
}

inline CacheOrders PublishedOrders(const PublishedCell& cell) {
  PythonRandom random(7);
  const std::vector<int64_t> totals(2, cell.records / 2);
  CacheOrders orders{.records = cell.records, .writers = 2};
  orders.ledger = PythonMerge(random, totals, 10'000, 0);
  orders.log = PythonMerge(random, totals, 10'000, cell.first_share);
  return orders;
}

}  // namespace lockstep::sim

#endif  // LOCKSTEP_SIM_PUBLISHED_CELLS_TEST_H_
