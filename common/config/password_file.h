// Passwords come from files, never from a command line.
#ifndef LOCKSTEP_COMMON_CONFIG_PASSWORD_FILE_H_
#define LOCKSTEP_COMMON_CONFIG_PASSWORD_FILE_H_

#include <string>

#include "absl/status/statusor.h"

namespace lockstep {

// The only line of the file that `flag` names. INVALID_ARGUMENT: it is not readable, or not so.
absl::StatusOr<std::string> ReadPasswordFile(const std::string& flag, const std::string& path);

}  // namespace lockstep

#endif  // LOCKSTEP_COMMON_CONFIG_PASSWORD_FILE_H_
