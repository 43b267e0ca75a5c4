// Shows what librdkafka counts: a hook for a producer's or a reader's statistics.
#ifndef LOCKSTEP_COMMON_METRICS_KAFKA_METRICS_H_
#define LOCKSTEP_COMMON_METRICS_KAFKA_METRICS_H_

#include "common/kafka/kafka_statistics.h"
#include "common/metrics/metrics.h"

namespace lockstep {

// `metrics` must outlive the hook. Give several handles different labels.
inline StatisticsHook KafkaStatisticsInto(Metrics& metrics, const MetricLabels& labels = {}) {
  auto* queued_records = &metrics.Gauge("lockstep_kafka_queued_records",
                                        "Records waiting in or in flight from the client", labels);
  auto* queued_bytes = &metrics.Gauge("lockstep_kafka_queued_bytes", "Their bytes", labels);
  auto* brokers = &metrics.Gauge("lockstep_kafka_brokers_up", "Brokers connected", labels);
  auto* round_trip = &metrics.Gauge("lockstep_kafka_round_trip_p99_seconds",
                                    "Round trip to the slowest broker", labels);
  auto* retries =
      &metrics.Counter("lockstep_kafka_retries_total", "Requests that were sent again", labels);
  auto* errors =
      &metrics.Counter("lockstep_kafka_request_errors_total", "Requests that failed", labels);
  auto* timeouts =
      &metrics.Counter("lockstep_kafka_request_timeouts_total", "Requests without answer", labels);
  // A new handle counts from 0 again.
  const auto count = [](prometheus::Counter* counter, int64_t before, int64_t now) {
    counter->Increment(static_cast<double>(now < before ? now : now - before));
  };
  return [=, last = KafkaStatistics()](const KafkaStatistics& statistics) mutable {
    count(retries, last.retries, statistics.retries);
    count(errors, last.errors, statistics.errors);
    count(timeouts, last.timeouts, statistics.timeouts);
    last = statistics;
    queued_records->Set(static_cast<double>(statistics.queued_records));
    queued_bytes->Set(static_cast<double>(statistics.queued_bytes));
    brokers->Set(static_cast<double>(statistics.brokers_up));
    round_trip->Set(static_cast<double>(statistics.round_trip_p99_us) * 1e-6);
  };
}

}  // namespace lockstep

#endif  // LOCKSTEP_COMMON_METRICS_KAFKA_METRICS_H_
