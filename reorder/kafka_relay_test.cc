// One stream into another topic, over an in-process Kafka and the ledger in memory.
#include "reorder/kafka_relay.h"

#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/base/mutex.h"
#include "common/kafka/kafka_admin.h"
#include "common/kafka/kafka_message.h"
#include "common/kafka/kafka_producer.h"
#include "common/kafka/kafka_reader.h"
#include "common/kafka/mock_cluster.h"
#include "common/model/record_header.h"
#include "db-ledger/kafka_sinks.h"
#include "db-ledger/memory_ledger.h"

namespace lockstep {
namespace {

using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::HasSubstr;

// The memory ledger for several threads: one call at a time.
class LockedLedger final : public MemoryLedger {
 public:
  LockedLedger(Mutex& mu, LedgerState& state, const std::string& role)
      : MemoryLedger(&state, kAllRules, role), mu_(&mu) {}
  Commit<OpenedProducer> OpenProducer(const OpenProducerRequest& r) override {
    MutexLock lock(*mu_);
    return MemoryLedger::OpenProducer(r);
  }
  Commit<Moved> CloseEarlierTerms(ProducerId p, const std::vector<TermOnStream>& t) override {
    MutexLock lock(*mu_);
    return MemoryLedger::CloseEarlierTerms(p, t);
  }
  Commit<Appended> Append(const AppendRequest& r) override {
    MutexLock lock(*mu_);
    return MemoryLedger::Append(r);
  }
  Commit<std::vector<StreamId>> Seal(const std::string& p) override {
    MutexLock lock(*mu_);
    return MemoryLedger::Seal(p);
  }
  Commit<OpenedGate> OpenGate(const std::string& g, const std::vector<StreamName>& s,
                              bool create) override {
    MutexLock lock(*mu_);
    return MemoryLedger::OpenGate(g, s, create);
  }
  Commit<Moved> MoveCursor(const MoveCursorRequest& r) override {
    MutexLock lock(*mu_);
    return MemoryLedger::MoveCursor(r);
  }
  Commit<BegunEpoch> BeginEpoch(const BeginEpochRequest& r) override {
    MutexLock lock(*mu_);
    return MemoryLedger::BeginEpoch(r);
  }
  Commit<Moved> SoloOff() override {
    MutexLock lock(*mu_);
    return MemoryLedger::SoloOff();
  }
  Commit<Moved> SetCursor(const std::string& g, StreamId s, std::optional<Position> p) override {
    MutexLock lock(*mu_);
    return MemoryLedger::SetCursor(g, s, p);
  }
  Commit<Moved> RecordStep(const StepInfo& s) override {
    MutexLock lock(*mu_);
    return MemoryLedger::RecordStep(s);
  }
  absl::StatusOr<Now> ReadNow() override {
    MutexLock lock(*mu_);
    return MemoryLedger::ReadNow();
  }
  absl::StatusOr<std::vector<StreamInfo>> FindStreams(const std::string& t) override {
    MutexLock lock(*mu_);
    return MemoryLedger::FindStreams(t);
  }
  absl::StatusOr<std::vector<StreamInfo>> ListStreams() override {
    MutexLock lock(*mu_);
    return MemoryLedger::ListStreams();
  }
  absl::StatusOr<std::vector<ProducerInfo>> ListProducers() override {
    MutexLock lock(*mu_);
    return MemoryLedger::ListProducers();
  }
  absl::StatusOr<StreamPage> ReadStream(const ReadStreamRequest& r) override {
    MutexLock lock(*mu_);
    return MemoryLedger::ReadStream(r);
  }
  absl::StatusOr<RunMarks> MarksAfter(StreamId s, std::optional<Position> a) override {
    MutexLock lock(*mu_);
    return MemoryLedger::MarksAfter(s, a);
  }
  absl::StatusOr<std::vector<LogInfo>> ReadLogs(StreamId s) override {
    MutexLock lock(*mu_);
    return MemoryLedger::ReadLogs(s);
  }
  absl::StatusOr<std::vector<Cursor>> ReadCursors() override {
    MutexLock lock(*mu_);
    return MemoryLedger::ReadCursors();
  }
  absl::StatusOr<std::vector<EpochInfo>> ReadEpochs() override {
    MutexLock lock(*mu_);
    return MemoryLedger::ReadEpochs();
  }
  absl::StatusOr<std::vector<StepInfo>> ReadSteps(Epoch e) override {
    MutexLock lock(*mu_);
    return MemoryLedger::ReadSteps(e);
  }

 private:
  Mutex* const mu_;
};

class KafkaRelayTest : public testing::Test {
 protected:
  static constexpr char kInput[] = "orders";
  static constexpr char kOutput[] = "results";

  void SetUp() override {
    cluster_ = MockCluster::Start().value();
    ASSERT_TRUE(cluster_->CreateTopic(kInput, 1).ok());
    ASSERT_TRUE(cluster_->CreateTopic(kOutput, 1).ok());
    kafka_.brokers = cluster_->brokers();
    producer_ = KafkaProducer::Open({.kafka = kafka_, .linger_ms = 0}).value();
    cluster_id_ = KafkaAdmin::Open(kafka_).value()->ClusterId(milliseconds(10'000)).value();
  }

  std::unique_ptr<Ledger> OpenLedger(const std::string& role = "relay") {
    return std::make_unique<LockedLedger>(mu_, state_, role);
  }
  // A producer opens on the input, whose log is here; what is written and appended is its own.
  void OpenInput(const std::string& cluster_id, const std::string& producer = "A") {
    input_ = producer;
    OpenProducerRequest request;
    request.producer = producer;
    request.source = "jsonl:in";
    request.topic = request.log_topic = kInput;
    request.partition_count = 1;
    request.partitions = {{0, Offset(0)}};
    request.cluster_id = cluster_id;
    const auto opened = OpenLedger(input_)->OpenProducer(request);
    ASSERT_TRUE(opened.committed()) << opened.why;
    id_ = opened.value.producer;
    term_ = opened.value.streams[0].term;
    stream_ = opened.value.streams[0].stream;
    ASSERT_TRUE(OpenLedger(input_)->CloseEarlierTerms(id_, {{stream_, term_}}).committed());
  }
  // A1, A2, … (of producer A) into the input's log; a header `h` each.
  void Write(int64_t first, int64_t last) {
    const auto topic = producer_->Topic(kInput).value();
    for (int64_t seq = first; seq <= last; ++seq) {
      std::string header;
      AppendRecordHeader({term_, Seq(seq), "7", input_}, header);
      const std::string value = absl::StrCat(input_, seq);
      const KafkaHeaderView views[] = {{"h", "x"}, {kRecordHeaderKey, header}};
      KafkaRecordView record;
      record.key = "k";
      record.value = value;
      record.headers = views;
      record.timestamp_ms = 1'700'000'000'000 + seq;
      ASSERT_TRUE(producer_->Produce(topic, record, 0).ok());
    }
    std::vector<DeliveryReport> reports;
    for (int i = 0; i < 100 && producer_->outstanding() > 0; ++i) {
      producer_->Poll(milliseconds(200), reports);
    }
    ASSERT_EQ(producer_->outstanding(), 0);
  }
  // Seqs from `first` on lie at these offsets.
  void Append(int64_t first, const std::string& offsets) {
    RunToAppend run{stream_, term_, {}};
    run.run.producer = id_;
    run.run.term = term_;
    run.run.first_seq = Seq(first);
    run.run.offsets = OffsetRanges::Parse(offsets).value();
    run.run.last_seq = Seq(first + run.run.offsets.count() - 1);
    AppendRequest request;
    request.producer = id_;
    request.runs = {run};
    ASSERT_TRUE(OpenLedger(input_)->Append(request).committed());
  }
  // What the ledger has of the output: `first-last@at_first..at_last`, a run each.
  std::vector<std::string> Ledgered() {
    const auto ledger = OpenLedger();
    std::vector<std::string> runs;
    const std::vector<StreamInfo> streams = ledger->FindStreams(kOutput).value();
    for (const StreamInfo& stream : streams) {
      const StreamPage page = ledger->ReadStream({.stream = stream.id, .after = {}}).value();
      for (const lockstep::Run& run : page.runs) {
        runs.push_back(absl::StrCat(run.first_seq.value(), "-", run.last_seq.value(), "@",
                                    run.at_first, "..", run.at_last));
      }
    }
    return runs;
  }
  // The output's log, `VALUE at PRODUCER/SEQ` each.
  std::vector<std::string> Log() {
    const auto reader = KafkaReader::Open({.kafka = kafka_}).value();
    const StreamName log{kOutput, 0};
    const int64_t count = reader->Offsets(log, milliseconds(10'000)).value().hi_offset.value();
    EXPECT_TRUE(reader->Start(log, Offset(0)).ok());
    std::vector<std::string> records;
    for (int i = 0; i < 100 && static_cast<int64_t>(records.size()) < count; ++i) {
      ReaderBatch batch;
      EXPECT_TRUE(reader->Poll(milliseconds(200), batch).ok());
      for (const KafkaMessage& message : batch.records) {
        const RecordHeader header = ParseRecordHeader(*message.Header(kRecordHeaderKey)).value();
        records.push_back(absl::StrCat(std::string(*message.value()), " ", std::string(header.at),
                                       " ", std::string(header.producer), "/", header.seq.value()));
        EXPECT_EQ(message.key(), "k");
        EXPECT_EQ(message.Header("h"), "x");
        EXPECT_EQ(message.timestamp_ms() - 1'700'000'000'000, header.seq.value());
      }
    }
    return records;
  }

  KafkaRelayOptions Options(ReorderMode mode = ReorderMode::kGate) const {
    KafkaRelayOptions options;
    options.mode = mode;
    options.group = "g";
    options.topic = kOutput;
    options.kafka = kafka_;
    options.source.group = "g";
    options.source.until_end = true;
    options.source.stall_timeout = milliseconds(400);
    options.source.reader.kafka = kafka_;
    options.source.reader.cluster_id = cluster_id_;
    options.source.reader.topics = {kInput};
    options.source.reader.stream = {kInput, 0};
    return options;
  }
  StreamResult Run(
      const KafkaRelayOptions& options,
      const StreamRunner::StopRequested& stop = [] { return false; }) {
    return KafkaRelay(
               options, [this] { return OpenLedger(); }, progress_)
        .Run(stop);
  }
  void Retire(Retirement retirement) {
    const StepInfo step = RetirementStep(RelayProducerName("g", {kInput, 0}), retirement);
    ASSERT_TRUE(OpenLedger("admin")->RecordStep(step).committed());
  }
  void BeginEpoch() {
    const Epoch now = OpenLedger("admin")->ReadNow().value().epoch;
    ASSERT_TRUE(OpenLedger("admin")->BeginEpoch({now, true, "", "test"}).committed());
  }

  std::unique_ptr<MockCluster> cluster_;
  KafkaConfig kafka_;
  std::unique_ptr<KafkaProducer> producer_;
  std::string cluster_id_;
  Mutex mu_;
  LedgerState state_{true};
  StreamProgress progress_;
  std::string input_;  // The input's producer.
  ProducerId id_;
  Term term_;
  StreamId stream_;
};

TEST_F(KafkaRelayTest, WhatIsLedgeredIsWrittenAndLedgeredUnderTheInputsPositions) {
  OpenInput(cluster_id_);
  Write(1, 4);
  Append(1, "{[0,3)}");  // A4 has no row.
  KafkaRelayOptions options = Options();
  options.source.until_end = true;
  const StreamResult result = Run(options);
  EXPECT_EQ(result.exit_code, ExitCode::kYes) << result.why;
  EXPECT_EQ(result.emitted, 3);
  EXPECT_THAT(Log(),
              ElementsAre("A1 1:0 g@orders/0/1", "A2 1:1 g@orders/0/2", "A3 1:2 g@orders/0/3"));
  EXPECT_THAT(Ledgered(), ElementsAre("1-3@1:0..1:2"));

  Append(4, "{[3,4)}");  // Its head is its cursor.
  EXPECT_EQ(Run(options).emitted, 1);
  EXPECT_EQ(Log().size(), 4U);
  EXPECT_THAT(Ledgered(), ElementsAre("1-3@1:0..1:2", "4-4@1:3..1:3"));
  EXPECT_EQ(Run(options).emitted, 0);
}

// A site died. Here B's records lie before A's, there they were behind it: they are parked, on
// disk.
TEST_F(KafkaRelayTest, HowLongItStoodStillForASpillIsSaid) {
  constexpr int64_t kRecords = 2'000;
  OpenInput("dead", "B");
  Write(1, kRecords);
  Append(1, absl::StrCat("{[1,", kRecords + 1, ")}"));
  OpenInput("dead", "A");
  Write(1, 1);
  Append(1, "{[0,1)}");
  BeginEpoch();
  KafkaRelayOptions options = Options(ReorderMode::kRecover);
  options.from_start = true;
  options.source.buffer.kind = BufferOptions::Kind::kSpill;
  options.source.buffer.budget.bytes = 50'000;
  options.source.buffer.spill_directory = absl::StrCat(testing::TempDir(), "relay.", getpid());
  const StreamResult result = Run(options);
  std::filesystem::remove_all(options.source.buffer.spill_directory);
  EXPECT_EQ(result.exit_code, ExitCode::kYes) << result.why;
  EXPECT_EQ(result.emitted, kRecords + 1);
  EXPECT_GT(result.parking.bytes_written, 0);
  EXPECT_GT(result.spill_pause, milliseconds(0));  // The first write opens a database.
}

TEST_F(KafkaRelayTest, AStopEndsAFollowerThatHasDoneAll) {
  OpenInput(cluster_id_);
  Write(1, 3);
  Append(1, "{[0,3)}");
  KafkaRelayOptions options = Options();
  options.source.until_end = false;
  const StreamResult result = Run(options, [this] { return progress_.emitted == 3; });
  EXPECT_EQ(result.exit_code, ExitCode::kYes) << result.why;
  EXPECT_EQ(result.emitted, 3);
  // Again, with nothing to do: it is told what is there at the start, and ends as well.
  const auto ready = [this] { return progress_.ready.load(); };
  EXPECT_EQ(Run(options, ready).exit_code, ExitCode::kYes);
}

TEST_F(KafkaRelayTest, OneThatWaitsForARowSaysSoWhenItIsStopped) {
  OpenInput(cluster_id_);
  Write(1, 2);
  Append(1, "{[0,1)}");
  KafkaRelayOptions options = Options();
  options.source.until_end = false;
  const StreamResult result = Run(
      options, [this] { return progress_.emitted == 1 && progress_.waiting_since_ms.load() != 0; });
  EXPECT_EQ(result.exit_code, ExitCode::kInterrupted) << result.why;
  EXPECT_TRUE(result.waiting);
}

// It is told to stop when it begins to write, and cannot have read all by then.
TEST_F(KafkaRelayTest, OneThatIsStoppedWithABacklogSaysSoAndTheNextStartGoesOnBehindIt) {
  constexpr int64_t kRecords = 50'000;
  OpenInput(cluster_id_);
  Write(1, kRecords);
  Append(1, absl::StrCat("{[0,", kRecords, ")}"));
  KafkaRelayOptions options = Options();
  options.source.until_end = false;
  const StreamResult stopped = Run(options, [this] { return progress_.ready.load(); });
  EXPECT_EQ(stopped.exit_code, ExitCode::kInterrupted) << stopped.why;
  ASSERT_LT(stopped.emitted, kRecords);
  options.source.until_end = true;
  const StreamResult rest = Run(options);
  EXPECT_EQ(rest.exit_code, ExitCode::kYes) << rest.why;
  EXPECT_EQ(stopped.emitted + rest.emitted, kRecords);
  std::vector<std::string> expected;
  for (int64_t i = 0; i < kRecords; ++i) {
    expected.push_back(absl::StrCat("A", i + 1, " 1:", i, " g@orders/0/", i + 1));
  }
  EXPECT_EQ(Log(), expected);
}

TEST_F(KafkaRelayTest, HowMuchIsToBeWrittenIsSaidAtTheStart) {
  OpenInput(cluster_id_);
  Write(1, 4);
  Append(1, "{[0,1)}");
  EXPECT_EQ(Run(Options()).emitted, 1);
  Append(2, "{[1,4)}");
  StreamProgress progress;
  const StreamResult result = KafkaRelay(
                                  Options(), [this] { return OpenLedger(); }, progress)
                                  .Run([] { return false; });
  EXPECT_EQ(result.exit_code, ExitCode::kYes) << result.why;
  EXPECT_EQ(progress.expected, 3);
  EXPECT_EQ(progress.emitted, 3);
}

TEST_F(KafkaRelayTest, WhereARunWouldGoOnIsWhatItsRowsSay) {
  OpenInput(cluster_id_);
  const auto at = [this] { return RelaySentUpTo(*OpenLedger(), "g", {kInput, 0}); };
  EXPECT_TRUE(absl::IsNotFound(at().status()));
  Write(1, 2);
  Append(1, "{[0,2)}");
  EXPECT_EQ(Run(Options()).emitted, 2);
  EXPECT_EQ(at().value(), (Position{Epoch(1), Offset(1)}));
  EXPECT_TRUE(absl::IsNotFound(RelaySentUpTo(*OpenLedger(), "h", {kInput, 0}).status()));
  Retire(Retirement::kRetired);
  EXPECT_TRUE(absl::IsFailedPrecondition(at().status()));
}

TEST_F(KafkaRelayTest, ARetiredOneIsRefusedAndSoIsOneThatIsJustBeingRetired) {
  OpenInput(cluster_id_);
  Write(1, 1);
  Append(1, "{[0,1)}");
  EXPECT_EQ(Run(Options()).emitted, 1);
  for (const Retirement retirement : {Retirement::kRetiring, Retirement::kRetired}) {
    Retire(retirement);
    const StreamResult result = Run(Options());
    EXPECT_EQ(result.exit_code, ExitCode::kRefused);
    EXPECT_THAT(std::string(result.why.message()), HasSubstr("another --group"));
  }
  KafkaRelayOptions another = Options();
  another.group = "h";
  EXPECT_EQ(Run(another).emitted, 1);
}

// As if it had lost its delivery when it was sealed, and taken a new term: only the journal says
// it.
TEST_F(KafkaRelayTest, OneThatRunsThoughItWasRetiredEndsByItself) {
  OpenInput(cluster_id_);
  Write(1, 1);
  Append(1, "{[0,1)}");
  KafkaRelayOptions options = Options();
  options.source.until_end = false;
  bool retired = false;
  const StreamResult result = Run(options, [&] {
    if (progress_.emitted == 1 && !std::exchange(retired, true)) Retire(Retirement::kRetired);
    return false;
  });
  EXPECT_EQ(result.exit_code, ExitCode::kRefused);
  EXPECT_THAT(std::string(result.why.message()), HasSubstr("was retired"));
}

TEST_F(KafkaRelayTest, AStopWhileTheLedgerIsNotToBeHadIsAnInterruption) {
  const auto away = []() -> absl::StatusOr<std::unique_ptr<Ledger>> {
    return absl::UnavailableError("no database");
  };
  for (const bool stop : {true, false}) {
    const StreamResult result = KafkaRelay(Options(), away, progress_).Run([stop] { return stop; });
    EXPECT_EQ(result.exit_code, stop ? ExitCode::kInterrupted : ExitCode::kCouldNot);
    EXPECT_THAT(std::string(result.why.message()), HasSubstr("no database"));
  }
}

TEST_F(KafkaRelayTest, RecoverWantsAHeadOfItsName) {
  OpenInput("dead");
  BeginEpoch();
  StreamResult result = Run(Options(ReorderMode::kRecover));
  EXPECT_EQ(result.exit_code, ExitCode::kRefused);
  EXPECT_THAT(std::string(result.why.message()),
              HasSubstr("has no producer 'g@orders/0' on results"));

  KafkaRelayOptions from_start = Options(ReorderMode::kRecover);
  from_start.from_start = true;
  EXPECT_EQ(Run(from_start).exit_code, ExitCode::kYes);
  EXPECT_EQ(Run(Options(ReorderMode::kRecover)).exit_code, ExitCode::kYes);  // Nothing sent yet.
}

TEST_F(KafkaRelayTest, RecoverIsRefusedInTheFirstEpochAndFromStartWhereSomethingWasSent) {
  OpenInput(cluster_id_);
  Write(1, 1);
  Append(1, "{[0,1)}");
  EXPECT_THAT(std::string(Run(Options(ReorderMode::kRecover)).why.message()),
              HasSubstr("epoch 1 is on"));
  EXPECT_EQ(Run(Options()).emitted, 1);
  KafkaRelayOptions from_start = Options();
  from_start.from_start = true;
  const StreamResult refused = Run(from_start);
  EXPECT_EQ(refused.exit_code, ExitCode::kRefused);
  EXPECT_THAT(std::string(refused.why.message()), HasSubstr("up to 1:0"));
}

TEST_F(KafkaRelayTest, ANewEpochEndsIt) {
  OpenInput(cluster_id_);
  Write(1, 1);
  Append(1, "{[0,1)}");
  KafkaRelayOptions options = Options();
  options.source.until_end = false;
  bool begun = false;
  const StreamResult result = Run(options, [&] {
    if (progress_.emitted == 1 && !std::exchange(begun, true)) BeginEpoch();
    return false;
  });
  EXPECT_EQ(result.exit_code, ExitCode::kRefused);
  EXPECT_TRUE(absl::IsAborted(result.why)) << result.why;  // In a consumer group: opened again.
}

TEST_F(KafkaRelayTest, ARecordThatIsMissingIsNamed) {
  OpenInput("dead");
  Write(1, 2);
  Append(1, "{[0,3)}");  // A3 is in no log here.
  BeginEpoch();
  KafkaRelayOptions options = Options(ReorderMode::kRecover);
  options.from_start = true;
  const StreamResult result = Run(options);
  EXPECT_EQ(result.exit_code, ExitCode::kNo) << result.why;
  EXPECT_THAT(std::string(result.why.message()),
              HasSubstr("(A, term 1, seq 3) at 1:2: in no topic here"));
  EXPECT_EQ(result.emitted, 2);
}

TEST_F(KafkaRelayTest, AGroupThatWroteToAnotherTopicIsRefused) {
  ASSERT_TRUE(cluster_->CreateTopic("elsewhere", 1).ok());
  OpenInput(cluster_id_);
  EXPECT_EQ(Run(Options()).exit_code, ExitCode::kYes);
  KafkaRelayOptions options = Options();
  options.topic = "elsewhere";
  EXPECT_EQ(Run(options).exit_code, ExitCode::kRefused);
}

}  // namespace
}  // namespace lockstep
