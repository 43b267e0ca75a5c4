// Which partition a record goes to: a function of the record and its source position alone, so that
// a restarted producer, and whoever regenerates a run's payload years later, choose the same.
#ifndef LOCKSTEP_PRODUCER_PARTITIONER_H_
#define LOCKSTEP_PRODUCER_PARTITIONER_H_

#include <cstdint>
#include <optional>
#include <string_view>

#include "absl/status/statusor.h"

#include "producer/source_event.h"

namespace lockstep {

// Kafka's 32-bit MurmurHash2, bit for bit as Java's org.apache.kafka.common.utils.Utils.murmur2.
int32_t Murmur2(std::string_view bytes);

// Explicit, else murmur2(key), else murmur2 over the bytes of `at`; `& 0x7fffffff`, modulo `count`.
// An empty key is a key, as in Java. OUT_OF_RANGE iff an explicit partition is not below `count`.
// REQUIRES: count ≥ 1
absl::StatusOr<int32_t> ChoosePartition(std::optional<int32_t> explicit_partition,
                                        std::optional<std::string_view> key, std::string_view at,
                                        int32_t count);

// The same for an event: by its partition_key, if it has one.
absl::StatusOr<int32_t> ChoosePartition(const SourceEvent& event, int32_t count);

}  // namespace lockstep

#endif  // LOCKSTEP_PRODUCER_PARTITIONER_H_
