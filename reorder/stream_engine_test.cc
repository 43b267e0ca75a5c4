// One stream's engine against an in-process Kafka and the ledger in memory.
#include "reorder/stream_engine.h"

#include <unistd.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/kafka/kafka_admin.h"
#include "common/kafka/kafka_producer.h"
#include "common/kafka/mock_cluster.h"
#include "common/model/record_header.h"
#include "db-ledger/memory_ledger.h"
#include "reorder/plan.h"

namespace lockstep {
namespace {

using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// Keeps what left, as `A1=value` with `?` if it may have been sent before, `+` if it is replayed.
class ListSink final : public Sink {
 public:
  explicit ListSink(SinkKind kind) : kind_(kind) {}
  SinkKind kind() const override { return kind_; }
  absl::StatusOr<std::optional<Position>> Last() override { return last; }
  absl::Status Write(std::span<const ReadyRecord> records) override {
    for (const ReadyRecord& record : records) {
      seen.push_back(absl::StrCat(std::string(record.producer), record.seq.value(), "=",
                                  std::string(record.view.value.value_or("null")),
                                  record.in_doubt ? "?" : "", record.replayed ? "+" : ""));
      last = record.position;
    }
    if (after_write) after_write();
    return outside;
  }
  std::optional<Position> KnownDone() const override { return known_done; }
  absl::Status Sync() override {
    if (disk.ok()) synced = last;
    return disk;
  }

  std::vector<std::string> seen;
  std::optional<Position> last;
  std::optional<Position> synced;
  absl::Status disk;
  absl::Status outside;
  std::optional<Position> known_done;
  std::function<void()> after_write;

 private:
  const SinkKind kind_;
};

class StreamEngineTest : public testing::Test {
 protected:
  static constexpr char kTopic[] = "orders";
  static constexpr char kMirror[] = "p.orders";

  void SetUp() override {
    auto cluster = MockCluster::Start();
    ASSERT_TRUE(cluster.ok()) << cluster.status();
    cluster_ = std::move(*cluster);
    ASSERT_TRUE(cluster_->CreateTopic(kTopic, 1).ok());
    ASSERT_TRUE(cluster_->CreateTopic(kMirror, 1).ok());
    const KafkaConfig kafka{.brokers = cluster_->brokers()};
    auto producer = KafkaProducer::Open({.kafka = kafka, .linger_ms = 0});
    ASSERT_TRUE(producer.ok()) << producer.status();
    producer_ = std::move(*producer);
    auto admin = KafkaAdmin::Open(kafka);
    ASSERT_TRUE(admin.ok()) << admin.status();
    auto id = (*admin)->ClusterId(milliseconds(10'000));
    ASSERT_TRUE(id.ok()) << id.status();
    cluster_id_ = *id;
  }

  // Writes words like `A1` (producer A, seq 1, the producer's open term), `x` (foreign) or
  // `bad` (a malformed header) and waits until they are in the log.
  void Write(const std::string& topic, const std::vector<std::string>& words) {
    const auto handle = producer_->Topic(topic);
    ASSERT_TRUE(handle.ok());
    for (const std::string& word : words) {
      std::string header;
      if (word == "bad") {
        header = "1/x//A";
      } else if (word != "x") {
        const std::string name = word.substr(0, 1);
        AppendRecordHeader({terms_[name], Seq(std::stoll(word.substr(1))), "7", name}, header);
      }
      const KafkaHeaderView view{kRecordHeaderKey, header};
      KafkaRecordView record;
      record.key = "k";
      record.value = word;
      if (!header.empty()) record.headers = {&view, 1};
      ASSERT_TRUE(producer_->Produce(*handle, record, 0).ok());
    }
    std::vector<DeliveryReport> reports;
    for (int i = 0; i < 100 && reports.size() < words.size(); ++i) {
      producer_->Poll(milliseconds(200), reports);
    }
    ASSERT_EQ(reports.size(), words.size());
  }

  // Opens a producer whose log is on `cluster` and closes earlier terms.
  void Open(const std::string& name, const std::string& cluster, int64_t log_end = 0) {
    OpenProducerRequest request;
    request.producer = name;
    request.source = "jsonl:in";
    request.topic = kTopic;
    request.partition_count = 1;
    request.partitions = {{0, Offset(log_end)}};
    request.cluster_id = cluster;
    request.log_topic = kTopic;
    const auto opened = writer_.OpenProducer(request);
    ASSERT_TRUE(opened.committed()) << opened.why;
    ids_[name] = opened.value.producer;
    terms_[name] = opened.value.streams[0].term;
    stream_ = opened.value.streams[0].stream;
    ASSERT_TRUE(writer_.CloseEarlierTerms(ids_[name], {{stream_, terms_[name]}}).committed());
  }
  void Append(const std::string& name, int64_t first_seq, const std::string& offsets) {
    AppendRequest request;
    request.producer = ids_[name];
    RunToAppend run{stream_, terms_[name], {}};
    run.run.producer = ids_[name];
    run.run.term = terms_[name];
    run.run.first_seq = Seq(first_seq);
    run.run.offsets = OffsetRanges::Parse(offsets).value();
    run.run.last_seq = Seq(first_seq + run.run.offsets.count() - 1);
    request.runs = {run};
    const auto appended = writer_.Append(request);
    ASSERT_TRUE(appended.committed()) << appended.why;
  }

  StreamEngineOptions Options(ReorderMode mode = ReorderMode::kGate) const {
    StreamEngineOptions options;
    options.mode = mode;
    options.group = "g";
    options.until_end = true;
    options.stall_timeout = milliseconds(400);
    options.reader.kafka.brokers = cluster_->brokers();
    options.reader.cluster_id = cluster_id_;
    options.reader.topics = {kTopic, kMirror};
    options.reader.stream = {kTopic, 0};
    return options;
  }
  StreamResult Run(const StreamEngineOptions& options, Sink& sink) {
    StreamProgress progress;
    return StreamEngine(options, gate_, sink, progress).Run([] { return false; });
  }
  // Recovers, by bisection, what comes behind A2 of FailedOver.
  StreamResult RecoverBehindA2(Sink& sink, std::vector<std::string> topics = {kTopic, kMirror}) {
    EXPECT_TRUE(admin_.SetCursor("g", stream_, At(1, 2)).committed());
    StreamEngineOptions options = Options(ReorderMode::kRecover);
    options.reader.bisect_records_min = 1;
    options.reader.topics = std::move(topics);
    const StreamResult result = Run(options, sink);
    EXPECT_EQ(result.exit_code, ExitCode::kYes) << result.why;
    return result;
  }
  Cursor CursorNow() { return gate_.ReadCursors().value().at(0); }
  static Position At(int64_t epoch, int64_t offset) { return {Epoch(epoch), Offset(offset)}; }

  // Epoch 1 on another cluster: A1 B1 A2 B2 A3, the site dies, the mirror has A1 A2 B1 (reordered
  // by an unordered re-injection) B2 A3.
  void FailedOver(const std::vector<std::string>& mirrored) {
    Open("A", "dead");
    Open("B", "dead");
    Append("A", 1, "{[0,1),[2,3),[4,5)}");
    Append("B", 1, "{[1,2),[3,4)}");
    Write(kMirror, mirrored);
    ASSERT_TRUE(gate_.OpenGate("g", {{kTopic, 0}}, true).committed());
    ASSERT_TRUE(admin_.BeginEpoch({Epoch(1), true, "", "test"}).committed());
  }

  std::unique_ptr<MockCluster> cluster_;
  std::unique_ptr<KafkaProducer> producer_;
  std::string cluster_id_;
  LedgerState state_{true};
  MemoryLedger writer_{&state_, kAllRules, "writer"};
  MemoryLedger gate_{&state_, kAllRules, "gate"};
  MemoryLedger admin_{&state_, kAllRules, "admin"};
  std::map<std::string, ProducerId> ids_;
  std::map<std::string, Term> terms_;
  StreamId stream_;
};

TEST_F(StreamEngineTest, GateSendsWhatIsLedgeredInLogOrder) {
  Open("A", cluster_id_);
  Open("B", cluster_id_);
  Write(kTopic, {"A1", "B1", "A2", "B2"});
  Append("B", 1, "{[1,2),[3,4)}");
  Append("A", 1, "{[0,1),[2,3)}");
  ListSink sink(SinkKind::kBlind);
  const StreamResult result = Run(Options(), sink);
  EXPECT_EQ(result.exit_code, ExitCode::kYes) << result.why;
  EXPECT_THAT(sink.seen, ElementsAre("A1=A1", "B1=B1", "A2=A2", "B2=B2"));
  EXPECT_EQ(CursorNow().done, At(1, 3));
  EXPECT_EQ(result.emitted, 4);
  // A second life has nothing to send.
  EXPECT_EQ(Run(Options(), sink).exit_code, ExitCode::kYes);
  EXPECT_EQ(sink.seen.size(), 4U);
}

TEST_F(StreamEngineTest, GateStopsAtAnUnsettledRecordAndNamesIt) {
  Open("A", cluster_id_);
  Open("B", cluster_id_);
  Write(kTopic, {"A1", "B1", "A2"});
  Append("A", 1, "{[0,1),[2,3)}");
  ListSink sink(SinkKind::kBlind);
  const StreamResult result = Run(Options(), sink);
  EXPECT_EQ(result.exit_code, ExitCode::kNo);
  EXPECT_THAT(std::string(result.why.message()), HasSubstr("(B, term 1, seq 1) at 1:1"));
  EXPECT_THAT(sink.seen, ElementsAre("A1=A1"));
  // Sealing B makes its record void.
  ASSERT_TRUE(admin_.Seal("B").committed());
  EXPECT_EQ(Run(Options(), sink).exit_code, ExitCode::kYes);
  EXPECT_THAT(sink.seen, ElementsAre("A1=A1", "A2=A2"));
}

TEST_F(StreamEngineTest, RecoverRestoresTheDeadSitesOrderThenFollowsTheNewEpoch) {
  FailedOver({"A1", "A2", "B1", "B2", "A3"});
  Open("A", cluster_id_);
  Write(kTopic, {"A4"});
  Append("A", 4, "{[0,1)}");
  ListSink sink(SinkKind::kQueryableFencing);
  const StreamResult result = Run(Options(ReorderMode::kRecover), sink);
  EXPECT_EQ(result.exit_code, ExitCode::kYes) << result.why;
  EXPECT_THAT(sink.seen, ElementsAre("A1=A1", "B1=B1", "A2=A2", "B2=B2", "A3=A3", "A4=A4"));
  EXPECT_EQ(CursorNow().done, At(2, 0));
  EXPECT_EQ(result.counts.buffer_hits, 1);
}

// A's records all lie before B's in the mirror, and take turns in the ledger.
class StreamEngineSpillTest : public StreamEngineTest {
 protected:
  static constexpr int64_t kEach = 500;

  void SetUp() override {
    StreamEngineTest::SetUp();
    std::filesystem::remove_all(directory_);
    Open("A", "dead");
    Open("B", "dead");
    OffsetRanges a;
    OffsetRanges b;
    std::vector<std::string> mirrored;
    for (int64_t i = 0; i < kEach; ++i) {
      a.Append(Offset(2 * i));
      b.Append(Offset(2 * i + 1));
      mirrored.push_back(absl::StrCat("A", i + 1));
    }
    for (int64_t i = 0; i < kEach; ++i) mirrored.push_back(absl::StrCat("B", i + 1));
    Append("A", 1, a.ToString());
    Append("B", 1, b.ToString());
    Write(kMirror, mirrored);
    WriteMore();
    ASSERT_TRUE(gate_.OpenGate("g", {{kTopic, 0}}, true).committed());
    ASSERT_TRUE(admin_.BeginEpoch({Epoch(1), true, "", "test"}).committed());
  }
  virtual void WriteMore() {}  // Before the site dies.
  ~StreamEngineSpillTest() override { std::filesystem::remove_all(directory_); }

  StreamEngineOptions SpillOptions() const {
    StreamEngineOptions options = Options(ReorderMode::kRecover);
    options.buffer.kind = BufferOptions::Kind::kSpill;
    options.buffer.budget.bytes = 8'000;
    options.buffer.spill_directory = directory_ + "/g.orders.0";
    return options;
  }

  std::string Records() const { return directory_ + "/g.orders.0/records"; }
  std::vector<std::string> SpilledFiles() const {
    std::vector<std::string> files;
    if (!std::filesystem::exists(Records())) return files;
    for (const auto& file : std::filesystem::directory_iterator(Records())) {
      if (file.path().extension() == ".sst") files.push_back(file.path());
    }
    return files;
  }
  // `fail` is asked between a few records and the next few, with the store's directory, until it
  // has broken the disk.
  StreamResult RunUntilDiskFails(ListSink& sink,
                                 const std::function<bool(const std::string&)>& fail) {
    StreamEngineOptions options = SpillOptions();
    options.reader.batch_records_max = 10;
    options.buffer.spill_at_once = true;
    StreamProgress progress;
    bool failed = false;
    const StreamResult result = StreamEngine(options, gate_, sink, progress).Run([&] {
      if (!failed) failed = fail(Records());
      return false;
    });
    EXPECT_TRUE(failed);
    EXPECT_EQ(result.exit_code, ExitCode::kCouldNot) << result.why;
    EXPECT_THAT(std::string(result.why.message()), HasSubstr("nothing is lost"));
    EXPECT_LT(sink.seen.size(), 2U * kEach);
    ExpectInOrder(sink);
    return result;
  }
  void ExpectTheRestLeavesOnce(ListSink& sink) {
    const StreamResult result = Run(SpillOptions(), sink);
    EXPECT_EQ(result.exit_code, ExitCode::kYes) << result.why;
    EXPECT_EQ(sink.seen.size(), 2U * kEach);
    ExpectInOrder(sink);
  }
  // What left is the ledger's order from its start, once.
  static void ExpectInOrder(const ListSink& sink) {
    for (size_t i = 0; i < sink.seen.size(); ++i) {
      const std::string record = absl::StrCat(i % 2 == 0 ? "A" : "B", i / 2 + 1);
      ASSERT_EQ(sink.seen[i], absl::StrCat(record, "=", record));
    }
  }

  const std::string directory_ = testing::TempDir() + "engine_spill." + std::to_string(getpid());
};

TEST_F(StreamEngineSpillTest, WhatTheBudgetDoesNotHoldWaitsOnDisk) {
  ListSink sink(SinkKind::kQueryableFencing);
  const StreamResult result = Run(SpillOptions(), sink);
  EXPECT_EQ(result.exit_code, ExitCode::kYes) << result.why;
  ASSERT_EQ(sink.seen.size(), 2U * kEach);
  ExpectInOrder(sink);
  EXPECT_GT(result.parking.bytes_written, 20'000);
  EXPECT_EQ(result.parking.bytes_reread, result.parking.bytes_written);
  EXPECT_FALSE(std::filesystem::exists(Records()));
}

TEST_F(StreamEngineSpillTest, WhatTheBudgetDoesNotHoldIsFetchedAgain) {
  for (const ParkingBudget& budget : {ParkingBudget{.bytes = 32'000}, ParkingBudget{.records = 50},
                                      ParkingBudget{.records = 1}}) {
    ListSink sink(SinkKind::kBlind);
    StreamEngineOptions options = SpillOptions();
    options.buffer.kind = BufferOptions::Kind::kBounded;
    options.buffer.budget = budget;
    options.group = absl::StrCat("g", budget.records);
    options.from_start = true;
    const StreamResult result = Run(options, sink);
    EXPECT_EQ(result.exit_code, ExitCode::kYes) << result.why;
    ASSERT_EQ(sink.seen.size(), 2U * kEach);
    ExpectInOrder(sink);
    EXPECT_GT(result.parking.fetches, 0);
    EXPECT_LE(result.parking.fetches, result.parking.fetches_bound);
    EXPECT_LE(result.parking.records_fetched, kEach);
    EXPECT_EQ(result.parking.bytes_written, 0);
  }
  EXPECT_FALSE(std::filesystem::exists(directory_));
}

// As many records again, of 3 kB, of C before those of D; their turns alternate, too.
class PlanTest : public StreamEngineSpillTest {
 protected:
  void WriteMore() override {
    const std::string pad(3'000, 'x');
    Open("C", "dead");
    Open("D", "dead");
    OffsetRanges c;
    OffsetRanges d;
    std::vector<std::string> large;
    for (int64_t i = 0; i < kEach; ++i) {
      c.Append(Offset(2 * (kEach + i)));
      d.Append(Offset(2 * (kEach + i) + 1));
      large.push_back(absl::StrCat("C", i + 1, " ", pad));
    }
    for (int64_t i = 0; i < kEach; ++i) large.push_back(absl::StrCat("D", i + 1, " ", pad));
    Append("C", 1, c.ToString());
    Append("D", 1, d.ToString());
    Write(kMirror, large);
  }

  absl::StatusOr<std::optional<Position>> Start(const StreamEngineOptions& options) {
    return PlanStart(options, stream_, gate_);
  }
  StreamPlan PlanOf(StreamEngineOptions options, const PlanHooks& hooks) {
    options.reader.stream_id = stream_;
    options.reader.epoch = gate_.ReadNow().value().epoch;
    const auto start = Start(options);
    EXPECT_TRUE(start.ok()) << start.status();
    options.reader.after = start.value();
    return PlanStream(options.reader, gate_, options.buffer.budget, milliseconds(400), hooks);
  }
  StreamPlan PlanOf(const StreamEngineOptions& options) {
    return PlanOf(options, {.stop_requested = [] { return false; }});
  }
};

TEST_F(PlanTest, IsWhatTheRunDoesWhereverBatchesEnd) {
  for (const auto& [budget, batch] : {std::pair{ParkingBudget{.bytes = 1 << 20}, 100'000},
                                      {ParkingBudget{.bytes = 64'000}, 150},
                                      {ParkingBudget{.records = 100}, 70}}) {
    StreamEngineOptions options = SpillOptions();
    options.buffer.budget = budget;
    options.reader.batch_records_max = static_cast<size_t>(batch);
    const StreamPlan plan = PlanOf(options);
    ASSERT_TRUE(plan.why.ok()) << plan.why;
    ASSERT_EQ(plan.records, 4 * kEach);
    options.group = absl::StrCat("g", budget.bytes);
    options.from_start = true;
    ListSink sink(SinkKind::kBlind);
    const StreamResult run = Run(options, sink);
    ASSERT_EQ(run.exit_code, ExitCode::kYes) << run.why;
    const ParkingStats& planned = plan.buffers.at(1).parking;
    EXPECT_EQ(planned.bytes_written, run.parking.bytes_written) << budget.bytes;
    EXPECT_EQ(planned.bytes_reread, run.parking.bytes_reread) << budget.bytes;
    EXPECT_EQ(planned.records_peak, run.parking.records_peak) << budget.bytes;
    EXPECT_EQ(planned.bytes_peak, run.parking.bytes_peak) << budget.bytes;
    EXPECT_GT(planned.bytes_written, 0);
  }
}

TEST_F(PlanTest, OfAReplayBeginsWhereTheReplayDoes) {
  StreamEngineOptions options = SpillOptions();
  ListSink sink(SinkKind::kBlind);
  ASSERT_EQ(Run(options, sink).exit_code, ExitCode::kYes);
  options.mode = ReorderMode::kReplay;
  EXPECT_EQ(Start(options).value(), std::nullopt);
  options.replay_from = At(1, 300);
  EXPECT_EQ(Start(options).value(), At(1, 299));
  EXPECT_EQ(PlanOf(options).records, 4 * kEach - 300);
  options.replay_from = At(2, 0);
  const StreamResult refused = Run(options, sink);
  EXPECT_EQ(refused.exit_code, ExitCode::kRefused);
  EXPECT_EQ(Start(options).status(), refused.why);
}

TEST_F(PlanTest, AGroupThatTheRunDoesNotLetInHasNone) {
  StreamEngineOptions options = SpillOptions();
  options.group = "mistyped";
  for (const ReorderMode mode : {ReorderMode::kRecover, ReorderMode::kReplay}) {
    options.mode = mode;
    ListSink sink(SinkKind::kBlind);
    const StreamResult refused = Run(options, sink);
    EXPECT_EQ(refused.exit_code, ExitCode::kRefused);
    EXPECT_EQ(Start(options).status(), refused.why);
  }
  options.mode = ReorderMode::kGate;  // Makes its cursor.
  EXPECT_EQ(Start(options).value(), std::nullopt);
  options.mode = ReorderMode::kRecover;
  options.from_start = true;
  EXPECT_EQ(Start(options).value(), std::nullopt);
}

TEST_F(PlanTest, ThatIsStoppedHasWhatWasReadUntilThen) {
  bool stop = false;
  int64_t read_before = 0;
  StreamEngineOptions options = SpillOptions();
  options.reader.batch_records_max = 100;
  const StreamPlan plan = PlanOf(options, {.stop_requested = [&] { return stop; },
                                           .on_progress =
                                               [&](int64_t read, int64_t expected) {
                                                 EXPECT_GE(read, read_before);
                                                 EXPECT_EQ(expected, 4 * kEach);
                                                 read_before = read;
                                                 stop = read > kEach;
                                               }});
  EXPECT_TRUE(absl::IsCancelled(plan.why)) << plan.why;
  EXPECT_GT(plan.records, 0);
  EXPECT_LT(plan.records, 4 * kEach);
  ASSERT_EQ(plan.buffers.size(), 3U);
  EXPECT_GT(plan.buffers[0].parking.records_peak, 0);
}

TEST_F(StreamEngineSpillTest, ADirectoryThatCannotBeUsedIsSaidAtTheStart) {
  ListSink sink(SinkKind::kQueryableFencing);
  StreamEngineOptions options = SpillOptions();
  options.buffer.spill_directory = "/proc/nowhere";
  options.buffer.spill_at_once = true;
  const StreamResult result = Run(options, sink);
  EXPECT_EQ(result.exit_code, ExitCode::kCouldNot);
  EXPECT_THAT(std::string(result.why.message()), HasSubstr("/proc/nowhere"));
  EXPECT_THAT(sink.seen, IsEmpty());
}

TEST_F(StreamEngineSpillTest, ADiskThatTakesNoMoreUnderWayLosesNothing) {
  ListSink sink(SinkKind::kQueryableFencing);
  const StreamResult result = RunUntilDiskFails(sink, [&](const std::string& records) {
    if (sink.seen.empty()) return false;  // A1 has left; the budget has room for more than a batch.
    std::filesystem::create_directory(records + "/next");  // Where the next piece is written.
    return true;
  });
  EXPECT_THAT(std::string(result.why.message()), HasSubstr("next"));
  EXPECT_EQ(result.parking.bytes_written, 0);
  EXPECT_GE(sink.seen.size(), 1U);
  ExpectTheRestLeavesOnce(sink);
}

TEST_F(StreamEngineSpillTest, ADiskThatGivesNothingBackUnderWayLosesNothing) {
  ListSink sink(SinkKind::kQueryableFencing);
  const StreamResult result = RunUntilDiskFails(sink, [&](const std::string&) {
    if (sink.seen.size() < 2) return false;  // The first B: all of A is parked.
    for (const std::string& file : SpilledFiles()) std::filesystem::resize_file(file, 0);
    return true;
  });
  EXPECT_THAT(std::string(result.why.message()), HasSubstr(directory_));
  EXPECT_GE(sink.seen.size(), 2U);
  ExpectTheRestLeavesOnce(sink);
}

TEST_F(StreamEngineTest, RecoverGoesOnWhereTheGateStood) {
  FailedOver({"A1", "A2", "B1", "B2", "A3"});
  ASSERT_TRUE(admin_.SetCursor("g", stream_, At(1, 1)).committed());
  ListSink sink(SinkKind::kBlind);
  const StreamResult result = Run(Options(ReorderMode::kRecover), sink);
  EXPECT_EQ(result.exit_code, ExitCode::kYes) << result.why;
  EXPECT_THAT(sink.seen, ElementsAre("A2=A2", "B2=B2", "A3=A3"));
}

TEST_F(StreamEngineTest, BisectionFindsWhereToBegin) {
  FailedOver({"A1", "B1", "A2", "B2", "A3"});
  ListSink sink(SinkKind::kBlind);
  const StreamResult result = RecoverBehindA2(sink);
  EXPECT_THAT(sink.seen, ElementsAre("B2=B2", "A3=A3"));
  EXPECT_LE(result.counts.duplicates_dropped, 1) << "it read from the start";
}

// Sent are A1 B1 A2. Bisection sees A1 (again) and A2 in the middle and begins there, behind B2.
// That shows at the log's end …
TEST_F(StreamEngineTest, WhereBisectionIsMisledItReadsFromTheStart) {
  FailedOver({"A1", "B1", "B2", "A1", "A2", "A3"});
  ListSink sink(SinkKind::kBlind);
  RecoverBehindA2(sink);
  EXPECT_THAT(sink.seen, ElementsAre("B2=B2", "A3=A3"));
}

// … or as a hole before B3.
TEST_F(StreamEngineTest, AHoleBehindABisectedStartIsNoHole) {
  Open("A", "dead");
  Open("B", "dead");
  Append("A", 1, "{[0,1),[2,3),[4,5)}");
  Append("B", 1, "{[1,2),[3,4),[5,6)}");
  Write(kMirror, {"A1", "B1", "B2", "A1", "A2", "B3", "A3"});
  ASSERT_TRUE(gate_.OpenGate("g", {{kTopic, 0}}, true).committed());
  ASSERT_TRUE(admin_.BeginEpoch({Epoch(1), true, "", "test"}).committed());
  ListSink sink(SinkKind::kBlind);
  RecoverBehindA2(sink, {kMirror});  // Where no other log could have B2.
  EXPECT_THAT(sink.seen, ElementsAre("B2=B2", "A3=A3", "B3=B3"));
}

TEST_F(StreamEngineTest, ALedgerThatIsAwayWhenItReadsFromTheStartIsWaitedFor) {
  class AwayOnce final : public MemoryLedger {
   public:
    using MemoryLedger::MemoryLedger;
    absl::StatusOr<RunMarks> MarksAfter(StreamId stream, std::optional<Position> after) override {
      ++asked;
      if (asked == 2) return absl::UnavailableError("away");  // 1: when it began.
      return MemoryLedger::MarksAfter(stream, after);
    }
    int asked = 0;
  };
  FailedOver({"A1", "B1", "B2", "A1", "A2", "A3"});
  ASSERT_TRUE(admin_.SetCursor("g", stream_, At(1, 2)).committed());
  StreamEngineOptions options = Options(ReorderMode::kRecover);
  options.reader.bisect_records_min = 1;
  AwayOnce ledger(&state_, kAllRules, "gate");
  ListSink sink(SinkKind::kBlind);
  StreamProgress progress;
  const StreamResult result =
      StreamEngine(options, ledger, sink, progress).Run([] { return false; });
  EXPECT_EQ(result.exit_code, ExitCode::kYes) << result.why;
  EXPECT_EQ(ledger.asked, 3);
  EXPECT_THAT(sink.seen, ElementsAre("B2=B2", "A3=A3"));
}

TEST_F(StreamEngineTest, RecoverNamesTheRecordThatTheMirrorLacks) {
  FailedOver({"A1", "B1", "A2", "A3"});
  ListSink sink(SinkKind::kBlind);
  const StreamResult result = Run(Options(ReorderMode::kRecover), sink);
  EXPECT_EQ(result.exit_code, ExitCode::kNo);
  EXPECT_THAT(std::string(result.why.message()), HasSubstr("(B, term 1, seq 2) at 1:3"));
  EXPECT_THAT(sink.seen, ElementsAre("A1=A1", "B1=B1", "A2=A2"));
}

// A1 is followed by B's records, which wait for A2, the log's last: then they come out one a batch.
TEST_F(StreamEngineTest, AStopWhileParkedRecordsComeOutLeavesSomething) {
  Open("A", "dead");
  Open("B", "dead");
  Append("A", 1, "{[0,2)}");
  Append("B", 1, "{[2,6)}");
  Write(kMirror, {"A1"});
  ASSERT_TRUE(gate_.OpenGate("g", {{kTopic, 0}}, true).committed());
  ASSERT_TRUE(admin_.BeginEpoch({Epoch(1), true, "", "test"}).committed());
  StreamEngineOptions options = Options(ReorderMode::kRecover);
  options.until_end = false;
  options.reader.ready_bytes_max = 1;
  ListSink sink(SinkKind::kBlind);
  sink.after_write = [&] {
    if (sink.seen.size() > 1) return;
    Write(kMirror, {"B1", "B2", "B3", "B4", "A2"});
    // The log's end comes with them in one poll, as a slow sink has it; without it the test has it
    // easier.
    std::this_thread::sleep_for(milliseconds(500));
  };
  StreamProgress progress;
  const StreamResult result =
      StreamEngine(options, gate_, sink, progress).Run([&] { return progress.emitted > 1; });
  EXPECT_LT(result.emitted, 6);
  EXPECT_EQ(result.exit_code, ExitCode::kInterrupted) << result.why;
}

// No later record of A shows the hole, and the topic has no end: the new epoch is written already.
TEST_F(StreamEngineTest, RecoverNamesWhatIsMissingWhileOthersKeepComing) {
  FailedOver({"A1", "B1", "A2", "B2"});
  terms_["C"] = Term(1);
  std::atomic<bool> ended{false};
  std::thread others([&] {
    for (int64_t seq = 1; !ended; ++seq) Write(kTopic, {absl::StrCat("C", seq)});
  });
  ListSink sink(SinkKind::kBlind);
  StreamProgress progress;
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  const StreamResult result =
      StreamEngine(Options(ReorderMode::kRecover), gate_, sink, progress).Run([&] {
        return std::chrono::steady_clock::now() >= give_up;
      });
  ended = true;
  others.join();
  EXPECT_EQ(result.exit_code, ExitCode::kNo) << result.why;
  EXPECT_THAT(std::string(result.why.message()), HasSubstr("(A, term 1, seq 3) at 1:4"));
  EXPECT_THAT(sink.seen, ElementsAre("A1=A1", "B1=B1", "A2=A2", "B2=B2"));
}

TEST_F(StreamEngineTest, RecoverReadsOnBehindWhatRetentionRemoved) {
  FailedOver({"A1", "A2", "B1", "B2", "A3"});
  cluster_->FailFetch({RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE});
  ListSink sink(SinkKind::kBlind);
  const StreamResult result = Run(Options(ReorderMode::kRecover), sink);
  EXPECT_EQ(result.exit_code, ExitCode::kYes) << result.why;
  EXPECT_THAT(sink.seen, ElementsAre("A1=A1", "B1=B1", "A2=A2", "B2=B2", "A3=A3"));
}

// The gate has caught up and loses its way to Kafka; producers and ledger go on.
TEST_F(StreamEngineTest, ABrokerThatIsAwayAtTheLogsEndIsNoShorterLog) {
  Open("A", cluster_id_);
  Write(kTopic, {"A1"});
  Append("A", 1, "{[0,1)}");
  StreamEngineOptions options = Options();
  options.until_end = false;
  options.reader.topics = {kTopic};
  ListSink sink(SinkKind::kBlind);
  StreamProgress progress;
  StreamEngine engine(options, gate_, sink, progress);
  enum class Step { kCatchUp, kAway, kBack } step = Step::kCatchUp;
  int idle = 0;
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(90);
  std::chrono::steady_clock::time_point away_until;
  // Asked by the engine's own thread, about every 200 ms while nothing comes.
  const StreamResult result = engine.Run([&] {
    const auto now = std::chrono::steady_clock::now();
    if (now >= give_up) return true;
    switch (step) {
      case Step::kCatchUp:
        if (progress.emitted == 0 || ++idle < 5) break;  // It has seen the log's end.
        cluster_->SetBrokerDown(1);
        Append("A", 2, "{[1,2)}");
        away_until = now + 10 * options.stall_timeout;
        step = Step::kAway;
        break;
      case Step::kAway:
        if (progress.waiting_since_ms == 0 || now < away_until) break;
        cluster_->SetBrokerUp(1);
        producer_ = KafkaProducer::Open({.kafka = options.reader.kafka, .linger_ms = 0}).value();
        Write(kTopic, {"A2"});
        step = Step::kBack;
        break;
      case Step::kBack:
        return sink.seen.size() == 2;
    }
    return false;
  });
  EXPECT_EQ(step, Step::kBack);
  EXPECT_NE(result.exit_code, ExitCode::kRefused) << result.why;
  EXPECT_THAT(sink.seen, ElementsAre("A1=A1", "A2=A2"));
}

TEST_F(StreamEngineTest, RecoverIsRefusedWithoutACursorOrAFailover) {
  ListSink sink(SinkKind::kBlind);
  Open("A", cluster_id_);
  StreamResult result = Run(Options(ReorderMode::kRecover), sink);
  EXPECT_EQ(result.exit_code, ExitCode::kRefused);
  EXPECT_THAT(std::string(result.why.message()), HasSubstr("--mode gate"));
  ASSERT_TRUE(admin_.BeginEpoch({Epoch(1), true, "", "test"}).committed());
  result = Run(Options(ReorderMode::kRecover), sink);
  EXPECT_EQ(result.exit_code, ExitCode::kRefused);
  EXPECT_THAT(std::string(result.why.message()), HasSubstr("group g has no cursor"));
  StreamEngineOptions from_start = Options(ReorderMode::kRecover);
  from_start.from_start = true;
  EXPECT_EQ(Run(from_start, sink).exit_code, ExitCode::kYes);
}

TEST_F(StreamEngineTest, AGateThatWasReplacedStops) {
  Open("A", cluster_id_);
  Write(kTopic, {"A1", "A2"});
  Append("A", 1, "{[0,1)}");
  ListSink sink(SinkKind::kBlind);
  sink.after_write = [&] {
    ASSERT_TRUE(
        MemoryLedger(&state_, kAllRules, "gate").OpenGate("g", {{kTopic, 0}}, false).committed());
    if (sink.seen.size() == 1) Append("A", 2, "{[1,2)}");
  };
  StreamEngineOptions options = Options();
  options.until_end = false;
  const StreamResult result = Run(options, sink);
  EXPECT_EQ(result.exit_code, ExitCode::kRefused);
  EXPECT_THAT(std::string(result.why.message()), HasSubstr("fenced"));
  EXPECT_THAT(sink.seen, ElementsAre("A1=A1"));
}

TEST_F(StreamEngineTest, ANewEpochStopsTheOldGate) {
  Open("A", cluster_id_);
  Write(kTopic, {"A1"});
  Append("A", 1, "{[0,1)}");
  ListSink sink(SinkKind::kBlind);
  sink.after_write = [&] {
    ASSERT_TRUE(admin_.BeginEpoch({Epoch(1), true, "", "test"}).committed());
  };
  StreamEngineOptions options = Options();
  options.until_end = false;
  EXPECT_EQ(Run(options, sink).exit_code, ExitCode::kRefused);
}

TEST_F(StreamEngineTest, DoubtIsHeldWithAListResentOrSkipped) {
  Open("A", cluster_id_);
  Write(kTopic, {"A1", "A2", "A3"});
  Append("A", 1, "{[0,3)}");
  // A gate before us: A1 done, A2 and A3 intended.
  const auto before = gate_.OpenGate("g", {{kTopic, 0}}, true);
  ASSERT_TRUE(before.committed());
  ASSERT_TRUE(gate_.MoveCursor({"g", stream_, before.value.cursors[0].term, At(1, 2), At(1, 0)})
                  .committed());
  const LedgerState state = state_;

  ListSink hold(SinkKind::kBlind);
  const StreamResult held = Run(Options(), hold);
  EXPECT_EQ(held.exit_code, ExitCode::kRefused);
  EXPECT_EQ(held.in_doubt, 2);
  ASSERT_EQ(held.in_doubt_records.size(), 2U);
  EXPECT_EQ(held.in_doubt_records[1].seq, Seq(3));
  EXPECT_EQ(held.in_doubt_records[1].at, "7");
  EXPECT_EQ(held.in_doubt_records[1].key, "k");
  EXPECT_TRUE(hold.seen.empty());

  StreamEngineOptions options = Options();
  options.old_gate_is_dead = true;
  options.in_doubt = InDoubtPolicy::kResend;
  ListSink resend(SinkKind::kBlind);
  EXPECT_EQ(Run(options, resend).exit_code, ExitCode::kYes);
  EXPECT_THAT(resend.seen, ElementsAre("A2=A2?", "A3=A3?"));

  state_ = state;
  options.in_doubt = InDoubtPolicy::kSkip;
  ListSink skip(SinkKind::kBlind);
  EXPECT_EQ(Run(options, skip).exit_code, ExitCode::kYes);
  EXPECT_TRUE(skip.seen.empty());
  EXPECT_EQ(CursorNow().done, At(1, 2));

  state_ = state;
  ListSink asked(SinkKind::kQueryableFencing);
  asked.last = At(1, 1);
  EXPECT_EQ(Run(Options(), asked).exit_code, ExitCode::kYes);
  EXPECT_THAT(asked.seen, ElementsAre("A3=A3"));
}

// ---------------------------------------------------------------- replay

TEST_F(StreamEngineTest, OfLongDoubtTheFirstAndTheLastAreListed) {
  constexpr int64_t kRecords = 1'500;
  Open("A", cluster_id_);
  std::vector<std::string> words;
  for (int64_t seq = 1; seq <= kRecords; ++seq) words.push_back(absl::StrCat("A", seq));
  Write(kTopic, words);
  Append("A", 1, absl::StrCat("{[0,", kRecords, ")}"));
  const auto before = gate_.OpenGate("g", {{kTopic, 0}}, true);
  ASSERT_TRUE(before.committed());
  ASSERT_TRUE(gate_
                  .MoveCursor({"g", stream_, before.value.cursors[0].term, At(1, kRecords - 1),
                               std::nullopt})
                  .committed());
  ListSink hold(SinkKind::kBlind);
  const StreamResult held = Run(Options(), hold);
  EXPECT_EQ(held.in_doubt, kRecords);
  ASSERT_EQ(held.in_doubt_records.size(), 1'000U);
  EXPECT_EQ(held.in_doubt_records.front().seq, Seq(1));
  EXPECT_EQ(held.in_doubt_records.back().seq, Seq(kRecords));
}

TEST_F(StreamEngineTest, ReplayGivesWhatWasSentAgainMarkedAndThenGoesOn) {
  Open("A", cluster_id_);
  Write(kTopic, {"A1", "A2", "A3", "A4"});
  Append("A", 1, "{[0,3)}");
  ListSink first(SinkKind::kBlind);
  ASSERT_EQ(Run(Options(), first).exit_code, ExitCode::kYes);
  Append("A", 4, "{[3,4)}");
  const std::optional<Position> done = CursorNow().done;
  ListSink again(SinkKind::kBlind);
  again.after_write = [&] {  // Replayed ones move no cursor.
    if (again.seen.size() == 3) {
      EXPECT_EQ(CursorNow().intent, done);
    }
  };
  const StreamResult result = Run(Options(ReorderMode::kReplay), again);
  EXPECT_EQ(result.exit_code, ExitCode::kYes) << result.why;
  EXPECT_THAT(again.seen, ElementsAre("A1=A1+", "A2=A2+", "A3=A3+", "A4=A4"));
  EXPECT_EQ(result.replayed, 3);
  EXPECT_EQ(result.emitted, 1);
  EXPECT_EQ(CursorNow().done, At(1, 3));
}

TEST_F(StreamEngineTest, ReplayAfterAFailoverGivesTheDeadSitesOrder) {
  FailedOver({"A1", "A2", "B1", "B2", "A3"});
  ASSERT_TRUE(admin_.SetCursor("g", stream_, At(1, 2)).committed());
  ListSink sink(SinkKind::kBlind);
  const StreamResult result = Run(Options(ReorderMode::kReplay), sink);
  EXPECT_EQ(result.exit_code, ExitCode::kYes) << result.why;
  EXPECT_THAT(sink.seen, ElementsAre("A1=A1+", "B1=B1+", "A2=A2+", "B2=B2", "A3=A3"));
}

TEST_F(StreamEngineTest, AStopEndsTheListingOfWhatIsInDoubtAndNothingIsDecided) {
  constexpr int64_t kRecords = 300;
  Open("A", cluster_id_);
  std::vector<std::string> words;
  for (int64_t seq = 1; seq <= kRecords; ++seq) words.push_back(absl::StrCat("A", seq));
  Write(kTopic, words);
  Append("A", 1, absl::StrCat("{[0,", kRecords, ")}"));
  const auto opened = gate_.OpenGate("g", {{kTopic, 0}}, true);
  MoveCursorRequest move;
  move.group = "g";
  move.stream = stream_;
  move.term = opened.value.cursors.at(0).term;
  move.intent = At(1, kRecords - 1);
  ASSERT_TRUE(gate_.MoveCursor(move).committed());

  for (const InDoubtPolicy policy : {InDoubtPolicy::kHold, InDoubtPolicy::kSkip}) {
    StreamEngineOptions options = Options();
    options.in_doubt = policy;
    options.old_gate_is_dead = true;
    options.reader.batch_records_max = 1;  // The list is long: it takes as many steps as records.
    ListSink sink(SinkKind::kBlind);
    StreamProgress progress;
    int asked = 0;
    const StreamResult result =
        StreamEngine(options, gate_, sink, progress).Run([&] { return ++asked > 3; });
    EXPECT_EQ(result.exit_code, ExitCode::kInterrupted) << result.why;
    EXPECT_FALSE(result.held_in_doubt);
    EXPECT_LT(result.in_doubt, kRecords);
    EXPECT_THAT(sink.seen, IsEmpty());
    EXPECT_EQ(CursorNow().done, std::nullopt);
  }
}

TEST_F(StreamEngineTest, ReplayWithDoubtIsHeldOrResendsWhatIsInDoubtOnly) {
  Open("A", cluster_id_);
  Write(kTopic, {"A1", "A2", "A3"});
  Append("A", 1, "{[0,3)}");
  const auto before = gate_.OpenGate("g", {{kTopic, 0}}, true);
  ASSERT_TRUE(gate_.MoveCursor({"g", stream_, before.value.cursors[0].term, At(1, 1), At(1, 0)})
                  .committed());
  ListSink sink(SinkKind::kBlind);
  StreamEngineOptions options = Options(ReorderMode::kReplay);
  EXPECT_EQ(Run(options, sink).exit_code, ExitCode::kRefused);
  EXPECT_THAT(sink.seen, IsEmpty());
  options.in_doubt = InDoubtPolicy::kResend;
  options.old_gate_is_dead = true;
  EXPECT_EQ(Run(options, sink).exit_code, ExitCode::kYes);
  EXPECT_THAT(sink.seen, ElementsAre("A1=A1+", "A2=A2?", "A3=A3"));
}

TEST_F(StreamEngineTest, ReplayBeginsWhereItIsTold) {
  Open("A", cluster_id_);
  Write(kTopic, {"A1", "A2", "A3"});
  Append("A", 1, "{[0,3)}");
  ListSink first(SinkKind::kBlind);
  ASSERT_EQ(Run(Options(), first).exit_code, ExitCode::kYes);
  StreamEngineOptions options = Options(ReorderMode::kReplay);
  options.replay_from = At(1, 1);
  ListSink sink(SinkKind::kBlind);
  EXPECT_EQ(Run(options, sink).exit_code, ExitCode::kYes);
  EXPECT_THAT(sink.seen, ElementsAre("A2=A2+", "A3=A3+"));
}

TEST_F(StreamEngineTest, AReplayThatWouldNotBeWholeIsRefusedUnlessItIsToldWhereToBegin) {
  FailedOver({"B1", "A2", "B2", "A3"});  // Retention took A1.
  ASSERT_TRUE(admin_.SetCursor("g", stream_, At(1, 3)).committed());
  ListSink sink(SinkKind::kBlind);
  StreamEngineOptions options = Options(ReorderMode::kReplay);
  const StreamResult refused = Run(options, sink);
  EXPECT_EQ(refused.exit_code, ExitCode::kRefused);
  EXPECT_THAT(std::string(refused.why.message()), HasSubstr("replay-is-not-whole"));
  EXPECT_THAT(std::string(refused.why.message()), HasSubstr("(A, term 1, seq 1) at 1:0"));
  EXPECT_THAT(sink.seen, IsEmpty());
  options.replay_from = At(1, 1);
  EXPECT_EQ(Run(options, sink).exit_code, ExitCode::kYes);
  EXPECT_THAT(sink.seen, ElementsAre("B1=B1+", "A2=A2+", "B2=B2+", "A3=A3"));
}

TEST_F(StreamEngineTest, ReplayNeedsACursorAndASinkThatTakesRepeats) {
  Open("A", cluster_id_);
  ListSink blind(SinkKind::kBlind);
  const StreamResult none = Run(Options(ReorderMode::kReplay), blind);
  EXPECT_EQ(none.exit_code, ExitCode::kRefused);
  EXPECT_THAT(std::string(none.why.message()), HasSubstr("--mode gate"));
  ASSERT_TRUE(gate_.OpenGate("g", {{kTopic, 0}}, true).committed());
  ListSink transactional(SinkKind::kTransactional);
  EXPECT_EQ(Run(Options(ReorderMode::kReplay), transactional).exit_code, ExitCode::kRefused);
}

TEST_F(StreamEngineTest, UnknownOutcomesAreAskedAgainUntilKnown) {
  Open("A", cluster_id_);
  Write(kTopic, {"A1"});
  Append("A", 1, "{[0,1)}");
  int calls = 0;
  ListSink sink(SinkKind::kBlind);
  StreamProgress progress;
  gate_.SetFate([&](const PendingCommit& commit) {
    if (commit.call != "MoveCursor" || ++calls > 6) return CommitFate::kDurable;
    EXPECT_TRUE(sink.seen.empty()) << "an effect left before its intent was durable";
    EXPECT_EQ(progress.waiting_since_ms != 0, calls > 1) << "and is said to be waited for";
    return calls % 2 == 0 ? CommitFate::kUnknownApplied : CommitFate::kUnknownNotApplied;
  });
  EXPECT_EQ(StreamEngine(Options(), gate_, sink, progress).Run([] { return false; }).exit_code,
            ExitCode::kYes);
  EXPECT_EQ(progress.waiting_since_ms, 0);
  EXPECT_THAT(sink.seen, ElementsAre("A1=A1"));
}

TEST_F(StreamEngineTest, NothingIsDoneBeforeTheSinkHasSyncedIt) {
  Open("A", cluster_id_);
  Write(kTopic, {"A1", "A2"});
  Append("A", 1, "{[0,2)}");
  ListSink sink(SinkKind::kBlind);
  int64_t checked = 0;
  gate_.SetApplied([&](const LedgerState& state) {
    for (const auto& [key, cursor] : state.cursors) EXPECT_LE(cursor.done, sink.synced) << "I4";
    ++checked;
  });
  EXPECT_EQ(Run(Options(), sink).exit_code, ExitCode::kYes);
  EXPECT_GE(checked, 3);  // Opened, intended, done.
  EXPECT_EQ(CursorNow().done, At(1, 1));

  Write(kTopic, {"A3"});
  Append("A", 3, "{[2,3)}");
  sink.disk = absl::UnavailableError("disk full");
  EXPECT_EQ(Run(Options(), sink).exit_code, ExitCode::kCouldNot);
  EXPECT_EQ(CursorNow().intent, At(1, 2));
  EXPECT_EQ(CursorNow().done, At(1, 1)) << "what was not synced is in doubt";
}

TEST_F(StreamEngineTest, OfABatchThatFailsOnlyWhatTheSinkDoesNotKnowStaysInDoubt) {
  Open("A", cluster_id_);
  Write(kTopic, {"A1", "A2", "A3", "A4"});
  Append("A", 1, "{[0,4)}");
  ListSink dying(SinkKind::kBlind);
  dying.known_done = At(1, 1);
  // The batch with the last record: all four records if the broker was quick.
  dying.after_write = [&] {
    if (dying.last == At(1, 3)) dying.outside = absl::UnavailableError("gone");
  };
  const StreamResult died = Run(Options(), dying);
  EXPECT_EQ(died.exit_code, ExitCode::kCouldNot);
  ASSERT_TRUE(CursorNow().done.has_value());
  const int64_t done = CursorNow().done->offset.value();
  EXPECT_GE(done, 1);
  EXPECT_LT(done, 3);
  EXPECT_EQ(died.emitted, done + 1);
  EXPECT_EQ(CursorNow().intent, At(1, 3));

  StreamEngineOptions again = Options();
  again.in_doubt = InDoubtPolicy::kResend;
  again.old_gate_is_dead = true;
  ListSink sink(SinkKind::kBlind);
  EXPECT_EQ(Run(again, sink).exit_code, ExitCode::kYes);
  if (done == 1) {
    EXPECT_THAT(sink.seen, ElementsAre("A3=A3?", "A4=A4?"));
  } else {
    EXPECT_THAT(sink.seen, ElementsAre("A4=A4?"));
  }
}

TEST_F(StreamEngineTest, ContradictionsStopIt) {
  Open("A", cluster_id_);
  Write(kTopic, {"A1", "A3"});
  Append("A", 1, "{[0,2)}");
  ListSink sink(SinkKind::kBlind);
  const StreamResult result = Run(Options(), sink);
  EXPECT_EQ(result.exit_code, ExitCode::kRefused);
  EXPECT_THAT(std::string(result.why.message()), HasSubstr("inconsistent-offsets"));
}

TEST_F(StreamEngineTest, ALogShorterThanTheLedgerIsNotTheEnd) {
  Open("A", cluster_id_);
  Write(kTopic, {"A1"});
  Append("A", 1, "{[0,2)}");
  ListSink sink(SinkKind::kBlind);
  const StreamResult result = Run(Options(), sink);
  EXPECT_EQ(result.exit_code, ExitCode::kNo);
  EXPECT_THAT(std::string(result.why.message()), HasSubstr("(A, term 1, seq 2) at 1:1"));
}

TEST_F(StreamEngineTest, MalformedAndForeignRecords) {
  Open("A", cluster_id_);
  Write(kTopic, {"x", "A1", "bad"});
  Append("A", 1, "{[1,2)}");
  ListSink sink(SinkKind::kBlind);
  EXPECT_EQ(Run(Options(), sink).exit_code, ExitCode::kRefused);
  StreamEngineOptions pass = Options();
  pass.reader.foreign = ForeignPolicy::kPass;
  pass.until_end = false;
  const StreamResult result = Run(pass, sink);
  EXPECT_EQ(result.exit_code, ExitCode::kCouldNot);
  EXPECT_THAT(std::string(result.why.message()), HasSubstr("record header at offset 2"));
  EXPECT_THAT(sink.seen, ElementsAre("A1=A1"));
}

// Its answer is waited for elsewhere: behind another gate's transaction, say.
class SilentLedger final : public MemoryLedger {
 public:
  using MemoryLedger::MemoryLedger;
  Commit<OpenedGate> OpenGate(const std::string&, const std::vector<StreamName>&,
                              bool /*create*/) override {
    Commit<OpenedGate> unknown;
    unknown.why = absl::DeadlineExceededError("no answer in time");
    return unknown;
  }
};

TEST_F(StreamEngineTest, ACursorThatDoesNotAnswerCouldNotBeReached) {
  SilentLedger silent(&state_, kAllRules, "gate");
  ListSink sink(SinkKind::kBlind);
  StreamProgress progress;
  StreamEngineOptions options = Options();
  options.open_patience = milliseconds(1);
  const StreamResult result =
      StreamEngine(options, silent, sink, progress).Run([] { return false; });
  EXPECT_EQ(result.exit_code, ExitCode::kCouldNot) << result.why;
  EXPECT_TRUE(result.could_not_reach) << "a group's member asks again, the others are busy, too";
}

TEST_F(StreamEngineTest, AStopWhileTheCursorDoesNotAnswerIsAnInterruption) {
  SilentLedger silent(&state_, kAllRules, "gate");
  ListSink sink(SinkKind::kBlind);
  StreamProgress progress;
  int asked = 0;
  const StreamResult result =
      StreamEngine(Options(), silent, sink, progress).Run([&] { return ++asked > 1; });
  EXPECT_EQ(result.exit_code, ExitCode::kInterrupted) << result.why;
  EXPECT_THAT(std::string(result.why.message()), HasSubstr("no answer in time"));
}

// Asked to stop from its first moment on.
TEST_F(StreamEngineTest, AStopAtOnceLeavesNothingIfAllWasSent) {
  Open("A", cluster_id_);
  Write(kTopic, {"A1", "A2", "A3"});
  Append("A", 1, "{[0,2)}");
  ListSink sink(SinkKind::kBlind);
  StreamProgress progress;
  StreamEngineOptions options = Options();
  options.until_end = false;
  options.reader.batch_records_max = 1;
  const auto stopped_at_once = [&] {
    return StreamEngine(options, gate_, sink, progress).Run([] { return true; });
  };
  EXPECT_EQ(stopped_at_once().exit_code, ExitCode::kInterrupted) << "A2 is left";
  EXPECT_THAT(sink.seen, ElementsAre("A1=A1"));
  EXPECT_EQ(stopped_at_once().exit_code, ExitCode::kInterrupted) << "A3 is not settled";
  EXPECT_THAT(sink.seen, ElementsAre("A1=A1", "A2=A2"));
  Append("A", 3, "{[2,3)}");
  EXPECT_EQ(stopped_at_once().exit_code, ExitCode::kYes) << "A3 was the last";
  EXPECT_EQ(stopped_at_once().exit_code, ExitCode::kYes) << "nothing was there to be sent";
  EXPECT_THAT(sink.seen, ElementsAre("A1=A1", "A2=A2", "A3=A3"));
}

TEST_F(StreamEngineTest, AGateOnAnotherClusterIsRefused) {
  Open("A", "elsewhere");
  ListSink sink(SinkKind::kBlind);
  Append("A", 1, "{[0,1)}");
  const StreamResult result = Run(Options(), sink);
  EXPECT_EQ(result.exit_code, ExitCode::kRefused);
  EXPECT_THAT(std::string(result.why.message()), HasSubstr("elsewhere"));
}

}  // namespace
}  // namespace lockstep
