// LOCKSTEP_RETURN_IF_ERROR and LOCKSTEP_ASSIGN_OR_RETURN pass an error up; Annotate adds what was
// being attempted on the way.
#ifndef LOCKSTEP_COMMON_BASE_STATUS_MACROS_H_
#define LOCKSTEP_COMMON_BASE_STATUS_MACROS_H_

#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace lockstep {

// `context: message`, same code. An OK status stays OK.
inline absl::Status Annotate(const absl::Status& status, std::string_view context) {
  if (status.ok()) return status;
  std::string message(context);
  message += ": ";
  message += std::string(status.message());
  return absl::Status(status.code(), message);
}

}  // namespace lockstep

#define LOCKSTEP_RETURN_IF_ERROR(expr)                                    \
  do {                                                                    \
    if (absl::Status lockstep_status_ = (expr); !lockstep_status_.ok()) { \
      return lockstep_status_;                                            \
    }                                                                     \
  } while (false)

#define LOCKSTEP_CONCAT_INNER_(a, b) a##b
#define LOCKSTEP_CONCAT_(a, b) LOCKSTEP_CONCAT_INNER_(a, b)

#define LOCKSTEP_ASSIGN_OR_RETURN(lhs, expr) \
  LOCKSTEP_ASSIGN_OR_RETURN_IMPL_(LOCKSTEP_CONCAT_(lockstep_statusor_, __LINE__), lhs, expr)
#define LOCKSTEP_ASSIGN_OR_RETURN_IMPL_(statusor, lhs, expr) \
  auto statusor = (expr);                                    \
  if (!statusor.ok()) return statusor.status();              \
  lhs = std::move(statusor).value()

#endif  // LOCKSTEP_COMMON_BASE_STATUS_MACROS_H_
