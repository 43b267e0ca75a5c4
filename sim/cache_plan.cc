#include "sim/cache_plan.h"

namespace lockstep::sim {
namespace {

constexpr int64_t kMillion = 1'000'000;

std::vector<CacheCell> Cells(const std::vector<CacheAlgorithm>& algorithms,
                             const std::vector<CacheBuffer>& buffers,
                             const std::vector<int64_t>& budgets) {
  std::vector<CacheCell> cells;
  for (const CacheAlgorithm algorithm : algorithms) {
    for (const CacheBuffer buffer : buffers) {
      if (!Exists(algorithm, buffer)) continue;
      if (buffer == CacheBuffer::kMemory) {
        cells.push_back({algorithm, buffer, 0});
        continue;
      }
      for (const int64_t budget : budgets) cells.push_back({algorithm, buffer, budget});
    }
  }
  return cells;
}

CacheOrdersOptions TwoWriters(Interleaving interleaving, int64_t records, uint64_t seed) {
  return {.interleaving = interleaving, .records = records, .writers = 2, .seed = seed};
}

}  // namespace

int64_t CountCells(const CachePlan& plan) {
  size_t cells = 0;
  for (const CacheExperiment& experiment : plan) cells += experiment.cells.size();
  return static_cast<int64_t>(cells);
}

CachePlan GridPlan(const CacheGrid& grid, const CacheSettings& settings) {
  CachePlan plan;
  const std::vector<CacheCell> cells = Cells(grid.algorithms, grid.buffers, grid.budgets);
  for (const Interleaving interleaving : grid.interleavings) {
    for (const int64_t writers : grid.writers) {
      for (const int64_t records : grid.records) {
        plan.push_back({{.interleaving = interleaving,
                         .records = records,
                         .writers = writers,
                         .burst_max = grid.burst_max,
                         .first_percent = grid.first_percent,
                         .seed = grid.seed},
                        cells,
                        settings});
      }
    }
  }
  return plan;
}

CachePlan ReproducePlan(uint64_t seed, const CacheSettings& settings) {
  CachePlan plan;
  CacheSettings counted = settings;
  counted.steps = CacheSteps::kBurst;
  CacheSettings run = settings;
  run.steps = CacheSteps::kRecord;
  const std::vector<CacheCell> unbounded =
      Cells({CacheAlgorithm::kMain1, CacheAlgorithm::kLockstep}, {CacheBuffer::kMemory}, {});
  const std::vector<CacheCell> bounded =
      Cells({CacheAlgorithm::kMain2, CacheAlgorithm::kLockstep}, {CacheBuffer::kBounded},
            {10'000, 20'000, 50'000, 100'000});
  for (const Interleaving interleaving : {Interleaving::kBatches, Interleaving::kSkewed}) {
    for (const int64_t records : {kMillion / 5, kMillion, 10 * kMillion}) {
      plan.push_back({TwoWriters(interleaving, records, seed), unbounded, run});
      for (uint64_t i = 0; i < kReproduceSeeds; ++i) {
        plan.push_back({TwoWriters(interleaving, records, seed + i), {unbounded[0]}, counted});
      }
    }
    for (const int64_t records : {kMillion, 10 * kMillion}) {
      plan.push_back({TwoWriters(interleaving, records, seed), bounded, settings});
    }
  }
  return plan;
}

CachePlan PicturePlan(uint64_t seed, const CacheSettings& settings) {
  CachePlan plan;
  CacheSettings counted = settings;
  counted.steps = CacheSteps::kBurst;
  constexpr uint64_t kSeeds = 3;
  const CacheCell memory{CacheAlgorithm::kLockstep, CacheBuffer::kMemory, 0};
  for (const Interleaving interleaving :
       {Interleaving::kUniform, Interleaving::kBursts, Interleaving::kBatches,
        Interleaving::kSkewed, Interleaving::kAdversarial}) {
    for (const int64_t tenths : {2, 5, 10, 20, 50, 100, 200, 500, 1000}) {
      for (uint64_t i = 0; i < kSeeds; ++i) {
        plan.push_back(
            {TwoWriters(interleaving, tenths * kMillion / 10, seed + i), {memory}, counted});
        if (interleaving == Interleaving::kAdversarial) break;  // Chance has no part in it.
      }
    }
  }
  const std::vector<int64_t> budgets = {10'000,  20'000,    50'000,    100'000,  200'000,
                                        500'000, 1'000'000, 2'000'000, 5'000'000};
  const auto of_ten_million = [&](Interleaving interleaving, CacheAlgorithm algorithm,
                                  CacheBuffer buffer) {
    plan.push_back({TwoWriters(interleaving, 10 * kMillion, seed),
                    Cells({algorithm}, {buffer}, budgets), counted});
  };
  for (const Interleaving interleaving : {Interleaving::kBatches, Interleaving::kSkewed}) {
    of_ten_million(interleaving, CacheAlgorithm::kMain2, CacheBuffer::kBounded);
    of_ten_million(interleaving, CacheAlgorithm::kLockstep, CacheBuffer::kBounded);
    of_ten_million(interleaving, CacheAlgorithm::kLockstep, CacheBuffer::kSpill);
  }
  of_ten_million(Interleaving::kBursts, CacheAlgorithm::kLockstep, CacheBuffer::kSpill);
  return plan;
}

}  // namespace lockstep::sim
