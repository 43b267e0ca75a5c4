#include "common/kafka/kafka_producer.h"

#include <array>

#include "common/base/status_macros.h"
#include "common/log/log.h"

namespace lockstep {
namespace {

constexpr size_t kReportsPerCall = 4096;
constexpr size_t kReportsPerPoll = 100'000;

absl::Status TransactionStatus(rd_kafka_error_t* raw, const char* what) {
  const KafkaErrorHandle error(raw);
  if (error == nullptr) return absl::OkStatus();
  const std::string message = std::string(what) + ": " + rd_kafka_error_string(error.get());
  if (rd_kafka_error_txn_requires_abort(error.get())) {
    return absl::FailedPreconditionError(message);
  }
  if (rd_kafka_error_is_retriable(error.get())) return absl::UnavailableError(message);
  const absl::StatusCode code = KafkaStatus(rd_kafka_error_code(error.get()), what).code();
  // What the table does not know is retriable to it; librdkafka has just said that this is not.
  return absl::Status(code == absl::StatusCode::kUnavailable ? absl::StatusCode::kInternal : code,
                      message);
}

int Milliseconds(std::chrono::milliseconds timeout) { return static_cast<int>(timeout.count()); }

Persisted PersistedOf(const rd_kafka_message_t* message) {
  switch (rd_kafka_message_status(message)) {
    case RD_KAFKA_MSG_STATUS_PERSISTED:
      return Persisted::kYes;
    case RD_KAFKA_MSG_STATUS_NOT_PERSISTED:
      return Persisted::kNo;
    case RD_KAFKA_MSG_STATUS_POSSIBLY_PERSISTED:
      break;
  }
  return Persisted::kPossibly;
}

}  // namespace

KafkaProducer::KafkaProducer(KafkaHandle handle, StatisticsHook hook)
    : handle_(std::move(handle)),
      queue_(rd_kafka_queue_get_main(handle_.get())),
      wait_(queue_.get()),
      on_statistics_(std::move(hook)),
      messages_(kReportsPerCall) {}

absl::StatusOr<std::unique_ptr<KafkaProducer>> KafkaProducer::Open(
    const KafkaProducerOptions& options) {
  const std::string records = std::to_string(options.queued_records_max);
  const std::string kbytes = std::to_string(options.queued_kbytes_max);
  const std::string linger = std::to_string(options.linger_ms);
  const std::string statistics = std::to_string(options.statistics_interval_ms);
  std::vector<RoleSetting> settings = {
      {"enable.idempotence", "true", true},
      {"acks", "all", true},
      {"message.timeout.ms", "0", true},
      {"enable.gapless.guarantee", "true", true},
      {"statistics.interval.ms", statistics.c_str(), false},
      {"queue.buffering.max.messages", records.c_str(), false},
      {"queue.buffering.max.kbytes", kbytes.c_str(), false},
      {"linger.ms", linger.c_str(), false},
  };
  if (options.transactional_id) {
    settings.push_back({"transactional.id", options.transactional_id->c_str(), true});
  }
  LOCKSTEP_ASSIGN_OR_RETURN(KafkaConf conf, BuildKafkaConf(options.kafka, settings));
  rd_kafka_conf_set_events(conf.get(),
                           RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_ERROR | RD_KAFKA_EVENT_STATS);
  std::array<char, 512> error{};
  KafkaHandle handle(rd_kafka_new(RD_KAFKA_PRODUCER, conf.get(), error.data(), error.size()));
  if (handle == nullptr) {
    return absl::InvalidArgumentError(std::string("cannot make a Kafka producer: ") + error.data());
  }
  (void)conf.release();  // The handle owns it now.
  return std::unique_ptr<KafkaProducer>(
      new KafkaProducer(std::move(handle), options.on_statistics));
}

absl::StatusOr<ProducerTopic> KafkaProducer::Topic(const std::string& name) {
  for (const KafkaTopicHandle& topic : topics_) {
    if (rd_kafka_topic_name(topic.get()) == name) return ProducerTopic(topic.get());
  }
  KafkaTopicHandle topic(rd_kafka_topic_new(handle_.get(), name.c_str(), nullptr));
  if (topic == nullptr) return KafkaStatus(rd_kafka_last_error(), "topic \"" + name + "\"");
  topics_.push_back(std::move(topic));
  return ProducerTopic(topics_.back().get());
}

absl::StatusOr<KafkaProducer::Produced> KafkaProducer::Produce(ProducerTopic topic,
                                                               const KafkaRecordView& record,
                                                               uint64_t opaque) {
  // librdkafka takes pointers to mutable bytes and, without F_FREE, does not touch them.
  const auto bytes = [](const std::optional<std::string_view>& view) {
    return view ? const_cast<char*>(view->data()) : nullptr;  // NOLINT
  };
  // A key or value that is there but empty needs a pointer, else it would become null.
  static char empty = 0;
  const auto pointer = [&](const std::optional<std::string_view>& view) -> void* {
    return view && view->empty() ? &empty : bytes(view);
  };

  rd_kafka_headers_t* headers = nullptr;
  if (!record.headers.empty()) {
    headers = rd_kafka_headers_new(record.headers.size());
    for (const KafkaHeaderView& header : record.headers) {
      const auto size = header.value ? static_cast<ssize_t>(header.value->size()) : 0;
      rd_kafka_header_add(headers, header.name.data(), static_cast<ssize_t>(header.name.size()),
                          pointer(header.value), size);
    }
  }

  std::array<rd_kafka_vu_t, 8> fields;  // NOLINT(*-member-init): written before it is read.
  size_t count = 0;
  const auto next = [&](rd_kafka_vtype_t type) -> auto& {
    fields[count].vtype = type;
    return fields[count++].u;
  };
  next(RD_KAFKA_VTYPE_RKT).rkt = topic.topic_;
  next(RD_KAFKA_VTYPE_PARTITION).i32 = record.partition;
  next(RD_KAFKA_VTYPE_MSGFLAGS).i = record.value_stays ? 0 : RD_KAFKA_MSG_F_COPY;
  auto& value = next(RD_KAFKA_VTYPE_VALUE).mem;
  value.ptr = pointer(record.value);
  value.size = record.value ? record.value->size() : 0;
  auto& key = next(RD_KAFKA_VTYPE_KEY).mem;
  key.ptr = pointer(record.key);
  key.size = record.key ? record.key->size() : 0;
  next(RD_KAFKA_VTYPE_OPAQUE).ptr = reinterpret_cast<void*>(opaque);  // NOLINT
  if (record.timestamp_ms != 0) next(RD_KAFKA_VTYPE_TIMESTAMP).i64 = record.timestamp_ms;
  if (headers != nullptr) next(RD_KAFKA_VTYPE_HEADERS).headers = headers;

  const KafkaErrorHandle error(rd_kafka_produceva(handle_.get(), fields.data(), count));
  if (error == nullptr) return Produced::kQueued;
  if (headers != nullptr) rd_kafka_headers_destroy(headers);  // Taken over on success only.
  const rd_kafka_resp_err_t code = rd_kafka_error_code(error.get());
  if (code == RD_KAFKA_RESP_ERR__QUEUE_FULL) return Produced::kQueueFull;
  if (code == RD_KAFKA_RESP_ERR__FATAL || code == RD_KAFKA_RESP_ERR__STATE) {
    if (absl::Status fatal = FatalError(); !fatal.ok()) return fatal;
  }
  return KafkaStatus(
      code, "produce to " + std::string(topic.name()) + "/" + std::to_string(record.partition),
      rd_kafka_error_string(error.get()));
}

size_t KafkaProducer::Serve(rd_kafka_event_t* event, std::vector<DeliveryReport>& reports) {
  switch (rd_kafka_event_type(event)) {
    case RD_KAFKA_EVENT_DR: {
      size_t served = 0;
      while (const size_t count =
                 rd_kafka_event_message_array(event, messages_.data(), messages_.size())) {
        for (size_t i = 0; i < count; ++i) {
          const rd_kafka_message_t* message = messages_[i];
          const Persisted persisted = PersistedOf(message);
          reports.push_back({.opaque = reinterpret_cast<uint64_t>(message->_private),  // NOLINT
                             .persisted = persisted,
                             .offset = Offset(persisted == Persisted::kYes ? message->offset : -1),
                             .partition = message->partition,
                             .error = message->err});
        }
        served += count;
      }
      return served;
    }
    case RD_KAFKA_EVENT_ERROR:
      Log(LogLevel::kWarn, "kafka_error",
          {{"handle", rd_kafka_name(handle_.get())},
           {"error", rd_kafka_err2name(rd_kafka_event_error(event))},
           {"message", rd_kafka_event_error_string(event)}});
      return 0;
    case RD_KAFKA_EVENT_STATS:
      if (on_statistics_) {
        const auto statistics = ParseKafkaStatistics(rd_kafka_event_stats(event));
        if (statistics.ok()) on_statistics_(*statistics);
      }
      return 0;
    default:
      return 0;
  }
}

size_t KafkaProducer::Poll(std::chrono::milliseconds timeout,
                           std::vector<DeliveryReport>& reports) {
  size_t served = 0;
  while (served < kReportsPerPoll) {  // The caller gets its turn, however fast reports come.
    const KafkaEvent event(
        wait_.For(timeout, [this] { return rd_kafka_queue_poll(queue_.get(), 0); }));
    if (event == nullptr) break;
    served += Serve(event.get(), reports);
    timeout = std::chrono::milliseconds(0);
  }
  return served;
}

void KafkaProducer::Purge() {
  rd_kafka_purge(handle_.get(), RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
}

absl::Status KafkaProducer::FatalError() const {
  std::array<char, 512> reason{};
  const rd_kafka_resp_err_t error =
      rd_kafka_fatal_error(handle_.get(), reason.data(), reason.size());
  return KafkaStatus(error, "the Kafka producer cannot go on", reason.data());
}

absl::Status KafkaProducer::InitTransactions(std::chrono::milliseconds timeout) {
  return TransactionStatus(rd_kafka_init_transactions(handle_.get(), Milliseconds(timeout)),
                           "init transactions");
}

absl::Status KafkaProducer::BeginTransaction() {
  return TransactionStatus(rd_kafka_begin_transaction(handle_.get()), "begin transaction");
}

absl::Status KafkaProducer::CommitTransaction(std::chrono::milliseconds timeout) {
  return TransactionStatus(rd_kafka_commit_transaction(handle_.get(), Milliseconds(timeout)),
                           "commit transaction");
}

absl::Status KafkaProducer::AbortTransaction(std::chrono::milliseconds timeout) {
  return TransactionStatus(rd_kafka_abort_transaction(handle_.get(), Milliseconds(timeout)),
                           "abort transaction");
}

}  // namespace lockstep
