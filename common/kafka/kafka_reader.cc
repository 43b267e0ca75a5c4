#include "common/kafka/kafka_reader.h"

#include <algorithm>
#include <array>
#include <utility>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/kafka/kafka_error.h"
#include "common/log/log.h"

namespace lockstep {
namespace {

using std::chrono::steady_clock;

// Fewer records fetched ahead than this are no sign of a full queue; and of a log that is read as
// it is written nobody asks more often.
constexpr size_t kFetchedPeakMin = 200;
constexpr std::chrono::milliseconds kWakePause{10};

// For seek and for the calls that wait for librdkafka's own threads, not for a broker.
constexpr int kLocalTimeoutMs = 10'000;

constexpr int kWakeTimeoutMs = 1;

// Fetching stops when enough is fetched ahead. librdkafka 2.2 and later look again after this time;
// false if this one is older.
bool SetFetchBackoff(rd_kafka_conf_t* conf, const KafkaConfig& config) {
  constexpr char kName[] = "fetch.queue.backoff.ms";
  for (const KafkaProperty& property : config.properties) {
    if (property.name == kName) return true;
  }
  return rd_kafka_conf_set(conf, kName, "10", nullptr, 0) == RD_KAFKA_CONF_OK;
}

int Milliseconds(std::chrono::milliseconds timeout) { return static_cast<int>(timeout.count()); }

KafkaPartitionList ListOf(const StreamName& stream) {
  KafkaPartitionList list(rd_kafka_topic_partition_list_new(1));
  rd_kafka_topic_partition_list_add(list.get(), stream.topic.c_str(), stream.partition);
  return list;
}

}  // namespace

KafkaReader::KafkaReader(KafkaHandle handle, const KafkaReaderOptions& options,
                         bool fetcher_wakes_itself)
    : handle_(std::move(handle)),
      events_(rd_kafka_queue_get_main(handle_.get())),
      records_(rd_kafka_queue_new(handle_.get())),
      wait_(records_.get()),
      on_statistics_(options.on_statistics),
      batch_records_max_(options.batch_records_max),
      fetcher_wakes_itself_(fetcher_wakes_itself),
      raw_(options.batch_records_max) {}

KafkaReader::~KafkaReader() {
  for (const auto& [stream, started] : streams_) {
    rd_kafka_consume_stop(started.topic.get(), stream.partition);
  }
}

absl::StatusOr<std::unique_ptr<KafkaReader>> KafkaReader::Open(const KafkaReaderOptions& options) {
  LOCKSTEP_CHECK(options.batch_records_max > 0, "a batch holds at least one record");
  const std::string kbytes = std::to_string(options.fetch_kbytes_max);
  const std::string records = std::to_string(options.fetch_records_max);
  const std::string fetch_wait = std::to_string(options.fetch_wait_ms);
  const std::string statistics = std::to_string(options.statistics_interval_ms);
  const std::array<RoleSetting, 9> settings = {{
      {"enable.partition.eof", "true", true},
      {"auto.offset.reset", "error", true},
      {"enable.auto.offset.store", "false", true},
      {"enable.auto.commit", "false", true},
      {"isolation.level", options.read_committed ? "read_committed" : "read_uncommitted", true},
      {"statistics.interval.ms", statistics.c_str(), false},
      {"queued.max.messages.kbytes", kbytes.c_str(), false},
      {"queued.min.messages", records.c_str(), false},
      {"fetch.wait.max.ms", fetch_wait.c_str(), false},
  }};
  LOCKSTEP_ASSIGN_OR_RETURN(KafkaConf conf, BuildKafkaConf(options.kafka, settings));
  rd_kafka_conf_set_events(conf.get(), RD_KAFKA_EVENT_ERROR | RD_KAFKA_EVENT_STATS);
  if (options.answer_bytes_max > 0) {
    const std::string bytes = std::to_string(options.answer_bytes_max);
    std::array<char, 512> why{};
    if (rd_kafka_conf_set(conf.get(), "fetch.message.max.bytes", bytes.c_str(), why.data(),
                          why.size()) != RD_KAFKA_CONF_OK) {
      return absl::InvalidArgumentError(std::string("fetch.message.max.bytes: ") + why.data());
    }
  }
  const bool fetcher_wakes_itself = SetFetchBackoff(conf.get(), options.kafka);
  std::array<char, 512> error{};
  KafkaHandle handle(rd_kafka_new(RD_KAFKA_CONSUMER, conf.get(), error.data(), error.size()));
  if (handle == nullptr) {
    return absl::InvalidArgumentError(std::string("cannot make a Kafka reader: ") + error.data());
  }
  (void)conf.release();  // The handle owns it now.
  return std::unique_ptr<KafkaReader>(
      new KafkaReader(std::move(handle), options, fetcher_wakes_itself));
}

absl::StatusOr<KafkaReader::Started*> KafkaReader::Find(const StreamName& stream) {
  const auto found = streams_.find(stream);
  if (found == streams_.end()) {
    return absl::FailedPreconditionError(ToString(stream) + " is not being read");
  }
  return &found->second;
}

// The group-less interface of librdkafka: it asks no coordinator and needs no right on any group.
absl::Status KafkaReader::Start(const StreamName& stream, Offset offset) {
  if (streams_.contains(stream)) {
    return absl::AlreadyExistsError(ToString(stream) + " is being read already");
  }
  KafkaTopicHandle topic(rd_kafka_topic_new(handle_.get(), stream.topic.c_str(), nullptr));
  if (topic == nullptr) return KafkaStatus(rd_kafka_last_error(), "read " + ToString(stream));
  if (rd_kafka_consume_start_queue(topic.get(), stream.partition, offset.value(), records_.get()) !=
      0) {
    return KafkaStatus(rd_kafka_last_error(), "read " + ToString(stream));
  }
  streams_.emplace(stream, Started{std::move(topic)});
  return absl::OkStatus();
}

absl::Status KafkaReader::Stop(const StreamName& stream) {
  LOCKSTEP_ASSIGN_OR_RETURN(Started* const started, Find(stream));
  rd_kafka_consume_stop(started->topic.get(), stream.partition);
  streams_.erase(stream);
  return absl::OkStatus();
}

absl::Status KafkaReader::Seek(const StreamName& stream, Offset offset) {
  LOCKSTEP_ASSIGN_OR_RETURN(Started* const started, Find(stream));
  return KafkaStatus(
      rd_kafka_seek(started->topic.get(), stream.partition, offset.value(), kLocalTimeoutMs),
      "seek " + ToString(stream) + " to " + ToString(offset));
}

absl::Status KafkaReader::SetPaused(const StreamName& stream, bool paused) {
  LOCKSTEP_ASSIGN_OR_RETURN(Started* const started, Find(stream));
  if (started->paused == paused) return absl::OkStatus();
  const KafkaPartitionList list = ListOf(stream);
  const rd_kafka_resp_err_t error = paused ? rd_kafka_pause_partitions(handle_.get(), list.get())
                                           : rd_kafka_resume_partitions(handle_.get(), list.get());
  LOCKSTEP_RETURN_IF_ERROR(
      KafkaStatus(error == RD_KAFKA_RESP_ERR_NO_ERROR ? list->elems[0].err : error,
                  std::string(paused ? "pause " : "resume ") + ToString(stream)));
  started->paused = paused;
  return absl::OkStatus();
}

absl::Status KafkaReader::Pause(const StreamName& stream) { return SetPaused(stream, true); }
absl::Status KafkaReader::Resume(const StreamName& stream) { return SetPaused(stream, false); }

void KafkaReader::ServeEvents() {
  while (const KafkaEvent event{rd_kafka_queue_poll(events_.get(), 0)}) {
    if (rd_kafka_event_type(event.get()) == RD_KAFKA_EVENT_STATS && on_statistics_) {
      const auto statistics = ParseKafkaStatistics(rd_kafka_event_stats(event.get()));
      if (statistics.ok()) on_statistics_(*statistics);
    } else if (rd_kafka_event_type(event.get()) == RD_KAFKA_EVENT_ERROR) {
      const rd_kafka_resp_err_t error = rd_kafka_event_error(event.get());
      Log(LogLevel::kWarn, "kafka_error",
          {{"handle", rd_kafka_name(handle_.get())},
           {"error", rd_kafka_err2name(error)},
           {"message", rd_kafka_event_error_string(event.get())}});
      if (pending_error_.ok()) {
        pending_error_ =
            KafkaStatus(error, "Kafka reader", rd_kafka_event_error_string(event.get()));
      }
    }
  }
}

void KafkaReader::Take(rd_kafka_message_t* raw, ReaderBatch& batch) {
  if (raw->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
    batch.records.emplace_back(raw);
    return;
  }
  const KafkaMessage message(raw);  // Owns it from here.
  const StreamName stream{raw->rkt != nullptr ? rd_kafka_topic_name(raw->rkt) : "", raw->partition};
  if (raw->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
    batch.ends.push_back({stream, Offset(raw->offset)});
  } else if (pending_error_.ok()) {
    pending_error_ =
        KafkaStatus(raw->err, "read " + ToString(stream), rd_kafka_message_errstr(raw));
  }
}

// Before 2.2 librdkafka looks only every second whether its queue has room again, unless something
// else wakes its broker's thread. A reader that is a little slower than its broker would then get
// one queueful a second; so any question to the broker is asked once a queueful is mostly used up.
void KafkaReader::WakeFetcherIfLow() {
  if (fetcher_wakes_itself_ || streams_.empty()) return;
  const size_t fetched = rd_kafka_queue_length(records_.get());
  if (fetched >= fetched_peak_) {
    fetched_peak_ = fetched;
  } else if (fetched_peak_ >= kFetchedPeakMin && fetched < fetched_peak_ / 4 &&
             steady_clock::now() - woken_ >= kWakePause) {
    fetched_peak_ = fetched;
    woken_ = steady_clock::now();
    WakeFetcher();
  }
}

void KafkaReader::WakeFetcher() {
  if (fetcher_wakes_itself_) return;
  for (const auto& [stream, started] : streams_) {
    // Best effort, and the answer is not waited for.
    AskOffset(stream, RD_KAFKA_OFFSET_END,
              steady_clock::now() + std::chrono::milliseconds(kWakeTimeoutMs))
        .status()
        .IgnoreError();
  }
}

absl::Status KafkaReader::Poll(std::chrono::milliseconds timeout, ReaderBatch& batch) {
  batch.records.clear();
  batch.ends.clear();
  ServeEvents();
  if (!pending_error_.ok()) return std::exchange(pending_error_, absl::OkStatus());
  WakeFetcherIfLow();

  // consume_batch_queue waits until the array is full or the time is up; so it gets no time, and
  // only the first message is waited for.
  rd_kafka_message_t* const first =
      wait_.For(timeout, [this] { return rd_kafka_consume_queue(records_.get(), 0); });
  if (first == nullptr) return absl::OkStatus();
  Take(first, batch);
  const ssize_t count =
      rd_kafka_consume_batch_queue(records_.get(), 0, raw_.data(), batch_records_max_ - 1);
  constexpr ssize_t kAhead = 16;  // librdkafka's thread wrote them, so they are far from this one.
  for (ssize_t i = 0; i < count; ++i) {
    if (i + kAhead < count) __builtin_prefetch(raw_[static_cast<size_t>(i + kAhead)]);
    Take(raw_[static_cast<size_t>(i)], batch);
  }
  if (batch.records.empty() && batch.ends.empty() && !pending_error_.ok()) {
    return std::exchange(pending_error_, absl::OkStatus());
  }
  return absl::OkStatus();
}

// Not by rd_kafka_query_watermark_offsets: before 2.3 librdkafka waits there for the answer
// whatever the timeout, a minute and more while the broker is away.
absl::StatusOr<int64_t> KafkaReader::AskOffset(const StreamName& stream, int64_t timestamp_ms,
                                               steady_clock::time_point deadline) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - steady_clock::now());
  const KafkaPartitionList list = ListOf(stream);
  list->elems[0].offset = timestamp_ms;
  const rd_kafka_resp_err_t error = rd_kafka_offsets_for_times(
      handle_.get(), list.get(), Milliseconds(std::max(left, std::chrono::milliseconds(1))));
  LOCKSTEP_RETURN_IF_ERROR(
      KafkaStatus(error == RD_KAFKA_RESP_ERR_NO_ERROR ? list->elems[0].err : error,
                  "offsets of " + ToString(stream)));
  return list->elems[0].offset;
}

absl::StatusOr<LogOffsets> KafkaReader::Offsets(const StreamName& stream,
                                                std::chrono::milliseconds timeout) {
  const auto deadline = steady_clock::now() + timeout;
  LOCKSTEP_ASSIGN_OR_RETURN(const int64_t lo,
                            AskOffset(stream, RD_KAFKA_OFFSET_BEGINNING, deadline));
  LOCKSTEP_ASSIGN_OR_RETURN(const int64_t hi, AskOffset(stream, RD_KAFKA_OFFSET_END, deadline));
  return LogOffsets{Offset(lo), Offset(hi)};
}

absl::StatusOr<Offset> KafkaReader::OffsetAtTime(const StreamName& stream, int64_t timestamp_ms,
                                                 std::chrono::milliseconds timeout) {
  const auto deadline = steady_clock::now() + timeout;
  LOCKSTEP_ASSIGN_OR_RETURN(int64_t offset, AskOffset(stream, timestamp_ms, deadline));
  if (offset < 0) {
    LOCKSTEP_ASSIGN_OR_RETURN(offset, AskOffset(stream, RD_KAFKA_OFFSET_END, deadline));
  }
  return Offset(offset);
}

}  // namespace lockstep
