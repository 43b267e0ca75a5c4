#include "common/config/stop_request.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>

#include "common/base/check.h"
#include "common/config/exit_code.h"

namespace lockstep {
namespace {

// A signal handler reaches only what is global.
std::atomic<int> g_signals{0};         // NOLINT
std::atomic<bool> g_requested{false};  // NOLINT
std::atomic<int> g_fd{-1};             // NOLINT
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler may not take a lock");

void Ask() {
  g_requested.store(true);
  const uint64_t one = 1;
  (void)!write(g_fd.load(), &one, sizeof(one));  // Full only if it is readable already.
}

void OnSignal(int /*signal*/) {
  if (g_signals.fetch_add(1) > 0) _exit(ToInt(ExitCode::kInterrupted));
  const int saved = errno;
  Ask();
  errno = saved;
}

}  // namespace

StopRequest& StopRequest::Install() {
  static StopRequest& instance = []() -> StopRequest& {
    g_fd.store(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    LOCKSTEP_CHECK(g_fd.load() >= 0, "a process may have one more file descriptor at its start");
    struct sigaction action = {};
    action.sa_handler = OnSignal;  // NOLINT
    action.sa_flags = SA_RESTART;
    sigaction(SIGTERM, &action, nullptr);
    sigaction(SIGINT, &action, nullptr);
    signal(SIGPIPE, SIG_IGN);  // A sink or a client that goes away is an error of write(2).
    return *new StopRequest;
  }();
  return instance;
}

bool StopRequest::requested() const { return g_requested.load(); }
void StopRequest::Request() { Ask(); }
int StopRequest::fd() const { return g_fd.load(); }

bool StopRequest::WaitFor(std::chrono::milliseconds timeout) const {
  pollfd readable = {.fd = fd(), .events = POLLIN, .revents = 0};
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  while (!requested()) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0) return false;
    poll(&readable, 1, static_cast<int>(left.count()) + 1);
  }
  return true;
}

}  // namespace lockstep
