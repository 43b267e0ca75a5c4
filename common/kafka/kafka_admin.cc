#include "common/kafka/kafka_admin.h"

#include <algorithm>
#include <array>
#include <functional>
#include <thread>

#include "common/base/status_macros.h"
#include "common/kafka/kafka_error.h"
#include "common/log/log.h"

namespace lockstep {
namespace {

using Clock = std::chrono::steady_clock;
using Metadata = CHandle<const rd_kafka_metadata_t, rd_kafka_metadata_destroy>;
using AdminOptions = CHandle<rd_kafka_AdminOptions_t, rd_kafka_AdminOptions_destroy>;

int Milliseconds(KafkaAdmin::Timeout timeout) { return static_cast<int>(timeout.count()); }

// The whole cluster. Never one topic by name: a producer's handle would let the broker create it.
absl::StatusOr<Metadata> Ask(rd_kafka_t* handle, KafkaAdmin::Timeout timeout) {
  const rd_kafka_metadata_t* raw = nullptr;
  const rd_kafka_resp_err_t error =
      rd_kafka_metadata(handle, 1, nullptr, &raw, Milliseconds(timeout));
  if (error == RD_KAFKA_RESP_ERR__TIMED_OUT || error == RD_KAFKA_RESP_ERR__TRANSPORT) {
    return absl::UnavailableError("no broker answered a request for metadata in " +
                                  std::to_string(timeout.count()) + " ms; is --brokers right?");
  }
  LOCKSTEP_RETURN_IF_ERROR(KafkaStatus(error, "metadata"));
  return Metadata(raw);
}

const rd_kafka_metadata_topic_t* Find(const Metadata& metadata, const std::string& topic) {
  for (int i = 0; i < metadata->topic_cnt; ++i) {
    if (metadata->topics[i].topic == topic) return &metadata->topics[i];
  }
  return nullptr;
}

TopicInfo InfoOf(const rd_kafka_metadata_topic_t& topic) {
  return {topic.topic, topic.partition_cnt,
          topic.partition_cnt > 0 ? topic.partitions[0].replica_cnt : 0};
}

// Starts an admin request on a queue of its own and waits for its answer.
absl::StatusOr<KafkaEvent> Request(
    rd_kafka_t* handle, const std::string& what, KafkaAdmin::Timeout timeout,
    const std::function<void(const rd_kafka_AdminOptions_t*, rd_kafka_queue_t*)>& start) {
  const AdminOptions options(rd_kafka_AdminOptions_new(handle, RD_KAFKA_ADMIN_OP_ANY));
  std::array<char, 256> text{};
  LOCKSTEP_RETURN_IF_ERROR(
      KafkaStatus(rd_kafka_AdminOptions_set_request_timeout(options.get(), Milliseconds(timeout),
                                                            text.data(), text.size()),
                  what, text.data()));
  const KafkaQueue queue(rd_kafka_queue_new(handle));
  start(options.get(), queue.get());
  KafkaEvent event(rd_kafka_queue_poll(queue.get(), Milliseconds(timeout) + 1000));
  if (event == nullptr) return absl::UnavailableError(what + ": no broker answered in time");
  LOCKSTEP_RETURN_IF_ERROR(KafkaStatus(rd_kafka_event_error(event.get()), what,
                                       rd_kafka_event_error_string(event.get())));
  return event;
}

absl::Status TopicResults(const rd_kafka_topic_result_t** results, size_t count,
                          const std::string& what) {
  for (size_t i = 0; i < count; ++i) {
    const char* reason = rd_kafka_topic_result_error_string(results[i]);
    LOCKSTEP_RETURN_IF_ERROR(KafkaStatus(rd_kafka_topic_result_error(results[i]), what,
                                         reason != nullptr ? reason : ""));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<KafkaAdmin>> KafkaAdmin::Open(const KafkaConfig& config) {
  LOCKSTEP_ASSIGN_OR_RETURN(KafkaConf conf, BuildKafkaConf(config, {}));
  std::array<char, 512> error{};
  // A producer's handle, although it produces nothing: it does nothing by itself.
  KafkaHandle handle(rd_kafka_new(RD_KAFKA_PRODUCER, conf.get(), error.data(), error.size()));
  if (handle == nullptr) {
    return absl::InvalidArgumentError(std::string("cannot make a Kafka client: ") + error.data());
  }
  (void)conf.release();  // The handle owns it now.
  return std::unique_ptr<KafkaAdmin>(new KafkaAdmin(std::move(handle)));
}

absl::StatusOr<std::string> KafkaAdmin::ClusterId(Timeout timeout) {
  char* id = rd_kafka_clusterid(handle_.get(), Milliseconds(timeout));
  if (id == nullptr) {
    return absl::UnavailableError("no broker told its cluster id in " +
                                  std::to_string(timeout.count()) + " ms; is --brokers right?");
  }
  std::string result(id);
  rd_kafka_mem_free(handle_.get(), id);
  return result;
}

absl::StatusOr<std::vector<TopicInfo>> KafkaAdmin::ListTopics(Timeout timeout) {
  LOCKSTEP_ASSIGN_OR_RETURN(const Metadata metadata, Ask(handle_.get(), timeout));
  std::vector<TopicInfo> topics;
  for (int i = 0; i < metadata->topic_cnt; ++i) {
    const rd_kafka_metadata_topic_t& topic = metadata->topics[i];
    if (!std::string_view(topic.topic).starts_with("__")) topics.push_back(InfoOf(topic));
  }
  std::sort(topics.begin(), topics.end(),
            [](const TopicInfo& a, const TopicInfo& b) { return a.name < b.name; });
  return topics;
}

absl::StatusOr<TopicInfo> KafkaAdmin::DescribeTopic(const std::string& topic, Timeout timeout) {
  LOCKSTEP_ASSIGN_OR_RETURN(const Metadata metadata, Ask(handle_.get(), timeout));
  const rd_kafka_metadata_topic_t* found = Find(metadata, topic);
  if (found == nullptr) {
    return absl::NotFoundError("topic \"" + topic +
                               "\": the cluster has none of this name, or it "
                               "is not permitted to see it");
  }
  LOCKSTEP_RETURN_IF_ERROR(KafkaStatus(found->err, "topic \"" + topic + "\""));
  return InfoOf(*found);
}

absl::StatusOr<KafkaSettings> KafkaAdmin::Describe(rd_kafka_ResourceType_t type,
                                                   const std::string& name, Timeout timeout) {
  using Resource = CHandle<rd_kafka_ConfigResource_t, rd_kafka_ConfigResource_destroy>;
  const Resource resource(rd_kafka_ConfigResource_new(type, name.c_str()));
  const std::string what = "settings of \"" + name + "\"";
  LOCKSTEP_ASSIGN_OR_RETURN(
      const KafkaEvent event,
      Request(handle_.get(), what, timeout,
              [&](const rd_kafka_AdminOptions_t* options, rd_kafka_queue_t* queue) {
                rd_kafka_ConfigResource_t* one = resource.get();
                rd_kafka_DescribeConfigs(handle_.get(), &one, 1, options, queue);
              }));
  size_t count = 0;
  const rd_kafka_ConfigResource_t** resources = rd_kafka_DescribeConfigs_result_resources(
      rd_kafka_event_DescribeConfigs_result(event.get()), &count);
  KafkaSettings settings;
  for (size_t i = 0; i < count; ++i) {
    const char* reason = rd_kafka_ConfigResource_error_string(resources[i]);
    LOCKSTEP_RETURN_IF_ERROR(KafkaStatus(rd_kafka_ConfigResource_error(resources[i]), what,
                                         reason != nullptr ? reason : ""));
    size_t entry_count = 0;
    const rd_kafka_ConfigEntry_t** entries =
        rd_kafka_ConfigResource_configs(resources[i], &entry_count);
    for (size_t j = 0; j < entry_count; ++j) {
      const char* value = rd_kafka_ConfigEntry_value(entries[j]);
      if (value != nullptr && rd_kafka_ConfigEntry_is_sensitive(entries[j]) == 0) {
        settings[rd_kafka_ConfigEntry_name(entries[j])] = value;
      }
    }
  }
  return settings;
}

absl::StatusOr<KafkaSettings> KafkaAdmin::TopicSettings(const std::string& topic, Timeout timeout) {
  // The controller answers this. Where it is no broker of the cluster (librdkafka's mock says 0 and
  // begins at 1) librdkafka would wait for it until the timeout.
  LOCKSTEP_ASSIGN_OR_RETURN(const Metadata metadata, Ask(handle_.get(), timeout));
  const int32_t controller = rd_kafka_controllerid(handle_.get(), 0);
  const rd_kafka_metadata_broker_t* begin = metadata->brokers;
  if (std::none_of(begin, begin + metadata->broker_cnt,
                   [&](const auto& b) { return b.id == controller; })) {
    return absl::UnimplementedError("settings of \"" + topic + "\": the cluster has no controller");
  }
  return Describe(RD_KAFKA_RESOURCE_TOPIC, topic, timeout);
}

absl::StatusOr<KafkaSettings> KafkaAdmin::BrokerSettings(Timeout timeout) {
  LOCKSTEP_ASSIGN_OR_RETURN(const Metadata metadata, Ask(handle_.get(), timeout));
  if (metadata->broker_cnt == 0) return absl::UnavailableError("the cluster names no broker");
  int32_t id = metadata->brokers[0].id;
  for (int i = 1; i < metadata->broker_cnt; ++i) id = std::min(id, metadata->brokers[i].id);
  return Describe(RD_KAFKA_RESOURCE_BROKER, std::to_string(id), timeout);
}

absl::Status KafkaAdmin::CreateTopic(const NewTopic& topic, Timeout timeout) {
  const Clock::time_point deadline = Clock::now() + timeout;
  const std::string what = "create topic \"" + topic.name + "\"";
  using Request_ = CHandle<rd_kafka_NewTopic_t, rd_kafka_NewTopic_destroy>;
  std::array<char, 256> error{};
  const Request_ request(rd_kafka_NewTopic_new(topic.name.c_str(), topic.partition_count,
                                               topic.replication, error.data(), error.size()));
  if (request == nullptr) return absl::InvalidArgumentError(what + ": " + error.data());
  for (const auto& [name, value] : topic.settings) {
    rd_kafka_NewTopic_set_config(request.get(), name.c_str(), value.c_str());
  }
  LOCKSTEP_ASSIGN_OR_RETURN(
      const KafkaEvent event,
      Request(handle_.get(), what, timeout,
              [&](const rd_kafka_AdminOptions_t* options, rd_kafka_queue_t* queue) {
                rd_kafka_NewTopic_t* one = request.get();
                rd_kafka_CreateTopics(handle_.get(), &one, 1, options, queue);
              }));
  size_t count = 0;
  const rd_kafka_topic_result_t** results =
      rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event.get()), &count);
  LOCKSTEP_RETURN_IF_ERROR(TopicResults(results, count, what));
  while (true) {
    const auto left = std::chrono::duration_cast<Timeout>(deadline - Clock::now());
    const auto metadata = Ask(handle_.get(), std::max(left, Timeout(100)));
    const rd_kafka_metadata_topic_t* seen = metadata.ok() ? Find(*metadata, topic.name) : nullptr;
    if (seen != nullptr && seen->err == RD_KAFKA_RESP_ERR_NO_ERROR &&
        seen->partition_cnt == topic.partition_count &&
        std::all_of(seen->partitions, seen->partitions + seen->partition_cnt,
                    [](const auto& partition) { return partition.leader >= 0; })) {
      return absl::OkStatus();
    }
    if (left <= Timeout(0)) {
      return absl::UnavailableError(what + ": created, but not all partitions have a leader yet");
    }
    std::this_thread::sleep_for(Timeout(20));
  }
}

int32_t KafkaAdmin::DefaultReplication(Timeout timeout) {
  const absl::StatusOr<KafkaSettings> settings = BrokerSettings(timeout);
  if (!settings.ok() || !settings->contains("default.replication.factor")) return -1;
  const auto factor = ParseDecimal(settings->at("default.replication.factor"));
  return factor.ok() && *factor > 0 && *factor < 100 ? static_cast<int32_t>(*factor) : -1;
}

absl::StatusOr<TopicInfo> KafkaAdmin::DescribeOrCreate(const NewTopic& topic, Timeout timeout) {
  const Clock::time_point deadline = Clock::now() + timeout;
  absl::StatusOr<TopicInfo> info = DescribeTopic(topic.name, timeout);
  if (!absl::IsNotFound(info.status())) return info;
  const absl::Status created = CreateTopic(topic, timeout);
  if (created.ok()) {
    std::string settings;
    for (const auto& [name, value] : topic.settings) {
      absl::StrAppend(&settings, settings.empty() ? "" : ",", name, "=", value);
    }
    Log(LogLevel::kInfo, "topic_created",
        {{"topic", topic.name},
         {"partitions", topic.partition_count},
         {"replication", topic.replication < 0 ? "default" : std::to_string(topic.replication)},
         {"settings", settings}});
  } else if (!absl::IsAlreadyExists(created)) {
    return created;
  }
  // Another creator's topic may not be there for every broker yet.
  do {
    info = DescribeTopic(topic.name, timeout);
  } while (absl::IsNotFound(info.status()) && Clock::now() < deadline &&
           (std::this_thread::sleep_for(Timeout(20)), true));
  return info;
}

absl::Status KafkaAdmin::DeleteTopic(const std::string& topic, Timeout timeout) {
  using Request_ = CHandle<rd_kafka_DeleteTopic_t, rd_kafka_DeleteTopic_destroy>;
  const Request_ request(rd_kafka_DeleteTopic_new(topic.c_str()));
  const std::string what = "delete topic \"" + topic + "\"";
  LOCKSTEP_ASSIGN_OR_RETURN(
      const KafkaEvent event,
      Request(handle_.get(), what, timeout,
              [&](const rd_kafka_AdminOptions_t* options, rd_kafka_queue_t* queue) {
                rd_kafka_DeleteTopic_t* one = request.get();
                rd_kafka_DeleteTopics(handle_.get(), &one, 1, options, queue);
              }));
  size_t count = 0;
  const rd_kafka_topic_result_t** results =
      rd_kafka_DeleteTopics_result_topics(rd_kafka_event_DeleteTopics_result(event.get()), &count);
  return TopicResults(results, count, what);
}

absl::Status KafkaAdmin::DeleteRecords(const StreamName& stream, Offset before, Timeout timeout) {
  using Request_ = CHandle<rd_kafka_DeleteRecords_t, rd_kafka_DeleteRecords_destroy>;
  const KafkaPartitionList list(rd_kafka_topic_partition_list_new(1));
  rd_kafka_topic_partition_list_add(list.get(), stream.topic.c_str(), stream.partition)->offset =
      before.value();
  const Request_ request(rd_kafka_DeleteRecords_new(list.get()));
  const std::string what = "delete records of " + ToString(stream) + " below " + ToString(before);
  LOCKSTEP_ASSIGN_OR_RETURN(
      const KafkaEvent event,
      Request(handle_.get(), what, timeout,
              [&](const rd_kafka_AdminOptions_t* options, rd_kafka_queue_t* queue) {
                rd_kafka_DeleteRecords_t* one = request.get();
                rd_kafka_DeleteRecords(handle_.get(), &one, 1, options, queue);
              }));
  const rd_kafka_topic_partition_list_t* results =
      rd_kafka_DeleteRecords_result_offsets(rd_kafka_event_DeleteRecords_result(event.get()));
  return KafkaStatus(results->elems[0].err, what);
}

}  // namespace lockstep
