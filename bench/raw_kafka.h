// What librdkafka does without us: the baselines of the Kafka suites.
//
// Straight calls of its C interface, as a careful user would write them, moving the same bytes as
// we do, record header included, under the same settings (idempotent, acks from all, the same
// linger and queues).
#ifndef LOCKSTEP_BENCH_RAW_KAFKA_H_
#define LOCKSTEP_BENCH_RAW_KAFKA_H_

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include <librdkafka/rdkafka.h>

namespace lockstep::bench {

// Where: one partition at one cluster.
struct RawTarget {
  std::string brokers;
  std::string topic;
  int32_t partition = 0;
};

// What a record carries. `value` is sent as it is.
struct RawRecord {
  std::string header;  // Of the `lockstep` header.
  std::string value;
};

// Gives the next record; false: no more. The record is overwritten in place, so that the generator
// costs as little as it can.
using RawGenerator = std::function<bool(RawRecord&)>;

// Produces all and waits until all are acknowledged. Returns the seconds from the first call to the
// last acknowledgement; making the handle and finding the broker are not counted.
absl::StatusOr<double> RawProduce(const RawTarget& target, const RawGenerator& next);

// Takes a message and sees to its destruction. An error ends the reading.
using RawTake = std::function<absl::Status(rd_kafka_message_t*)>;

// Reads `records` records from the start and gives each to `take`. Returns the seconds from the
// first record's arrival to the last one; connecting and the first fetch are not counted.
absl::StatusOr<double> RawConsume(const RawTarget& target, int64_t records, const RawTake& take);

// The same, and looks at the header of each.
absl::StatusOr<double> RawConsume(const RawTarget& target, int64_t records);

// The `lockstep` header of a message; empty: it has none. Valid as long as the message.
std::string_view RawHeader(const rd_kafka_message_t* message);

}  // namespace lockstep::bench

#endif  // LOCKSTEP_BENCH_RAW_KAFKA_H_
