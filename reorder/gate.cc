#include "reorder/gate.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "common/base/check.h"
#include "common/base/status_macros.h"

namespace lockstep {
namespace {

std::string Text(const std::optional<Position>& position) {
  return position.has_value() ? ToString(*position) : "nothing";
}

constexpr char kInDoubt[] = "in-doubt: ";

}  // namespace

bool IsInDoubt(const absl::Status& status) {
  return absl::IsFailedPrecondition(status) && absl::StartsWith(status.message(), kInDoubt);
}

absl::Status InDoubtError(std::string_view why) {
  return absl::FailedPreconditionError(absl::StrCat(kInDoubt, std::string(why)));
}

Gate::Gate(Options options, const Cursor& opened)
    : options_(std::move(options)),
      term_(opened.term),
      intent_(opened.intent),
      done_(opened.done),
      durable_done_(opened.done),
      last_left_(opened.done) {}

// std::optional orders nullopt below every position, which is what "nothing yet" means here.
bool Gate::IsTheOutside(const Doubt& doubt) const {
  if (!CanBeAsked(doubt.sink)) return true;
  if (doubt.last > intent_) return false;
  const bool may_lack_rows =
      doubt.sink == SinkKind::kTransactional && !in_doubt() && !doubt.never_written;
  return may_lack_rows || done_ <= doubt.last;
}

absl::Status Gate::CheckOutside(const Doubt& doubt) const {
  if (IsTheOutside(doubt)) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("sink-is-not-the-outside: group ", options_.group, " has sent stream ",
                   ToString(options_.name), " up to ", Text(done_), ", at most ", Text(intent_),
                   "; the sink holds up to ", Text(doubt.last),
                   ". Either a newer gate of this group has sent meanwhile (`lockstep-ledger "
                   "cursor list` says), or "
                   "it is not the sink that this group wrote to; use that one, or another group "
                   "with --from start"));
}

absl::Status Gate::Resolve(const Doubt& doubt) {
  LOCKSTEP_RETURN_IF_ERROR(CheckOutside(doubt));
  if (!in_doubt()) return absl::OkStatus();
  const bool old_gate_cannot_send =
      Fences(doubt.sink) || doubt.old_gate_is_dead || !options_.rules.old_gate_dead;
  const bool answered = CanBeAsked(doubt.sink);
  if ((!answered && doubt.policy == InDoubtPolicy::kHold) || !old_gate_cannot_send) {
    return InDoubtError(absl::StrCat(
        "group ", options_.group, ", stream ", ToString(options_.name), ": what lies in (",
        Text(done_), ", ", Text(intent_), "] may have been sent",
        old_gate_cannot_send ? "" : " and, while its gate lives, may yet be",
        ". Make sure that the old gate is dead, ask the outside, then run again with ",
        answered ? "--old-gate-is-dead" : "--in-doubt=resend or skip and --old-gate-is-dead"));
  }
  if (answered) {
    done_ = doubt.last;
  } else if (doubt.policy == InDoubtPolicy::kSkip) {
    done_ = intent_;
  } else {
    resend_to_ = intent_;
  }
  last_left_ = done_;
  return absl::OkStatus();
}

MoveCursorRequest Gate::Move(std::optional<Position> batch_last) const {
  MoveCursorRequest request;
  request.group = options_.group;
  request.stream = options_.stream;
  request.term = term_;
  // Never back: what an earlier gate intended stays intended until it was sent again.
  if (batch_last.has_value()) request.intent = std::max(intent_, batch_last);
  if (owes_done()) request.done = done_;
  return request;
}

Gate::Answer Gate::Moved(const MoveCursorRequest& request, const Commit<lockstep::Moved>& commit) {
  // An intent that was asked for may be durable even if nobody says so.
  intent_ = std::max(intent_, request.intent);
  if (commit.committed()) {
    durable_intent_ = std::max(durable_intent_, request.intent);
    durable_done_ = std::max(durable_done_, request.done);
  }
  return AnswerOf(commit);
}

Gate::Answer Gate::AnswerOf(const Commit<lockstep::Moved>& commit) {
  switch (commit.outcome) {
    case CommitOutcome::kCommitted:
      return Answer::kGo;
    case CommitOutcome::kUnknown:
      return Answer::kRepeat;
    case CommitOutcome::kNotCommitted:
      break;
  }
  switch (commit.refusal) {
    case Refusal::kUnavailable:
    case Refusal::kNoDurableStandby:
      return Answer::kRepeat;
    case Refusal::kFenced:
      return Answer::kFenced;
    default:
      return Answer::kRefused;
  }
}

void Gate::Left(Position position) {
  LOCKSTEP_CHECK(position <= last_left_, "what is done has left");
  LOCKSTEP_CHECK(done_ <= position, "what is done stays done");
  done_ = position;
}

void Gate::LeftWithCursor(Position position) {
  LOCKSTEP_CHECK(last_left_ < position,
                 "the outside sees the ledger's positions once, in order (2)");
  last_left_ = done_ = durable_done_ = position;
  intent_ = std::max(intent_, done_);
}

}  // namespace lockstep
