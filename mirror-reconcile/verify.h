// VerifyLogs: every record of this site's logs against every record of the ledger.
//
// The anomalies are named as Jepsen names them for queues and logs:
//   lost                 the ledger names it, no log of this site has it
//   removed              the same, but retention has removed the log's beginning and everything
//                        else of that producer below it: expected, and bad only for a group that
//                        has not sent it yet
//   reordered            its producer's later record came first in this log (I1)
//   corrupt              its run's digest does not match what the log holds
//   inconsistent-offsets the epoch's own log has another record, or none, where the ledger names
//                        one (I2)
//   unexpected           nobody ledgered it although its term is not closed: not yet named while
//   the
//                        epoch lives
// and three that are harmless: duplicate (seen before in the same log), void (nobody ledgered it
// and its term is closed: it never happened), foreign (not ours).
//
// Cost: one scan of the logs; memory: the ledger's runs and a few ranges a producer. No clock, no
// threads.
#ifndef LOCKSTEP_MIRROR_RECONCILE_VERIFY_H_
#define LOCKSTEP_MIRROR_RECONCILE_VERIFY_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "common/model/ids.h"
#include "common/model/rules.h"
#include "mirror-reconcile/ledger_view.h"
#include "mirror-reconcile/log_reader.h"

namespace lockstep {

enum class Anomaly {
  kLost,
  kRemoved,
  kReordered,
  kCorrupt,
  kInconsistentOffsets,
  kUnexpected,
  kDuplicate,
  kVoid,
  kForeign,
};

std::string_view ToString(Anomaly anomaly);
// Does it make the answer a no?
bool IsBad(Anomaly anomaly);

struct AnomalyExample {
  std::string producer;
  Term term;
  Seq seq;
  std::optional<Position> position;  // In the ledger.
  std::string topic;                 // Where it was seen; empty: nowhere.
  Offset log_offset{-1};
  std::string detail;
};

struct Verdicts {
  struct Count {
    int64_t records = 0;
    std::vector<AnomalyExample> first;  // At most kExamplesMax.
  };
  std::map<Anomaly, Count> anomalies;  // Every kind, also with 0.
  int64_t records_read = 0;
  int64_t ledgered = 0;  // That the ledger names …
  int64_t found = 0;     // … and that are here.
  int64_t digests_checked = 0;
  bool good() const;
};

inline constexpr size_t kExamplesMax = 10;

// `cluster_id` is that of the Kafka cluster whose logs these are. Digests are computed where a
// log's records carry content.
absl::StatusOr<Verdicts> VerifyLogs(LedgerView& view, const std::vector<SiteLog>& logs,
                                    const std::string& cluster_id, const Rules& rules);

}  // namespace lockstep

#endif  // LOCKSTEP_MIRROR_RECONCILE_VERIFY_H_
