// The failover as a re-runnable plan: which step is next, what each does and how to undo it.
//
//   promote → begin_epoch → topics → gap → reinject → verify → hand_over
//
// Nothing that a re-run needs is kept by the program. Promotion is read off the database itself;
// that the epoch was begun *for this site* is read off the epoch's row; what was
// re-injected is read off the log; only hand_over is recorded (it cannot be seen anywhere). So
// killing it after any step, or losing the answer to any, and starting over ends in the same place.
//
// Promotion and the new epoch are two commits. Between them old writers that reach the promoted
// database append to the *old* epoch, legitimately: the gap is looked for after begin_epoch.
//
// Pure: no I/O, no clock.
#ifndef LOCKSTEP_MIRROR_RECONCILE_FAILOVER_PLAN_H_
#define LOCKSTEP_MIRROR_RECONCILE_FAILOVER_PLAN_H_

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "common/model/ids.h"
#include "db-ledger/ledger.h"

namespace lockstep {

enum class FailoverStep { kPromote, kBeginEpoch, kTopics, kGap, kReinject, kVerify, kHandOver };

inline constexpr FailoverStep kFailoverSteps[] = {
    FailoverStep::kPromote,  FailoverStep::kBeginEpoch, FailoverStep::kTopics,  FailoverStep::kGap,
    FailoverStep::kReinject, FailoverStep::kVerify,     FailoverStep::kHandOver};

std::string_view ToString(FailoverStep step);  // `begin_epoch`

struct StepText {
  std::string_view what;
  std::string_view why;
  std::string_view undo;
};
StepText TextOf(FailoverStep step);

// What can be seen of a failover of `topic` to a site; read anew before every decision.
struct FailoverFacts {
  bool in_recovery = false;       // The site's database is still a standby.
  Epoch epoch;                    // The ledger's current epoch …
  std::string epoch_cluster_id;   // … and the Kafka cluster that it was begun for.
  bool epoch_lives_here = false;  // The current epoch's log of the topic is on this site's Kafka.
  bool handed_over = false;       // hand_over is recorded for this epoch and topic.
  bool in_place = false;          // Asked for: this primary stays, its own log has lost records.
};

struct FailoverStanding {
  std::optional<FailoverStep> next;  // nullopt: all is done.
  Epoch target;                      // The epoch that it begins or has begun.
};

// The name under which hand_over is recorded.
std::string HandOverStepName(std::string_view topic);

// Where a failover stands. Of the steps between begin_epoch and hand_over it names the first: they
// are judged by what the logs hold, and doing one again is harmless. FAILED_PRECONDITION iff this
// site is the primary, so that there is nothing to fail over, or is not, in place. `site` is, here
// and below, the id of the Kafka cluster at the site that takes over.
absl::StatusOr<FailoverStanding> StandingOf(const FailoverFacts& facts, std::string_view site);

// Reads `facts` but for in_recovery and in_place, for a topic whose streams are `streams`.
absl::StatusOr<FailoverFacts> ReadFailoverFacts(Ledger& ledger,
                                                const std::vector<StreamInfo>& streams,
                                                const std::string& topic, std::string_view site);

// Begins the epoch `target`, or finds that an earlier attempt with an unknown outcome did. Asks at
// most `attempts_max` times.
absl::StatusOr<BegunEpoch> BeginFailoverEpoch(Ledger& ledger, Epoch target, bool solo,
                                              std::string_view site, int attempts_max = 10);

// ---------------------------------------------------------------- go or no-go

enum class NoGo {
  kUnfilled,      // Records of the gap cannot be had from any source.
  kSourceBehind,  // A producer's source here ends below the ledger's last position.
  kHole,          // The log lacks a record and has later ones of the same producer.
  kRemoved,       // Retention took records that a group has not sent yet.
  kTopics,        // A topic here does not fit the ledger.
  kPreflight,     // A setting here breaks a promise.
};

std::string_view ToString(NoGo reason);

struct NoGoReason {
  NoGo reason;
  std::string stream;  // Empty: of the site.
  std::string message;
};

}  // namespace lockstep

#endif  // LOCKSTEP_MIRROR_RECONCILE_FAILOVER_PLAN_H_
