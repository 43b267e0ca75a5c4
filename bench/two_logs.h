// TwoLogs: a primary's order in the ledger, and a standby's log that holds the same records in
// another one. What the reorder and reconcile suites run on.
//
// Each writer's records are in its own order in both; how the writers interleave differs. The
// primary's log is only told, not written: its offsets are in the ledger, and its epoch is over.
#ifndef LOCKSTEP_BENCH_TWO_LOGS_H_
#define LOCKSTEP_BENCH_TWO_LOGS_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "bench/site.h"
#include "sim/bursts.h"

namespace lockstep::bench {

struct TwoLogsOptions {
  int64_t records = 0;  // In the ledger.
  int64_t missing = 0;  // The last ones of the primary's order that the standby's log lacks …
  bool same_order =
      false;  // … where the standby's log is otherwise the primary's, as a mirror's is.
  double ahead_share = 0;  // Of all records: so many of one writer lie first in the standby's log.
  int64_t writers = 2;     // Of each partition.
  int32_t partitions = 1;  // Records are spread over them evenly.
  int64_t burst_max = 10'000;
  int64_t bursts_per_commit = 1;  // Of one writer, in the ledger.
  int64_t value_bytes = 100;
  uint64_t seed = 1;
};

struct TwoLogs {
  std::string ledger;  // Conninfo.
  std::string topic;   // At the site's cluster.
  int64_t logged = 0;  // Records in the standby's log.
  sim::Bursts order;   // The ledger's, of partition 0.
};

// What the writers of partition 0 are called.
std::string WriterName(int64_t writer);

// Fills a new topic and a new ledger, and ends the ledger's first epoch. REQUIRES: records and
// missing are multiples of partitions.
absl::StatusOr<TwoLogs> FillTwoLogs(Site& site, const TwoLogsOptions& options);

}  // namespace lockstep::bench

#endif  // LOCKSTEP_BENCH_TWO_LOGS_H_
