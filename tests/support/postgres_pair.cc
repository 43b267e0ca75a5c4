#include "tests/support/postgres_pair.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <pwd.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"

#include "common/base/status_macros.h"
#include "db-ledger/pg_connection.h"

namespace lockstep {
namespace {

using Clock = std::chrono::steady_clock;
namespace fs = std::filesystem;

constexpr std::chrono::seconds kPatience{30};
constexpr std::chrono::milliseconds kPollInterval{20};

std::string PostgresBin() {
  if (const char* given = std::getenv("LOCKSTEP_PG_BIN")) return given;
  for (int version = 20; version >= 14; --version) {
    const std::string bin = absl::StrCat("/usr/lib/postgresql/", version, "/bin");
    if (fs::exists(bin + "/initdb")) return bin;
  }
  return "/usr/bin";
}

const passwd* ServerUser() { return geteuid() == 0 ? getpwnam("postgres") : nullptr; }

int FreePort() {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  const bool bound = bind(fd, reinterpret_cast<sockaddr*>(&address), length) == 0 &&
                     getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) == 0;
  close(fd);
  return bound ? ntohs(address.sin_port) : 0;
}

// Forks and runs a program as the server's user, its output in a file. It gets `death_signal` when
// this process ends.
pid_t Launch(const std::vector<std::string>& argv, const std::string& output, int death_signal) {
  const passwd* user = ServerUser();
  std::vector<char*> args;
  for (const std::string& arg : argv) args.push_back(const_cast<char*>(arg.c_str()));
  args.push_back(nullptr);
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid != 0) return pid;
  setpgid(0, 0);
  const int fd = open(output.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0666);
  dup2(fd, 1);
  dup2(fd, 2);
  if (user != nullptr &&
      (setgroups(0, nullptr) != 0 || setgid(user->pw_gid) != 0 || setuid(user->pw_uid) != 0)) {
    _exit(126);
  }
  prctl(PR_SET_PDEATHSIG, death_signal);  // After setuid, which clears it.
  if (getppid() != parent) _exit(125);    // The parent died before the line above.
  unsetenv("PGOPTIONS");
  execv(args[0], args.data());
  _exit(127);
}

std::string Tail(const std::string& file) {
  std::ifstream in(file);
  std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  return text.size() > 2000 ? text.substr(text.size() - 2000) : text;
}

absl::Status RunToEnd(const std::vector<std::string>& argv, const std::string& output) {
  const pid_t pid = Launch(argv, output, SIGKILL);
  int status = 0;
  if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0) {
    return absl::InternalError(absl::StrCat(argv[0], " failed:\n", Tail(output)));
  }
  return absl::OkStatus();
}

absl::Status Await(const std::string& what, const std::function<absl::StatusOr<bool>()>& done) {
  const auto deadline = Clock::now() + kPatience;
  absl::Status last = absl::OkStatus();
  while (Clock::now() < deadline) {
    const auto now = done();
    if (now.ok() && *now) return absl::OkStatus();
    last = now.status();
    std::this_thread::sleep_for(kPollInterval);
  }
  return absl::DeadlineExceededError(absl::StrCat(what, ": ", last.ToString()));
}

}  // namespace

absl::StatusOr<std::unique_ptr<PostgresPair>> PostgresPair::Start() {
  std::unique_ptr<PostgresPair> pair(new PostgresPair);
  LOCKSTEP_RETURN_IF_ERROR(pair->Prepare());
  for (const Site site : {kPrimary, kStandby}) {
    LOCKSTEP_RETURN_IF_ERROR(pair->Spawn(site));
  }
  for (const Site site : {kPrimary, kStandby}) {
    LOCKSTEP_RETURN_IF_ERROR(pair->AwaitUp(site));
  }
  LOCKSTEP_RETURN_IF_ERROR(
      pair->AwaitSql(kPrimary, "postgres",
                     "select coalesce(max(sync_state), '') from pg_stat_replication", "sync"));
  return pair;
}

PostgresPair::~PostgresPair() {
  for (const Site site : {kStandby, kPrimary}) End(site);
  std::error_code ignored;
  if (!directory_.empty()) fs::remove_all(directory_, ignored);
}

// initdb once; the standby starts from a copy taken before the first start, which is cheaper than a
// base backup.
absl::Status PostgresPair::Prepare() {
  std::string name = (fs::temp_directory_path() / "lockstep-pg-XXXXXX").string();
  if (mkdtemp(name.data()) == nullptr) return absl::InternalError("mkdtemp " + name);
  directory_ = name;
  if (const passwd* user = ServerUser()) {
    if (chown(name.c_str(), user->pw_uid, user->pw_gid) != 0) {
      return absl::InternalError("chown " + name);
    }
  }
  Server& primary = servers_[kPrimary];
  Server& standby = servers_[kStandby];
  primary.directory = name + "/primary";
  standby.directory = name + "/standby";
  const std::string log = name + "/initdb.log";
  LOCKSTEP_RETURN_IF_ERROR(RunToEnd({PostgresBin() + "/initdb", "-D", primary.directory, "-U",
                                     "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N"},
                                    log));
  for (const auto& [site, names] : {std::pair{kPrimary, "'FIRST 1 (dr)'"}, {kStandby, "''"}}) {
    Server& server = servers_[site];
    server.port = FreePort();
    if (site == kStandby) {
      LOCKSTEP_RETURN_IF_ERROR(
          RunToEnd({"/bin/cp", "-a", primary.directory, standby.directory}, log));
    }
  }
  for (Server* server : {&primary, &standby}) {
    std::ofstream conf(server->directory + "/postgresql.auto.conf", std::ios::app);
    conf << "listen_addresses = '127.0.0.1'\nport = " << server->port
         << "\nunix_socket_directories = ''\nfsync = off\nfull_page_writes = off\n"
         << "wal_level = logical\nmax_connections = 100\nmax_prepared_transactions = 4\n"
         << "shared_buffers = 16MB\nmin_wal_size = 32MB\nwal_keep_size = 64MB\n"
         << "hot_standby = on\nautovacuum_naptime = 10min\nlog_min_messages = warning\n"
         << "wal_retrieve_retry_interval = 100ms\nwal_receiver_timeout = 10min\n"
         << "wal_sender_timeout = 10min\n";
    if (server == &primary) conf << "synchronous_standby_names = 'FIRST 1 (dr)'\n";
    if (server == &standby) {
      conf << "primary_conninfo = 'host=127.0.0.1 port=" << primary.port
           << " user=postgres application_name=dr'\n";
      std::ofstream(server->directory + "/standby.signal");
    }
    std::ofstream hba(server->directory + "/pg_hba.conf", std::ios::trunc);
    hba << "host all locked 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n"
        << "host replication all 127.0.0.1/32 trust\n";
  }
  return absl::OkStatus();
}

absl::Status PostgresPair::Spawn(Site site) {
  Server& server = servers_[site];
  // SIGQUIT is PostgreSQL's immediate shutdown: it takes its children and shared memory with it.
  server.pid = Launch({PostgresBin() + "/postgres", "-D", server.directory},
                      server.directory + ".log", SIGQUIT);
  return server.pid > 0 ? absl::OkStatus() : absl::InternalError("fork");
}

absl::Status PostgresPair::AwaitUp(Site site) {
  Server& server = servers_[site];
  const absl::Status up = Await("server start", [&]() -> absl::StatusOr<bool> {
    if (waitpid(server.pid, nullptr, WNOHANG) == server.pid) server.pid = 0;
    return server.pid == 0 || Sql(site, "postgres", "select 1").ok();
  });
  if (up.ok() && server.pid != 0) return up;
  return absl::InternalError("PostgreSQL did not start:\n" + Tail(server.directory + ".log"));
}

std::string PostgresPair::Conninfo(const std::string& database, const std::string& user) const {
  return absl::StrCat("host=127.0.0.1,127.0.0.1 port=", port(kPrimary), ",", port(kStandby),
                      " dbname=", database, " user=", user);
}

std::string PostgresPair::ConninfoOf(Site site, const std::string& database,
                                     const std::string& user) const {
  return absl::StrCat("host=127.0.0.1 port=", port(site), " dbname=", database, " user=", user);
}

absl::StatusOr<std::string> PostgresPair::Sql(Site site, const std::string& database,
                                              const std::string& sql) {
  const auto deadline = Clock::now() + kPatience;
  LOCKSTEP_ASSIGN_OR_RETURN(const auto hosts, ParsePgHosts(ConninfoOf(site, database), "test"));
  LOCKSTEP_ASSIGN_OR_RETURN(const auto connection,
                            PgConnection::Open(hosts, PgRole::kAny, deadline));
  return connection->ExecuteScript(sql, deadline);
}

absl::Status PostgresPair::CreateDatabase(const std::string& name) {
  return Sql(kPrimary, "postgres", absl::StrCat("create database \"", name, "\"")).status();
}

absl::Status PostgresPair::AwaitSql(Site site, const std::string& database, const std::string& sql,
                                    const std::string& expected) {
  std::string last;
  const absl::Status status = Await(sql, [&]() -> absl::StatusOr<bool> {
    LOCKSTEP_ASSIGN_OR_RETURN(last, Sql(site, database, sql));
    return last == expected;
  });
  return Annotate(status, absl::StrCat("expected \"", expected, "\", got \"", last, "\""));
}

// The postmaster's children leave its process group (they call setsid): they are found by their
// parent, all of them before the first signal, because a dead parent's children change theirs.
void PostgresPair::Signal(Site site, int signal, const std::string& title) {
  const Server& server = servers_[site];
  if (server.pid == 0) return;
  std::vector<pid_t> targets;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    const std::string pid = entry.path().filename();
    if (pid.find_first_not_of("0123456789") != std::string::npos) continue;
    std::ifstream stat(entry.path() / "stat");
    std::string line;
    std::getline(stat, line);
    const size_t name_end = line.rfind(')');  // `PID (name) state PPID …`
    if (name_end == std::string::npos || line.size() < name_end + 4) continue;
    if (std::atoi(line.c_str() + name_end + 4) != server.pid) continue;
    std::ifstream command(entry.path() / "cmdline");
    std::string words;
    std::getline(command, words);
    if (words.find(title) != std::string::npos) targets.push_back(std::atoi(pid.c_str()));
  }
  if (title.empty()) kill(server.pid, signal);
  for (const pid_t target : targets) kill(target, signal);
}

void PostgresPair::Kill(Site site) {
  Server& server = servers_[site];
  if (server.pid == 0) return;
  Signal(site, SIGCONT);
  Signal(site, SIGSTOP);  // So that nobody forks while all are being found.
  Signal(site, SIGKILL);
  waitpid(server.pid, nullptr, 0);
  server.pid = 0;
}

// An orderly end takes the servers' shared memory with it.
void PostgresPair::End(Site site) {
  Server& server = servers_[site];
  if (server.pid == 0) return;
  Thaw(site);
  kill(server.pid, SIGQUIT);
  const absl::Status ended = Await("server end", [&]() -> absl::StatusOr<bool> {
    return waitpid(server.pid, nullptr, WNOHANG) == server.pid;
  });
  if (!ended.ok()) Kill(site);
  server.pid = 0;
}

absl::Status PostgresPair::Restart(Site site) {
  LOCKSTEP_RETURN_IF_ERROR(Spawn(site));
  return AwaitUp(site);
}

void PostgresPair::Freeze(Site site, const std::string& title) { Signal(site, SIGSTOP, title); }
void PostgresPair::Thaw(Site site, const std::string& title) { Signal(site, SIGCONT, title); }

absl::Status PostgresPair::Promote() {
  return Sql(kStandby, "postgres", "select pg_promote(true, 30)").status();
}

absl::Status PostgresPair::Configure(Site site, const std::string& setting,
                                     const std::string& value) {
  LOCKSTEP_RETURN_IF_ERROR(
      Sql(site, "postgres", absl::StrCat("alter system set ", setting, " = ", value)).status());
  return Sql(site, "postgres", "select pg_reload_conf()").status();
}

}  // namespace lockstep
