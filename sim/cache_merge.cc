#include "sim/cache_merge.h"

#include <algorithm>
#include <vector>

#include "sim/order_walk.h"

namespace lockstep::sim {
namespace {

class BurstMerge {
 public:
  BurstMerge(const CacheOrders& orders, int64_t budget_records)
      : wanted_(orders.ledger, orders.writers),
        log_(&orders.log),
        budget_(budget_records),
        logged_(static_cast<size_t>(orders.writers), 1),
        written_(static_cast<size_t>(orders.writers), 1) {}

  MergeCounts Run() {
    for (const Burst& burst : *log_) Take(burst);
    return counts_;
  }

 private:
  void Take(const Burst& burst) {
    int64_t rest = burst.count;
    int64_t& logged = logged_[static_cast<size_t>(burst.writer)];
    while (rest > 0) {
      if (wanted_.done() || wanted_.writer() != burst.writer || wanted_.seq() != logged) {
        Park(burst.writer, rest);
        return;
      }
      const int64_t count = std::min(rest, wanted_.left_in_burst());
      logged += count;
      rest -= count;
      counts_.first_hits += count;
      wanted_.Advance(count);
      Drain();
    }
  }

  void Park(int32_t writer, int64_t rest) {
    waiting_ += rest;
    counts_.peak = std::max(counts_.peak, waiting_);
    int64_t& logged = logged_[static_cast<size_t>(writer)];
    while (rest > 0) {
      if (in_memory_ >= budget_) Write();
      const int64_t count = std::min(rest, budget_ - in_memory_);
      logged += count;
      in_memory_ += count;
      rest -= count;
    }
  }

  void Write() {
    counts_.spilled += in_memory_;
    in_memory_ = 0;
    written_ = logged_;
  }

  // What waited and is next by now.
  void Drain() {
    while (!wanted_.done()) {
      const auto writer = static_cast<size_t>(wanted_.writer());
      const int64_t first = wanted_.seq();
      const int64_t count = std::min(wanted_.left_in_burst(), logged_[writer] - first);
      if (count == 0) return;
      counts_.buffer_hits += count;
      waiting_ -= count;
      in_memory_ -= std::max<int64_t>(0, first + count - std::max(first, written_[writer]));
      wanted_.Advance(count);
    }
  }

  OrderWalk wanted_;
  const Bursts* log_;
  const int64_t budget_;
  std::vector<int64_t> logged_;   // The writer's next seq in the log.
  std::vector<int64_t> written_;  // What waits below it is not in memory.
  int64_t waiting_ = 0;
  int64_t in_memory_ = 0;
  MergeCounts counts_;
};

}  // namespace

MergeCounts MergeByBurst(const CacheOrders& orders, int64_t budget_records) {
  return BurstMerge(orders, budget_records).Run();
}

}  // namespace lockstep::sim
