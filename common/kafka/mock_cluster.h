// MockCluster is librdkafka's in-process Kafka: for tests of errors one cannot order from a real
// broker, and for the first look without Java.
//
// It keeps about 5 MB or 100,000 messages a partition and no more than its process lives; it knows
// no topic settings, no DescribeConfigs, no DeleteRecords. Thread-safe as far as librdkafka's is.
#ifndef LOCKSTEP_COMMON_KAFKA_MOCK_CLUSTER_H_
#define LOCKSTEP_COMMON_KAFKA_MOCK_CLUSTER_H_

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#include "common/kafka/kafka_handles.h"

namespace lockstep {

class MockCluster {
 public:
  // Brokers 1…n listen on free loopback ports until the object is gone.
  static absl::StatusOr<std::unique_ptr<MockCluster>> Start(int broker_count = 1);

  std::string brokers() const { return rd_kafka_mock_cluster_bootstraps(cluster_.get()); }
  absl::Status CreateTopic(const std::string& topic, int32_t partition_count);

  // The next Produce requests (of any client) are answered by these errors, one each.
  void FailProduce(std::initializer_list<rd_kafka_resp_err_t> errors);
  // The same for Fetch requests.
  void FailFetch(std::initializer_list<rd_kafka_resp_err_t> errors);
  // Connections to the broker are cut and refused; SetBrokerUp lets them in again.
  void SetBrokerDown(int32_t broker);
  void SetBrokerUp(int32_t broker);
  // Every answer of the broker takes at least so long.
  void SetRoundTrip(int32_t broker, int milliseconds);

  rd_kafka_mock_cluster_t* handle() const { return cluster_.get(); }

 private:
  MockCluster(KafkaHandle host, rd_kafka_mock_cluster_t* cluster)
      : host_(std::move(host)), cluster_(cluster) {}

  KafkaHandle host_;  // The mock's threads belong to it.
  CHandle<rd_kafka_mock_cluster_t, rd_kafka_mock_cluster_destroy> cluster_;
};

}  // namespace lockstep

#endif  // LOCKSTEP_COMMON_KAFKA_MOCK_CLUSTER_H_
