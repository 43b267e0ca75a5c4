#include "reorder/discover.h"

#include <algorithm>
#include <chrono>

#include "common/base/status_macros.h"
#include "common/kafka/kafka_admin.h"
#include "reorder/topic_names.h"

namespace lockstep {
namespace {

constexpr std::chrono::milliseconds kTimeout{10'000};

}  // namespace

absl::StatusOr<Discovered> Discover(const CommonOptions& options, Ledger& ledger) {
  const std::string topic = options.Topic();
  LOCKSTEP_ASSIGN_OR_RETURN(const auto admin, KafkaAdmin::Open(options.Kafka()));
  Discovered found;
  LOCKSTEP_ASSIGN_OR_RETURN(found.cluster_id, admin->ClusterId(kTimeout));
  LOCKSTEP_ASSIGN_OR_RETURN(const std::vector<TopicInfo> topics, admin->ListTopics(kTimeout));
  LOCKSTEP_ASSIGN_OR_RETURN(const std::vector<StreamInfo> known, ledger.ListStreams());

  std::vector<std::string> existing;
  for (const TopicInfo& info : topics) existing.push_back(info.name);
  std::vector<std::string> logical;
  for (const StreamInfo& info : known) {
    if (logical.empty() || logical.back() != info.name.topic) logical.push_back(info.name.topic);
  }
  LOCKSTEP_ASSIGN_OR_RETURN(found.topics,
                            FindTopics(topic, options.mirror_topic, existing, logical));

  found.streams = options.streams;
  if (!found.streams.empty()) return found;
  for (const StreamInfo& info : known) {
    if (info.name.topic == topic) found.streams.push_back(info.name);
  }
  std::sort(found.streams.begin(), found.streams.end());
  if (!found.streams.empty()) return found;
  for (const TopicInfo& info : topics) {
    if (info.name != found.topics[0]) continue;
    for (int32_t i = 0; i < info.partition_count; ++i) found.streams.push_back({topic, i});
  }
  return found;
}

}  // namespace lockstep
