#include "reorder/seq_gate.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "common/base/check.h"
#include "common/base/status_macros.h"

namespace lockstep {

SeqGate::SeqGate(StreamName name, const SeqCursor& opened)
    : name_(std::move(name)), group_(opened.group), stream_(opened.stream), term_(opened.term) {
  for (const SeqMark& mark : opened.marks) {
    places_[mark.producer] = {mark.intent, Seq(0), mark.done, mark.done, mark.done, Seq(0)};
  }
}

bool SeqGate::in_doubt() const {
  return std::any_of(places_.begin(), places_.end(),
                     [](const auto& place) { return place.second.in_doubt(); });
}

std::map<ProducerId, Seq> SeqGate::done() const {
  std::map<ProducerId, Seq> seqs;
  for (const auto& [producer, place] : places_) seqs[producer] = place.done;
  return seqs;
}

std::map<ProducerId, Seq> SeqGate::intent() const {
  std::map<ProducerId, Seq> seqs;
  for (const auto& [producer, place] : places_) seqs[producer] = place.intent;
  return seqs;
}

bool SeqGate::IsTheOutside(const Doubt& doubt, const Place& place, Seq last) {
  if (last > place.intent) return false;
  const bool may_lack_rows =
      doubt.sink == SinkKind::kTransactional && !place.in_doubt() && !doubt.never_written;
  return may_lack_rows || place.done <= last;
}

absl::Status SeqGate::CheckOutside(const Doubt& doubt) const {
  for (const Outside& outside : doubt.last) {
    const auto found = places_.find(outside.producer);
    const Place place = found == places_.end() ? Place() : found->second;
    if (IsTheOutside(doubt, place, outside.last)) continue;
    return absl::FailedPreconditionError(absl::StrCat(
        "sink-is-not-the-outside: group ", group_, " has sent stream ", ToString(name_),
        " of producer ", outside.name, " up to seq ", place.done.value(), ", at most ",
        place.intent.value(), "; the sink holds up to ", outside.last.value(),
        ". Either a newer gate of this group has sent meanwhile (`lockstep-ledger "
        "cursor list` says), or it is not the sink that this group wrote to; use that "
        "one, or another group with --from start"));
  }
  return absl::OkStatus();
}

absl::Status SeqGate::Resolve(const Doubt& doubt) {
  const bool answered = CanBeAsked(doubt.sink);
  LOCKSTEP_RETURN_IF_ERROR(CheckOutside(doubt));
  if (!in_doubt()) return absl::OkStatus();
  const bool old_gate_cannot_send = Fences(doubt.sink) || doubt.old_gate_is_dead;
  if ((!answered && doubt.policy == InDoubtPolicy::kHold) || !old_gate_cannot_send) {
    return InDoubtError(absl::StrCat(
        "group ", group_, ", stream ", ToString(name_),
        ": what lies between done and intent of a producer may have been sent",
        old_gate_cannot_send ? "" : " and, while its gate lives, may yet be",
        ". Make sure that the old gate is dead, ask the outside, then run again with ",
        answered ? "--old-gate-is-dead" : "--in-doubt=resend or skip and --old-gate-is-dead"));
  }
  for (const Outside& outside : doubt.last) TakeOutside(outside);
  if (answered) return absl::OkStatus();
  resends_ = doubt.policy == InDoubtPolicy::kResend;
  for (auto& [producer, place] : places_) {
    if (resends_) {
      place.resend_to = place.intent;
    } else {
      place.done = place.leaves = place.intent;
    }
  }
  return absl::OkStatus();
}

void SeqGate::TakeOutside(const Outside& outside) {
  const auto found = places_.find(outside.producer);
  if (found == places_.end() || !found->second.in_doubt()) return;
  found->second.done = found->second.leaves = outside.last;
}

MoveSeqCursorRequest SeqGate::Move(std::span<const SeqRange> batch) const {
  std::map<ProducerId, SeqMark> marks;
  for (const auto& [producer, place] : places_) {
    if (place.done != place.durable_done) marks[producer] = {producer, place.intent, place.done};
  }
  for (const SeqRange& range : batch) {
    const auto found = places_.find(range.producer);
    const Place place = found == places_.end() ? Place() : found->second;
    // Never back: what an earlier gate intended stays intended until it was sent again.
    marks[range.producer] = {range.producer, std::max(place.intent, range.last), place.done};
  }
  MoveSeqCursorRequest request{group_, stream_, term_, {}};
  for (const auto& [producer, mark] : marks) request.marks.push_back(mark);
  return request;
}

MoveSeqCursorRequest SeqGate::MoveDone(std::span<const SeqRange> batch) const {
  MoveSeqCursorRequest request = Move(batch);
  std::map<ProducerId, Seq> done;
  for (const SeqRange& range : batch) done[range.producer] = range.last;
  for (SeqMark& mark : request.marks) {
    if (const auto found = done.find(mark.producer); found != done.end()) mark.done = found->second;
  }
  return request;
}

Gate::Answer SeqGate::Moved(const MoveSeqCursorRequest& request,
                            const Commit<lockstep::Moved>& commit) {
  for (const SeqMark& mark : request.marks) {
    Place& place = places_[mark.producer];
    // An intent that was asked for may be durable even if nobody says so.
    place.intent = std::max(place.intent, mark.intent);
    if (!commit.committed()) continue;
    place.durable_intent = std::max(place.durable_intent, mark.intent);
    place.durable_done = std::max(place.durable_done, mark.done);
  }
  return Gate::AnswerOf(commit);
}

void SeqGate::Leaves(std::span<const SeqRange> batch) {
  for (const SeqRange& range : batch) {
    Place& place = places_[range.producer];
    LOCKSTEP_CHECK(range.last <= place.durable_intent,
                   "an effect leaves under a durable intent only (1)");
    LOCKSTEP_CHECK(range.first == place.leaves + 1, "the outside sees each seq once, in order (2)");
    place.leaves = range.last;
  }
}

bool SeqGate::MayHaveLeft(ProducerId producer, Seq seq) const {
  const auto place = places_.find(producer);
  return place != places_.end() && seq <= place->second.resend_to;
}

void SeqGate::Left() {
  for (auto& [producer, place] : places_) place.done = place.leaves;
}

void SeqGate::LeftUpTo(ProducerId producer, Seq seq) {
  Place& place = places_.at(producer);
  LOCKSTEP_CHECK(seq <= place.leaves, "what is done has left");
  place.done = std::max(place.done, seq);
}

void SeqGate::LeftWithCursor(std::span<const SeqRange> batch) {
  Leaves(batch);
  for (const SeqRange& range : batch) {
    Place& place = places_[range.producer];
    place.done = place.durable_done = range.last;
  }
}

bool SeqGate::owes_done() const {
  return std::any_of(places_.begin(), places_.end(), [](const auto& place) {
    return place.second.done != place.second.durable_done;
  });
}

}  // namespace lockstep
