// The source document's algorithm (Main1, sim/cache_main1.h) over the raw consumer: what a careful
// user would write who has not thought of a merge. A message that is not next waits in a hash
// table under its identity, as the message that it is, not copied.
#ifndef LOCKSTEP_BENCH_SOURCE_ALGORITHM_H_
#define LOCKSTEP_BENCH_SOURCE_ALGORITHM_H_

#include <cstdint>

#include "absl/status/statusor.h"

#include "bench/raw_kafka.h"
#include "sim/bursts.h"

namespace lockstep::bench {

// Reads the whole log and puts it into the order of `ledger`, which is at hand (reading it is not
// counted). Seconds as RawConsume counts them. DATA_LOSS if any record is left.
absl::StatusOr<double> ConsumeBySourceAlgorithm(const RawTarget& target, const sim::Bursts& ledger,
                                                int64_t writers);

}  // namespace lockstep::bench

#endif  // LOCKSTEP_BENCH_SOURCE_ALGORITHM_H_
