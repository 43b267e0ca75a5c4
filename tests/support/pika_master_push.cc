// A master before 3.5 pushes its dump: the rsync commands that it runs.
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"

#include "tests/support/pika_master.h"

namespace lockstep::pika {
namespace {

namespace fs = std::filesystem;

// False: rsync failed.
bool Rsync(const std::string& arguments, const std::string& from, const std::string& to) {
  const std::string command =
      absl::StrCat("rsync -a ", arguments, " '", from, "' '", to, "' >/dev/null 2>&1");
  return std::system(command.c_str()) == 0;  // NOLINT(cert-env33-c): that is what it does.
}

}  // namespace

void PikaMaster::Push(const std::string& database, const std::string& ip, int32_t slave_port) {
  const std::string dump = logs_.at(database).dump_directory;
  if (dump.empty()) return;
  const bool spoil = spoiled_pushes_ > 0 && spoiled_pushes_-- > 0;
  const std::string to = pb() ? absl::StrCat("rsync_user@", ip, "::document/", database, "/")
                              : absl::StrCat(ip, "::document_127.0.0.1:", port_, "/");
  std::string arguments = absl::StrCat("--port=", slave_port + (pb() ? 1000 : 3000));
  std::string secret;
  if (pb()) {
    std::string pattern = fs::temp_directory_path() / "lockstep-secret-XXXXXX";
    secret = mkdtemp(pattern.data());
    std::ofstream(secret + "/secret")
        << (options_.password.empty() ? "default" : options_.password);
    fs::permissions(secret + "/secret", fs::perms::owner_read | fs::perms::owner_write);
    absl::StrAppend(&arguments, " --password-file=", secret, "/secret");
  }
  pushers_.emplace_back([dump, to, arguments, spoil, secret] {
    bool whole = true;
    for (const char* type : {"hashes", "lists", "sets", "strings", "zsets"}) {
      if (spoil && std::string(type) == "sets") whole = false;
      if (!whole) break;
      const std::string directory = absl::StrCat(type, "/");
      whole = Rsync(arguments, dump + "/" + directory, to + directory) &&
              Rsync(arguments + " --delete", dump + "/" + directory, to + directory);
    }
    if (whole) Rsync(arguments, dump + "/info", to + "info");
    if (!secret.empty()) fs::remove_all(secret);
  });
}

}  // namespace lockstep::pika
