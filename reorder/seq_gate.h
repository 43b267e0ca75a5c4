// SeqGate decides when records may leave in per-producer mode: Gate (gate.h), with a cursor of
// seqs.
//
// The rules are the same: an intent is durable, under this gate's term, before an effect leaves; a
// batch is one commit, whatever producers it holds, and carries the dones that are owed; what a
// crash leaves between done and intent is in doubt, of each producer. Within a batch the sink is
// serial, so of each producer what left is a prefix.
//
// Not thread-safe. No I/O, no clock.
#ifndef LOCKSTEP_REORDER_SEQ_GATE_H_
#define LOCKSTEP_REORDER_SEQ_GATE_H_

#include <map>
#include <string>

#include "absl/status/status.h"

#include "common/model/ids.h"
#include "db-ledger/seq_cursor.h"
#include "reorder/gate.h"

namespace lockstep {

class SeqGate {
 public:
  // `opened` is what OpenSeqGate answered with kCommitted.
  SeqGate(StreamName name, const SeqCursor& opened);

  bool in_doubt() const;
  // Of every producer: up to here all is outside; after Resolve what is in doubt counts as the
  // policy says.
  std::map<ProducerId, Seq> done() const;
  std::map<ProducerId, Seq> intent() const;
  // For sinks that cannot be asked. FAILED_PRECONDITION `in-doubt: …`. REQUIRES: before any batch.
  absl::Status Resolve(InDoubtPolicy policy, bool old_gate_is_dead);

  // The commit for a batch whose last seqs these are (empty: none, the gate is idle), and the dones
  // that are owed. REQUIRES: a batch, or owes_done().
  MoveSeqCursorRequest Move(const std::map<ProducerId, Seq>& batch) const;
  Gate::Answer Moved(const MoveSeqCursorRequest& request, const Commit<lockstep::Moved>& commit);

  // One effect leaves now. REQUIRES: its intent is durable; it is its producer's next one.
  void Leaves(ProducerId producer, Seq seq);
  bool MayHaveLeft(ProducerId producer, Seq seq) const;
  // All that left is outside and will stay there.
  void Left();
  bool owes_done() const;

 private:
  struct Place {
    Seq intent;  // The highest ever asked for.
    Seq durable_intent;
    Seq left;
    Seq done;
    Seq durable_done;
    Seq resend_to;
  };
  const StreamName name_;
  const std::string group_;
  const StreamId stream_;
  const Term term_;
  std::map<ProducerId, Place> places_;
};

}  // namespace lockstep

#endif  // LOCKSTEP_REORDER_SEQ_GATE_H_
