#include "reorder/seq_gate.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "common/base/check.h"

namespace lockstep {

SeqGate::SeqGate(StreamName name, const SeqCursor& opened)
    : name_(std::move(name)), group_(opened.group), stream_(opened.stream), term_(opened.term) {
  for (const SeqMark& mark : opened.marks) {
    places_[mark.producer] = {mark.intent, Seq(0), mark.done, mark.done, mark.done, Seq(0)};
  }
}

bool SeqGate::in_doubt() const {
  return std::any_of(places_.begin(), places_.end(),
                     [](const auto& place) { return place.second.intent != place.second.done; });
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

absl::Status SeqGate::Resolve(InDoubtPolicy policy, bool old_gate_is_dead) {
  if (!in_doubt()) return absl::OkStatus();
  if (policy == InDoubtPolicy::kHold || !old_gate_is_dead) {
    return InDoubtError(
        absl::StrCat("group ", group_, ", stream ", ToString(name_),
                     ": what lies between done and intent of a producer may have been sent",
                     old_gate_is_dead ? "" : " and, while its gate lives, may yet be",
                     ". Make sure that the old gate is dead, ask the outside, then run again with "
                     "--in-doubt=resend or skip and --old-gate-is-dead"));
  }
  for (auto& [producer, place] : places_) {
    if (policy == InDoubtPolicy::kSkip) {
      place.done = place.left = place.intent;
    } else {
      place.resend_to = place.intent;
    }
  }
  return absl::OkStatus();
}

MoveSeqCursorRequest SeqGate::Move(const std::map<ProducerId, Seq>& batch) const {
  MoveSeqCursorRequest request{group_, stream_, term_, {}};
  const auto add = [&](ProducerId producer, const Place& place) {
    const auto last = batch.find(producer);
    const bool moves = last != batch.end();
    if (!moves && place.done == place.durable_done) return;
    // Never back: what an earlier gate intended stays intended until it was sent again.
    const Seq intent = moves ? std::max(place.intent, last->second) : place.intent;
    request.marks.push_back({producer, intent, place.done});
  };
  for (const auto& [producer, place] : places_) add(producer, place);
  for (const auto& [producer, last] : batch) {
    if (!places_.contains(producer)) add(producer, Place{});
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

void SeqGate::Leaves(ProducerId producer, Seq seq) {
  Place& place = places_[producer];
  LOCKSTEP_CHECK(seq <= place.durable_intent, "an effect leaves under a durable intent only");
  LOCKSTEP_CHECK(seq == place.left + 1, "the outside sees each seq once, in order");
  place.left = seq;
}

bool SeqGate::MayHaveLeft(ProducerId producer, Seq seq) const {
  const auto place = places_.find(producer);
  return place != places_.end() && seq <= place->second.resend_to;
}

void SeqGate::Left() {
  for (auto& [producer, place] : places_) place.done = place.left;
}

bool SeqGate::owes_done() const {
  return std::any_of(places_.begin(), places_.end(), [](const auto& place) {
    return place.second.done != place.second.durable_done;
  });
}

}  // namespace lockstep
