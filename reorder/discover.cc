#include "reorder/discover.h"

#include <algorithm>
#include <chrono>

#include "absl/strings/str_cat.h"

#include "common/base/status_macros.h"
#include "common/kafka/kafka_admin.h"
#include "reorder/topic_names.h"

namespace lockstep {
namespace {

constexpr std::chrono::milliseconds kTimeout{10'000};

int32_t CountPartitions(const Discovered& found, const std::vector<TopicInfo>& topics) {
  int32_t count = 0;
  for (const TopicInfo& info : topics) {
    const bool ours =
        std::find(found.topics.begin(), found.topics.end(), info.name) != found.topics.end();
    if (ours) count = std::max(count, info.partition_count);
  }
  return count;
}

// A typed partition that no log has would be a stream without records, and its end reached at once.
absl::Status CheckPartitions(const Discovered& found) {
  for (const StreamName& stream : found.streams) {
    if (stream.partition >= found.partition_count) {
      return absl::NotFoundError(absl::StrCat("--stream ", ToString(stream), ": the topic has ",
                                              found.partition_count,
                                              " partition(s), counted from 0"));
    }
  }
  return absl::OkStatus();
}

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

  found.partition_count = CountPartitions(found, topics);

  found.streams = options.streams;
  if (!found.streams.empty()) {
    LOCKSTEP_RETURN_IF_ERROR(CheckPartitions(found));
    return found;
  }
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

StreamEngineOptions Placed(StreamEngineOptions engine, const CommonOptions& common,
                           const Discovered& found, const StreamName& stream) {
  engine.reader.kafka = common.Kafka();
  engine.reader.cluster_id = found.cluster_id;
  engine.reader.topics = found.topics;
  engine.reader.stream = stream;
  return engine;
}

}  // namespace lockstep
