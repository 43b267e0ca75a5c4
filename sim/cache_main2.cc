#include "sim/cache_main2.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <vector>

#include "common/base/check.h"
#include "sim/log_index.h"
#include "sim/order_walk.h"

namespace lockstep::sim {
namespace {

class BlindCache {
 public:
  BlindCache(const CacheOrders& orders, const Main2Options& options)
      : options_(options),
        log_(orders.log, orders.writers),
        wanted_(orders.ledger, orders.writers),
        kept_(static_cast<size_t>(orders.writers)),
        hints_(static_cast<size_t>(orders.writers)) {}

  bool done() const { return wanted_.done(); }
  const Main2Counts& counts() const { return counts_; }

  // From the first record that was not sent to the log's end, or until all are sent.
  void Pass() {
    while (log_.seq(first_) + log_.count(first_) <= wanted_.next_seq(log_.writer(first_))) ++first_;
    const int64_t sent = wanted_.next_seq(log_.writer(first_)) - log_.seq(first_);
    const int64_t from = log_.offset(first_) + std::max<int64_t>(0, sent);
    int64_t end = log_.records();
    for (size_t burst = first_; burst < log_.bursts(); burst = NextOfUse(burst + 1)) {
      const int64_t stopped = Take(burst);
      if (!done()) continue;
      end = stopped;
      break;
    }
    counts_.records_fetched += end - from;
    counts_.polls += (end - from + options_.poll_records - 1) / options_.poll_records;
  }

 private:
  // Kept seqs of one writer: first → end, disjoint and not adjacent to what was sent.
  using Intervals = std::map<int64_t, int64_t>;

  // A full cache passes over everything up to the record that is wanted.
  size_t NextOfUse(size_t burst) {
    if (size_ < options_.cache_records || burst >= log_.bursts()) return burst;
    const int32_t writer = wanted_.writer();
    const size_t wanted = log_.Find(writer, wanted_.seq(), hints_[static_cast<size_t>(writer)]);
    return wanted < burst ? log_.bursts() : wanted;
  }

  // Takes one burst; the offset behind the last record that was looked at.
  int64_t Take(size_t burst) {
    const int32_t writer = log_.writer(burst);
    const int64_t first = log_.seq(burst);
    const int64_t end = first + log_.count(burst);
    Intervals& kept = kept_[static_cast<size_t>(writer)];
    int64_t seq = first;
    while (!done()) {
      seq = std::max(seq, wanted_.next_seq(writer));
      if (seq >= end) break;
      const auto after = kept.upper_bound(seq);
      if (after != kept.begin() && std::prev(after)->second > seq) {
        seq = std::prev(after)->second;
        continue;
      }
      const int64_t stop = after == kept.end() ? end : std::min(end, after->first);
      if (wanted_.writer() == writer && wanted_.seq() == seq) {
        const int64_t count = std::min(stop - seq, wanted_.left_in_burst());
        Send(count);
        seq += count;
        Drain();
        continue;
      }
      Keep(kept, seq, std::min(stop - seq, options_.cache_records - size_));
      seq = stop;
    }
    return log_.offset(burst) + std::min(seq, end) - first;
  }

  void Send(int64_t count) {
    counts_.first_hits += count;
    counts_.sent += count;
    wanted_.Advance(count);
  }

  void Keep(Intervals& kept, int64_t seq, int64_t count) {
    if (count <= 0) return;
    const auto after = kept.upper_bound(seq);
    if (after != kept.begin() && std::prev(after)->second == seq) {
      std::prev(after)->second += count;
    } else {
      kept.emplace(seq, seq + count);
    }
    size_ += count;
    counts_.peak_records = std::max(counts_.peak_records, size_);
  }

  void Drain() {
    while (!done()) {
      Intervals& kept = kept_[static_cast<size_t>(wanted_.writer())];
      if (kept.empty() || kept.begin()->first != wanted_.seq()) return;
      const auto [first, end] = *kept.begin();
      const int64_t count = std::min(wanted_.left_in_burst(), end - first);
      kept.erase(kept.begin());
      if (first + count < end) kept.emplace(first + count, end);
      size_ -= count;
      counts_.buffer_hits += count;
      counts_.sent += count;
      wanted_.Advance(count);
    }
  }

  const Main2Options options_;
  const LogIndex log_;
  OrderWalk wanted_;
  std::vector<Intervals> kept_;
  std::vector<size_t> hints_;
  int64_t size_ = 0;
  size_t first_ = 0;  // The first burst that was not sent whole.
  Main2Counts counts_;
};

}  // namespace

Main2Counts RunMain2(const CacheOrders& orders, const Main2Options& options,
                     const std::function<bool()>& go_on) {
  LOCKSTEP_CHECK(options.poll_records > 0 && options.cache_records >= 0,
                 "sizes are checked before");
  BlindCache cache(orders, options);
  while (!cache.done() && go_on()) {
    if (options.polls_max > 0 && cache.counts().polls >= options.polls_max) break;
    cache.Pass();
  }
  return cache.counts();
}

}  // namespace lockstep::sim
