#include "common/config/password_file.h"

#include <fstream>

namespace lockstep {

absl::StatusOr<std::string> ReadPasswordFile(const std::string& flag, const std::string& path) {
  std::ifstream in(path);
  std::string password;
  std::string more;
  if (!in || !std::getline(in, password) || password.empty() || std::getline(in, more)) {
    return absl::InvalidArgumentError(
        flag + " " + path + " must be a readable file with the password as its only line");
  }
  return password;
}

}  // namespace lockstep
