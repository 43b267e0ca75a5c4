// CacheOrders: a ledger's order and a standby's log of the same records in another one: what the
// cache-size experiments run on.
#ifndef LOCKSTEP_SIM_CACHE_ORDERS_H_
#define LOCKSTEP_SIM_CACHE_ORDERS_H_

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "sim/bursts.h"

namespace lockstep::sim {

// How the writers interleave.
enum class Interleaving {
  kUniform,      // Record by record, by a coin.
  kBursts,       // Bursts of up to 100 records, as linger gives.
  kBatches,      // Bursts of up to 10,000, as the source's experiments.
  kSkewed,       // Batches, and the log prefers one writer: it runs ahead, as after an outage.
  kAdversarial,  // The log in turns, the ledger one writer after the other: the worst there is.
  kRecorded,     // Read from files (cache_recorded.h).
};
std::string_view ToString(Interleaving interleaving);
std::optional<Interleaving> ParseInterleaving(std::string_view name);

struct CacheOrders {
  Bursts ledger = {};
  Bursts log = {};
  int64_t records = 0;
  int64_t writers = 0;
};

struct CacheOrdersOptions {
  Interleaving interleaving = Interleaving::kBatches;
  int64_t records = 1'000'000;
  int64_t writers = 2;
  int64_t burst_max = 0;      // 0: as the interleaving says.
  int64_t first_percent = 0;  // Of kSkewed: how much the log prefers one writer; 0: kFirstPercent.
  uint64_t seed = 1;
};
inline constexpr int64_t kFirstPercent = 70;

// Ledger and log by independent coins of the same seed. REQUIRES: not kRecorded; records below
// 2^31. O(bursts)
CacheOrders MakeOrders(const CacheOrdersOptions& options);

}  // namespace lockstep::sim

#endif  // LOCKSTEP_SIM_CACHE_ORDERS_H_
