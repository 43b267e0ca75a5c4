// Which cells are run: the grid that flags ask for, the source's tables, the pictures.
#ifndef LOCKSTEP_SIM_CACHE_PLAN_H_
#define LOCKSTEP_SIM_CACHE_PLAN_H_

#include <cstdint>
#include <vector>

#include "sim/cache_cell.h"
#include "sim/cache_orders.h"

namespace lockstep::sim {

// Cells that share their orders.
struct CacheExperiment {
  CacheOrdersOptions orders;
  std::vector<CacheCell> cells;
  CacheSettings settings;
};
using CachePlan = std::vector<CacheExperiment>;

int64_t CountCells(const CachePlan& plan);

struct CacheGrid {
  std::vector<int64_t> records = {1'000'000};
  std::vector<int64_t> writers = {2};
  std::vector<Interleaving> interleavings = {Interleaving::kBatches};
  std::vector<CacheAlgorithm> algorithms = {CacheAlgorithm::kMain1, CacheAlgorithm::kMain2,
                                            CacheAlgorithm::kLockstep};
  std::vector<CacheBuffer> buffers = {CacheBuffer::kMemory, CacheBuffer::kSpill,
                                      CacheBuffer::kBounded};
  std::vector<int64_t> budgets = {10'000, 20'000, 50'000, 100'000};
  int64_t burst_max = 0;
  int64_t first_percent = kFirstPercent;
  uint64_t seed = 1;
};

// Every combination that exists.
CachePlan GridPlan(const CacheGrid& grid, const CacheSettings& settings);

// The source document's two tables (cache_reproduce.h): two writers, batches of up to 10,000, by a
// coin and with one writer ahead. The unbounded peaks from kReproduceSeeds seeds on, for they
// differ from run to run.
inline constexpr int64_t kReproduceSeeds = 10;
CachePlan ReproducePlan(uint64_t seed, const CacheSettings& settings);

// What the pictures show (cache_pictures.h).
CachePlan PicturePlan(uint64_t seed, const CacheSettings& settings);

}  // namespace lockstep::sim

#endif  // LOCKSTEP_SIM_CACHE_PLAN_H_
