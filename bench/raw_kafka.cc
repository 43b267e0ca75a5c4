#include "bench/raw_kafka.h"

#include <array>
#include <chrono>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include <librdkafka/rdkafka.h>

#include "bench/measure.h"
#include "common/base/status_macros.h"
#include "common/model/record_header.h"

namespace lockstep::bench {

namespace {

constexpr double kStallSeconds = 60;  // Nothing for so long: something is wrong, say so.

template <class T, void (*Free)(T*)>
struct Freed {
  void operator()(T* handle) const { Free(handle); }
};
using Client = std::unique_ptr<rd_kafka_t, Freed<rd_kafka_t, rd_kafka_destroy>>;
using Topic = std::unique_ptr<rd_kafka_topic_t, Freed<rd_kafka_topic_t, rd_kafka_topic_destroy>>;
using Queue = std::unique_ptr<rd_kafka_queue_t, Freed<rd_kafka_queue_t, rd_kafka_queue_destroy>>;

using Settings = std::vector<std::pair<const char*, std::string>>;

struct Delivered {
  int64_t records = 0;
  rd_kafka_resp_err_t error = RD_KAFKA_RESP_ERR_NO_ERROR;
};

void OnDelivery(rd_kafka_t*, const rd_kafka_message_t* message, void* opaque) {
  auto* delivered = static_cast<Delivered*>(opaque);
  ++delivered->records;
  if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) delivered->error = message->err;
}

absl::StatusOr<Client> Open(rd_kafka_type_t type, const Settings& settings, Delivered* delivered) {
  std::array<char, 512> error{};
  rd_kafka_conf_t* conf = rd_kafka_conf_new();
  for (const auto& [name, value] : settings) {
    if (rd_kafka_conf_set(conf, name, value.c_str(), error.data(), error.size()) !=
        RD_KAFKA_CONF_OK) {
      rd_kafka_conf_destroy(conf);
      return absl::InvalidArgumentError(error.data());
    }
  }
  if (delivered != nullptr) {
    rd_kafka_conf_set_opaque(conf, delivered);
    rd_kafka_conf_set_dr_msg_cb(conf, OnDelivery);
  }
  Client client(rd_kafka_new(type, conf, error.data(), error.size()));
  if (client == nullptr) {
    rd_kafka_conf_destroy(conf);
    return absl::InvalidArgumentError(error.data());
  }
  return client;
}

// The topic, with the broker found and the connection made.
absl::StatusOr<Topic> OpenTopic(const Client& client, const RawTarget& target) {
  Topic topic(rd_kafka_topic_new(client.get(), target.topic.c_str(), nullptr));
  const rd_kafka_metadata_t* metadata = nullptr;
  const rd_kafka_resp_err_t error =
      rd_kafka_metadata(client.get(), 0, topic.get(), &metadata, 30'000);
  if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
    return absl::UnavailableError(target.topic + " at " + target.brokers + ": " +
                                  rd_kafka_err2str(error));
  }
  rd_kafka_metadata_destroy(metadata);
  return topic;
}

rd_kafka_resp_err_t Send(const Client& client, const Topic& topic, int32_t partition,
                         const RawRecord& record) {
  return rd_kafka_producev(
      client.get(), RD_KAFKA_V_RKT(topic.get()), RD_KAFKA_V_PARTITION(partition),
      RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
      RD_KAFKA_V_VALUE(const_cast<char*>(record.value.data()), record.value.size()),
      RD_KAFKA_V_HEADER(kRecordHeaderKey, record.header.data(),
                        static_cast<ssize_t>(record.header.size())),
      RD_KAFKA_V_END);
}

}  // namespace

absl::StatusOr<double> RawProduce(const RawTarget& target, const RawGenerator& next) {
  const Stopwatch watch;
  Delivered delivered;
  LOCKSTEP_ASSIGN_OR_RETURN(const Client client, Open(RD_KAFKA_PRODUCER,
                                                      {{"bootstrap.servers", target.brokers},
                                                       {"log_level", "3"},
                                                       {"enable.idempotence", "true"},
                                                       {"acks", "all"},
                                                       {"message.timeout.ms", "0"},
                                                       {"enable.gapless.guarantee", "true"},
                                                       {"linger.ms", "5"},
                                                       {"queue.buffering.max.messages", "200000"},
                                                       {"queue.buffering.max.kbytes", "65536"}},
                                                      &delivered));
  LOCKSTEP_ASSIGN_OR_RETURN(const Topic topic, OpenTopic(client, target));

  int64_t sent = 0;
  RawRecord record;
  while (next(record)) {
    rd_kafka_resp_err_t error = Send(client, topic, target.partition, record);
    while (error == RD_KAFKA_RESP_ERR__QUEUE_FULL) {
      rd_kafka_poll(client.get(), 5);
      error = Send(client, topic, target.partition, record);
    }
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
      return absl::UnavailableError(rd_kafka_err2str(error));
    }
    if (++sent % 1000 == 0) rd_kafka_poll(client.get(), 0);
  }
  while (delivered.records < sent) {
    rd_kafka_poll(client.get(), 5);
    if (watch.Seconds() > kStallSeconds * 10) return absl::DeadlineExceededError("no delivery");
  }
  const double seconds = watch.Seconds();
  if (delivered.error != RD_KAFKA_RESP_ERR_NO_ERROR) {
    return absl::UnavailableError(rd_kafka_err2str(delivered.error));
  }
  return seconds;
}

std::string_view RawHeader(const rd_kafka_message_t* message) {
  rd_kafka_headers_t* headers = nullptr;
  const void* value = nullptr;
  size_t size = 0;
  if (rd_kafka_message_headers(message, &headers) == RD_KAFKA_RESP_ERR_NO_ERROR &&
      rd_kafka_header_get_last(headers, kRecordHeaderKey, &value, &size) ==
          RD_KAFKA_RESP_ERR_NO_ERROR) {
    return {static_cast<const char*>(value), size};
  }
  return {};
}

absl::StatusOr<double> RawConsume(const RawTarget& target, int64_t records) {
  size_t header_bytes = 0;
  LOCKSTEP_ASSIGN_OR_RETURN(const double seconds,
                            RawConsume(target, records, [&](rd_kafka_message_t* message) {
                              header_bytes += RawHeader(message).size();
                              rd_kafka_message_destroy(message);
                              return absl::OkStatus();
                            }));
  if (header_bytes == 0) return absl::DataLossError(target.topic + ": records without a header");
  return seconds;
}

absl::StatusOr<double> RawConsume(const RawTarget& target, int64_t records, const RawTake& take) {
  LOCKSTEP_ASSIGN_OR_RETURN(const Client client, Open(RD_KAFKA_CONSUMER,
                                                      {{"bootstrap.servers", target.brokers},
                                                       {"log_level", "3"},
                                                       {"enable.auto.commit", "false"},
                                                       {"auto.offset.reset", "error"},
                                                       {"queued.max.messages.kbytes", "65536"},
                                                       {"fetch.wait.max.ms", "100"}},
                                                      nullptr));
  LOCKSTEP_ASSIGN_OR_RETURN(const Topic topic, OpenTopic(client, target));
  const Queue queue(rd_kafka_queue_new(client.get()));
  Stopwatch watch;
  if (rd_kafka_consume_start_queue(topic.get(), target.partition, RD_KAFKA_OFFSET_BEGINNING,
                                   queue.get()) != 0) {
    return absl::UnavailableError(rd_kafka_err2str(rd_kafka_last_error()));
  }
  std::vector<rd_kafka_message_t*> batch(10'000);
  int64_t seen = 0;
  double last_progress = 0;
  const Stopwatch since_start;
  absl::Status status;
  while (seen < records && status.ok()) {
    // The first record alone, as soon as it is here: the clock starts with it.
    const size_t wanted = seen == 0 ? 1 : batch.size();
    const ssize_t count = rd_kafka_consume_batch_queue(queue.get(), 100, batch.data(), wanted);
    if (seen == 0) watch = Stopwatch();
    for (ssize_t i = 0; i < count; ++i) {
      rd_kafka_message_t* message = batch[static_cast<size_t>(i)];
      if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR && status.ok()) {
        ++seen;
        status = take(message);
        continue;
      }
      if (status.ok()) status = absl::UnavailableError(rd_kafka_message_errstr(message));
      rd_kafka_message_destroy(message);
    }
    if (count > 0) last_progress = since_start.Seconds();
    if (since_start.Seconds() - last_progress > kStallSeconds) {
      status = absl::DeadlineExceededError(target.topic + ": only " + std::to_string(seen) +
                                           " records of " + std::to_string(records));
    }
  }
  const double seconds = watch.Seconds();
  rd_kafka_consume_stop(topic.get(), target.partition);
  LOCKSTEP_RETURN_IF_ERROR(status);
  return seconds;
}

}  // namespace lockstep::bench
