// The start of a tenure: topic, open, tail, adopt, close, source.
#include <algorithm>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/kafka/kafka_admin.h"
#include "common/kafka/kafka_reader.h"
#include "common/kafka/preflight.h"
#include "common/log/log.h"
#include "db-ledger/run_payload.h"
#include "producer/engine.h"
#include "producer/log_tail.h"

namespace lockstep {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kRepeatAfter{200};
constexpr int32_t kStatisticsEveryMs = 1'000;
constexpr milliseconds kLogEvery{10'000};

// A run is cut far below the codec's limit (kInlineBytesPerRunMax and one record at most), so it
// cannot refuse.
std::string EncodeInline(const std::vector<Payload>& payloads) {
  absl::StatusOr<std::string> bytes = EncodeRunPayload(payloads);
  LOCKSTEP_CHECK(bytes.ok(), "runs are cut before their payload grows too large");
  return *std::move(bytes);
}

}  // namespace

absl::Status Producer::Engine::CheckTopics() {
  LOCKSTEP_CHECK(options_.snapshot_topic.empty() || !options_.identity,
                 "a ledger's streams are of one topic");
  LOCKSTEP_ASSIGN_OR_RETURN(const std::unique_ptr<KafkaAdmin> admin,
                            KafkaAdmin::Open(options_.kafka));
  LOCKSTEP_ASSIGN_OR_RETURN(cluster_id_, admin->ClusterId(options_.kafka_timeout));
  streams_.clear();
  LOCKSTEP_ASSIGN_OR_RETURN(partition_count_, CheckTopic(*admin, options_.topic));
  snapshot_streams_ = streams_.size();
  if (options_.snapshot_topic.empty()) return absl::OkStatus();
  LOCKSTEP_ASSIGN_OR_RETURN(snapshot_partition_count_, CheckTopic(*admin, options_.snapshot_topic));
  return absl::OkStatus();
}

absl::StatusOr<int32_t> Producer::Engine::CheckTopic(KafkaAdmin& admin, const std::string& name) {
  absl::StatusOr<TopicInfo> topic = admin.DescribeTopic(name, options_.kafka_timeout);
  if (absl::IsNotFound(topic.status())) topic = CreateTopic(admin, name);
  LOCKSTEP_RETURN_IF_ERROR(topic.status());

  TopicPreflight facts{.topic = *topic,
                       .settings = std::nullopt,
                       .partition_count_expected = std::nullopt,
                       .outage_wanted_ms = options_.outage_wanted.count()};
  absl::StatusOr<KafkaSettings> settings = admin.TopicSettings(name, options_.settings_timeout);
  if (settings.ok()) facts.settings = *std::move(settings);
  const absl::StatusOr<std::vector<StreamInfo>> known = ledger_->FindStreams(name);
  // 0: so far only a gate knows the topic, which fixes nothing.
  if (known.ok() && !known->empty() && known->front().partition_count > 0) {
    facts.partition_count_expected = known->front().partition_count;
  }
  std::string failed;
  std::string unknown;
  for (const Finding& finding : lockstep::CheckTopic(facts)) {
    if (finding.verdict == Verdict::kOk) continue;
    if (finding.verdict == Verdict::kUnknown) {
      unknown += (unknown.empty() ? "" : ",") + finding.check;
      continue;
    }
    Log(LogLevel::kWarn, "preflight",
        {{"topic", name},
         {"check", finding.check},
         {"verdict", VerdictName(finding.verdict)},
         {"message", finding.message},
         {"remedy", finding.remedy}});
    if (finding.verdict == Verdict::kFail) {
      failed +=
          absl::StrCat(failed.empty() ? "" : "; ", finding.message, " (", finding.remedy, ")");
    }
  }
  if (!unknown.empty()) {
    Log(LogLevel::kInfo, "preflight_unknown",
        {{"topic", name},
         {"checks", unknown},
         {"hint", "the broker did not tell these settings; allow DescribeConfigs on the topic"}});
  }
  if (!failed.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat("topic ", name, " is not fit to keep the order: ", failed));
  }
  const int32_t count = topic->partition_count;
  if (!options_.partition) {
    for (int32_t i = 0; i < count; ++i) streams_.push_back({name, i});
    return count;
  }
  if (*options_.partition < 0 || *options_.partition >= count) {
    return absl::InvalidArgumentError(absl::StrCat("--partition ", *options_.partition, ": topic ",
                                                   name, " has ", count, " partitions"));
  }
  streams_.push_back({name, *options_.partition});
  return count;
}

absl::StatusOr<TopicInfo> Producer::Engine::CreateTopic(KafkaAdmin& admin,
                                                        const std::string& name) {
  const std::string missing =
      absl::StrCat("topic ", name, " does not exist at ", options_.kafka.brokers);
  if (!options_.create_topics) {
    return absl::NotFoundError(absl::StrCat(
        missing,
        "; create it first, or have it created by --create-topics: its partition count is "
        "fixed for as long as the stream lives, and it needs cleanup.policy=delete and a "
        "retention above the longest outage"));
  }
  LOCKSTEP_ASSIGN_OR_RETURN(const std::vector<StreamInfo> known, ledger_->FindStreams(name));
  if (!known.empty() && known.front().partition_count > 0) {
    return absl::FailedPreconditionError(absl::StrCat(
        missing, ", but the ledger knows it, with ", known.front().partition_count,
        " partitions: it is not created anew. Is --brokers right? After the loss of a site "
        "lockstep-mirror-reconcile failover creates what is missing"));
  }
  // Twice the outage: for it, and for the repair.
  const int64_t outage_ms = options_.outage_wanted.count();
  const int64_t retention_ms = outage_ms > INT64_MAX / 2 ? INT64_MAX : 2 * outage_ms;
  int32_t replication = options_.create_topics->replication;
  if (replication < 0) replication = admin.DefaultReplication(options_.settings_timeout);
  return admin.DescribeOrCreate(
      AdvisedTopic(name, options_.create_topics->partition_count, replication, retention_ms),
      options_.kafka_timeout);
}

absl::Status Producer::Engine::WaitToRepeat(const char* event, const absl::Status& why) {
  if (stop_.load()) return absl::CancelledError("stopped while starting: " + why.ToString());
  const Clock::time_point now = Clock::now();
  if (!ever_started_ && now >= start_deadline_) return why;
  if (now - repeat_logged_at_ >= kLogEvery) {
    repeat_logged_at_ = now;
    Log(LogLevel::kWarn, event, {{"producer", options_.name}, {"why", why}});
  }
  std::this_thread::sleep_for(kRepeatAfter);
  return absl::OkStatus();
}

absl::StatusOr<OpenProducerRequest> Producer::Engine::MakeOpenRequest() {
  LOCKSTEP_ASSIGN_OR_RETURN(const std::unique_ptr<KafkaReader> reader,
                            KafkaReader::Open({.kafka = options_.kafka}));
  OpenProducerRequest request;
  request.producer = options_.name;
  request.source = options_.source;
  request.topic = options_.topic;
  request.partition_count = partition_count_ + snapshot_partition_count_;
  request.cluster_id = cluster_id_;
  request.log_topic = options_.topic;
  for (size_t i = 0; i < streams_.size(); ++i) {
    LOCKSTEP_ASSIGN_OR_RETURN(const LogOffsets log,
                              reader->Offsets(streams_[i], options_.kafka_timeout));
    // The snapshot topic's partitions count on behind the topic's own.
    const int32_t before = i < snapshot_streams_ ? 0 : partition_count_;
    request.partitions.push_back({before + streams_[i].partition, log.hi_offset});
  }
  return request;
}

absl::Status Producer::Engine::ScanTails() {
  LOCKSTEP_ASSIGN_OR_RETURN(const std::unique_ptr<KafkaReader> reader,
                            KafkaReader::Open({.kafka = options_.kafka}));
  const OpenedProducer& opened = tenure_->opened();
  for (size_t i = 0; i < opened.streams.size(); ++i) {
    if (!tenure_->needs_tail(i)) continue;
    const OpenedStream& stream = opened.streams[i];
    LOCKSTEP_ASSIGN_OR_RETURN(const std::optional<lockstep::Run> last,
                              ReadLastRun(*ledger_, opened, stream));
    LOCKSTEP_RETURN_IF_ERROR(ReadTail(*reader, streams_[i], stream, last,
                                      {.producer = options_.name,
                                       .foreign_passes = options_.foreign_passes,
                                       .timeout = options_.kafka_timeout},
                                      [&](const Tenure::TailRecord& record) {
                                        if (options_.adopt) tenure_->OnTail(i, record);
                                      }));
  }
  return absl::OkStatus();
}

absl::Status Producer::Engine::OpenKafka() {
  KafkaProducerOptions kafka;
  kafka.kafka = options_.kafka;
  kafka.statistics_interval_ms = kStatisticsEveryMs;
  kafka.on_statistics = [this](const KafkaStatistics& statistics) {
    MutexLock lock(mu_);
    progress_.kafka = statistics;
  };
  if (transactional()) kafka.transactional_id = options_.transactional_id;
  LOCKSTEP_ASSIGN_OR_RETURN(kafka_, KafkaProducer::Open(kafka));
  // Ends what an earlier process left open, and fences that process.
  while (transactional()) {
    const absl::Status status = kafka_->InitTransactions(options_.kafka_timeout);
    if (status.ok()) break;
    if (!absl::IsUnavailable(status)) return status;
    LOCKSTEP_RETURN_IF_ERROR(WaitToRepeat("transactions_not_ready", status));
  }
  LOCKSTEP_ASSIGN_OR_RETURN(const ProducerTopic topic, kafka_->Topic(options_.topic));
  topic_ = topic;
  if (options_.snapshot_topic.empty()) return absl::OkStatus();
  LOCKSTEP_ASSIGN_OR_RETURN(const ProducerTopic snapshot_topic,
                            kafka_->Topic(options_.snapshot_topic));
  snapshot_topic_ = snapshot_topic;
  return absl::OkStatus();
}

absl::Status Producer::Engine::StartTenure() {
  start_deadline_ = Clock::now() + options_.kafka_timeout;
  for (;;) {
    TenureOptions tenure;
    tenure.name = options_.name;
    tenure.in_flight_records_max = options_.in_flight_records_max;
    tenure.in_flight_bytes_max = options_.in_flight_bytes_max;
    tenure.format_checkpoint = source_->FormatCheckpoint();
    tenure.encode_payload =
        options_.payload_in_ledger ? GatherPayloads(EncodeInline) : options_.encode_payload;
    tenure_.emplace(std::move(tenure));

    while (tenure_->stage() != Tenure::Stage::kSend && tenure_->stage() != Tenure::Stage::kEnded) {
      const Tenure::Stage before = tenure_->stage();
      absl::Status why;
      bool refused_standby = false;
      switch (before) {
        case Tenure::Stage::kOpen: {
          absl::StatusOr<OpenProducerRequest> request = MakeOpenRequest();
          if (!request.ok()) {
            if (!absl::IsUnavailable(request.status())) return request.status();
            why = request.status();
            break;
          }
          const Commit<OpenedProducer> answer = ledger_->OpenProducer(*request);
          tenure_->OnOpened(answer);
          why = answer.why;
          refused_standby = answer.refusal == Refusal::kNoDurableStandby;
          break;
        }
        case Tenure::Stage::kScan: {
          // The log is compared with the ledger even if nothing is to be adopted.
          why = ScanTails();
          if (!why.ok() && !absl::IsUnavailable(why)) return why;
          if (why.ok()) {
            tenure_->OnTailsEnd();
          } else if (const absl::Status go_on = WaitToRepeat("log_not_readable", why);
                     !go_on.ok()) {
            return go_on;
          } else {
            tenure_->RestartTails();
            continue;
          }
          break;
        }
        case Tenure::Stage::kAdopt: {
          const Commit<Appended> answer = ledger_->Append(tenure_->group());
          tenure_->OnAppended(answer);
          why = answer.why;
          break;
        }
        default: {
          const Commit<Moved> answer =
              ledger_->CloseEarlierTerms(tenure_->opened().producer, tenure_->terms());
          tenure_->OnClosed(answer);
          why = answer.why;
          break;
        }
      }
      if (tenure_->stage() != before) continue;
      // Without any durable standby a writer refuses; one that was there and is away is waited for.
      if (refused_standby && !ever_started_) {
        return absl::FailedPreconditionError(std::string(why.message()));
      }
      LOCKSTEP_RETURN_IF_ERROR(WaitToRepeat("ledger_not_ready", why));
    }
    if (tenure_->stage() == Tenure::Stage::kSend) break;
    if (tenure_->end() != Tenure::End::kOpenUnknown) return ReasonOf(*tenure_);
    // Its terms are abandoned, never used (C6); the next open takes new ones.
    LOCKSTEP_RETURN_IF_ERROR(WaitToRepeat("open_unknown", tenure_->why()));
  }

  const OpenedProducer& opened = tenure_->opened();
  for (size_t i = 0; i < opened.streams.size(); ++i) {
    const OpenedStream& stream = opened.streams[i];
    Log(LogLevel::kInfo, "tenure_begun",
        {{"producer", options_.name},
         {"stream", streams_[i]},
         {"epoch", opened.epoch},
         {"term", stream.term},
         {"last_seq", stream.last_seq},
         {"last_at", stream.last_at},
         {"solo", opened.solo}});
  }
  if (tenure_->adopted() > 0) {
    Log(LogLevel::kInfo, "tail_adopted",
        {{"producer", options_.name}, {"records", tenure_->adopted()}});
  }
  return absl::OkStatus();
}

absl::Status Producer::Engine::StartSource() {
  for (;;) {
    const absl::Status status = source_->Start(tenure_->resume_point());
    if (!absl::IsUnavailable(status)) {
      LOCKSTEP_RETURN_IF_ERROR(status);
      break;
    }
    LOCKSTEP_RETURN_IF_ERROR(WaitToRepeat("source_not_ready", status));
  }
  source_thread_ = std::thread([this] { ReadSource(); });
  return absl::OkStatus();
}

absl::Status Producer::Engine::DescribeFence(const Tenure& tenure) {
  const OpenedProducer& opened = tenure.opened();
  std::string who = absl::StrCat("another process named '", options_.name,
                                 "', or lockstep-ledger seal, took its place");
  for (const OpenedStream& stream : opened.streams) {
    ReadStreamRequest request;
    request.stream = stream.stream;
    request.runs_per_producer_max = 1;
    const absl::StatusOr<StreamPage> page = ledger_->ReadStream(request);
    if (!page.ok()) continue;
    for (const Head& head : page->heads) {
      if (head.producer != opened.producer || head.term <= stream.term) continue;
      if (head.epoch > opened.epoch) {
        who = absl::StrCat("epoch ", head.epoch.value(), " has begun");
        const absl::StatusOr<std::vector<EpochInfo>> epochs = ledger_->ReadEpochs();
        for (const EpochInfo& epoch : epochs.value_or(std::vector<EpochInfo>())) {
          if (epoch.epoch == head.epoch) {
            who += absl::StrCat(" (", epoch.reason, ", by ", epoch.role, ")");
          }
        }
      }
      who += absl::StrCat("; on ", ToString(StreamName{options_.topic, stream.partition}),
                          " its term ", stream.term.value(), " was followed by term ",
                          head.term.value());
      return absl::FailedPreconditionError("fenced: " + who);
    }
  }
  return absl::FailedPreconditionError(
      absl::StrCat("fenced: ", who, ": ", std::string(tenure.why().message())));
}

absl::Status Producer::Engine::ReasonOf(const Tenure& tenure) {
  const std::string message(tenure.why().message());
  switch (tenure.end()) {
    case Tenure::End::kFenced:
      return DescribeFence(tenure);
    case Tenure::End::kInconsistentOffsets:
      return absl::FailedPreconditionError(message);
    case Tenure::End::kRefused:
      return absl::FailedPreconditionError(absl::StrCat("the ledger refused: ", message));
    default:
      return tenure.why();
  }
}

}  // namespace lockstep
