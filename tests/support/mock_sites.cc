// lockstep-mock-sites: two Kafka sites in one process, and a mirror that is late.
//
// The embedded stand-in for two clusters and MirrorMaker 2, for the demo and for tests that need
// seconds, not minutes. Cluster P and cluster S are librdkafka's mock clusters: real sockets, the
// real protocol, everything in memory. The mirror reads P and writes S through ordinary clients; it
// keeps headers, keys, timestamps and partitions, and copies a record only when it is --lag-ms old,
// so that killing P really loses a tail.
//
// What a mock cluster is not: it keeps 5 MB a partition and drops older batches in silence, keeps
// nothing over a restart, and knows neither CreateTopics nor DescribeConfigs (topics are made at
// start, by --topic). Safety is proved on real brokers; this is for the first look.
//
// Prints one line of JSON when both sites answer, then obeys lines on stdin, one JSON line each:
//   kill p   P and the mirror are gone at once; what the mirror had not written is lost
//   status   how many records the mirror has written
//   quit     (or end of input) everything ends; so it never outlives the program that started it
//
// Threads: main (commands), mirror (copies). librdkafka's own serve the sockets.
#include <poll.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <iostream>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include <CLI/CLI.hpp>
#include <librdkafka/rdkafka.h>

#include "common/kafka/kafka_handles.h"
#include "common/kafka/mock_cluster.h"

namespace {

using SteadyClock = std::chrono::steady_clock;

struct Topic {
  std::string name;
  int partitions = 1;
};

struct Options {
  std::vector<Topic> topics;
  std::string policy = "identity";
  int64_t lag_ms = 300;
};

[[noreturn]] void Die(const std::string& what) {
  std::fprintf(stderr, "lockstep-mock-sites: %s\n", what.c_str());
  std::exit(2);
}

// `delivered`, if given, counts delivery reports without error; it must outlive the handle.
lockstep::KafkaHandle NewHandle(rd_kafka_type_t type,
                                const std::map<std::string, std::string>& properties,
                                std::atomic<int64_t>* delivered = nullptr) {
  char error[512];
  rd_kafka_conf_t* conf = rd_kafka_conf_new();
  if (delivered != nullptr) {
    rd_kafka_conf_set_opaque(conf, delivered);
    rd_kafka_conf_set_dr_msg_cb(
        conf, [](rd_kafka_t*, const rd_kafka_message_t* message, void* counter) {
          if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
            static_cast<std::atomic<int64_t>*>(counter)->fetch_add(1);
          } else if (message->err != RD_KAFKA_RESP_ERR__PURGE_QUEUE &&
                     message->err != RD_KAFKA_RESP_ERR__PURGE_INFLIGHT) {
            Die(std::string("the mirror cannot write: ") + rd_kafka_err2str(message->err));
          }
        });
  }
  for (const auto& [name, value] : properties) {
    if (rd_kafka_conf_set(conf, name.c_str(), value.c_str(), error, sizeof(error)) !=
        RD_KAFKA_CONF_OK) {
      Die(error);
    }
  }
  rd_kafka_t* handle = rd_kafka_new(type, conf, error, sizeof(error));
  if (handle == nullptr) Die(error);
  return lockstep::KafkaHandle(handle);
}

std::unique_ptr<lockstep::MockCluster> StartCluster() {
  absl::StatusOr<std::unique_ptr<lockstep::MockCluster>> cluster = lockstep::MockCluster::Start();
  if (!cluster.ok()) Die(std::string(cluster.status().message()));
  return std::move(*cluster);
}

void CreateTopic(lockstep::MockCluster& cluster, const std::string& name, int partitions) {
  const absl::Status status = cluster.CreateTopic(name, partitions);
  if (!status.ok()) Die(std::string(status.message()));
}

// Copies P to S in source order, never skipping, each record when it is lag_ms old.
class Mirror {
 public:
  Mirror(const Options& options, const std::string& from, const std::string& to)
      : options_(options),
        consumer_(NewHandle(RD_KAFKA_CONSUMER, {{"bootstrap.servers", from},
                                                {"group.id", "lockstep-mock-mirror"},
                                                {"enable.auto.commit", "false"},
                                                {"auto.offset.reset", "earliest"},
                                                {"fetch.wait.max.ms", "10"},
                                                {"queued.max.messages.kbytes", "16384"}})),
        producer_(NewHandle(RD_KAFKA_PRODUCER,
                            {{"bootstrap.servers", to},
                             {"enable.idempotence", "true"},
                             {"linger.ms", "5"},
                             {"queue.buffering.max.messages", "1000000"}},
                            &copied_)) {
    Assign();
    thread_ = std::thread([this] { Run(); });
  }

  // Stops at once, as a killed process does: what is held back or queued is lost.
  ~Mirror() {
    stop_.store(true);
    thread_.join();
    rd_kafka_purge(producer_.get(), RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    rd_kafka_poll(producer_.get(), 0);
    rd_kafka_consumer_close(consumer_.get());
  }
  Mirror(const Mirror&) = delete;
  Mirror& operator=(const Mirror&) = delete;

  int64_t copied() const { return copied_.load(); }

 private:
  using Message = lockstep::CHandle<rd_kafka_message_t, rd_kafka_message_destroy>;
  struct Held {
    SteadyClock::time_point due;
    Message message;
  };

  void Assign() {
    rd_kafka_topic_partition_list_t* list = rd_kafka_topic_partition_list_new(8);
    for (const Topic& topic : options_.topics) {
      for (int partition = 0; partition < topic.partitions; ++partition) {
        rd_kafka_topic_partition_list_add(list, topic.name.c_str(), partition)->offset =
            RD_KAFKA_OFFSET_BEGINNING;
      }
    }
    const rd_kafka_resp_err_t error = rd_kafka_assign(consumer_.get(), list);
    rd_kafka_topic_partition_list_destroy(list);
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR) Die(rd_kafka_err2str(error));
  }

  void Run() {
    while (!stop_.load()) {
      Message message(rd_kafka_consumer_poll(consumer_.get(), held_.empty() ? 20 : 1));
      const SteadyClock::time_point now = SteadyClock::now();
      if (message != nullptr && message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        held_.push_back({now + std::chrono::milliseconds(options_.lag_ms), std::move(message)});
      }
      while (!held_.empty() && held_.front().due <= now && !stop_.load()) {
        Copy(*held_.front().message);
        held_.pop_front();
      }
      rd_kafka_poll(producer_.get(), 0);
    }
  }

  void Copy(const rd_kafka_message_t& message) {
    std::string topic = rd_kafka_topic_name(message.rkt);
    if (options_.policy == "default") topic = "p." + topic;
    rd_kafka_headers_t* headers = nullptr;
    rd_kafka_headers_t* copy = nullptr;
    if (rd_kafka_message_headers(&message, &headers) == RD_KAFKA_RESP_ERR_NO_ERROR) {
      copy = rd_kafka_headers_copy(headers);
    }
    const int64_t timestamp = rd_kafka_message_timestamp(&message, nullptr);
    while (!stop_.load()) {
      const rd_kafka_resp_err_t error = rd_kafka_producev(
          producer_.get(), RD_KAFKA_V_TOPIC(topic.c_str()), RD_KAFKA_V_PARTITION(message.partition),
          RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_KEY(message.key, message.key_len),
          RD_KAFKA_V_VALUE(message.payload, message.len), RD_KAFKA_V_TIMESTAMP(timestamp),
          RD_KAFKA_V_HEADERS(copy), RD_KAFKA_V_END);
      if (error == RD_KAFKA_RESP_ERR_NO_ERROR) {
        return;  // The producer owns the headers now.
      }
      if (error != RD_KAFKA_RESP_ERR__QUEUE_FULL) Die(rd_kafka_err2str(error));
      rd_kafka_poll(producer_.get(), 10);
    }
    if (copy != nullptr) rd_kafka_headers_destroy(copy);
  }

  const Options options_;
  std::atomic<bool> stop_{false};
  std::atomic<int64_t> copied_{0};  // Written at S; outlives the producer, which counts in it.
  lockstep::KafkaHandle consumer_;  // The mirror's thread only, while it runs.
  lockstep::KafkaHandle producer_;
  std::deque<Held> held_;
  std::thread thread_;
};

Options ParseOptions(int argc, char** argv) {
  Options options;
  std::vector<std::string> topics;
  CLI::App app{
      "Two in-process Kafka sites and a late mirror, for the demo and for quick tests.\n\n"
      "  lockstep-mock-sites --topic orders:4\n"
      "  lockstep-mock-sites --topic orders:4 --policy default --lag-ms 500\n"
      "  lockstep-mock-sites --topic orders:4 --policy none      no mirror at all\n\n"
      "Prints {\"p\":BROKERS,\"s\":BROKERS}; then reads `kill p`, `status`, `quit` on stdin.",
      "lockstep-mock-sites"};
  app.set_version_flag("--version", LOCKSTEP_VERSION);
  app.add_option("--topic", topics, "NAME:PARTITIONS, created at both sites (repeatable)")
      ->required();
  app.add_option("--policy", options.policy,
                 "How the mirror names topics: the same, p.NAME, or no mirror")
      ->check(CLI::IsMember({"identity", "default", "none"}))
      ->capture_default_str();
  app.add_option("--lag-ms", options.lag_ms, "How old a record is when the mirror copies it")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    std::exit(app.exit(error) == 0 ? 0 : 2);
  }
  for (const std::string& text : topics) {
    const size_t colon = text.rfind(':');
    Topic topic{text.substr(0, colon), 1};
    if (colon != std::string::npos) {
      topic.partitions = std::atoi(text.c_str() + colon + 1);
    }
    if (topic.name.empty() || topic.partitions < 1 || topic.partitions > 1000) {
      Die("--topic " + text + ": want NAME:PARTITIONS");
    }
    options.topics.push_back(std::move(topic));
  }
  return options;
}

void Reply(const std::string& json) { std::cout << json << std::endl; }

void Serve(std::unique_ptr<lockstep::MockCluster>& primary, std::optional<Mirror>& mirror) {
  int64_t copied = 0;  // Once the mirror is gone.
  const auto mirrored = [&] { return std::to_string(mirror ? mirror->copied() : copied); };
  std::string line;
  while (std::getline(std::cin, line)) {
    if (line == "quit") break;
    if (line == "kill p") {
      if (mirror) copied = mirror->copied();
      mirror.reset();
      primary.reset();
      Reply("{\"killed\":\"p\",\"mirrored\":" + mirrored() + "}");
    } else if (line == "status") {
      Reply("{\"mirrored\":" + mirrored() + "}");
    } else {
      Reply("{\"error\":\"unknown command; say kill p, status or quit\"}");
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = ParseOptions(argc, argv);
  std::unique_ptr<lockstep::MockCluster> primary = StartCluster();
  const std::unique_ptr<lockstep::MockCluster> standby = StartCluster();
  for (const Topic& topic : options.topics) {
    const std::string alias = options.policy == "default" ? "p." : "";
    CreateTopic(*primary, topic.name, topic.partitions);
    CreateTopic(*standby, alias + topic.name, topic.partitions);
  }
  std::optional<Mirror> mirror;
  if (options.policy != "none") mirror.emplace(options, primary->brokers(), standby->brokers());
  Reply("{\"p\":\"" + primary->brokers() + "\",\"s\":\"" + standby->brokers() + "\"}");
  Serve(primary, mirror);
  mirror.reset();
  return 0;
}
