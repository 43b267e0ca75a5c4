#include "reorder/waiting_log.h"

#include "common/log/log.h"

namespace lockstep {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr seconds kTellFirst{10};
constexpr seconds kTellAgain{60};

}  // namespace

void WaitingLog::Waits(const std::string& for_what, Clock::time_point since) {
  *since_ms_ = std::chrono::duration_cast<milliseconds>(since.time_since_epoch()).count();
  if (since != since_) tell_ = since + kTellFirst;
  since_ = since;
  const auto now = Clock::now();
  if (now < tell_) return;
  tell_ = now + kTellAgain;
  Log(LogLevel::kWarn, "waiting",
      {{"stream", stream_},
       {"group", group_},
       {"for", for_what},
       {"since_s", std::chrono::duration_cast<seconds>(now - since).count()}});
}

void WaitingLog::WaitsForNothing() {
  *since_ms_ = 0;
  since_ = {};
}

}  // namespace lockstep
