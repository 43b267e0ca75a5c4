#include "sim/mirror.h"

#include <algorithm>

namespace lockstep::sim {

std::string MirroredTopic(MirrorKind kind, const std::string& from, const std::string& topic) {
  return kind == MirrorKind::kDefault ? absl::StrCat(from, ".", topic) : topic;
}

SimMirror::SimMirror(SimBroker& from, SimBroker& to, MirrorKind kind, std::string topic,
                     int32_t partitions, bool plant_skip, Random& random, Journal& journal)
    : from_(from),
      to_(to),
      topic_(topic),
      to_topic_(MirroredTopic(kind, from.cluster_id(), topic)),
      random_(random),
      journal_(journal),
      reached_(static_cast<size_t>(partitions), 0),
      skip_next_(plant_skip) {
  for (int32_t p = 0; p < partitions; ++p) copiers_.push_back({p, 0});
}

bool SimMirror::Step() {
  std::vector<Copier*> ready;
  for (Copier& copier : copiers_) {
    const SimLog* log = from_.FindLog({topic_, copier.partition});
    if (log != nullptr && copier.next < log->records().size()) ready.push_back(&copier);
  }
  if (ready.empty()) return false;
  Copier& copier = *ready[random_.Index(ready.size())];
  const SimRecord& record = from_.Log({topic_, copier.partition}).records()[copier.next++];
  size_t& reached = reached_[static_cast<size_t>(copier.partition)];
  const bool again = copier.next <= reached;
  if (skip_next_ && !again && copier.next > 1) {
    skip_next_ = false;
    reached = copier.next;
    return true;
  }
  reached = std::max(reached, copier.next);
  const Offset offset = to_.Log({to_topic_, copier.partition}).Append(record, 0);
  if (late_) journal_.Saw(Event::mirror_late);
  journal_.Say("mirror to ", to_.cluster_id(), ": ", Identity(record), " lands at ", to_topic_, "/",
               copier.partition, " offset ", offset.value(), again ? " (again)" : "",
               late_ ? " (late)" : "");
  return true;
}

bool SimMirror::Lags() const {
  for (size_t p = 0; p < reached_.size(); ++p) {
    const SimLog* log = from_.FindLog({topic_, static_cast<int32_t>(p)});
    if (log != nullptr && reached_[p] < log->records().size()) return true;
  }
  return false;
}

void SimMirror::Restart() {
  const size_t chosen = random_.Index(copiers_.size());
  const int32_t partition = copiers_[chosen].partition;
  const size_t reached = reached_[static_cast<size_t>(partition)];
  const size_t next = random_.Percent(25) ? 0 : random_.Index(reached + 1);
  journal_.Saw(Event::mirror_restart);
  journal_.Say("mirror to ", to_.cluster_id(), ": starts again on ", topic_, "/", partition,
               " at record ", next, " of ", reached);
  if (random_.Percent(50) && copiers_.size() < 6) {
    copiers_.push_back({partition, next});  // The old task does not know that it was replaced.
  } else {
    copiers_[chosen].next = next;
  }
}

}  // namespace lockstep::sim
