// What a program's exit code says, and which one an error asks for.
#ifndef LOCKSTEP_COMMON_CONFIG_EXIT_CODE_H_
#define LOCKSTEP_COMMON_CONFIG_EXIT_CODE_H_

#include "absl/status/status.h"

namespace lockstep {

enum class ExitCode : int {
  kYes = 0,            // Done, and the answer is yes.
  kNo = 1,             // Done, and the answer is no: gap, no-go, mismatch, end not reached.
  kCouldNot = 2,       // Usage, configuration, broker, database; the message says which.
  kRefused = 3,        // Refused as unsafe; a supervisor must not restart it.
  kInterrupted = 130,  // Interrupted with work left.
};

// FAILED_PRECONDITION and ABORTED are how this code base says *refused as unsafe* (no durable
// standby, fenced, in doubt, source behind): kRefused. CANCELLED: kInterrupted. OK: kYes. All
// others: kCouldNot.
ExitCode ExitCodeOf(const absl::Status& status);

// Prints `program: message` to stderr, with a hint after a refusal, and returns the code as main
// wants it. Silent for OK.
int ExitWith(const char* program, const absl::Status& status);

inline int ToInt(ExitCode code) { return static_cast<int>(code); }

}  // namespace lockstep

#endif  // LOCKSTEP_COMMON_CONFIG_EXIT_CODE_H_
