#include "producer/pika/rsync_daemon.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "common/base/status_macros.h"
#include "common/io/file_system.h"

#include <asio/io_context.hpp>
#include <asio/ip/address.hpp>
#include <asio/ip/tcp.hpp>

namespace lockstep::pika {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kStartTimeout{5'000};
constexpr milliseconds kStopTimeout{2'000};
constexpr milliseconds kLookEvery{10};
constexpr int kNotFound = 127;  // As a shell says it.
constexpr size_t kTailBytes = 500;

std::string Configuration(const RsyncDaemonOptions& options) {
  const auto file = [&](const char* name) { return options.directory + "/" + name; };
  std::string text = absl::StrCat(
      "pid file = ", file("pid"), "\nlock file = ", file("lock"), "\nlog file = ", file("log"),
      "\nuse chroot = no\nreverse lookup = no\nlist = no\nmax connections = 10\n");
  // As root it would otherwise become nobody, who may not write here.
  if (geteuid() == 0) absl::StrAppend(&text, "uid = root\ngid = root\n");
  absl::StrAppend(&text, "[", options.module, "]\npath = ", options.path,
                  "\nread only = no\nwrite only = yes\nhosts allow = ", options.from, "\n");
  if (!options.user.empty()) {
    absl::StrAppend(&text, "auth users = ", options.user, "\nsecrets file = ", file("secret"),
                    "\n");
  }
  return text;
}

absl::Status WriteFiles(const RsyncDaemonOptions& options) {
  std::error_code error;
  fs::remove_all(options.directory, error);
  fs::create_directories(options.directory, error);
  if (!error) fs::permissions(options.directory, fs::perms::owner_all, error);
  if (error) {
    return absl::InternalError("cannot make the directory " + options.directory + ": " +
                               error.message());
  }
  LOCKSTEP_RETURN_IF_ERROR(
      RealFileSystem().Write(options.directory + "/conf", Configuration(options)));
  if (options.user.empty()) return absl::OkStatus();
  const std::string secret = options.directory + "/secret";
  LOCKSTEP_RETURN_IF_ERROR(RealFileSystem().Write(secret, ""));
  fs::permissions(secret, fs::perms::owner_read | fs::perms::owner_write, error);
  return RealFileSystem().Append(secret, options.user + ":" + options.password + "\n");
}

pid_t Launch(const RsyncDaemonOptions& options) {
  const std::string log = options.directory + "/log";
  std::vector<std::string> owned = {"rsync",
                                    "--daemon",
                                    "--no-detach",
                                    "--config=" + options.directory + "/conf",
                                    "--address=" + options.address,
                                    absl::StrCat("--port=", options.port)};
  std::vector<char*> argv;
  for (std::string& argument : owned) argv.push_back(argument.data());
  argv.push_back(nullptr);
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid != 0) return pid;
  // Only calls that are safe in the child of a process with threads.
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);
  const int out = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  const int in = open("/dev/null", O_RDONLY | O_CLOEXEC);
  dup2(in, STDIN_FILENO);
  dup2(out, STDOUT_FILENO);
  dup2(out, STDERR_FILENO);
  close_range(STDERR_FILENO + 1, ~0U, 0);  // Sockets of ours would live as long as it.
  execvp(argv[0], argv.data());
  _exit(kNotFound);
}

}  // namespace

absl::StatusOr<std::unique_ptr<RsyncDaemon>> RsyncDaemon::Start(const RsyncDaemonOptions& options) {
  LOCKSTEP_RETURN_IF_ERROR(WriteFiles(options));
  const pid_t pid = Launch(options);
  if (pid < 0) return absl::InternalError("cannot fork for rsync");
  std::unique_ptr<RsyncDaemon> daemon(new RsyncDaemon(options.directory, pid));
  LOCKSTEP_RETURN_IF_ERROR(daemon->AwaitListening(options));
  return daemon;
}

absl::Status RsyncDaemon::AwaitListening(const RsyncDaemonOptions& options) {
  const asio::ip::tcp::endpoint at(asio::ip::make_address(options.address),
                                   static_cast<uint16_t>(options.port));
  asio::io_context io;
  for (const Clock::time_point deadline = Clock::now() + kStartTimeout; Clock::now() < deadline;) {
    asio::ip::tcp::socket probe(io);
    asio::error_code error;
    probe.connect(at, error);
    // Looked at behind the probe: somebody else may listen there.
    if (!running()) {
      if (WIFEXITED(exit_status_) && WEXITSTATUS(exit_status_) == kNotFound) {
        return absl::FailedPreconditionError(
            "there is no rsync on this host, and a Pika before 3.5 pushes its copy by it: "
            "apt-get install rsync");
      }
      return absl::UnavailableError(absl::StrCat("rsync does not listen at ", options.address, ":",
                                                 options.port, ": ", LogTail()));
    }
    if (!error) return absl::OkStatus();
    std::this_thread::sleep_for(kLookEvery);
  }
  return absl::UnavailableError("rsync does not begin to listen: " + LogTail());
}

RsyncDaemon::~RsyncDaemon() {
  // The whole group: a connection has a process of its own.
  kill(-pid_, SIGTERM);
  for (const Clock::time_point deadline = Clock::now() + kStopTimeout;
       running() && Clock::now() < deadline;) {
    std::this_thread::sleep_for(kLookEvery);
  }
  kill(-pid_, SIGKILL);
  if (!ended_) waitpid(pid_, &exit_status_, 0);
  std::error_code ignored;  // What stays is removed by the next one.
  fs::remove_all(directory_, ignored);
}

bool RsyncDaemon::running() {
  if (!ended_) ended_ = waitpid(pid_, &exit_status_, WNOHANG) == pid_;
  return !ended_;
}

std::string RsyncDaemon::LogTail() const {
  const auto log = RealFileSystem().Read(directory_ + "/log");
  if (!log.ok()) return "(no log)";
  const size_t begin = log->size() > kTailBytes ? log->size() - kTailBytes : 0;
  std::string tail = log->substr(begin);
  while (!tail.empty() && tail.back() == '\n') tail.pop_back();
  return tail;
}

}  // namespace lockstep::pika
