// The bounded buffer's reference: whole chunks of the log, and the one that is needed furthest
// ahead is dropped (Belady), because the ledger is the future.
//
// Theorem. With room for at least one chunk a writer the loads are at most Σ (chunks that hold a
// record of the writer): each writer's cursor could hold one chunk and load each once, and nobody
// who keeps whole chunks does better than Belady. ⌈N/chunk⌉ is the least for everybody. With less
// room nothing of the kind is promised.
//
// Two passes over the ledger's order, burst by burst: 8 B a change of chunk.
#ifndef LOCKSTEP_SIM_CACHE_OPTIMAL_H_
#define LOCKSTEP_SIM_CACHE_OPTIMAL_H_

#include <cstdint>

#include "absl/status/statusor.h"

#include "sim/cache_orders.h"

namespace lockstep::sim {

struct OptimalOptions {
  int64_t budget_records = 0;
  int64_t chunk_records = 0;
};

struct OptimalCounts {
  int64_t loads = 0;
  int64_t bound = 0;            // The theorem's; 0: its premise does not hold.
  int64_t least = 0;            // For everybody.
  int64_t first_hits = 0;       // Went out when their chunk was loaded, …
  int64_t buffer_hits = 0;      // … or from a chunk that was kept.
  int64_t peak_records = 0;     // Held at once.
  int64_t records_fetched = 0;  // By all loads.
};

// The chunk for a budget: half of a writer's share, and no more than one poll gives. 0: the budget
// has no room for two records a writer.
int64_t ChunkFor(int64_t budget_records, int64_t writers, int64_t poll_records);

// REQUIRES: 0 < chunk_records ≤ budget_records
OptimalCounts RunOptimal(const CacheOrders& orders, const OptimalOptions& options);

}  // namespace lockstep::sim

#endif  // LOCKSTEP_SIM_CACHE_OPTIMAL_H_
