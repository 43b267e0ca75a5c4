// Journal: what happened in one run. Three things in one place, since everything in the simulation
// writes all three: the trace (lines in design.md's words, kept only when somebody will read them),
// the coverage (how often each kind of event was reached), and the first violation.
#ifndef LOCKSTEP_SIM_JOURNAL_H_
#define LOCKSTEP_SIM_JOURNAL_H_

#include <array>
#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"

namespace lockstep::sim {

// The kinds of event and the rare states that a run may reach; the names in the summary's
// `coverage`. A kind that stays at 0 over many seeds is a simulation that does not test what it
// says.
#define LOCKSTEP_SIM_EVENTS(X)     \
  X(record_landed)                 \
  X(record_landed_late)            \
  X(requests_vanished)             \
  X(delivery_failed)               \
  X(mirror_restart)                \
  X(mirror_late)                   \
  X(ledger_commit)                 \
  X(ledger_unknown_applied)        \
  X(ledger_unknown_not_applied)    \
  X(ledger_wait_cancelled)         \
  X(ledger_repeat)                 \
  X(ledger_refused_fenced)         \
  X(standby_away)                  \
  X(append_to_old_database)        \
  X(append_before_new_epoch)       \
  X(append_refused_after_loss)     \
  X(producer_open)                 \
  X(producer_open_abandoned)       \
  X(producer_adopts)               \
  X(producer_crash)                \
  X(producer_crash_while_starting) \
  X(producer_second_process)       \
  X(producer_tenure_ended)         \
  X(gate_open)                     \
  X(gate_open_abandoned)           \
  X(gate_crash_before_intent)      \
  X(gate_crash_before_effect)      \
  X(gate_crash_between_effects)    \
  X(gate_crash_before_done)        \
  X(gate_second_process)           \
  X(gate_in_doubt)                 \
  X(gate_in_doubt_seen)            \
  X(gate_in_doubt_not_seen)        \
  X(gate_fenced)                   \
  X(old_gate_sends_after_loss)     \
  X(old_gate_ended_by_operator)    \
  X(effect)                        \
  X(effect_of_old_epoch)           \
  X(site_lost)                     \
  X(site_lost_with_wal_tail)       \
  X(site_lost_with_mirror_tail)    \
  X(site_lost_again)               \
  X(promoted)                      \
  X(epoch_begun)                   \
  X(gap_found)                     \
  X(gap_empty)                     \
  X(reinjected)                    \
  X(failover_killed)               \
  X(failover_done)                 \
  X(site_rejoined)                 \
  X(solo_ended)

enum class Event {
#define LOCKSTEP_SIM_EVENT(name) name,
  LOCKSTEP_SIM_EVENTS(LOCKSTEP_SIM_EVENT)
#undef LOCKSTEP_SIM_EVENT
      kCount
};

inline constexpr size_t kEventKinds = static_cast<size_t>(Event::kCount);

inline constexpr std::array<std::string_view, kEventKinds> kEventNames = {
#define LOCKSTEP_SIM_EVENT(name) #name,
    LOCKSTEP_SIM_EVENTS(LOCKSTEP_SIM_EVENT)
#undef LOCKSTEP_SIM_EVENT
};

using Coverage = std::array<int64_t, kEventKinds>;

class Journal {
 public:
  explicit Journal(bool keep_trace) : keep_trace_(keep_trace) {}

  // Virtual time; only people read it.
  void Advance(int64_t microseconds) { now_us_ += microseconds; }

  void Saw(Event event) { ++coverage_[static_cast<size_t>(event)]; }

  // One line of the trace. Costs nothing when no trace is kept.
  template <class... Part>
  void Say(const Part&... parts) {
    if (keep_trace_) Append(absl::StrCat(Piece(parts)...));
  }

  // The first one counts: what follows a broken invariant proves nothing.
  void Violation(std::string what) {
    if (!violation_.empty()) return;
    violation_ = std::move(what);
    if (keep_trace_) Append(absl::StrCat("VIOLATION ", violation_));
  }

  // A process stopped because something looked wrong to it. With every rule on that is a violation;
  // with a rule off it is a second line of defence that held, and the search goes on.
  void Stopped(std::string what, bool rule_is_off) {
    if (rule_is_off) {
      ++defended_;
    } else {
      Violation(std::move(what));
    }
  }
  int64_t defended() const { return defended_; }

  bool violated() const { return !violation_.empty(); }
  const std::string& violation() const { return violation_; }
  const std::vector<std::string>& trace() const { return trace_; }
  const Coverage& coverage() const { return coverage_; }

 private:
  // Debian's Abseil has a string_view of its own.
  static absl::string_view Piece(std::string_view text) { return {text.data(), text.size()}; }
  static absl::string_view Piece(const std::string& text) { return text; }
  static absl::string_view Piece(const char* text) { return text; }
  template <std::integral Int>
  static Int Piece(Int number) {
    return number;
  }

  void Append(const std::string& line) {
    trace_.push_back(absl::StrCat(absl::Dec(now_us_ / 1000, absl::kSpacePad6), " ms  ", line));
  }

  const bool keep_trace_;
  int64_t now_us_ = 0;
  int64_t defended_ = 0;
  Coverage coverage_{};
  std::string violation_;
  std::vector<std::string> trace_;
};

}  // namespace lockstep::sim

#endif  // LOCKSTEP_SIM_JOURNAL_H_
