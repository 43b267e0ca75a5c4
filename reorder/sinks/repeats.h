// Repeats is how a sink asks an outside again that is away: after a pause that doubles, with
// jitter. It says so once, shows what is waited for, and ends for a stop only.
//
// Not thread-safe.
#ifndef LOCKSTEP_REORDER_SINKS_REPEATS_H_
#define LOCKSTEP_REORDER_SINKS_REPEATS_H_

#include <chrono>
#include <cstdint>
#include <random>
#include <string>

#include "absl/status/status.h"

#include "common/model/ids.h"
#include "reorder/sinks/sink.h"

namespace lockstep {

class Repeats {
 public:
  struct Options {
    StreamName stream = {};
    std::string outside = {};  // Its name, for people.
    std::chrono::milliseconds pause_min{100};
    std::chrono::milliseconds pause_max{10'000};
  };
  explicit Repeats(Options options);

  // Until then nothing is shown, and no stop comes. `host` must outlive the last other call.
  void Attach(SinkHost& host) { host_ = &host; }

  // CANCELLED iff a stop was requested and its time is up.
  absl::Status CheckStop(const std::string& when) const;
  // The attempt at `request` failed. Returns when the next is due; CANCELLED: a stop came first.
  absl::Status Again(const std::string& request, const std::string& why);
  // It succeeded.
  void Done(const std::string& request);

 private:
  absl::Status Wait(std::chrono::milliseconds pause, const std::string& why) const;

  const Options options_;
  SinkHost* host_ = nullptr;
  int64_t failures_ = 0;  // Of the request under way.
  std::chrono::steady_clock::time_point since_;
  std::chrono::milliseconds pause_{0};
  std::minstd_rand random_;
};

}  // namespace lockstep

#endif  // LOCKSTEP_REORDER_SINKS_REPEATS_H_
