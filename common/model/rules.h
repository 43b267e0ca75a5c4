// Rules: the protocol's rules, one switch each, all on.
//
// Each removes a counterexample (docs/decisions/0001-protocol-rules.md). Production code only ever
// passes kAllRules; only lockstep-sim switches one off, to show that the simulation finds what it
// is there for.
#ifndef LOCKSTEP_COMMON_MODEL_RULES_H_
#define LOCKSTEP_COMMON_MODEL_RULES_H_

namespace lockstep {

struct Rules {
  bool term =
      true;  // C1, C12: identity carries the term; an unledgered record of a closed term is void.
  bool adopt_unclosed = true;  // C2: only records of terms not yet closed are adopted.
  bool noop_wal =
      true;            // C3: a repeated append writes WAL and waits, it is never a read-only no-op.
  bool strict = true;  // C4: nothing counts as durable while the standby has not flushed it.
  bool open_sync = true;  // C5: nothing is sent before `open` is durable.
  bool abandon_open =
      true;  // C6: an open whose outcome is unknown is abandoned, its term never used.
  bool epoch_cursor = true;  // C7: begin_epoch takes the cursors from the old gates too.
  bool cursor_fence = true;  // C7: intent and done check the gate's term.
  bool atomic_check = true;  // C8: the fence check and the insert exclude begin_epoch and open.
  bool old_gate_dead =
      true;  // C9: doubt is resolved only when the old gate is known dead, or the sink fences.
  bool gap_safe = true;  // C10: the gap is the difference per producer, never what lies above the
                         // highest position.
  bool complete = true;  // C11: the gate waits for every data record below the one it lets out.
  bool intent_sync = true;  // C11: an effect leaves only after its intent is durable.
  bool fence = true;        // C11: append checks the head's term.
};

inline constexpr Rules kAllRules{};

}  // namespace lockstep

#endif  // LOCKSTEP_COMMON_MODEL_RULES_H_
