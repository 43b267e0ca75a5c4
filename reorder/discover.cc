#include "reorder/discover.h"

#include <algorithm>
#include <chrono>
#include <set>

#include "absl/strings/str_cat.h"

#include "common/base/status_macros.h"
#include "common/kafka/kafka_admin.h"
#include "reorder/topic_names.h"

namespace lockstep {
namespace {

constexpr std::chrono::milliseconds kTimeout{10'000};

// Of each of the topics found.
std::vector<int32_t> PartitionCounts(const Discovered& found,
                                     const std::vector<TopicInfo>& topics) {
  std::vector<int32_t> counts;
  for (const TopicInfo& info : topics) {
    const bool ours =
        std::find(found.topics.begin(), found.topics.end(), info.name) != found.topics.end();
    if (ours) counts.push_back(info.partition_count);
  }
  return counts;
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

absl::StatusOr<Discovered> Discover(const CommonOptions& options, Ledger& ledger, Reads reads) {
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

  const std::vector<int32_t> counts = PartitionCounts(found, topics);
  if (!counts.empty()) found.partition_count = *std::max_element(counts.begin(), counts.end());

  std::set<StreamName> registered;
  for (const StreamInfo& info : known) {
    if (info.name.topic == topic) registered.insert(info.name);
  }
  found.streams = options.streams;
  if (found.streams.empty()) {
    std::set<StreamName> streams = registered;
    if (streams.empty() || reads == Reads::kFollows) {
      // Those that each topic has: a partition that one lacks cannot be read there.
      const int32_t common = counts.empty() ? 0 : *std::min_element(counts.begin(), counts.end());
      for (int32_t i = 0; i < common; ++i) streams.insert({topic, i});
    }
    found.streams.assign(streams.begin(), streams.end());
  } else {
    LOCKSTEP_RETURN_IF_ERROR(CheckPartitions(found));
  }
  if (registered.empty()) return found;
  for (const StreamName& stream : found.streams) {
    if (!registered.contains(stream)) found.unused.insert(stream);
  }
  return found;
}

StreamEngineOptions Placed(StreamEngineOptions engine, const CommonOptions& common,
                           const Discovered& found, const StreamName& stream) {
  engine.reader.kafka = common.Kafka();
  engine.reader.cluster_id = found.cluster_id;
  engine.reader.topics = found.topics;
  engine.reader.stream = stream;
  if (found.unused.contains(stream)) {  // Nothing of it was sent, so no cursor is missing.
    engine.from_start = engine.from_start_if_new = true;
    engine.replay_from.reset();
  }
  return engine;
}

}  // namespace lockstep
