// PostgresPair: a private PostgreSQL primary with a synchronous standby (application_name dr), for
// tests.
//
// Both are made with initdb in a directory of their own, listen on free loopback ports only, trust
// every user (except `locked`, who needs a password that nobody has) and run with fsync off. They
// end with this object, and with the process whatever becomes of it. A test binary starts one pair
// and gives each test a database of its own: three seconds once instead of every time.
//
// As root the servers run as user postgres. Not thread-safe.
#ifndef LOCKSTEP_TESTS_SUPPORT_POSTGRES_PAIR_H_
#define LOCKSTEP_TESTS_SUPPORT_POSTGRES_PAIR_H_

#include <sys/types.h>

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace lockstep {

class PostgresPair {
 public:
  enum Site { kPrimary = 0, kStandby = 1 };

  // Ready when it returns: the standby streams and the primary waits for it at every commit.
  static absl::StatusOr<std::unique_ptr<PostgresPair>> Start();
  ~PostgresPair();
  PostgresPair(const PostgresPair&) = delete;
  PostgresPair& operator=(const PostgresPair&) = delete;

  int port(Site site) const { return servers_[site].port; }
  // libpq conninfo: both hosts (the primary's first), or one of them.
  std::string Conninfo(const std::string& database, const std::string& user = "postgres") const;
  std::string ConninfoOf(Site site, const std::string& database,
                         const std::string& user = "postgres") const;

  // Runs SQL as superuser; the first column of the last result, a row a line.
  absl::StatusOr<std::string> Sql(Site site, const std::string& database, const std::string& sql);
  absl::Status CreateDatabase(const std::string& name);
  // Waits until `sql` gives `expected`. DEADLINE_EXCEEDED after 30 s, with what it gave last.
  absl::Status AwaitSql(Site site, const std::string& database, const std::string& sql,
                        const std::string& expected);

  // The site's death, as the kernel would do it: every process of the server at once.
  void Kill(Site site);
  // Starts a killed server again, as what it was.
  absl::Status Restart(Site site);
  // Stops the server's processes where they stand (a hanging machine), and lets them go on.
  // `title`: only those whose title contains it, e.g. "walreceiver".
  void Freeze(Site site, const std::string& title = "");
  void Thaw(Site site, const std::string& title = "");
  // pg_promote on the standby, and waits until it takes writes.
  absl::Status Promote();
  // ALTER SYSTEM + reload, e.g. ("synchronous_standby_names", "''").
  absl::Status Configure(Site site, const std::string& setting, const std::string& value);

 private:
  struct Server {
    std::string directory;
    int port = 0;
    pid_t pid = 0;  // 0: not running. Leader of a process group of its own.
  };

  PostgresPair() = default;
  absl::Status Prepare();
  absl::Status Spawn(Site site);
  absl::Status AwaitUp(Site site);
  void Signal(Site site, int signal, const std::string& title = "");
  void End(Site site);

  std::string directory_;
  Server servers_[2];
};

}  // namespace lockstep

#endif  // LOCKSTEP_TESTS_SUPPORT_POSTGRES_PAIR_H_
