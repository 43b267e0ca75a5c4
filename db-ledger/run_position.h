// Where a run's records lie.
#ifndef LOCKSTEP_DB_LEDGER_RUN_POSITION_H_
#define LOCKSTEP_DB_LEDGER_RUN_POSITION_H_

#include "common/base/check.h"
#include "common/model/ids.h"
#include "db-ledger/ledger.h"

namespace lockstep {

// Where seq lies. REQUIRES: run.first_seq ≤ seq ≤ run.last_seq. O(ranges)
inline Position PositionOf(const Run& run, Seq seq) {
  int64_t left = seq - run.first_seq;
  for (const OffsetRange& range : run.offsets.ranges()) {
    if (left < range.size()) return {run.epoch, range.first + left};
    left -= range.size();
  }
  LOCKSTEP_CHECK(false, "seqs are dense over the offsets listed, and seq is in the run");
}

}  // namespace lockstep

#endif  // LOCKSTEP_DB_LEDGER_RUN_POSITION_H_
