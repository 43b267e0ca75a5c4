// SeqGate decides when records may leave in per-producer mode: Gate (gate.h), with a cursor of
// seqs.
//
// The rules are the same: an intent is durable, under this gate's term, before an effect leaves; a
// batch is one commit, whatever producers it holds, and carries the dones that are owed; what a
// crash leaves between done and intent is in doubt, of each producer. Within a batch the sink is
// serial, so of each producer what left is a prefix.
//
// Promises, of each producer:
//   (1) What leaves has a seq ≤ a durable intent under this gate's term.
//   (2) It leaves in seq order, from done on, each seq once.
//
// Not thread-safe. No I/O, no clock.
#ifndef LOCKSTEP_REORDER_SEQ_GATE_H_
#define LOCKSTEP_REORDER_SEQ_GATE_H_

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

#include "common/model/ids.h"
#include "db-ledger/seq_cursor.h"
#include "reorder/gate.h"
#include "reorder/producer_order.h"

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

  // Of a producer that the ledger knows: how far the sink says it is (0: nothing left).
  struct Outside {
    ProducerId producer;
    std::string name;
    Seq last;
  };
  struct Doubt {
    SinkKind sink = SinkKind::kBlind;
    std::vector<Outside> last = {};  // Unless blind: of every producer.
    InDoubtPolicy policy = InDoubtPolicy::kHold;
    bool old_gate_is_dead = false;
    bool never_written = false;
  };
  // As Gate::Resolve: ends the doubt or refuses with FAILED_PRECONDITION: `in-doubt`, or
  // `sink-is-not-the-outside` when not done ≤ last ≤ intent of each producer (of a transactional
  // sink, whose rows may have been removed, last ≤ intent of one that is not in doubt). REQUIRES:
  // called once, before any batch.
  absl::Status Resolve(const Doubt& doubt);

  // The commit for a batch whose last seqs these are (empty: none, the gate is idle), and the dones
  // that are owed. REQUIRES: a batch, or owes_done().
  MoveSeqCursorRequest Move(std::span<const SeqRange> batch) const;
  // The same for a sink that takes the cursor with the records: what is intended is done.
  MoveSeqCursorRequest MoveDone(std::span<const SeqRange> batch) const;
  Gate::Answer Moved(const MoveSeqCursorRequest& request, const Commit<lockstep::Moved>& commit);

  // These effects leave now. REQUIRES: (1) and (2).
  void Leaves(std::span<const SeqRange> batch);
  // Something is sent again that may have left; MayHaveLeft says what.
  bool resends() const { return resends_; }
  bool MayHaveLeft(ProducerId producer, Seq seq) const;
  // All that leaves is outside and will stay there …
  void Left();
  // … or only what the producer has up to there.
  void LeftUpTo(ProducerId producer, Seq seq);
  // Effects and cursor were committed together.
  void LeftWithCursor(std::span<const SeqRange> batch);
  bool owes_done() const;

 private:
  struct Place {
    Seq intent;  // The highest ever asked for.
    Seq durable_intent;
    Seq leaves;  // Given to the sink.
    Seq done;
    Seq durable_done;
    Seq resend_to;
    bool in_doubt() const { return intent != done; }
  };
  static bool IsTheOutside(const Doubt& doubt, const Place& place, Seq last);
  absl::Status CheckOutside(const Doubt& doubt) const;
  void TakeOutside(const Outside& outside);

  const StreamName name_;
  const std::string group_;
  const StreamId stream_;
  const Term term_;
  std::map<ProducerId, Place> places_;
  bool resends_ = false;
};

}  // namespace lockstep

#endif  // LOCKSTEP_REORDER_SEQ_GATE_H_
