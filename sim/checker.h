// Checker: the invariants I1–I7 as an outsider sees them.
//
// It knows what survives (the *durable* ledger: what a failover at this very moment would find),
// what lies in every log, what the sources were told and what left. It shares no decision with the
// code it judges: positions are looked up one by one in plain maps.
#ifndef LOCKSTEP_SIM_CHECKER_H_
#define LOCKSTEP_SIM_CHECKER_H_

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "db-ledger/ledger.h"
#include "sim/journal.h"
#include "sim/outside.h"

namespace lockstep::sim {

struct SimRecord;

// A record that a ledger names.
struct NamedRecord {
  std::string producer;
  Term term;
  Seq seq;
  bool operator==(const NamedRecord&) const = default;
};

// One stream as one ledger has it.
struct StreamOrder {
  std::map<Position, NamedRecord> order;
  std::map<std::string, Head> heads;  // By producer.
  std::vector<Cursor> cursors;
};

// Reads all of a ledger, stream by partition.
std::map<int32_t, StreamOrder> ReadAll(Ledger& ledger, const std::string& topic);

class Checker {
 public:
  // The record at a position in that epoch's own log; null: that log does not hold it.
  using TruthFn = std::function<const SimRecord*(int32_t partition, Position position)>;

  Checker(std::string topic, const std::vector<SimSource>& sources, const Outside& outside,
          TruthFn truth, Journal& journal);

  // The durable ledger has changed: I1 and I2 on its rows, I5 (nothing new below what left), I3
  // (nothing that left is gone), I6 (what the sources were told is there).
  void DurableIs(Ledger& ledger);

  // An effect is about to leave: I3, I4, I5, and that it is the record the ledger names.
  void Leaves(const Effect& effect);

  // A source was told.
  void Told(const SimSource& source);

  // The run is over and nothing can happen any more: every event of every source has left. `which`
  // names the first that has not; empty: none is missing.
  std::string Missing() const;

 private:
  void CheckRows(int32_t partition, const StreamOrder& view);
  void CheckSent(int32_t partition, const StreamOrder& view);

  const std::string topic_;
  const std::vector<SimSource>& sources_;
  const Outside& outside_;
  const TruthFn truth_;
  Journal& journal_;
  std::map<int32_t, StreamOrder> durable_;
};

}  // namespace lockstep::sim

#endif  // LOCKSTEP_SIM_CHECKER_H_
