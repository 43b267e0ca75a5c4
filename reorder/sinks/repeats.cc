#include "reorder/sinks/repeats.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"

#include "common/log/log.h"

namespace lockstep {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kLookEvery{50};

}  // namespace

Repeats::Repeats(Options options) : options_(std::move(options)), random_(std::random_device{}()) {}

absl::Status Repeats::CheckStop(const std::string& when) const {
  if (host_ == nullptr) return absl::OkStatus();
  const auto stop_by = host_->StopBy();
  if (!stop_by.has_value() || Clock::now() < *stop_by) return absl::OkStatus();
  return absl::CancelledError(absl::StrCat(options_.outside, ": stopped ", when));
}

absl::Status Repeats::Again(const std::string& request, const std::string& why) {
  if (++failures_ == 1) {
    since_ = Clock::now();
    pause_ = options_.pause_min;
    Log(LogLevel::kWarn, "sink_repeats",
        {{"stream", options_.stream},
         {"sink", options_.outside},
         {"request", request},
         {"why", why}});
  }
  const double part = std::uniform_real_distribution<>(0.5, 1.0)(random_);
  const auto pause = std::chrono::duration_cast<milliseconds>(pause_ * part);
  pause_ = std::min(pause_ * 2, options_.pause_max);
  return Wait(pause, why);
}

absl::Status Repeats::Wait(milliseconds pause, const std::string& why) const {
  const Clock::time_point until = Clock::now() + pause;
  while (true) {
    if (host_ != nullptr) host_->Waits(absl::StrCat(options_.outside, " (", why, ")"), since_);
    if (absl::Status stop = CheckStop(absl::StrCat("while it was away (", why, ")")); !stop.ok()) {
      return stop;
    }
    const Clock::time_point now = Clock::now();
    if (now >= until) return absl::OkStatus();
    std::this_thread::sleep_for(std::min<Clock::duration>(kLookEvery, until - now));
  }
}

void Repeats::Done(const std::string& request) {
  if (failures_ == 0) return;
  Log(LogLevel::kInfo, "sink_answers_again",
      {{"stream", options_.stream}, {"request", request}, {"attempts", failures_ + 1}});
  failures_ = 0;
}

}  // namespace lockstep
