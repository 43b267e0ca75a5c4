#include "common/kafka/mock_cluster.h"

#include <array>

#include "common/base/status_macros.h"
#include "common/kafka/kafka_config.h"
#include "common/kafka/kafka_error.h"

namespace lockstep {
namespace {

constexpr int16_t kProduceApi = 0;
constexpr int16_t kFetchApi = 1;

}  // namespace

absl::StatusOr<std::unique_ptr<MockCluster>> MockCluster::Start(int broker_count) {
  LOCKSTEP_ASSIGN_OR_RETURN(KafkaConf conf, BuildKafkaConf({}, {}));
  std::array<char, 256> error{};
  KafkaHandle host(rd_kafka_new(RD_KAFKA_PRODUCER, conf.get(), error.data(), error.size()));
  if (host == nullptr) return absl::InternalError(std::string("mock cluster: ") + error.data());
  (void)conf.release();  // The handle owns it now.
  rd_kafka_mock_cluster_t* cluster = rd_kafka_mock_cluster_new(host.get(), broker_count);
  if (cluster == nullptr) return absl::InternalError("the mock cluster could not be started");
  return std::unique_ptr<MockCluster>(new MockCluster(std::move(host), cluster));
}

absl::Status MockCluster::CreateTopic(const std::string& topic, int32_t partition_count) {
  return KafkaStatus(rd_kafka_mock_topic_create(cluster_.get(), topic.c_str(), partition_count, 1),
                     "create topic \"" + topic + "\" on the mock cluster");
}

void MockCluster::FailProduce(std::initializer_list<rd_kafka_resp_err_t> errors) {
  rd_kafka_mock_push_request_errors_array(cluster_.get(), kProduceApi, errors.size(),
                                          errors.begin());
}

void MockCluster::FailFetch(std::initializer_list<rd_kafka_resp_err_t> errors) {
  rd_kafka_mock_push_request_errors_array(cluster_.get(), kFetchApi, errors.size(), errors.begin());
}

void MockCluster::SetBrokerDown(int32_t broker) {
  rd_kafka_mock_broker_set_down(cluster_.get(), broker);
}

void MockCluster::SetBrokerUp(int32_t broker) {
  rd_kafka_mock_broker_set_up(cluster_.get(), broker);
}

void MockCluster::SetRoundTrip(int32_t broker, int milliseconds) {
  rd_kafka_mock_broker_set_rtt(cluster_.get(), broker, milliseconds);
}

}  // namespace lockstep
