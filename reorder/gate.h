// Gate decides when records may leave: the cursor's state machine for one stream (I4, I7).
//
//   batch ready → intent (with the last batch's done) durable → effects leave, serially → done
//   rides with the next intent, or goes alone when idle.
//
// Every commit carries the gate's term; once another gate opened the group, or an epoch began,
// nothing moves any more and this gate stops (kFenced). An outcome that is unknown is asked again
// with the same request until it is known; until then nothing leaves.
//
// At start (done, intent] may be in doubt: those effects may have left, or, while the old gate
// lives, may yet leave (C9). Resolve answers from the sink where it can, else from the operator.
//
// Promises:
//   (1) MayLeave(p) iff an intent ≥ p under this gate's term is durable (rule intent_sync).
//   (2) What leaves ascends and lies above done: the outside sees a position once.
//   (3) Within a batch what left is a prefix, so done ≤ Last() ≤ intent at any crash.
//
// Not thread-safe. No I/O, no clock.
#ifndef LOCKSTEP_REORDER_GATE_H_
#define LOCKSTEP_REORDER_GATE_H_

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"

#include "common/base/check.h"
#include "common/model/ids.h"
#include "common/model/rules.h"
#include "db-ledger/ledger.h"

namespace lockstep {

// What a sink can say and guarantee; decides what becomes of doubt.
enum class SinkKind {
  kTransactional,     // Effects and cursor in one transaction of the ledger's database.
  kQueryableFencing,  // Last() answers, and nobody else can write while this process holds it.
  kQueryable,         // Last() answers, but an old gate may still write.
  kBlind,             // Nothing can be asked.
};

// The sink can be asked: doubt resolves itself, if nobody else can write to it.
inline bool CanBeAsked(SinkKind kind) { return kind != SinkKind::kBlind; }
// While a process holds the sink, no gate before it can add to what is outside: effects and cursor
// of a transactional one move together, so what it says is final.
inline bool Fences(SinkKind kind) {
  return kind == SinkKind::kTransactional || kind == SinkKind::kQueryableFencing;
}

// --in-doubt.
enum class InDoubtPolicy { kHold, kResend, kSkip };

class Gate {
 public:
  struct Options {
    Rules rules = kAllRules;
    std::string group;
    StreamId stream;
    StreamName name;  // For messages.
  };

  // `opened` is what OpenGate answered with kCommitted: the cursor under this gate's new term.
  Gate(Options options, const Cursor& opened);

  // --- at start

  // (done, intent] is not empty.
  bool in_doubt() const { return intent_.has_value() && intent_ != done_; }

  struct Doubt {
    SinkKind sink = SinkKind::kBlind;
    std::optional<Position> last;  // Unless blind: what Last() said; nullopt: nothing left yet.
    InDoubtPolicy policy = InDoubtPolicy::kHold;
    bool old_gate_is_dead = false;
    bool never_written = false;  // Transactional: NeverWritten() said so.
  };
  // Ends the doubt or refuses with FAILED_PRECONDITION: `in-doubt`, or `sink-is-not-the-outside`
  // when not done ≤ Last ≤ intent (checked also when nothing is in doubt). A transactional sink
  // whose readers remove what they have read may hold less than done, if nothing is in doubt and it
  // was ever written to: there the cursor is the word of the sink itself. REQUIRES: called once,
  // before any batch.
  absl::Status Resolve(const Doubt& doubt);

  // --- batches

  // The next commit: intent for a batch whose last record lies at `batch_last` (nullopt: none, the
  // gate is idle) and the done that is owed. Repeating it is safe.
  MoveCursorRequest Move(std::optional<Position> batch_last) const;

  enum class Answer {
    kGo,       // Durable.
    kRepeat,   // Unknown, or not possible now: the same request again, after a pause.
    kFenced,   // Another gate or a new epoch took over: stop, exit 3.
    kRefused,  // Any other refusal; `why` of the commit says which.
  };
  Answer Moved(const MoveCursorRequest& request, const Commit<lockstep::Moved>& commit);
  // What a cursor commit's outcome means to whoever asked for it.
  static Answer AnswerOf(const Commit<lockstep::Moved>& commit);

  // (1). With a transactional sink effects and cursor are one, and this is not asked.
  bool MayLeave(Position position) const {
    return !options_.rules.intent_sync ||
           (durable_intent_.has_value() && position <= *durable_intent_);
  }
  // One effect leaves now. REQUIRES: MayLeave(position), above everything that left before (2).
  void Leaves(Position position) {
    LOCKSTEP_CHECK(MayLeave(position), "an effect leaves under a durable intent only (1)");
    LOCKSTEP_CHECK(last_left_ < position,
                   "the outside sees the ledger's positions once, in order (2)");
    last_left_ = position;
  }
  // Marks what was in doubt and is sent again.
  bool MayHaveLeft(Position position) const {
    return resend_to_.has_value() && position <= *resend_to_;
  }
  // All effects up to `position` are outside and will stay there (synced).
  void Left(Position position);
  // Effects and cursor were committed together: intent = done = position.
  void LeftWithCursor(Position position);

  // True iff `done` is ahead of what the ledger knows: write it when idle.
  bool owes_done() const { return done_ != durable_done_; }

  const std::optional<Position>& done() const { return done_; }
  const std::optional<Position>& intent() const { return intent_; }
  Term term() const { return term_; }

 private:
  bool IsTheOutside(const Doubt& doubt) const;
  absl::Status CheckOutside(const Doubt& doubt) const;

  const Options options_;
  const Term term_;
  std::optional<Position> intent_;          // The highest ever asked for, also by gates before us.
  std::optional<Position> durable_intent_;  // The highest that is durable under our term.
  std::optional<Position> done_;            // Known to be outside.
  std::optional<Position> durable_done_;    // Known to the ledger.
  std::optional<Position> last_left_;
  std::optional<Position> resend_to_;
};

// True iff the status is Resolve's answer that what is in doubt was held.
bool IsInDoubt(const absl::Status& status);
absl::Status InDoubtError(std::string_view why);

}  // namespace lockstep

#endif  // LOCKSTEP_REORDER_GATE_H_
