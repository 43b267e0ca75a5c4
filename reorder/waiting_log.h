// WaitingLog says what a stream waits for: in the log after a while and again every minute, and to
// whoever looks at its progress.
//
// Not thread-safe, but for since_ms.
#ifndef LOCKSTEP_REORDER_WAITING_LOG_H_
#define LOCKSTEP_REORDER_WAITING_LOG_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>

#include "common/model/ids.h"

namespace lockstep {

class WaitingLog {
 public:
  using Clock = std::chrono::steady_clock;

  // `since_ms` (steady clock; 0: it does not wait) is kept up to date and must outlive this.
  WaitingLog(StreamName stream, std::string group, std::atomic<int64_t>& since_ms)
      : stream_(std::move(stream)), group_(std::move(group)), since_ms_(&since_ms) {}

  // It waits for the same thing iff `since` is the same.
  void Waits(const std::string& for_what, Clock::time_point since);
  void WaitsForNothing();

 private:
  const StreamName stream_;
  const std::string group_;
  std::atomic<int64_t>* const since_ms_;
  Clock::time_point since_{};  // Of what was last waited for …
  Clock::time_point tell_{};   // … and when it is said (again).
};

}  // namespace lockstep

#endif  // LOCKSTEP_REORDER_WAITING_LOG_H_
