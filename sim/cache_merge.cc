#include "sim/cache_merge.h"

#include <algorithm>
#include <deque>
#include <limits>
#include <queue>
#include <utility>
#include <vector>

#include "sim/order_walk.h"

namespace lockstep::sim {
namespace {

constexpr int64_t kPiecePart = 8;  // As FifoParking's.

struct Seqs {
  int64_t first = 0;
  int64_t end = 0;
};
struct Turn {
  int64_t first_seq = 0;
  int64_t end_seq = 0;
  int64_t turn = 0;
};

class BurstMerge {
 public:
  BurstMerge(const CacheOrders& orders, int64_t budget_records)
      : wanted_(orders.ledger, orders.writers),
        log_(&orders.log),
        budget_(budget_records),
        logged_(static_cast<size_t>(orders.writers), 1),
        unwritten_(static_cast<size_t>(orders.writers)) {
    if (budget_ < std::numeric_limits<int64_t>::max()) NoteTurns(orders);
  }

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
      if (in_memory_ >= budget_) Write(std::max<int64_t>(budget_ / kPiecePart, 1));
      const int64_t count = std::min(rest, budget_ - in_memory_);
      std::deque<Seqs>& unwritten = unwritten_[static_cast<size_t>(writer)];
      if (unwritten.empty() || unwritten.back().end != logged) {
        unwritten.push_back({logged, logged});
      }
      unwritten.back().end += count;
      logged += count;
      in_memory_ += count;
      rest -= count;
    }
  }

  // Where each burst of the ledger stands, by its writer and first seq.
  void NoteTurns(const CacheOrders& orders) {
    turns_.resize(static_cast<size_t>(orders.writers));
    int64_t turn = 0;
    for (const Burst& burst : orders.ledger) {
      std::vector<Turn>& turns = turns_[static_cast<size_t>(burst.writer)];
      turns.push_back({turns.empty() ? 1 : turns.back().end_seq, 0, turn});
      turns.back().end_seq = turns.back().first_seq + burst.count;
      turn += burst.count;
    }
  }

  // The burst of the ledger that names the writer's newest record in memory.
  const Turn& NewestTurn(size_t writer) const {
    const std::vector<Turn>& turns = turns_[writer];
    const int64_t seq = unwritten_[writer].back().end - 1;
    return *std::partition_point(turns.begin(), turns.end(),
                                 [&](const Turn& turn) { return turn.end_seq <= seq; });
  }

  // Writes so many records, those that are needed furthest ahead.
  void Write(int64_t records) {
    std::priority_queue<std::pair<int64_t, size_t>> furthest;
    const auto note = [&](size_t writer) {
      if (!unwritten_[writer].empty()) furthest.emplace(NewestTurn(writer).turn, writer);
    };
    for (size_t writer = 0; writer < unwritten_.size(); ++writer) note(writer);
    while (records > 0 && !furthest.empty()) {
      const size_t writer = furthest.top().second;
      furthest.pop();
      Seqs& newest = unwritten_[writer].back();
      const int64_t first = std::max(newest.first, NewestTurn(writer).first_seq);
      const int64_t count = std::min(records, newest.end - first);
      newest.end -= count;
      if (newest.end == newest.first) unwritten_[writer].pop_back();
      records -= count;
      in_memory_ -= count;
      counts_.spilled += count;
      note(writer);
    }
  }

  // The writer's records below `end` went out.
  void Forget(size_t writer, int64_t end) {
    std::deque<Seqs>& unwritten = unwritten_[writer];
    while (!unwritten.empty() && unwritten.front().first < end) {
      Seqs& oldest = unwritten.front();
      const int64_t to = std::min(end, oldest.end);
      in_memory_ -= to - oldest.first;
      oldest.first = to;
      if (oldest.first == oldest.end) unwritten.pop_front();
    }
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
      Forget(writer, first + count);
      wanted_.Advance(count);
    }
  }

  OrderWalk wanted_;
  const Bursts* log_;
  const int64_t budget_;
  std::vector<int64_t> logged_;              // The writer's next seq in the log.
  std::vector<std::deque<Seqs>> unwritten_;  // What waits in memory, by writer.
  std::vector<std::vector<Turn>> turns_;     // By writer; empty without a budget.
  int64_t waiting_ = 0;
  int64_t in_memory_ = 0;
  MergeCounts counts_;
};

}  // namespace

MergeCounts MergeByBurst(const CacheOrders& orders, int64_t budget_records) {
  return BurstMerge(orders, budget_records).Run();
}

}  // namespace lockstep::sim
