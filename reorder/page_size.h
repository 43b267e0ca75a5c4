// PageSize says how many runs of a producer the next page of a long ledger should hold: few at
// first, so that the first record does not wait for a long page, then as many as make a page worth
// its round trip. A run may be one range of offsets or ten thousand.
//
// Not thread-safe. No I/O.
#ifndef LOCKSTEP_REORDER_PAGE_SIZE_H_
#define LOCKSTEP_REORDER_PAGE_SIZE_H_

#include <algorithm>
#include <cstdint>

#include "db-ledger/ledger.h"

namespace lockstep {

class PageSize {
 public:
  static constexpr int64_t kFirstRuns = 4;
  static constexpr int64_t kRunsMax = 1'000;
  static constexpr int64_t kRangesWanted = 100'000;  // Of all producers together.

  int64_t runs_per_producer() const { return runs_; }

  // Learns from a page that was read with it. A page without runs says nothing. `producers_min`:
  // the next page may have runs of so many, though this one had not.
  void Saw(const StreamPage& page, int64_t producers_min = 1) {
    if (page.runs.empty()) return;
    int64_t ranges = 0;
    int64_t producers = 0;  // Those that have any; runs lie together by producer.
    ProducerId last;
    for (const Run& run : page.runs) {
      ranges += static_cast<int64_t>(run.offsets.ranges().size());
      if (producers == 0 || run.producer != last) ++producers;
      last = run.producer;
    }
    const auto runs = static_cast<int64_t>(page.runs.size());
    const int64_t fitting =
        kRangesWanted * runs / std::max<int64_t>(1, ranges) / std::max(producers, producers_min);
    constexpr int64_t kGrowth = 8;
    runs_ = std::clamp<int64_t>(fitting, 1, std::min(kRunsMax, kGrowth * runs_));
  }

 private:
  int64_t runs_ = kFirstRuns;
};

}  // namespace lockstep

#endif  // LOCKSTEP_REORDER_PAGE_SIZE_H_
