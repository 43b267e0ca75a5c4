// BudgetShare is memory for parked records that the streams of one process share evenly, however
// many it has at the moment.
//
// Thread-safe.
#ifndef LOCKSTEP_REORDER_BUDGET_SHARE_H_
#define LOCKSTEP_REORDER_BUDGET_SHARE_H_

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "reorder/parking/parking_buffer.h"

namespace lockstep {

class BudgetShare {
 public:
  explicit BudgetShare(ParkingBudget all) : all_(all) {}

  void set_streams(int64_t streams) { streams_ = std::max<int64_t>(streams, 1); }

  // One stream's part now.
  ParkingBudget part() const { return {Part(all_.bytes), Part(all_.records)}; }

 private:
  int64_t Part(int64_t all) const {
    return all == INT64_MAX ? all : std::max<int64_t>(all / streams_, 1);
  }

  const ParkingBudget all_;
  std::atomic<int64_t> streams_{1};
};

}  // namespace lockstep

#endif  // LOCKSTEP_REORDER_BUDGET_SHARE_H_
