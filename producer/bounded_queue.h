// BoundedQueue carries batches of events from the source's thread to the producing one. When it is
// full the source waits: a slow ledger slows its source instead of filling memory.
#ifndef LOCKSTEP_PRODUCER_BOUNDED_QUEUE_H_
#define LOCKSTEP_PRODUCER_BOUNDED_QUEUE_H_

#include <chrono>
#include <cstddef>
#include <deque>
#include <utility>
#include <vector>

#include "common/base/mutex.h"
#include "producer/run_builder.h"
#include "producer/source_event.h"

namespace lockstep {

// Thread-safe. One batch more than the limits fits, so that any single event passes.
class BoundedQueue {
 public:
  BoundedQueue(size_t records_max, size_t bytes_max)
      : records_max_(records_max), bytes_max_(bytes_max) {}

  // Waits for room up to `timeout`; takes `batch` iff it returns true.
  bool Push(std::vector<SourceEvent>& batch, std::chrono::nanoseconds timeout) {
    size_t bytes = 0;
    for (const SourceEvent& event : batch) bytes += ContentBytes(event.payload);
    MutexLock lock(mu_);
    if (records_ >= records_max_ || bytes_ >= bytes_max_) changed_.WaitFor(mu_, timeout);
    if (records_ >= records_max_ || bytes_ >= bytes_max_) return false;
    records_ += batch.size();
    bytes_ += bytes;
    batches_.push_back({std::exchange(batch, {}), bytes});
    changed_.NotifyAll();
    return true;
  }

  // The oldest batch, waiting up to `timeout` for one; empty if there is none.
  std::vector<SourceEvent> Pop(std::chrono::nanoseconds timeout) {
    MutexLock lock(mu_);
    if (batches_.empty() && timeout.count() > 0) changed_.WaitFor(mu_, timeout);
    if (batches_.empty()) return {};
    Batch batch = std::move(batches_.front());
    batches_.pop_front();
    records_ -= batch.events.size();
    bytes_ -= batch.bytes;
    changed_.NotifyAll();
    return std::move(batch.events);
  }

  bool empty() {
    MutexLock lock(mu_);
    return batches_.empty();
  }
  // Ends every wait, once; for a thread that has something else to tell.
  void Wake() { changed_.NotifyAll(); }

 private:
  struct Batch {
    std::vector<SourceEvent> events;
    size_t bytes = 0;
  };

  const size_t records_max_;
  const size_t bytes_max_;
  Mutex mu_;
  CondVar changed_;
  std::deque<Batch> batches_ ABSL_GUARDED_BY(mu_);
  size_t records_ ABSL_GUARDED_BY(mu_) = 0;
  size_t bytes_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace lockstep

#endif  // LOCKSTEP_PRODUCER_BOUNDED_QUEUE_H_
