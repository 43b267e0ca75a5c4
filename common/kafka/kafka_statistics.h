// The few of librdkafka's statistics that a person looks at.
#ifndef LOCKSTEP_COMMON_KAFKA_KAFKA_STATISTICS_H_
#define LOCKSTEP_COMMON_KAFKA_KAFKA_STATISTICS_H_

#include <cstdint>
#include <functional>
#include <string_view>

#include "absl/status/statusor.h"

namespace lockstep {

struct KafkaStatistics {
  int64_t queued_records = 0;  // Waiting in or in flight from this client.
  int64_t queued_bytes = 0;
  int64_t sent_bytes = 0;  // Totals since the handle was made.
  int64_t received_bytes = 0;
  int64_t sent_records = 0;
  int64_t received_records = 0;
  int64_t brokers_up = 0;
  int64_t retries = 0;  // Requests sent again, failed, timed out: totals since then, too.
  int64_t errors = 0;
  int64_t timeouts = 0;
  int64_t round_trip_p99_us = 0;  // Of the slowest broker.
};

using StatisticsHook = std::function<void(const KafkaStatistics&)>;

absl::StatusOr<KafkaStatistics> ParseKafkaStatistics(std::string_view json);

}  // namespace lockstep

#endif  // LOCKSTEP_COMMON_KAFKA_KAFKA_STATISTICS_H_
