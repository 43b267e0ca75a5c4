// Main1: the source's unbounded cache, as its document describes it. An event that is not next goes
// into a hash table under its identity; after each event that goes out, the next one is looked up
// there.
//
// What the document leaves open is answered in its favour: the order is at hand in memory, and an
// event that is next is not put into the table at all.
#ifndef LOCKSTEP_SIM_CACHE_MAIN1_H_
#define LOCKSTEP_SIM_CACHE_MAIN1_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <unordered_map>
#include <utility>

#include "absl/status/statusor.h"

#include "sim/cache_orders.h"
#include "sim/order_walk.h"

namespace lockstep::sim {

// `Order` says what comes next: bool done(); const Identity& wanted(); void Advance(). `Payload` is
// what waits. Not thread-safe. O(1) an event, on average.
template <class Order, class Identity, class Payload, class Hash>
class Main1 {
 public:
  explicit Main1(Order order) : order_(std::move(order)) {}

  // Calls emit(Payload&) for this event, if it is next, and for those whose turn comes with it.
  template <class Emit>
  void Offer(Identity identity, Payload payload, Emit emit) {
    if (order_.done() || !(order_.wanted() == identity)) {
      waiting_.emplace(std::move(identity), std::move(payload));
      peak_ = std::max(peak_, waiting_.size());
      return;
    }
    emit(payload);
    ++first_hits_;
    order_.Advance();
    while (!order_.done()) {
      const auto found = waiting_.find(order_.wanted());
      if (found == waiting_.end()) return;
      emit(found->second);
      ++buffer_hits_;
      waiting_.erase(found);
      order_.Advance();
    }
  }

  bool done() const { return order_.done(); }
  int64_t first_hits() const { return first_hits_; }
  int64_t buffer_hits() const { return buffer_hits_; }
  int64_t peak() const { return static_cast<int64_t>(peak_); }

 private:
  Order order_;
  std::unordered_map<Identity, Payload, Hash> waiting_;
  int64_t first_hits_ = 0;
  int64_t buffer_hits_ = 0;
  size_t peak_ = 0;
};

struct Main1Counts {
  int64_t first_hits = 0;
  int64_t buffer_hits = 0;
  int64_t peak_records = 0;
  int64_t peak_bytes = 0;
};

// What the table takes for `records` values of `value_bytes` each: a node with its identity and a
// string, the string's bytes, a bucket, each as malloc rounds it.
int64_t Main1Bytes(int64_t records, int64_t value_bytes);

// Puts all records of the log through it, one by one, with a value of `value_bytes` that is copied
// where it waits. CANCELLED once `go_on` (asked now and then) says no; DATA_LOSS if records stay.
absl::StatusOr<Main1Counts> RunMain1(const CacheOrders& orders, int64_t value_bytes,
                                     const std::function<bool()>& go_on);

}  // namespace lockstep::sim

#endif  // LOCKSTEP_SIM_CACHE_MAIN1_H_
