// SeqCursors: how far a group's gate has sent each producer of a stream, for gates that keep each
// producer's own order and no other (`--mode per-producer`).
//
// A cursor of seqs has the same life as a cursor of positions (ledger.h, I4): a gate takes its term
// by opening it; intents and dones under an old term are refused; begin_epoch makes a new term for
// it; (done, intent] of each producer is in doubt. One commit moves any number of producers. A
// group has one kind of cursor on a stream; asking for the other kind is kWrongKind.
//
// Both ledgers implement it beside Ledger. Not thread-safe.
#ifndef LOCKSTEP_DB_LEDGER_SEQ_CURSOR_H_
#define LOCKSTEP_DB_LEDGER_SEQ_CURSOR_H_

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "common/model/ids.h"
#include "db-ledger/ledger.h"

namespace lockstep {

// Of one producer. 0: nothing yet.
struct SeqMark {
  ProducerId producer;
  Seq intent;
  Seq done;
  bool operator==(const SeqMark&) const = default;
};

struct SeqCursor {
  std::string group;
  StreamId stream;
  Term term;
  std::vector<SeqMark> marks;  // By producer; one that is missing has sent nothing.
  bool operator==(const SeqCursor&) const = default;
};

struct OpenedSeqGate {
  Epoch epoch;
  bool solo = false;
  SeqCursor cursor;  // `term` is this gate's.
};

struct MoveSeqCursorRequest {
  std::string group;
  StreamId stream;
  Term term;
  // What the producers named have then; none goes back, done ≤ intent. Not empty.
  std::vector<SeqMark> marks;
};

class SeqCursors {
 public:
  virtual ~SeqCursors() = default;

  // Takes the next term of the group's cursor, creating it if `create`, else kNotFound.
  virtual Commit<OpenedSeqGate> OpenSeqGate(const std::string& group, const StreamName& stream,
                                            bool create) = 0;
  // Repeatable, as is MoveCursor. kNotFound: no such cursor, or a producer that the stream has not.
  virtual Commit<Moved> MoveSeqCursor(const MoveSeqCursorRequest& request) = 0;
  // An operator's word: up to `at` (0: nothing) all of the producer is outside, and nothing above.
  // The other producers' places stay; a group that has no cursor gets one. Fences its gate.
  virtual Commit<Moved> SetSeqCursor(const std::string& group, StreamId stream, ProducerId producer,
                                     Seq at) = 0;

  virtual absl::StatusOr<std::vector<SeqCursor>> ReadSeqCursors() = 0;
  // Marks from which ReadStream gives, of each producer named, the run that holds its seq and all
  // later ones (and at most one earlier run); of the others everything.
  virtual absl::StatusOr<RunMarks> MarksAfterSeqs(StreamId stream,
                                                  const std::map<ProducerId, Seq>& seqs) = 0;
};

}  // namespace lockstep

#endif  // LOCKSTEP_DB_LEDGER_SEQ_CURSOR_H_
