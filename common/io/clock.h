// Clock is the seam between a decision about time and the machine's clock. Pure decisions take time
// as a number; whoever drives them asks a Clock.
#ifndef LOCKSTEP_COMMON_IO_CLOCK_H_
#define LOCKSTEP_COMMON_IO_CLOCK_H_

#include <atomic>
#include <chrono>
#include <cstdint>

namespace lockstep {

// Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  // Never goes back, and knows nothing of the calendar; for every deadline and age.
  virtual int64_t SteadyMs() const = 0;
  // Since 1970, as this machine believes; may jump. For timestamps that people read, only.
  virtual int64_t NowMs() const = 0;
};

class RealClock : public Clock {
 public:
  int64_t SteadyMs() const override { return Count(std::chrono::steady_clock::now()); }
  int64_t NowMs() const override { return Count(std::chrono::system_clock::now()); }

 private:
  template <class TimePoint>
  static int64_t Count(TimePoint now) {
    return std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count();
  }
};

// Stands still until it is told otherwise.
class ManualClock : public Clock {
 public:
  explicit ManualClock(int64_t now_ms = 1'700'000'000'000) : now_ms_(now_ms) {}
  int64_t SteadyMs() const override { return steady_ms_; }
  int64_t NowMs() const override { return now_ms_; }
  void Advance(int64_t ms) {
    steady_ms_ += ms;
    now_ms_ += ms;
  }
  // The calendar's clock is set; the steady one does not notice.
  void Jump(int64_t ms) { now_ms_ += ms; }

 private:
  std::atomic<int64_t> steady_ms_{0};
  std::atomic<int64_t> now_ms_;
};

}  // namespace lockstep

#endif  // LOCKSTEP_COMMON_IO_CLOCK_H_
