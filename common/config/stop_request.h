// StopRequest turns SIGTERM and Ctrl-C into something that threads can see and wait for.
//
// The first signal asks: stop taking in, finish what is in flight, write cursors and checkpoints,
// exit. The second one exits at once with 130; nothing is lost by that either.
#ifndef LOCKSTEP_COMMON_CONFIG_STOP_REQUEST_H_
#define LOCKSTEP_COMMON_CONFIG_STOP_REQUEST_H_

#include <chrono>

namespace lockstep {

class StopRequest {
 public:
  // Installs the handlers; call once, early in main. The object lives until the process ends.
  static StopRequest& Install();

  // Thread-safe, all of them.
  bool requested() const;
  // Asks as a signal would; safe in a signal handler.
  void Request();
  // Returns true as soon as a stop is requested, false after `timeout`.
  bool WaitFor(std::chrono::milliseconds timeout) const;
  // Readable once a stop is requested, for poll(2). Do not read it.
  int fd() const;

 private:
  StopRequest() = default;
};

}  // namespace lockstep

#endif  // LOCKSTEP_COMMON_CONFIG_STOP_REQUEST_H_
