#include "producer/checkpoint_topic.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/kafka/kafka_admin.h"
#include "common/kafka/kafka_producer.h"
#include "common/kafka/kafka_reader.h"

namespace lockstep {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kSettingsTimeout{3'000};

class KafkaCheckpointTopic final : public CheckpointTopic {
 public:
  KafkaCheckpointTopic(KafkaConfig kafka, std::string topic, milliseconds timeout,
                       std::optional<int32_t> create, bool transactional)
      : kafka_(std::move(kafka)),
        name_(std::move(topic)),
        timeout_(timeout),
        create_(create),
        transactional_(transactional) {}

  const std::string& name() const override { return name_; }

  absl::StatusOr<std::optional<std::string>> ReadLast(const std::string& key) override {
    LOCKSTEP_RETURN_IF_ERROR(CheckTopic());
    LOCKSTEP_ASSIGN_OR_RETURN(
        const std::unique_ptr<KafkaReader> reader,
        KafkaReader::Open({.kafka = kafka_, .read_committed = transactional_}));
    const StreamName stream{name_, 0};
    LOCKSTEP_ASSIGN_OR_RETURN(const LogOffsets log, reader->Offsets(stream, timeout_));
    LOCKSTEP_RETURN_IF_ERROR(reader->Start(stream, log.lo_offset));
    std::optional<std::string> last;
    ReaderBatch batch;
    const auto deadline = std::chrono::steady_clock::now() + timeout_;
    for (Offset next = log.lo_offset; next < log.hi_offset;) {
      if (std::chrono::steady_clock::now() > deadline) {
        return absl::UnavailableError(
            absl::StrCat("checkpoint topic ", name_, ": its end at ", log.hi_offset.value(),
                         " was not reached in ", timeout_.count(), " ms",
                         transactional_ ? "; a transaction that a dead producer left "
                                          "open ends after its "
                                          "transaction.timeout.ms"
                                        : ""));
      }
      LOCKSTEP_RETURN_IF_ERROR(reader->Poll(milliseconds(100), batch));
      for (const KafkaMessage& message : batch.records) {
        next = message.offset() + 1;
        if (message.key() == key) last = message.value();
      }
      // Compaction and transactions leave holes at the end, too.
      for (const EndOfLog& end : batch.ends) next = std::max(next, end.next_offset);
    }
    return last;
  }

  void Write(const std::string& key, const std::string& value) override {
    LOCKSTEP_CHECK(!under_way_, "one write at a time");
    under_way_ = true;
    failure_ = Produce(key, value);
  }

  std::optional<absl::Status> Result(milliseconds timeout) override {
    if (!under_way_) return std::nullopt;
    if (failure_.ok()) {
      std::vector<DeliveryReport> reports;
      const bool reported = producer_->Poll(timeout, reports) > 0;
      if (reported && reports[0].persisted != Persisted::kYes) {
        failure_ = KafkaStatus(reports[0].error, "write to topic " + name_);
      }
      if (failure_.ok() && !reported) failure_ = producer_->FatalError();
      if (failure_.ok() && !reported) return std::nullopt;
    }
    under_way_ = false;
    if (!failure_.ok()) producer_.reset();  // A failed delivery is the end of its handle.
    return std::exchange(failure_, absl::OkStatus());
  }

 private:
  absl::Status CheckTopic() {
    LOCKSTEP_ASSIGN_OR_RETURN(const std::unique_ptr<KafkaAdmin> admin, KafkaAdmin::Open(kafka_));
    absl::StatusOr<TopicInfo> topic = admin->DescribeTopic(name_, timeout_);
    if (absl::IsNotFound(topic.status()) && create_) topic = Create(*admin);
    if (absl::IsNotFound(topic.status())) {
      return absl::NotFoundError(
          absl::StrCat("checkpoint topic ", name_, " does not exist at ", kafka_.brokers,
                       "; create it with one partition and cleanup.policy=compact, or have it "
                       "created by --create-topics"));
    }
    LOCKSTEP_RETURN_IF_ERROR(topic.status());
    if (topic->partition_count != 1) {
      return absl::FailedPreconditionError(
          absl::StrCat("checkpoint topic ", name_, " has ", topic->partition_count,
                       " partitions; it needs one, in which a key's last value is the newest"));
    }
    const absl::StatusOr<KafkaSettings> settings = admin->TopicSettings(name_, kSettingsTimeout);
    if (!settings.ok() || !settings->contains("cleanup.policy")) return absl::OkStatus();
    const std::string& policy = settings->at("cleanup.policy");
    if (policy == "compact") return absl::OkStatus();
    return absl::FailedPreconditionError(
        absl::StrCat("checkpoint topic ", name_, " has cleanup.policy=", policy,
                     ", which drops checkpoints by age; set cleanup.policy=compact"));
  }

  absl::StatusOr<TopicInfo> Create(KafkaAdmin& admin) {
    NewTopic topic;
    topic.name = name_;
    topic.replication = *create_ < 0 ? admin.DefaultReplication(kSettingsTimeout) : *create_;
    topic.settings = {{"cleanup.policy", "compact"}};
    if (topic.replication > 1) topic.settings.emplace("min.insync.replicas", "2");
    return admin.DescribeOrCreate(topic, timeout_);
  }

  absl::Status Produce(const std::string& key, const std::string& value) {
    if (producer_ == nullptr) {
      KafkaProducerOptions options;
      options.kafka = kafka_;
      LOCKSTEP_ASSIGN_OR_RETURN(producer_, KafkaProducer::Open(options));
      LOCKSTEP_ASSIGN_OR_RETURN(const ProducerTopic topic, producer_->Topic(name_));
      topic_ = topic;
    }
    KafkaRecordView record;
    record.key = key;
    record.value = value;
    return producer_->Produce(*topic_, record, 1).status();
  }

  const KafkaConfig kafka_;
  const std::string name_;
  const milliseconds timeout_;
  const std::optional<int32_t> create_;
  const bool transactional_;
  std::unique_ptr<KafkaProducer> producer_;
  std::optional<ProducerTopic> topic_;  // producer_'s.
  bool under_way_ = false;
  absl::Status failure_;  // Of the write under way, before it was queued.
};

}  // namespace

std::unique_ptr<CheckpointTopic> OpenCheckpointTopic(const KafkaConfig& kafka,
                                                     const std::string& topic, milliseconds timeout,
                                                     std::optional<int32_t> create,
                                                     bool transactional) {
  return std::make_unique<KafkaCheckpointTopic>(kafka, topic, timeout, create, transactional);
}

}  // namespace lockstep
