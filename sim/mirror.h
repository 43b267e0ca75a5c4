// SimMirror: MirrorMaker 2 between two sites.
//
// It keeps the premise of the Lemma (design.md §6) and nothing more: every copier writes in source
// order without skipping and starts at or below the first record not yet copied. So it may lag by
// any number of records, start over from anywhere it has been (also from *earliest*), and leave an
// old task behind that goes on copying beside the new one.
#ifndef LOCKSTEP_SIM_MIRROR_H_
#define LOCKSTEP_SIM_MIRROR_H_

#include <string>
#include <vector>

#include "sim/broker.h"
#include "sim/scenario.h"

namespace lockstep::sim {

// What the topic of cluster `from` is called on the other side: `T`, or `P.T` by the default
// policy.
std::string MirroredTopic(MirrorKind kind, const std::string& from, const std::string& topic);

class SimMirror {
 public:
  // REQUIRES: kind is not kNone. `plant_skip` is a planted bug: one record is never copied.
  SimMirror(SimBroker& from, SimBroker& to, MirrorKind kind, std::string topic, int32_t partitions,
            bool plant_skip, Random& random, Journal& journal);

  // Copies one record of one partition. False: nothing is left to copy.
  bool Step();
  // A copier starts again somewhere at or below where the mirror is; the old one may go on.
  void Restart();
  // True iff the source has records that were not copied yet.
  bool Lags() const;
  // The source is lost: what is copied from now on is late.
  void SourceIsLost() { late_ = true; }

 private:
  struct Copier {
    int32_t partition = 0;
    size_t next = 0;  // Index of the source's record.
  };

  SimBroker& from_;
  SimBroker& to_;
  const std::string topic_;
  const std::string to_topic_;
  Random& random_;
  Journal& journal_;
  std::vector<Copier> copiers_;
  std::vector<size_t> reached_;  // By partition: the first record not yet copied.
  bool skip_next_ = false;       // The planted bug.
  bool late_ = false;
};

}  // namespace lockstep::sim

#endif  // LOCKSTEP_SIM_MIRROR_H_
