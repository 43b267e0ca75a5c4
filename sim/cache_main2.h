// Main2: the source's bounded cache, as its document describes it. Blind: what is not next is kept
// while there is room, first come first served; at the end of the log it is polled again from the
// first record that was not yet sent.
//
// The document's program was stopped unfinished and is not at hand; this is our reading of it.
// Counted burst by burst.
#ifndef LOCKSTEP_SIM_CACHE_MAIN2_H_
#define LOCKSTEP_SIM_CACHE_MAIN2_H_

#include <cstdint>
#include <functional>

#include "sim/cache_orders.h"

namespace lockstep::sim {

struct Main2Options {
  int64_t cache_records = 0;
  int64_t poll_records = 10'000;
  int64_t polls_max = 0;  // Stop once there were so many; 0: never.
};

struct Main2Counts {
  int64_t sent = 0;  // All of them, unless it was stopped.
  int64_t first_hits = 0;
  int64_t buffer_hits = 0;
  int64_t peak_records = 0;
  int64_t polls = 0;
  int64_t records_fetched = 0;
};

// `go_on` is asked before every pass over the log.
Main2Counts RunMain2(const CacheOrders& orders, const Main2Options& options,
                     const std::function<bool()>& go_on);

}  // namespace lockstep::sim

#endif  // LOCKSTEP_SIM_CACHE_MAIN2_H_
