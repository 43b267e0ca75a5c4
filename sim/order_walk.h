// OrderWalk: a place in an order, which moves forward by as many records as one likes.
#ifndef LOCKSTEP_SIM_ORDER_WALK_H_
#define LOCKSTEP_SIM_ORDER_WALK_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "common/base/check.h"
#include "sim/bursts.h"

namespace lockstep::sim {

// `order` must outlive it.
class OrderWalk {
 public:
  OrderWalk(const Bursts& order, int64_t writers)
      : order_(&order), next_seq_(static_cast<size_t>(writers), 1) {}

  bool done() const { return burst_ == order_->size(); }
  // The record at hand: its writer and its seq. REQUIRES: !done()
  int32_t writer() const { return (*order_)[burst_].writer; }
  int64_t seq() const { return next_seq(writer()); }
  // Records of this writer from here on, without another's between.
  int64_t left_in_burst() const { return (*order_)[burst_].count - in_burst_; }
  // The first seq of a writer that lies here or ahead.
  int64_t next_seq(int32_t writer) const { return next_seq_[static_cast<size_t>(writer)]; }

  // REQUIRES: 0 < count ≤ left_in_burst()
  void Advance(int64_t count) {
    LOCKSTEP_CHECK(count <= left_in_burst(), "a step stays within its burst");
    next_seq_[static_cast<size_t>(writer())] += count;
    in_burst_ += count;
    if (left_in_burst() > 0) return;
    ++burst_;
    in_burst_ = 0;
  }

 private:
  const Bursts* order_;
  std::vector<int64_t> next_seq_;
  size_t burst_ = 0;
  int64_t in_burst_ = 0;
};

}  // namespace lockstep::sim

#endif  // LOCKSTEP_SIM_ORDER_WALK_H_
