#include "sim/cache_orders.h"

#include <array>
#include <utility>

#include "common/base/check.h"

namespace lockstep::sim {
namespace {

constexpr std::array<std::pair<Interleaving, std::string_view>, 6> kNames = {{
    {Interleaving::kUniform, "uniform"},
    {Interleaving::kBursts, "bursts"},
    {Interleaving::kBatches, "batches"},
    {Interleaving::kSkewed, "skewed"},
    {Interleaving::kAdversarial, "adversarial"},
    {Interleaving::kRecorded, "recorded"},
}};

int64_t UsualBurst(Interleaving interleaving) {
  switch (interleaving) {
    case Interleaving::kUniform:
    case Interleaving::kAdversarial:
    case Interleaving::kRecorded:
      return 1;
    case Interleaving::kBursts:
      return 100;
    case Interleaving::kBatches:
    case Interleaving::kSkewed:
      return 10'000;
  }
  return 1;
}

Bursts OneAfterTheOther(const std::vector<int64_t>& totals) {
  Bursts bursts;
  for (size_t writer = 0; writer < totals.size(); ++writer) {
    if (totals[writer] == 0) continue;
    bursts.push_back({static_cast<int32_t>(writer), static_cast<int32_t>(totals[writer])});
  }
  return bursts;
}

Bursts InTurns(std::vector<int64_t> left, int64_t burst) {
  Bursts bursts;
  for (bool more = true; more;) {
    more = false;
    for (size_t writer = 0; writer < left.size(); ++writer) {
      const int64_t count = std::min(left[writer], burst);
      if (count == 0) continue;
      bursts.push_back({static_cast<int32_t>(writer), static_cast<int32_t>(count)});
      left[writer] -= count;
      more = true;
    }
  }
  return bursts;
}

}  // namespace

std::string_view ToString(Interleaving interleaving) {
  for (const auto& [one, name] : kNames) {
    if (one == interleaving) return name;
  }
  return "unknown";
}

std::optional<Interleaving> ParseInterleaving(std::string_view name) {
  for (const auto& [one, its_name] : kNames) {
    if (its_name == name) return one;
  }
  return std::nullopt;
}

CacheOrders MakeOrders(const CacheOrdersOptions& options) {
  LOCKSTEP_CHECK(options.interleaving != Interleaving::kRecorded, "recorded orders are read");
  LOCKSTEP_CHECK(options.records <= INT32_MAX, "a burst counts in 32 bit");
  const std::vector<int64_t> totals = EqualShares(options.records, options.writers);
  const int64_t burst =
      options.burst_max > 0 ? options.burst_max : UsualBurst(options.interleaving);
  CacheOrders orders{.records = options.records, .writers = options.writers};
  if (options.interleaving == Interleaving::kAdversarial) {
    orders.ledger = OneAfterTheOther(totals);
    orders.log = InTurns(totals, burst);
    return orders;
  }
  Random random(options.seed);
  MergeOptions merge{.burst_max = burst, .first_percent = 0};
  orders.ledger = RandomMerge(random, totals, merge);
  if (options.interleaving == Interleaving::kSkewed) {
    merge.first_percent = options.first_percent > 0 ? options.first_percent : kFirstPercent;
  }
  orders.log = RandomMerge(random, totals, merge);
  return orders;
}

}  // namespace lockstep::sim
