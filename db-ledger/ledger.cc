#include "db-ledger/ledger.h"

namespace lockstep {

std::string_view ToString(Refusal refusal) {
  switch (refusal) {
    case Refusal::kNone:
      return "none";
    case Refusal::kFenced:
      return "fenced";
    case Refusal::kGap:
      return "gap";
    case Refusal::kDiffers:
      return "differs";
    case Refusal::kWrongOwner:
      return "wrong-owner";
    case Refusal::kNoDurableStandby:
      return "no-durable-standby";
    case Refusal::kWrongEpoch:
      return "wrong-epoch";
    case Refusal::kNotFound:
      return "not-found";
    case Refusal::kSourceChanged:
      return "source-changed";
    case Refusal::kPartitionsChanged:
      return "partitions-changed";
    case Refusal::kLogChanged:
      return "log-changed";
    case Refusal::kWrongKind:
      return "wrong-kind";
    case Refusal::kInvalid:
      return "invalid";
    case Refusal::kUnavailable:
      return "unavailable";
  }
  return "?";
}

std::string_view ToString(CommitOutcome outcome) {
  switch (outcome) {
    case CommitOutcome::kCommitted:
      return "committed";
    case CommitOutcome::kNotCommitted:
      return "not-committed";
    case CommitOutcome::kUnknown:
      return "unknown";
  }
  return "?";
}

}  // namespace lockstep
