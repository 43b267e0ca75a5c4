// What a program says to a person: its result, a question before it changes things, its progress.
#ifndef LOCKSTEP_COMMON_CONFIG_TERMINAL_H_
#define LOCKSTEP_COMMON_CONFIG_TERMINAL_H_

#include <chrono>
#include <concepts>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace lockstep {

enum class OutputFormat { kText, kJson };

// A program's result: named values in the order given.
class Summary {
 public:
  Summary& Add(std::string_view name, std::string_view text);
  Summary& Add(std::string_view name, const char* text) {
    return Add(name, std::string_view(text));
  }
  Summary& Add(std::string_view name, double value);
  template <std::integral Int>
  Summary& Add(std::string_view name, Int value) {
    if constexpr (std::is_same_v<Int, bool>) {
      return AddJson(name, value ? "true" : "false");
    } else {
      return AddJson(name, std::to_string(value));
    }
  }
  // `json` is a JSON value as it stands.
  Summary& AddJson(std::string_view name, std::string json);

  // One line without its end: `{"records":12,"seconds":0.5}`.
  std::string Json() const;
  // One `name  value` a line.
  std::string Text() const;
  // The last thing a program with an end prints. Flushes.
  void Print(OutputFormat format, std::FILE* out = stdout) const;

 private:
  struct Entry {
    std::string name;
    std::string json;
    std::string text;
  };
  std::vector<Entry> entries_;
};

enum class Consent { kPlanOnly, kGo, kDeclined };

// The rule for whatever changes state: without `execute` the plan only; with `yes` go; a terminal
// is asked once; without a terminal INVALID_ARGUMENT, `--execute` needs `--yes`.
absl::StatusOr<Consent> AskConsent(bool execute, bool yes, std::string_view question);

// A bar on stderr while it is a terminal, else nothing. Not thread-safe.
class ProgressBar {
 public:
  // `total` ≤ 0: unknown, then only the count is shown, and its rate.
  ProgressBar(std::string_view label, int64_t total);
  ~ProgressBar();  // Wipes the bar.
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  // Redraws at most five times a second; cheap otherwise.
  void Update(int64_t done);

 private:
  const std::string label_;
  const int64_t total_;
  const bool shown_;
  std::chrono::steady_clock::time_point next_draw_{};
  std::chrono::steady_clock::time_point begun_{};  // The first Update, …
  int64_t done_before_ = 0;                        // … and what it said.
};

// The line that ProgressBar draws: `label  [#####.....]  50 %  5/10  2/s  3 s left`, the last two
// iff the rate is positive.
std::string FormatProgress(std::string_view label, int64_t done, int64_t total,
                           double per_second = 0);

}  // namespace lockstep

#endif  // LOCKSTEP_COMMON_CONFIG_TERMINAL_H_
