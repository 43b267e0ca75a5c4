// The two ends that nobody may disappoint: the sources (what was told to be done) and the outside
// (what left, in order). Both survive every site.
#ifndef LOCKSTEP_SIM_OUTSIDE_H_
#define LOCKSTEP_SIM_OUTSIDE_H_

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/model/digest.h"
#include "common/model/ids.h"

namespace lockstep::sim {

// One producer's source with RPO 0 (a table in a synchronously replicated database): its events
// can be read at both sites at any time. Source position n is the n-th event, written in decimal.
class SimSource {
 public:
  explicit SimSource(std::string producer) : producer_(std::move(producer)) {}

  void Write(int32_t partition) { partitions_.push_back(partition); }

  const std::string& producer() const { return producer_; }
  int64_t size() const { return static_cast<int64_t>(partitions_.size()); }
  // REQUIRES (all): 1 <= at <= size()
  int32_t PartitionOf(int64_t at) const { return partitions_[static_cast<size_t>(at - 1)]; }
  // The event's seq on its stream: its place among the events of that partition.
  Seq SeqOf(int64_t at) const;
  // The source position of the event with this seq. REQUIRES: there is one.
  int64_t AtOf(int32_t partition, Seq seq) const;
  // What is written to Kafka. A source that *processes* gives other bytes at every attempt.
  std::string ValueOf(int64_t at, const std::string& attempt) const;

  // How many of the first events lie on `partition`, up to source position `at`.
  Seq LastSeq(int32_t partition, int64_t at) const;

  // The source is told that everything up to `at` is done.
  void Acknowledge(int64_t at) { acknowledged_ = std::max(acknowledged_, at); }
  int64_t acknowledged() const { return acknowledged_; }

 private:
  const std::string producer_;
  std::vector<int32_t> partitions_;  // Of event 1, 2, 3 …
  int64_t acknowledged_ = 0;
};

// One effect, as it left.
struct Effect {
  int32_t partition = 0;
  Position position;
  std::string producer;
  Term term;
  Seq seq;
  std::string value;
  std::string gate;  // Which process sent it; for the trace.
};

class Outside {
 public:
  void Take(Effect effect) {
    last_[effect.partition] = std::max(last_[effect.partition], effect.position);
    seen_.insert({effect.partition, effect.position});
    effects_.push_back(std::move(effect));
  }

  const std::vector<Effect>& effects() const { return effects_; }
  // The highest position that left; {0, 0} before the first.
  Position Last(int32_t partition) const {
    auto last = last_.find(partition);
    return last == last_.end() ? Position{} : last->second;
  }
  bool Seen(int32_t partition, Position position) const {
    return seen_.count({partition, position}) > 0;
  }

 private:
  std::vector<Effect> effects_;
  std::map<int32_t, Position> last_;
  std::set<std::pair<int32_t, Position>> seen_;
};

}  // namespace lockstep::sim

#endif  // LOCKSTEP_SIM_OUTSIDE_H_
