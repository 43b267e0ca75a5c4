// The handles against librdkafka's mock cluster: what they promise when the broker misbehaves.
#include <time.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <random>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/kafka/kafka_admin.h"
#include "common/kafka/kafka_producer.h"
#include "common/kafka/kafka_reader.h"
#include "common/kafka/mock_cluster.h"
#include "common/model/record_header.h"

// librdkafka asks this for the time of day at which a wait of its own ends.
static std::atomic<int> calendar_ahead_s{0};
extern "C" int timespec_get(struct timespec* now, int base) noexcept {
  clock_gettime(CLOCK_REALTIME, now);
  now->tv_sec += calendar_ahead_s;
  return base;
}

namespace lockstep {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using testing::HasSubstr;

constexpr milliseconds kPatience{60'000};

const StreamName kStream{"orders", 0};

class KafkaTest : public testing::Test {
 protected:
  void SetUp() override {
    cluster_ = MockCluster::Start().value();
    ASSERT_TRUE(cluster_->CreateTopic("orders", 2).ok());
  }

  std::unique_ptr<KafkaProducer> Producer(const std::string& batch_records_max = "10000") {
    KafkaProducerOptions options;
    options.kafka = {.brokers = cluster_->brokers(),
                     .properties = {{"retry.backoff.ms", "5"},
                                    {"reconnect.backoff.ms", "10"},
                                    {"batch.num.messages", batch_records_max}}};
    options.linger_ms = 1;
    return KafkaProducer::Open(options).value();
  }

  std::unique_ptr<KafkaReader> Reader() {
    return KafkaReader::Open({.kafka = {.brokers = cluster_->brokers(), .properties = {}}}).value();
  }

  // Produces values `first`… as text, one a record, and polls until all have their report.
  std::vector<DeliveryReport> Write(
      KafkaProducer& producer, int first, int count,
      const std::function<void(std::vector<DeliveryReport>&)>& between = {}) {
    const ProducerTopic topic = producer.Topic("orders").value();
    std::vector<DeliveryReport> reports;
    for (int i = first; i < first + count; ++i) {
      const std::string value = std::to_string(i);
      const auto produced =
          producer.Produce(topic, {.partition = 0, .value = value}, static_cast<uint64_t>(i));
      EXPECT_TRUE(produced.ok()) << produced.status();
      if (between) between(reports);
    }
    AwaitReports(producer, static_cast<size_t>(count), reports);
    return reports;
  }

  static void AwaitReports(KafkaProducer& producer, size_t count,
                           std::vector<DeliveryReport>& reports) {
    const auto deadline = steady_clock::now() + kPatience;
    while (reports.size() < count && steady_clock::now() < deadline) {
      producer.Poll(milliseconds(50), reports);
    }
    ASSERT_EQ(reports.size(), count);
  }

  // Reads from `offset` to the end of the log.
  std::vector<KafkaMessage> ReadAll(Offset offset = Offset(0)) {
    readers_.push_back(Reader());  // Messages must not outlive their reader.
    const auto& reader = readers_.back();
    EXPECT_TRUE(reader->Start(kStream, offset).ok());
    std::vector<KafkaMessage> all;
    ReaderBatch batch;
    const auto deadline = steady_clock::now() + kPatience;
    do {
      EXPECT_TRUE(reader->Poll(milliseconds(50), batch).ok());
      for (KafkaMessage& record : batch.records) all.push_back(std::move(record));
    } while (batch.ends.empty() && steady_clock::now() < deadline);
    return all;
  }

  std::unique_ptr<MockCluster> cluster_;
  std::vector<std::unique_ptr<KafkaReader>> readers_;
};

TEST_F(KafkaTest, WhatIsProducedIsReadAsItWas) {
  const auto producer = Producer();
  const ProducerTopic topic = producer->Topic("orders").value();
  const std::vector<KafkaHeaderView> headers = {
      {kRecordHeaderKey, "4/2301/98231/A"}, {"h", "x"}, {"h", std::nullopt}, {"e", ""}};
  ASSERT_TRUE(producer
                  ->Produce(topic,
                            {.partition = 0,
                             .key = "k",
                             .value = "v",
                             .headers = headers,
                             .timestamp_ms = 1700000000000},
                            7)
                  .ok());
  ASSERT_TRUE(producer->Produce(topic, {.partition = 0, .key = ""}, 8).ok());  // A tombstone.
  std::vector<DeliveryReport> reports;
  AwaitReports(*producer, 2, reports);
  EXPECT_EQ(reports[0].opaque, 7u);
  EXPECT_EQ(reports[0].persisted, Persisted::kYes);
  EXPECT_EQ(reports[0].offset, Offset(0));
  EXPECT_EQ(reports[1].offset, Offset(1));
  EXPECT_EQ(producer->outstanding(), 0);

  const std::vector<KafkaMessage> records = ReadAll();
  ASSERT_EQ(records.size(), 2u);
  EXPECT_EQ(records[0].topic(), "orders");
  EXPECT_EQ(records[0].Header(kRecordHeaderKey), "4/2301/98231/A");
  EXPECT_EQ(records[0].Header(kReinjectedHeaderKey), std::nullopt);
  const Payload expected{.key = "k",
                         .value = "v",
                         .headers = {{"h", "x"}, {"h", std::nullopt}, {"e", ""}},
                         .timestamp_ms = 1700000000000};
  EXPECT_EQ(records[0].CopyPayload(), expected);
  EXPECT_EQ(records[1].key(), "");
  EXPECT_EQ(records[1].value(), std::nullopt);
  EXPECT_EQ(records[1].Header(kRecordHeaderKey), std::nullopt);
}

TEST_F(KafkaTest, ProtocolSettingsCannotBeOverridden) {
  for (const auto& [name, value] :
       std::vector<std::pair<std::string, std::string>>{{"enable.idempotence", "false"},
                                                        {"acks", "1"},
                                                        {"request.required.acks", "1"},
                                                        {"message.timeout.ms", "1000"},
                                                        {"delivery.timeout.ms", "1000"},
                                                        {"enable.gapless.guarantee", "false"}}) {
    const auto opened =
        KafkaProducer::Open({.kafka = {.brokers = "x:1", .properties = {{name, value}}}});
    ASSERT_FALSE(opened.ok()) << name;
    EXPECT_THAT(std::string(opened.status().message()), HasSubstr(name));
  }
  const auto reader = KafkaReader::Open(
      {.kafka = {.brokers = "x:1", .properties = {{"auto.offset.reset", "earliest"}}}});
  EXPECT_FALSE(reader.ok());
}

TEST_F(KafkaTest, AFullQueueIsBackPressureAndEveryQueuedRecordIsReported) {
  KafkaProducerOptions options;
  options.kafka.brokers = cluster_->brokers();
  options.queued_records_max = 10;
  cluster_->SetBrokerDown(1);
  const auto producer = KafkaProducer::Open(options).value();
  const ProducerTopic topic = producer->Topic("orders").value();
  size_t queued = 0;
  while (producer->Produce(topic, {.value = "v"}, queued).value() ==
         KafkaProducer::Produced::kQueued) {
    ASSERT_LT(++queued, 100u);
  }
  EXPECT_EQ(queued, 10u);
  cluster_->SetBrokerUp(1);
  std::vector<DeliveryReport> reports;
  AwaitReports(*producer, queued, reports);
  for (const DeliveryReport& report : reports) EXPECT_EQ(report.persisted, Persisted::kYes);
}

TEST_F(KafkaTest, PurgeReportsEveryRecordAndNoneAsPersisted) {
  const auto producer = Producer();
  Write(*producer, 0, 1);
  cluster_->SetRoundTrip(1, 10'000);
  const ProducerTopic topic = producer->Topic("orders").value();
  std::vector<DeliveryReport> reports;
  ASSERT_TRUE(producer->Produce(topic, {.value = "in flight"}, 1).ok());
  producer->Poll(milliseconds(200), reports);  // Let it leave.
  ASSERT_TRUE(producer->Produce(topic, {.value = "another"}, 2).ok());
  producer->Purge();
  AwaitReports(*producer, 2, reports);
  for (const DeliveryReport& report : reports) {
    EXPECT_NE(report.persisted, Persisted::kYes);
    EXPECT_EQ(KindOf(report.error), KafkaErrorKind::kFatal);
  }
  // What has left may be in the log: that is never `no`.
  EXPECT_EQ(reports[0].opaque == 1 ? reports[0].persisted : reports[1].persisted,
            Persisted::kPossibly);
}

TEST_F(KafkaTest, ARefusedRecordEndsTheHandleAndNothingOvertakesIt) {
  const auto producer = Producer();
  Write(*producer, 0, 3);
  cluster_->FailProduce({RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED});
  const auto reports = Write(*producer, 3, 1);
  EXPECT_NE(reports[0].persisted, Persisted::kYes);
  EXPECT_EQ(KindOf(reports[0].error), KafkaErrorKind::kRecordPermanent);
  EXPECT_FALSE(producer->FatalError().ok());
  const auto produced = producer->Produce(producer->Topic("orders").value(), {.value = "4"}, 4);
  EXPECT_FALSE(produced.ok());
  EXPECT_EQ(ReadAll().size(), 3u);
}

TEST_F(KafkaTest, ARecordThatIsTooLargeIsRefusedAtOnceAndByName) {
  KafkaProducerOptions options;
  options.kafka = {.brokers = cluster_->brokers(), .properties = {{"message.max.bytes", "2000"}}};
  const auto producer = KafkaProducer::Open(options).value();
  const std::string large(5000, 'x');
  const auto produced = producer->Produce(producer->Topic("orders").value(), {.value = large}, 0);
  ASSERT_FALSE(produced.ok());
  EXPECT_EQ(produced.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(produced.status().message()), HasSubstr("orders/0"));
}

// Property: whatever retriable errors and cuts there are, the log is what was produced, in that
// order, once; and each report names the record's offset.
TEST_F(KafkaTest, OrderIsKeptUnderInjectedErrors) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const auto producer = Producer("20");
  Write(*producer, 0, 1);         // Connected: errors meet requests, not the start.
  cluster_->SetRoundTrip(1, 10);  // Several requests are in flight at once.
  constexpr rd_kafka_resp_err_t kErrors[] = {
      RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
      RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT, RD_KAFKA_RESP_ERR__TRANSPORT,
      RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE};
  const auto reports = Write(*producer, 1, 2000, [&](std::vector<DeliveryReport>& came) {
    if (random() % 100 == 0) cluster_->FailProduce({kErrors[random() % std::size(kErrors)]});
    // Five batches wait at most: errors meet requests all along.
    while (producer->outstanding() > 100) producer->Poll(milliseconds(50), came);
  });
  for (size_t i = 0; i < reports.size(); ++i) {
    ASSERT_EQ(reports[i].opaque, i + 1);
    ASSERT_EQ(reports[i].persisted, Persisted::kYes);
    ASSERT_EQ(reports[i].offset, Offset(static_cast<int64_t>(i + 1)));
  }
  const std::vector<KafkaMessage> records = ReadAll();
  ASSERT_EQ(records.size(), 2001u);
  for (size_t i = 0; i < records.size(); ++i) ASSERT_EQ(records[i].value(), std::to_string(i));
}

TEST_F(KafkaTest, ReaderStartsSeeksPausesAndSeesTheEnd) {
  Write(*Producer(), 0, 10);
  const auto reader = Reader();
  const auto offsets = reader->Offsets(kStream, kPatience).value();
  EXPECT_EQ(offsets.lo_offset, Offset(0));
  EXPECT_EQ(offsets.hi_offset, Offset(10));

  ASSERT_TRUE(reader->Start(kStream, Offset(7)).ok());
  EXPECT_FALSE(reader->Start(kStream, Offset(7)).ok());
  ReaderBatch batch;
  std::vector<int64_t> seen;
  std::vector<EndOfLog> ends;
  const auto poll_until = [&](const std::function<bool()>& done) {
    const auto deadline = steady_clock::now() + kPatience;
    while (!done() && steady_clock::now() < deadline) {
      ASSERT_TRUE(reader->Poll(milliseconds(50), batch).ok());
      for (const KafkaMessage& record : batch.records) seen.push_back(record.offset().value());
      ends.insert(ends.end(), batch.ends.begin(), batch.ends.end());
    }
  };
  poll_until([&] { return !ends.empty(); });
  EXPECT_THAT(seen, testing::ElementsAre(7, 8, 9));
  EXPECT_EQ(ends[0].stream, kStream);
  EXPECT_EQ(ends[0].next_offset, Offset(10));

  ASSERT_TRUE(reader->Pause(kStream).ok());
  seen.clear();
  Write(*Producer(), 10, 1);
  ASSERT_TRUE(reader->Poll(milliseconds(300), batch).ok());
  EXPECT_TRUE(batch.records.empty());
  ASSERT_TRUE(reader->Resume(kStream).ok());
  poll_until([&] { return !seen.empty(); });
  EXPECT_THAT(seen, testing::ElementsAre(10));

  seen.clear();
  ASSERT_TRUE(reader->Seek(kStream, Offset(9)).ok());
  poll_until([&] { return seen.size() >= 2; });
  EXPECT_THAT(seen, testing::ElementsAre(9, 10));
  ASSERT_TRUE(reader->Stop(kStream).ok());
  EXPECT_FALSE(reader->Seek(kStream, Offset(0)).ok());
}

TEST_F(KafkaTest, AnOffsetThatTheLogLacksIsAnErrorNotAReset) {
  Write(*Producer(), 0, 3);
  const auto reader = Reader();
  ASSERT_TRUE(reader->Start(kStream, Offset(100)).ok());
  ReaderBatch batch;
  absl::Status status;
  const auto deadline = steady_clock::now() + kPatience;
  while (status.ok() && steady_clock::now() < deadline) {
    status = reader->Poll(milliseconds(50), batch);
    EXPECT_TRUE(batch.records.empty());
  }
  EXPECT_EQ(status.code(), absl::StatusCode::kOutOfRange) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("orders/0"));
}

TEST_F(KafkaTest, APollEndsInTimeThoughTheCalendarIsSetBack) {
  const auto producer = Producer();
  const auto reader = Reader();
  ASSERT_TRUE(reader->Start(kStream, Offset(0)).ok());
  std::vector<DeliveryReport> reports;
  ReaderBatch batch;
  // As if the clock went back by so much once a wait has begun.
  calendar_ahead_s = 5;
  for (int i = 0; i < 3; ++i) {
    auto began = steady_clock::now();
    EXPECT_EQ(producer->Poll(milliseconds(50), reports), 0u);
    EXPECT_LT(steady_clock::now() - began, std::chrono::seconds(4));
    began = steady_clock::now();
    ASSERT_TRUE(reader->Poll(milliseconds(50), batch).ok());
    EXPECT_LT(steady_clock::now() - began, std::chrono::seconds(4));
  }
  calendar_ahead_s = 0;
}

TEST_F(KafkaTest, ReaderGoesOnWhenTheBrokerComesBack) {
  Write(*Producer(), 0, 3);
  const auto reader = Reader();
  cluster_->SetBrokerDown(1);
  ASSERT_TRUE(reader->Start(kStream, Offset(0)).ok());
  ReaderBatch batch;
  EXPECT_TRUE(batch.records.empty());
  absl::Status status;
  auto deadline = steady_clock::now() + kPatience;
  while (status.ok() && steady_clock::now() < deadline)
    status = reader->Poll(milliseconds(50), batch);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  cluster_->SetBrokerUp(1);
  deadline = steady_clock::now() + kPatience;
  do {
    status = reader->Poll(milliseconds(50), batch);
  } while (batch.records.empty() && steady_clock::now() < deadline);
  EXPECT_EQ(batch.records.size(), 3u);
}

TEST_F(KafkaTest, OffsetsAreNotWaitedForBeyondTheTimeoutWhileTheBrokerIsAway) {
  Write(*Producer(), 0, 3);
  const auto reader = Reader();
  ASSERT_TRUE(reader->Offsets(kStream, kPatience).ok());  // It knows the leader: no question first.
  cluster_->SetBrokerDown(1);
  const auto began = steady_clock::now();
  const auto offsets = reader->Offsets(kStream, milliseconds(300));
  EXPECT_EQ(offsets.status().code(), absl::StatusCode::kUnavailable) << offsets.status();
  EXPECT_LT(steady_clock::now() - began, std::chrono::seconds(3));
  cluster_->SetBrokerUp(1);
  EXPECT_EQ(reader->Offsets(kStream, kPatience)->hi_offset, Offset(3));
}

TEST_F(KafkaTest, AnAnswerThatIsLateIsNotWaitedFor) {
  const auto reader = Reader();
  ASSERT_TRUE(reader->Offsets(kStream, kPatience).ok());
  cluster_->SetRoundTrip(1, 5'000);
  const auto began = steady_clock::now();
  EXPECT_EQ(reader->Offsets(kStream, milliseconds(300)).status().code(),
            absl::StatusCode::kUnavailable);
  EXPECT_LT(steady_clock::now() - began, std::chrono::seconds(3));
}

TEST_F(KafkaTest, AdminKnowsTheClusterAndItsTopics) {
  const auto admin = KafkaAdmin::Open({.brokers = cluster_->brokers(), .properties = {}}).value();
  EXPECT_FALSE(admin->ClusterId(kPatience).value().empty());
  EXPECT_EQ(admin->DescribeTopic("orders", kPatience).value(), (TopicInfo{"orders", 2, 1}));
  const auto topics = admin->ListTopics(kPatience).value();
  ASSERT_EQ(topics.size(), 1u);
  EXPECT_EQ(topics[0].name, "orders");
}

TEST_F(KafkaTest, AClusterThatDoesNotTellItsSettingsIsNotWaitedFor) {
  const auto admin = KafkaAdmin::Open({.brokers = cluster_->brokers(), .properties = {}}).value();
  const auto start = steady_clock::now();
  EXPECT_EQ(admin->TopicSettings("orders", kPatience).status().code(),
            absl::StatusCode::kUnimplemented);
  EXPECT_LT(steady_clock::now() - start, kPatience / 2);
}

TEST(KafkaAdmin, NoBrokerIsUnavailable) {
  const auto admin = KafkaAdmin::Open({.brokers = "127.0.0.1:1", .properties = {}}).value();
  EXPECT_EQ(admin->ClusterId(milliseconds(300)).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(admin->ListTopics(milliseconds(300)).status().code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace lockstep
