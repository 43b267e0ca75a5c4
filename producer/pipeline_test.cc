// The whole pipeline with a source of one's own, over librdkafka's mock cluster and a ledger in
// memory: what an embedding program writes, and the errors one cannot order from a real broker.
#include <algorithm>
#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/base/check.h"
#include "common/base/mutex.h"
#include "common/kafka/kafka_producer.h"
#include "common/kafka/kafka_reader.h"
#include "common/kafka/mock_cluster.h"
#include "common/model/record_header.h"
#include "db-ledger/memory_ledger.h"
#include "db-ledger/run_payload.h"
#include "producer/producer.h"

namespace lockstep {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

// A source as an embedding program would write one: numbered events from a list.
class ListSource final : public Source {
 public:
  ListSource(std::vector<std::string> values, std::atomic<int>* acknowledged, bool ends = true)
      : values_(std::move(values)), acknowledged_(acknowledged), ends_(ends) {}

  absl::Status Start(const ResumePoint& point) override {
    next_ = point.floor.empty() ? 0 : std::stoul(point.floor);
    return absl::OkStatus();
  }
  absl::Status Poll(size_t max, milliseconds timeout, std::vector<SourceEvent>& events) override {
    if (next_ == values_.size()) {
      std::this_thread::sleep_for(std::min(timeout, milliseconds(5)));  // Poll's own waiting.
    }
    for (; max > 0 && next_ < values_.size(); --max) {
      SourceEvent& event = events.emplace_back();
      event.payload.value = values_[next_];
      event.at = std::to_string(++next_);
    }
    return absl::OkStatus();
  }
  bool ended() const override { return ends_ && next_ == values_.size(); }
  void Acknowledge(std::string_view at, std::string_view /*checkpoint*/) override {
    if (!at.empty()) *acknowledged_ = std::stoi(std::string(at));
  }

 private:
  const std::vector<std::string> values_;
  std::atomic<int>* const acknowledged_;
  const bool ends_;
  size_t next_ = 0;
};

std::vector<std::string> Values(int count) {
  std::vector<std::string> values;
  for (int i = 1; i <= count; ++i) values.push_back("value " + std::to_string(i));
  return values;
}

class PipelineTest : public testing::Test {
 protected:
  PipelineTest() : cluster_(MockCluster::Start().value()) {
    LOCKSTEP_CHECK(cluster_->CreateTopic("orders", kPartitions).ok(), "a mock cluster obeys");
  }

  ProducerOptions Options() const {
    ProducerOptions options;
    options.name = "A";
    options.source = "test:list";
    options.topic = "orders";
    options.kafka.brokers = cluster_->brokers();
    options.kafka_timeout = milliseconds(10'000);
    options.settings_timeout = milliseconds(50);  // A mock cluster never tells them.
    options.ledger_linger = milliseconds(2);
    return options;
  }
  std::unique_ptr<MemoryLedger> Ledger() {
    return std::make_unique<MemoryLedger>(&state_, kAllRules, "writer");
  }
  std::unique_ptr<ListSource> List(std::vector<std::string> values, bool ends = true) {
    return std::make_unique<ListSource>(std::move(values), &acknowledged_, ends);
  }
  int64_t Ledgered() const {
    int64_t count = 0;
    for (const auto& [key, run] : state_.runs) count += run.offsets.count();
    return count;
  }

  // Records that the cluster has, ledgered or not.
  int64_t InKafka() {
    const auto reader =
        KafkaReader::Open({.kafka = {.brokers = cluster_->brokers(), .properties = {}}});
    int64_t count = 0;
    for (int32_t p = 0; p < kPartitions; ++p) {
      count += (*reader)->Offsets({"orders", p}, milliseconds(5000)).value().hi_offset.value();
    }
    return count;
  }

  void LeaveInKafka(int count);

  // I1 and I2 over what the cluster really has, and that no earlier term is open; returns the
  // ledgered values by position.
  std::map<int, std::string> CheckedLog() {
    std::map<int, std::string> values;
    for (const auto& [key, head] : state_.heads) EXPECT_EQ(head.closed, head.term);
    auto reader = KafkaReader::Open({.kafka = {.brokers = cluster_->brokers(), .properties = {}}});
    EXPECT_TRUE(reader.ok());
    for (int32_t p = 0; p < kPartitions; ++p) {
      const StreamName stream{"orders", p};
      std::map<Offset, std::pair<std::string, std::string>> log;  // Header and value.
      const LogOffsets ends = (*reader)->Offsets(stream, milliseconds(5000)).value();
      EXPECT_TRUE((*reader)->Start(stream, Offset(0)).ok());
      Offset next(0);
      ReaderBatch batch;
      while (next < ends.hi_offset) {
        const absl::Status polled = (*reader)->Poll(milliseconds(100), batch);
        EXPECT_TRUE(polled.ok()) << polled;
        if (!polled.ok()) break;
        for (const KafkaMessage& message : batch.records) {
          log[message.offset()] = {std::string(message.Header("lockstep").value_or("")),
                                   std::string(message.value().value_or(""))};
          next = message.offset() + 1;
        }
      }
      EXPECT_TRUE((*reader)->Stop(stream).ok());
      Seq seq(1);
      for (const auto& [key, run] : state_.runs) {
        if (std::get<0>(key) != StreamId(p + 1)) continue;
        for (const OffsetRange& range : run.offsets.ranges()) {
          for (Offset o = range.first; o < range.end; ++o) {
            const auto header = ParseRecordHeader(log[o].first);
            EXPECT_TRUE(header.ok()) << header.status();
            if (!header.ok()) return values;
            EXPECT_EQ(header->seq, seq);
            EXPECT_EQ(header->term, run.term);
            EXPECT_TRUE(values.emplace(std::stoi(std::string(header->at)), log[o].second).second);
            ++seq;
          }
        }
      }
    }
    return values;
  }

  static constexpr int32_t kPartitions = 2;
  std::unique_ptr<MockCluster> cluster_;
  LedgerState state_;
  std::atomic<int> acknowledged_{0};
};

// Runs on a thread of its own, so that a test can look and stop it.
class Running {
 public:
  Running(ProducerOptions options, std::unique_ptr<Source> source, std::unique_ptr<Ledger> ledger)
      : producer_(std::move(options), std::move(source), std::move(ledger)),
        thread_([this] { status_ = producer_.Run(); }) {}
  ~Running() {
    if (thread_.joinable()) (void)Stop();
  }
  template <class Condition>
  bool Await(Condition condition) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!condition(producer_.progress())) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      std::this_thread::sleep_for(milliseconds(1));
    }
    return true;
  }
  absl::Status Join() {
    thread_.join();
    return status_;
  }
  absl::Status Stop() {
    producer_.Stop();
    return Join();
  }

 private:
  Producer producer_;
  absl::Status status_;
  std::thread thread_;
};

// A process that is lost when `count` records are in Kafka and none is ledgered.
void PipelineTest::LeaveInKafka(int count) {
  auto ledger = Ledger();
  ledger->SetFate([](const PendingCommit& commit) {
    return commit.call == "Append" ? CommitFate::kUnknownNotApplied : CommitFate::kDurable;
  });
  ProducerOptions options = Options();
  options.drain_timeout = milliseconds(300);
  Running lost(options, List(Values(count), false), std::move(ledger));
  ASSERT_TRUE(lost.Await([&](const ProducerProgress&) { return InKafka() == count; }));
  EXPECT_EQ(lost.Stop().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(Ledgered(), 0);
}

TEST_F(PipelineTest, EveryEventIsInKafkaAndLedgeredOnce) {
  Producer producer(Options(), List(Values(5000)), Ledger());
  ASSERT_EQ(producer.Run(), absl::OkStatus());
  EXPECT_EQ(producer.progress().records, 5000);
  EXPECT_TRUE(producer.progress().source_ended);
  const auto values = CheckedLog();
  ASSERT_EQ(values.size(), 5000u);
  EXPECT_EQ(values.at(4711), "value 4711");
  EXPECT_EQ(state_.producers.at(0).info.checkpoint, "5000");
}

TEST_F(PipelineTest, ASecondRunGoesOnWhereTheFirstEnded) {
  ASSERT_TRUE(Producer(Options(), List(Values(100)), Ledger()).Run().ok());
  Producer second(Options(), List(Values(150)), Ledger());
  ASSERT_TRUE(second.Run().ok());
  EXPECT_EQ(second.progress().records, 50);
  EXPECT_EQ(CheckedLog().size(), 150u);
}

TEST_F(PipelineTest, OnePartitionTakesAllWhenAsked) {
  ProducerOptions options = Options();
  options.partition = 1;
  ASSERT_TRUE(Producer(options, List(Values(50)), Ledger()).Run().ok());
  EXPECT_EQ(state_.heads.size(), 1u);
  EXPECT_EQ(Ledgered(), 50);
}

TEST_F(PipelineTest, PayloadsInTheLedgerAreTheEvents) {
  ProducerOptions options = Options();
  options.payload_in_ledger = true;
  ASSERT_TRUE(Producer(options, List(Values(10)), Ledger()).Run().ok());
  size_t payloads = 0;
  for (const auto& [key, run] : state_.runs) {
    const auto decoded = DecodeRunPayload(run.payload, run.offsets.count());
    ASSERT_TRUE(decoded.ok()) << decoded.status();
    payloads += decoded->size();
  }
  EXPECT_EQ(payloads, 10u);
}

TEST_F(PipelineTest, AFollowerStoppedDrainsAndIsContent) {
  Running running(Options(), List(Values(500), false), Ledger());
  ASSERT_TRUE(running.Await([](const ProducerProgress& p) { return p.records == 500; }));
  EXPECT_EQ(running.Stop(), absl::OkStatus());
}

TEST_F(PipelineTest, TheSourceIsToldOnlyWhatIsDurable) {
  auto ledger = Ledger();
  std::atomic<bool> durable{false};
  std::atomic<int> not_durable{0};
  ledger->SetFate([&](const PendingCommit& commit) {
    if (commit.call != "Append" || durable) return CommitFate::kDurable;
    ++not_durable;
    return CommitFate::kUnknownNotApplied;
  });
  Running running(Options(), List(Values(100), false), std::move(ledger));
  // The third attempt begins after all that follows the first two, a wrong acknowledgement too.
  ASSERT_TRUE(running.Await([&](const ProducerProgress&) { return not_durable >= 3; }));
  EXPECT_EQ(acknowledged_, 0);
  durable = true;
  ASSERT_TRUE(running.Await([](const ProducerProgress& p) { return p.records == 100; }));
  ASSERT_TRUE(running.Await([&](const ProducerProgress&) { return acknowledged_ == 100; }));
  EXPECT_TRUE(running.Stop().ok());
}

TEST_F(PipelineTest, UnknownOutcomesAreRepeatedUntilTheyAreKnown) {
  auto ledger = Ledger();
  int calls = 0;
  ledger->SetFate([&](const PendingCommit&) {
    switch (++calls % 4) {
      case 1:
        return CommitFate::kUnknownApplied;
      case 2:
        return CommitFate::kUnknownNotApplied;
      default:
        return CommitFate::kDurable;
    }
  });
  Producer producer(Options(), List(Values(2000)), std::move(ledger));
  ASSERT_EQ(producer.Run(), absl::OkStatus());
  EXPECT_EQ(producer.progress().records, 2000) << "counted once";
  EXPECT_EQ(CheckedLog().size(), 2000u);
}

TEST_F(PipelineTest, WhatALostProcessLeftInKafkaIsAdopted) {
  LeaveInKafka(40);
  Producer next(Options(), List(Values(50)), Ledger());
  ASSERT_TRUE(next.Run().ok());
  EXPECT_EQ(next.progress().adopted, 40);
  EXPECT_EQ(next.progress().records, 10);
  EXPECT_EQ(CheckedLog().size(), 50u);
}

TEST_F(PipelineTest, WithoutAdoptionTheyAreVoidAndSentAgain) {
  LeaveInKafka(40);
  ProducerOptions options = Options();
  options.adopt = false;
  Producer next(options, List(Values(50)), Ledger());
  ASSERT_TRUE(next.Run().ok());
  EXPECT_EQ(next.progress().adopted, 0);
  EXPECT_EQ(next.progress().records, 50);
  EXPECT_EQ(CheckedLog().size(), 50u);
}

TEST_F(PipelineTest, AFatalErrorEndsTheTenureAndTheNextGoesOn) {
  auto ledger = Ledger();
  cluster_->FailProduce(
      {RD_KAFKA_RESP_ERR_NO_ERROR, RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER});
  Producer producer(Options(), List(Values(20'000)), std::move(ledger));
  ASSERT_EQ(producer.Run(), absl::OkStatus());
  EXPECT_GE(producer.progress().tenures, 2);
  EXPECT_EQ(producer.progress().records + producer.progress().adopted, 20'000);
  EXPECT_EQ(CheckedLog().size(), 20'000u);
}

TEST_F(PipelineTest, ARecordThatIsTooLargeStopsWithItsNameAndLeavesNoHole) {
  std::vector<std::string> values = Values(100);
  values[59] = std::string(2'000'000, 'x');
  Producer producer(Options(), List(values), Ledger());
  const absl::Status status = producer.Run();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("source position 60"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("record A term 1 seq "));
  for (const auto& [at, value] : CheckedLog()) EXPECT_LT(at, 60) << "nothing behind it is ledgered";
}

TEST_F(PipelineTest, ARecordThatTheBrokerRefusesForGoodStopsTheProducer) {
  cluster_->FailProduce({RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED});
  Producer producer(Options(), List(Values(10)), Ledger());
  const absl::Status status = producer.Run();
  EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("source position"));
}

TEST_F(PipelineTest, ASecondProcessFencesTheFirst) {
  auto ledger = Ledger();
  MemoryLedger second(&state_, kAllRules, "writer");
  bool opened = false;
  ledger->SetApplied([&](const LedgerState& state) {
    if (opened || state.runs.empty()) return;
    opened = true;
    OpenProducerRequest request;
    request.producer = "A";
    request.source = "test:list";
    request.topic = "orders";
    request.partition_count = kPartitions;
    request.partitions = {{0, Offset(0)}, {1, Offset(0)}};
    request.cluster_id = state.logs.begin()->second.cluster_id;
    request.log_topic = "orders";
    EXPECT_TRUE(second.OpenProducer(request).committed());
  });
  ProducerOptions options = Options();
  options.in_flight_records_max = 50;
  Producer producer(options, List(Values(1000)), std::move(ledger));
  const absl::Status status = producer.Run();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("another process named 'A'"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("term 1 was followed by term 2"));
}

TEST_F(PipelineTest, ANewEpochFencesWithItsReason) {
  auto ledger = Ledger();
  MemoryLedger admin(&state_, kAllRules, "admin");
  bool begun = false;
  ledger->SetApplied([&](const LedgerState& state) {
    if (begun || state.runs.empty()) return;
    begun = true;
    EXPECT_TRUE(admin.BeginEpoch({Epoch(1), true, "", "site lost"}).committed());
  });
  ProducerOptions options = Options();
  options.in_flight_records_max = 50;
  Producer producer(options, List(Values(1000)), std::move(ledger));
  const absl::Status status = producer.Run();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("epoch 2 has begun (site lost"));
}

TEST_F(PipelineTest, WithoutADurableStandbyItDoesNotStart) {
  auto ledger = Ledger();
  int commits = 0;
  ledger->SetFate([&](const PendingCommit&) {
    ++commits;
    return CommitFate::kRefused;
  });
  EXPECT_EQ(Producer(Options(), List(Values(1)), std::move(ledger)).Run().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(commits, 1) << "refused, not waited for";
  EXPECT_EQ(InKafka(), 0);
}

TEST_F(PipelineTest, ALedgerRowThatContradictsTheLogIsInconsistentOffsets) {
  ASSERT_TRUE(Producer(Options(), List(Values(100)), Ledger()).Run().ok());
  // The ledger names another record there, as after an unclean election.
  for (auto& [key, run] : state_.runs) run.at_last = "9" + run.at_last;
  const absl::Status status = Producer(Options(), List(Values(100)), Ledger()).Run();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("inconsistent-offsets"));
}

TEST_F(PipelineTest, ALogShorterThanTheLedgerIsInconsistentOffsets) {
  ASSERT_TRUE(Producer(Options(), List(Values(100)), Ledger()).Run().ok());
  for (auto& [key, run] : state_.runs) {
    OffsetRanges moved;
    for (const OffsetRange& r : run.offsets.ranges()) moved.Append({r.first + 5000, r.end + 5000});
    run.offsets = moved;
  }
  for (auto& [key, head] : state_.heads) head.next_offset = head.next_offset + 5000;
  const absl::Status status = Producer(Options(), List(Values(100)), Ledger()).Run();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("the log ends at"));
}

TEST_F(PipelineTest, AForeignRecordInTheTailStopsTheStartUnlessItMayBeThere) {
  ASSERT_TRUE(Producer(Options(), List(Values(10)), Ledger()).Run().ok());
  KafkaProducerOptions foreign;
  foreign.kafka.brokers = cluster_->brokers();
  auto kafka = KafkaProducer::Open(foreign).value();
  const auto topic = kafka->Topic("orders").value();
  KafkaRecordView record;
  record.value = "not ours";
  ASSERT_TRUE(kafka->Produce(topic, record, 1).ok());
  std::vector<DeliveryReport> reports;
  while (reports.empty()) kafka->Poll(milliseconds(100), reports);

  const absl::Status status = Producer(Options(), List(Values(20)), Ledger()).Run();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("foreign record at offset"));
  ProducerOptions options = Options();
  options.foreign_passes = true;
  EXPECT_TRUE(Producer(options, List(Values(20)), Ledger()).Run().ok());
  EXPECT_EQ(CheckedLog().size(), 20u);
}

TEST_F(PipelineTest, AMissingTopicIsNamed) {
  ProducerOptions options = Options();
  options.topic = "nowhere";
  const absl::Status status = Producer(options, List(Values(1)), Ledger()).Run();
  EXPECT_FALSE(status.ok());
  EXPECT_THAT(std::string(status.message()), HasSubstr("nowhere"));
}

// (A mock cluster can not create one; kafka_broker_test has that.)
TEST_F(PipelineTest, AMissingTopicIsCreatedUnlessTheLedgerKnowsIt) {
  ProducerOptions options = Options();
  options.create_topics = TopicCreation{};
  ASSERT_TRUE(Producer(options, List(Values(5)), Ledger()).Run().ok()) << "what is there will do";
  cluster_ = MockCluster::Start().value();
  options.kafka.brokers = cluster_->brokers();
  options.kafka_timeout = milliseconds(1'000);
  absl::Status status = Producer(options, List(Values(5)), Ledger()).Run();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("the ledger knows it, with 2 partitions"));
  options.topic = "new";
  status = Producer(options, List(Values(5)), Ledger()).Run();
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("create topic \"new\""));
}

TEST_F(PipelineTest, ABrokerThatComesBackIsWaitedFor) {
  auto ledger = Ledger();
  // From the first append on, Kafka takes nothing: at most what is in flight then was delivered.
  ledger->SetFate([&](const PendingCommit& commit) {
    if (commit.call == "Append" && state_.runs.empty()) cluster_->SetBrokerDown(1);
    return CommitFate::kDurable;
  });
  ProducerOptions options = Options();
  options.in_flight_records_max = 500;
  Running running(options, List(Values(3000), false), std::move(ledger));
  ProducerProgress seen;
  ASSERT_TRUE(running.Await([&](const ProducerProgress& p) {
    seen = p;
    return p.records > 0 && p.in_flight_records == 500;
  }));
  EXPECT_LE(seen.records, 500);
  cluster_->SetBrokerUp(1);
  EXPECT_TRUE(running.Await([&](const ProducerProgress& p) {
    seen = p;
    return p.records == 3000;
  }));
  EXPECT_EQ(seen.tenures, 1) << "nothing was given up";
  EXPECT_TRUE(running.Stop().ok());
  EXPECT_EQ(CheckedLog().size(), 3000u);
}

}  // namespace
}  // namespace lockstep
