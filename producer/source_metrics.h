// SourceMetrics shows a source's status as numbers, `lockstep_pika_…`.
//
// docs/operations/producer.md says what they mean. Not thread-safe.
#ifndef LOCKSTEP_PRODUCER_SOURCE_METRICS_H_
#define LOCKSTEP_PRODUCER_SOURCE_METRICS_H_

#include <cstdint>

#include "common/metrics/metrics.h"
#include "producer/sources/source_status.h"

namespace lockstep {

class SourceMetrics {
 public:
  // `metrics` must outlive this object.
  explicit SourceMetrics(Metrics& metrics) : metrics_(metrics) {}

  // What is not known is not shown, or keeps its last value. `now_ms` is Unix time, `steady_ms` of
  // a clock that only goes on.
  void Export(const SourceStatus& now, int64_t now_ms, int64_t steady_ms);

 private:
  void Positions(const SourceStatus& now);

  Metrics& metrics_;
  SourceStatus exported_;
  bool any_ = false;
  int64_t ledgered_moved_ms_ = 0;
};

}  // namespace lockstep

#endif  // LOCKSTEP_PRODUCER_SOURCE_METRICS_H_
