// MergeByBurst: what an unbounded cache, or one that spills, holds while a log is put into the
// ledger's order. Counted burst by burst, so that a hundred million records take seconds; the
// shipped code gives the same counts record by record (cache_merge_test.cc).
#ifndef LOCKSTEP_SIM_CACHE_MERGE_H_
#define LOCKSTEP_SIM_CACHE_MERGE_H_

#include <cstdint>
#include <limits>

#include "sim/cache_orders.h"

namespace lockstep::sim {

struct MergeCounts {
  int64_t first_hits = 0;   // Were next when they came.
  int64_t buffer_hits = 0;  // Had to wait.
  int64_t peak = 0;         // Waiting at once.
  int64_t spilled = 0;      // Left memory, and came back once.
};

// A budget spills as FifoParking does, but record by record where that has chunks: when what waits
// in memory has filled it, the eighth of it that is needed furthest ahead is written.
// O(bursts · log writers)
MergeCounts MergeByBurst(const CacheOrders& orders,
                         int64_t budget_records = std::numeric_limits<int64_t>::max());

}  // namespace lockstep::sim

#endif  // LOCKSTEP_SIM_CACHE_MERGE_H_
