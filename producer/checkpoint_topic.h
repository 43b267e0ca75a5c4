// CheckpointTopic: the last value under each key of a compacted topic of one partition.
#ifndef LOCKSTEP_PRODUCER_CHECKPOINT_TOPIC_H_
#define LOCKSTEP_PRODUCER_CHECKPOINT_TOPIC_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "common/kafka/kafka_config.h"

namespace lockstep {

// Not thread-safe.
class CheckpointTopic {
 public:
  virtual ~CheckpointTopic() = default;

  virtual const std::string& name() const = 0;
  // nullopt: none, or a tombstone. Reads the whole topic. NOT_FOUND: there is no such topic.
  // FAILED_PRECONDITION: it does not keep a last value. UNAVAILABLE: ask again.
  virtual absl::StatusOr<std::optional<std::string>> ReadLast(const std::string& key) = 0;
  // Begins to write; blocks for nothing. REQUIRES: no write is under way.
  virtual void Write(const std::string& key, const std::string& value) = 0;
  // What became of the write under way, which it then no longer is. nullopt: nothing is known after
  // `timeout`, or none is under way.
  virtual std::optional<absl::Status> Result(std::chrono::milliseconds timeout) = 0;
};

// Speaks to no broker yet. `timeout`: for each question of ReadLast. `create`: ReadLast creates the
// topic if there is none, with so many replicas; -1: the broker's default. `transactional`: it
// reads what is committed.
std::unique_ptr<CheckpointTopic> OpenCheckpointTopic(const KafkaConfig& kafka,
                                                     const std::string& topic,
                                                     std::chrono::milliseconds timeout,
                                                     std::optional<int32_t> create = {},
                                                     bool transactional = false);

}  // namespace lockstep

#endif  // LOCKSTEP_PRODUCER_CHECKPOINT_TOPIC_H_
