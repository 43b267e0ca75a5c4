// KafkaQueueWait waits until a librdkafka queue has something, for a time that no calendar
// disturbs.
//
// librdkafka's own timed waits end at a time of day: when the clock is set back by an hour, a wait
// of 5 ms takes an hour unless something arrives. So queues are polled without waiting, and this
// waits in between: librdkafka writes to an eventfd when the queue gets its first entry, and
// poll(2) counts the time by the steady clock.
#ifndef LOCKSTEP_COMMON_KAFKA_KAFKA_QUEUE_WAIT_H_
#define LOCKSTEP_COMMON_KAFKA_KAFKA_QUEUE_WAIT_H_

#include <chrono>

#include <librdkafka/rdkafka.h>

namespace lockstep {

class KafkaQueueWait {
 public:
  // `queue` is one that no other is forwarded to later, and must outlive this.
  explicit KafkaQueueWait(rd_kafka_queue_t* queue);
  ~KafkaQueueWait();
  KafkaQueueWait(const KafkaQueueWait&) = delete;
  KafkaQueueWait& operator=(const KafkaQueueWait&) = delete;

  // Returns `take()`, which looks without waiting, as soon as that is not null, or null after
  // `timeout`.
  template <class Take>
  auto For(std::chrono::milliseconds timeout, Take take) -> decltype(take()) {
    auto taken = take();
    if (taken != nullptr || timeout.count() <= 0) return taken;
    const auto deadline = std::chrono::steady_clock::now() + timeout;
    while (taken == nullptr && WaitUntil(deadline)) taken = take();
    return taken;
  }

 private:
  // False once the time is up. True: look again (something came, or had come before).
  bool WaitUntil(std::chrono::steady_clock::time_point deadline);

  rd_kafka_queue_t* const queue_;
  const int event_fd_;
};

}  // namespace lockstep

#endif  // LOCKSTEP_COMMON_KAFKA_KAFKA_QUEUE_WAIT_H_
