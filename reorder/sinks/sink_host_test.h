// The engine as a sink sees it, in the hands of a test.
#ifndef LOCKSTEP_REORDER_SINKS_SINK_HOST_TEST_H_
#define LOCKSTEP_REORDER_SINKS_SINK_HOST_TEST_H_

#include <chrono>
#include <optional>
#include <string>

#include "common/base/mutex.h"
#include "reorder/sinks/sink.h"

namespace lockstep {

// Thread-safe.
class FakeSinkHost final : public SinkHost {
 public:
  std::optional<std::chrono::steady_clock::time_point> StopBy() override {
    MutexLock lock(mu_);
    return stop_by_;
  }
  void Waits(const std::string& for_what, std::chrono::steady_clock::time_point) override {
    MutexLock lock(mu_);
    waits_for_ = for_what;
  }
  void StopIn(std::chrono::milliseconds time) {
    MutexLock lock(mu_);
    stop_by_ = std::chrono::steady_clock::now() + time;
  }
  // What the sink said last.
  std::string waits_for() {
    MutexLock lock(mu_);
    return waits_for_;
  }

 private:
  Mutex mu_;
  std::optional<std::chrono::steady_clock::time_point> stop_by_ ABSL_GUARDED_BY(mu_);
  std::string waits_for_ ABSL_GUARDED_BY(mu_);
};

}  // namespace lockstep

#endif  // LOCKSTEP_REORDER_SINKS_SINK_HOST_TEST_H_
