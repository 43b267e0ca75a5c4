// Reinjector writes a gap's records into this site's log with their original identity.
//
// Before anything of a run is written its records were proved by the run's digest (RunFetcher). A
// re-injector that is killed leaves a prefix of its plan in the log; a re-run begins with a new gap
// and so goes on where it stopped. Records in flight at the kill may land twice: duplicates.
//
// Not thread-safe.
#ifndef LOCKSTEP_MIRROR_RECONCILE_REINJECT_H_
#define LOCKSTEP_MIRROR_RECONCILE_REINJECT_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "common/model/ids.h"
#include "common/model/record_header.h"
#include "mirror-reconcile/gap.h"
#include "mirror-reconcile/reinject_plan.h"
#include "producer/source_event.h"

namespace lockstep {

// A record given up under --allow-data-loss stands in the log under its identity with a null value
// and this header, so that readers can go on and see what happened.
inline constexpr char kGivenUpHeaderKey[] = "lockstep-given-up";

// The log that is written to. Order is kept; what Write took is in the log when Flush returns OK.
class RecordSink {
 public:
  virtual ~RecordSink() = default;
  // `reinjected` is the epoch for the header `lockstep-reinjected`.
  virtual absl::Status Write(const RecordHeader& header, Epoch reinjected,
                             const Payload& payload) = 0;
  virtual absl::Status Flush() = 0;
};

// Gives a run's records, proved. NOT_FOUND iff they cannot be had.
using RunFetcher = std::function<absl::StatusOr<std::vector<SourceEvent>>(
    const std::string& producer, const Run& run)>;

struct GivenUpRecord {
  std::string producer;
  Term term;
  Seq seq;
  Position position;
  std::string why;
};

struct ReinjectOptions {
  ReinjectOrder order = ReinjectOrder::kLedger;
  Epoch label = {};              // For `lockstep-reinjected`: the epoch that goes on from here.
  bool allow_data_loss = false;  // Else the first run that cannot be had stops it.
  std::function<void(int64_t written)> on_progress = {};  // May be empty.
};

struct ReinjectResult {
  int64_t written = 0;                  // Records, without those given up.
  std::vector<GivenUpRecord> given_up;  // Only with allow_data_loss.
};

// FAILED_PRECONDITION iff the gap has a hole (appending cannot mend it); else the first error of
// fetcher or sink. What was written before an error stays and is no harm.
absl::StatusOr<ReinjectResult> Reinject(const Gap& gap, const RunFetcher& fetch, RecordSink& sink,
                                        const ReinjectOptions& options);

}  // namespace lockstep

#endif  // LOCKSTEP_MIRROR_RECONCILE_REINJECT_H_
