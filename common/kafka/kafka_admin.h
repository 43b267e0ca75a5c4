// KafkaAdmin asks and changes a cluster: its id, its topics, their settings.
//
// Every call blocks up to `timeout` and says in its error what was attempted on what.
// Not thread-safe.
#ifndef LOCKSTEP_COMMON_KAFKA_KAFKA_ADMIN_H_
#define LOCKSTEP_COMMON_KAFKA_KAFKA_ADMIN_H_

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "common/kafka/kafka_config.h"
#include "common/kafka/kafka_handles.h"
#include "common/model/ids.h"

namespace lockstep {

struct TopicInfo {
  std::string name = {};
  int32_t partition_count = 0;
  int32_t replication = 0;  // Replicas of partition 0.
  bool operator==(const TopicInfo&) const = default;
};

// Setting names and values as the broker gives them; secret ones are left out.
using KafkaSettings = std::map<std::string, std::string>;

struct NewTopic {
  std::string name = {};
  int32_t partition_count = 1;
  int32_t replication = -1;  // -1: the broker's default.
  KafkaSettings settings = {};
};

class KafkaAdmin {
 public:
  using Timeout = std::chrono::milliseconds;

  // Makes the handle; speaks to no broker yet. INVALID_ARGUMENT names the property at fault.
  static absl::StatusOr<std::unique_ptr<KafkaAdmin>> Open(const KafkaConfig& config);

  // UNAVAILABLE when no broker answers in time.
  absl::StatusOr<std::string> ClusterId(Timeout timeout);
  // In name order; without Kafka's internal ones (`__…`).
  absl::StatusOr<std::vector<TopicInfo>> ListTopics(Timeout timeout);
  // NOT_FOUND iff the cluster says that there is no such topic. Creates nothing.
  absl::StatusOr<TopicInfo> DescribeTopic(const std::string& topic, Timeout timeout);
  absl::StatusOr<KafkaSettings> TopicSettings(const std::string& topic, Timeout timeout);
  // Of the broker with the lowest id.
  absl::StatusOr<KafkaSettings> BrokerSettings(Timeout timeout);

  // ALREADY_EXISTS iff it does. Returns when the cluster has accepted it, and waits, within
  // `timeout`, until its partitions have leaders.
  absl::Status CreateTopic(const NewTopic& topic, Timeout timeout);
  // The topic as it is; if there is none, creates it first and logs `topic_created`. An existing
  // one is never changed, whoever made it.
  absl::StatusOr<TopicInfo> DescribeOrCreate(const NewTopic& topic, Timeout timeout);
  // The broker's default.replication.factor; -1: it does not tell.
  int32_t DefaultReplication(Timeout timeout);
  // NOT_FOUND iff there is none.
  absl::Status DeleteTopic(const std::string& topic, Timeout timeout);
  // Removes what lies below `before` (tests of retention).
  absl::Status DeleteRecords(const StreamName& stream, Offset before, Timeout timeout);

  rd_kafka_t* handle() const { return handle_.get(); }

 private:
  explicit KafkaAdmin(KafkaHandle handle) : handle_(std::move(handle)) {}
  absl::StatusOr<KafkaSettings> Describe(rd_kafka_ResourceType_t type, const std::string& name,
                                         Timeout timeout);

  KafkaHandle handle_;
};

}  // namespace lockstep

#endif  // LOCKSTEP_COMMON_KAFKA_KAFKA_ADMIN_H_
