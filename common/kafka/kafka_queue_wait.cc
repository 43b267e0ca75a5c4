#include "common/kafka/kafka_queue_wait.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>

#include "common/base/check.h"

namespace lockstep {
namespace {

constexpr uint64_t kOne = 1;  // What an eventfd takes.

}  // namespace

KafkaQueueWait::KafkaQueueWait(rd_kafka_queue_t* queue)
    : queue_(queue), event_fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  LOCKSTEP_CHECK(event_fd_ >= 0, "an eventfd needs a free file descriptor");
  rd_kafka_queue_io_event_enable(queue_, event_fd_, &kOne, sizeof(kOne));
}

KafkaQueueWait::~KafkaQueueWait() {
  rd_kafka_queue_io_event_enable(queue_, -1, nullptr, 0);
  close(event_fd_);
}

bool KafkaQueueWait::WaitUntil(std::chrono::steady_clock::time_point deadline) {
  // Rounded up, so that the last millisecond is not spent spinning.
  const auto left =
      std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
  if (left.count() <= 0) return false;
  pollfd waited{event_fd_, POLLIN, 0};
  if (poll(&waited, 1, static_cast<int>(std::min<int64_t>(left.count(), INT32_MAX))) > 0) {
    // Reset before the queue is looked at: whatever comes later writes again.
    uint64_t count = 0;
    static_cast<void>(read(event_fd_, &count, sizeof(count)));
  }
  return true;
}

}  // namespace lockstep
