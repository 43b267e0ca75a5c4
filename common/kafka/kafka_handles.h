// The C handles of librdkafka, each owned by one unique_ptr.
#ifndef LOCKSTEP_COMMON_KAFKA_KAFKA_HANDLES_H_
#define LOCKSTEP_COMMON_KAFKA_KAFKA_HANDLES_H_

#include <memory>

#include <librdkafka/rdkafka.h>

namespace lockstep {

template <class T, void (*Free)(T*)>
struct CFree {
  void operator()(T* handle) const { Free(handle); }
};

template <class T, void (*Free)(T*)>
using CHandle = std::unique_ptr<T, CFree<T, Free>>;

using KafkaHandle = CHandle<rd_kafka_t, rd_kafka_destroy>;
using KafkaTopicHandle = CHandle<rd_kafka_topic_t, rd_kafka_topic_destroy>;  // Before its client.
using KafkaQueue = CHandle<rd_kafka_queue_t, rd_kafka_queue_destroy>;        // Before its client.
using KafkaEvent = CHandle<rd_kafka_event_t, rd_kafka_event_destroy>;
using KafkaPartitionList =
    CHandle<rd_kafka_topic_partition_list_t, rd_kafka_topic_partition_list_destroy>;
using KafkaErrorHandle = CHandle<rd_kafka_error_t, rd_kafka_error_destroy>;

}  // namespace lockstep

#endif  // LOCKSTEP_COMMON_KAFKA_KAFKA_HANDLES_H_
