// The Kafka handles against a real broker: what the mock cluster does not know (settings,
// retention, transactions, the broker's own limits). LOCKSTEP_BROKERS names it; `stack run` sets
// that.
#include <chrono>
#include <cstdlib>
#include <functional>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/kafka/kafka_admin.h"
#include "common/kafka/kafka_producer.h"
#include "common/kafka/kafka_reader.h"
#include "common/kafka/preflight.h"
#include "common/model/record_header.h"
#include "producer/checkpoint_topic.h"

namespace lockstep {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kPatience{60'000};

class KafkaBroker : public testing::Test {
 protected:
  void SetUp() override {
    const char* brokers = std::getenv("LOCKSTEP_BROKERS");  // NOLINT
    ASSERT_NE(brokers, nullptr) << "run it beside a stack: ./dev stack run -- kafka_broker_test";
    config_.brokers = brokers;
    admin_ = KafkaAdmin::Open(config_).value();
    topic_ = std::string("common.") + testing::UnitTest::GetInstance()->current_test_info()->name();
    stream_ = {topic_, 0};
  }

  void TearDown() override {
    if (admin_ != nullptr) admin_->DeleteTopic(topic_, kPatience).IgnoreError();  // May be gone.
  }

  void CreateTopic(KafkaSettings settings = {}) {
    const absl::Status status = admin_->CreateTopic(
        {.name = topic_, .partition_count = 2, .replication = 1, .settings = std::move(settings)},
        kPatience);
    ASSERT_TRUE(status.ok()) << status;
  }

  std::unique_ptr<KafkaProducer> Producer(std::optional<std::string> transactional_id = {}) {
    KafkaProducerOptions options;
    options.kafka = config_;
    options.transactional_id = std::move(transactional_id);
    return KafkaProducer::Open(options).value();
  }

  std::vector<DeliveryReport> Write(KafkaProducer& producer, const std::vector<std::string>& values,
                                    int64_t timestamp_ms = 0) {
    const ProducerTopic topic = producer.Topic(topic_).value();
    std::vector<DeliveryReport> reports;
    for (const std::string& value : values) {
      EXPECT_TRUE(
          producer.Produce(topic, {.value = value, .timestamp_ms = timestamp_ms}, reports.size())
              .ok());
    }
    const auto deadline = steady_clock::now() + kPatience;
    while (reports.size() < values.size() && steady_clock::now() < deadline) {
      producer.Poll(milliseconds(50), reports);
    }
    EXPECT_EQ(reports.size(), values.size());
    return reports;
  }

  std::vector<std::string> ReadAll(bool read_committed, absl::Status* error = nullptr,
                                   Offset from = Offset(0)) {
    KafkaReaderOptions options;
    options.kafka = config_;
    options.read_committed = read_committed;
    const auto reader = KafkaReader::Open(options).value();
    EXPECT_TRUE(reader->Start(stream_, from).ok());
    std::vector<std::string> values;
    ReaderBatch batch;
    const auto deadline = steady_clock::now() + kPatience;
    do {
      const absl::Status status = reader->Poll(milliseconds(50), batch);
      if (!status.ok()) {
        if (error != nullptr) *error = status;
        EXPECT_NE(error, nullptr) << status;
        return values;
      }
      for (const KafkaMessage& record : batch.records) values.emplace_back(*record.value());
    } while (batch.ends.empty() && steady_clock::now() < deadline);
    return values;
  }

  KafkaConfig config_;
  std::unique_ptr<KafkaAdmin> admin_;
  std::string topic_;
  StreamName stream_;
};

TEST_F(KafkaBroker, TopicsAreCreatedDescribedJudgedAndDeleted) {
  EXPECT_FALSE(admin_->ClusterId(kPatience).value().empty());
  EXPECT_EQ(admin_->DescribeTopic(topic_, kPatience).status().code(), absl::StatusCode::kNotFound);
  const std::vector<TopicInfo> topics = admin_->ListTopics(kPatience).value();
  for (const TopicInfo& topic : topics) {
    EXPECT_NE(topic.name, topic_) << "asking must not create";
  }
  CreateTopic({{"cleanup.policy", "compact"}, {"retention.ms", "-1"}});
  EXPECT_EQ(admin_->CreateTopic({.name = topic_}, kPatience).code(),
            absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(admin_->DescribeTopic(topic_, kPatience).value(), (TopicInfo{topic_, 2, 1}));

  const KafkaSettings settings = admin_->TopicSettings(topic_, kPatience).value();
  EXPECT_EQ(settings.at("cleanup.policy"), "compact");
  const TopicInfo topic{topic_, 2, 1};
  const auto findings =
      CheckTopic({.topic = topic, .settings = settings, .partition_count_expected = 3});
  const auto verdict = [&](const std::string& check) {
    for (const Finding& finding : findings) {
      if (finding.check == check) return finding.verdict;
    }
    return Verdict::kUnknown;
  };
  EXPECT_EQ(verdict("cleanup_policy"), Verdict::kFail);
  EXPECT_EQ(verdict("retention_time"), Verdict::kOk);
  EXPECT_EQ(verdict("unclean_election"), Verdict::kOk);
  EXPECT_EQ(verdict("min_insync_replicas"), Verdict::kWarn);
  EXPECT_EQ(verdict("partition_count"), Verdict::kFail);
  EXPECT_FALSE(admin_->BrokerSettings(kPatience).value().empty());
  EXPECT_EQ(admin_->CreateTopic({.name = topic_ + ".x", .settings = {{"no.such", "1"}}}, kPatience)
                .code(),
            absl::StatusCode::kInvalidArgument);

  ASSERT_TRUE(admin_->DeleteTopic(topic_, kPatience).ok());
  EXPECT_EQ(admin_->DeleteTopic(topic_, kPatience).code(), absl::StatusCode::kNotFound);
}

TEST_F(KafkaBroker, AMissingTopicIsCreatedOnceAndAnExistingOneIsLeftAlone) {
  EXPECT_EQ(admin_->DefaultReplication(kPatience), 1);
  const NewTopic advised = AdvisedTopic(topic_, 3, 1, 1'209'600'000);
  // Two at a time: both have the topic, and nobody fails.
  absl::StatusOr<TopicInfo> other;
  std::thread racer(
      [&] { other = KafkaAdmin::Open(config_).value()->DescribeOrCreate(advised, kPatience); });
  const absl::StatusOr<TopicInfo> mine = admin_->DescribeOrCreate(advised, kPatience);
  racer.join();
  ASSERT_TRUE(mine.ok()) << mine.status();
  ASSERT_TRUE(other.ok()) << other.status();
  EXPECT_EQ(*mine, (TopicInfo{topic_, 3, 1}));
  EXPECT_EQ(*other, *mine);
  const KafkaSettings settings = admin_->TopicSettings(topic_, kPatience).value();
  for (const auto& [name, value] : advised.settings) EXPECT_EQ(settings.at(name), value) << name;
  for (const Finding& finding : CheckTopic({.topic = *mine, .settings = settings})) {
    EXPECT_LE(finding.verdict,
              finding.check == "min_insync_replicas" ? Verdict::kWarn : Verdict::kOk)
        << finding.message;
  }
  NewTopic another = AdvisedTopic(topic_, 7, 1, 1'000);
  another.settings["cleanup.policy"] = "compact";
  EXPECT_EQ(admin_->DescribeOrCreate(another, kPatience).value(), *mine);
  EXPECT_EQ(admin_->TopicSettings(topic_, kPatience).value(), settings);
}

TEST_F(KafkaBroker, ACheckpointTopicIsCreatedCompactedIfThatIsWanted) {
  EXPECT_TRUE(
      absl::IsNotFound(OpenCheckpointTopic(config_, topic_, kPatience)->ReadLast("A").status()));
  const auto topic = OpenCheckpointTopic(config_, topic_, kPatience, -1);
  EXPECT_EQ(topic->ReadLast("A").value(), std::nullopt);
  EXPECT_EQ(admin_->DescribeTopic(topic_, kPatience).value(), (TopicInfo{topic_, 1, 1}));
  EXPECT_EQ(admin_->TopicSettings(topic_, kPatience).value().at("cleanup.policy"), "compact");
  topic->Write("A", "7");
  EXPECT_EQ(topic->Result(kPatience), absl::OkStatus());
  EXPECT_EQ(OpenCheckpointTopic(config_, topic_, kPatience, -1)->ReadLast("A").value(), "7");
}

TEST_F(KafkaBroker, WhatRetentionRemovedIsOutOfRange) {
  CreateTopic();
  Write(*Producer(), {"a", "b", "c"});
  ASSERT_TRUE(admin_->DeleteRecords(stream_, Offset(2), kPatience).ok());
  absl::Status error;
  EXPECT_TRUE(ReadAll(false, &error).empty());
  EXPECT_EQ(error.code(), absl::StatusCode::kOutOfRange) << error;
  EXPECT_THAT(ReadAll(false, nullptr, Offset(2)), testing::ElementsAre("c"));
  KafkaReaderOptions options;
  options.kafka = config_;
  const auto offsets = KafkaReader::Open(options).value()->Offsets(stream_, kPatience).value();
  EXPECT_EQ(offsets.lo_offset, Offset(2));
  EXPECT_EQ(offsets.hi_offset, Offset(3));
}

TEST_F(KafkaBroker, TransactionsLeaveMarkersAndAbortedRecords) {
  CreateTopic();
  const auto producer = Producer("lockstep-test");
  ASSERT_TRUE(producer->InitTransactions(kPatience).ok());
  ASSERT_TRUE(producer->BeginTransaction().ok());
  Write(*producer, {"kept"});
  ASSERT_TRUE(producer->CommitTransaction(kPatience).ok());
  ASSERT_TRUE(producer->BeginTransaction().ok());
  Write(*producer, {"dropped"});
  ASSERT_TRUE(producer->AbortTransaction(kPatience).ok());
  ASSERT_TRUE(producer->BeginTransaction().ok());
  const auto reports = Write(*producer, {"kept too"});
  EXPECT_EQ(reports[0].offset, Offset(4)) << "each marker takes an offset";
  ASSERT_TRUE(producer->CommitTransaction(kPatience).ok());
  EXPECT_THAT(ReadAll(true), testing::ElementsAre("kept", "kept too"));
  EXPECT_THAT(ReadAll(false), testing::ElementsAre("kept", "dropped", "kept too"));

  const auto successor = Producer("lockstep-test");
  ASSERT_TRUE(successor->InitTransactions(kPatience).ok());
  ASSERT_TRUE(producer->BeginTransaction().ok());
  EXPECT_NE(Write(*producer, {"late"})[0].persisted, Persisted::kYes);
  const absl::Status fenced = producer->CommitTransaction(kPatience);
  EXPECT_EQ(fenced.code(), absl::StatusCode::kAborted) << fenced;
  EXPECT_THAT(ReadAll(true), testing::ElementsAre("kept", "kept too"));
}

TEST_F(KafkaBroker, ARecordBeyondTheTopicsLimitFailsForGoodAndNothingFollows) {
  CreateTopic({{"max.message.bytes", "1000"}});
  const auto producer = Producer();
  Write(*producer, {"a"});
  const auto reports = Write(*producer, {std::string(5000, 'x')});
  EXPECT_NE(reports[0].persisted, Persisted::kYes);
  EXPECT_EQ(KindOf(reports[0].error), KafkaErrorKind::kRecordPermanent)
      << rd_kafka_err2name(reports[0].error);
  EXPECT_FALSE(producer->FatalError().ok());
  EXPECT_FALSE(producer->Produce(producer->Topic(topic_).value(), {.value = "b"}, 0).ok());
  EXPECT_THAT(ReadAll(false), testing::ElementsAre("a"));
}

TEST_F(KafkaBroker, OffsetsAreFoundByTime) {
  CreateTopic();
  const auto producer = Producer();
  Write(*producer, {"a"}, 1'700'000'000'000);
  Write(*producer, {"b"}, 1'700'000'001'000);
  KafkaReaderOptions options;
  options.kafka = config_;
  const auto reader = KafkaReader::Open(options).value();
  EXPECT_EQ(reader->OffsetAtTime(stream_, 1'700'000'000'500, kPatience).value(), Offset(1));
  EXPECT_EQ(reader->OffsetAtTime(stream_, 1'800'000'000'000, kPatience).value(), Offset(2));
  EXPECT_EQ(reader->Offsets({topic_, 9}, milliseconds(5000)).status().code(),
            absl::StatusCode::kNotFound);
}

// No limit is asserted: it prints what one core gets here, beside whatever else runs.
TEST_F(KafkaBroker, CarriesManyRecords) {
  constexpr int64_t kRecords = 200'000;
  CreateTopic();
  const auto producer = Producer();
  const ProducerTopic topic = producer->Topic(topic_).value();
  const std::string value(100, 'x');
  std::vector<DeliveryReport> reports;
  std::string header;
  const auto begin = steady_clock::now();
  for (int64_t i = 0; i < kRecords;) {
    header.clear();
    AppendRecordHeader({Term(1), Seq(i + 1), "", "A"}, header);
    const KafkaHeaderView headers[] = {{kRecordHeaderKey, header}};
    const auto produced =
        producer->Produce(topic, {.value = value, .headers = headers}, static_cast<uint64_t>(i));
    ASSERT_TRUE(produced.ok()) << produced.status();
    if (*produced == KafkaProducer::Produced::kQueueFull) {
      producer->Poll(milliseconds(5), reports);
    } else if (++i % 1000 == 0) {
      producer->Poll(milliseconds(0), reports);
    }
  }
  while (producer->outstanding() > 0) producer->Poll(milliseconds(50), reports);
  const auto written = steady_clock::now();
  ASSERT_EQ(reports.size(), static_cast<size_t>(kRecords));

  KafkaReaderOptions options;
  options.kafka = config_;
  const auto reader = KafkaReader::Open(options).value();
  ASSERT_TRUE(reader->Start(stream_, Offset(0)).ok());
  ReaderBatch batch;
  int64_t seen = 0;
  while (seen < kRecords && steady_clock::now() < written + kPatience) {
    ASSERT_TRUE(reader->Poll(milliseconds(100), batch).ok());
    for (const KafkaMessage& record : batch.records) {
      const auto text = record.Header(kRecordHeaderKey);
      ASSERT_TRUE(text.has_value());
      ASSERT_EQ(ParseRecordHeader(*text).value().seq, Seq(++seen));
    }
  }
  EXPECT_EQ(seen, kRecords);
  const std::chrono::duration<double> write = written - begin;
  const std::chrono::duration<double> read = steady_clock::now() - written;
  std::printf("%lld records: written at %.0f/s, read at %.0f/s\n", static_cast<long long>(kRecords),
              static_cast<double>(kRecords) / write.count(),
              static_cast<double>(kRecords) / read.count());
}

}  // namespace
}  // namespace lockstep
