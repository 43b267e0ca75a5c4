#include "common/config/exit_code.h"

#include <cstdio>
#include <string>

namespace lockstep {

ExitCode ExitCodeOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return ExitCode::kYes;
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kAborted:
      return ExitCode::kRefused;
    case absl::StatusCode::kCancelled:
      return ExitCode::kInterrupted;
    default:
      return ExitCode::kCouldNot;
  }
}

int ExitWith(const char* program, const absl::Status& status) {
  const ExitCode code = ExitCodeOf(status);
  if (!status.ok()) {
    std::fprintf(stderr, "%s: %s%s\n", program, code == ExitCode::kRefused ? "refused: " : "",
                 std::string(status.message()).c_str());
  }
  return ToInt(code);
}

}  // namespace lockstep
