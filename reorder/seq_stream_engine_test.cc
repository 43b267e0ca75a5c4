// One stream's engine in per-producer mode against an in-process Kafka and the ledger in memory.
#include "reorder/seq_stream_engine.h"

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/kafka/kafka_admin.h"
#include "common/kafka/kafka_producer.h"
#include "common/kafka/mock_cluster.h"
#include "common/model/record_header.h"
#include "db-ledger/memory_ledger.h"
#include "reorder/parking/fifo_parking.h"
#include "reorder/producer_order_reader.h"

namespace lockstep {
namespace {

using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// Keeps what left, as `A1`, with `?` if it may have been sent before.
class ListSink : public Sink {
 public:
  SinkKind kind() const override { return SinkKind::kBlind; }
  absl::StatusOr<std::optional<Position>> Last() override {
    return absl::UnimplementedError("blind");
  }
  std::optional<Position> KnownDone() const override { return known_done; }
  absl::Status Write(std::span<const ReadyRecord> records) override {
    for (const ReadyRecord& record : records) {
      if (static_cast<int64_t>(seen.size()) == breaks_after) {
        return absl::UnavailableError("broken");
      }
      if (knows_after > static_cast<int64_t>(seen.size())) known_done = record.position;
      seen.push_back(absl::StrCat(std::string(record.producer), record.seq.value(),
                                  record.in_doubt ? "?" : ""));
    }
    if (after_write) after_write();
    return absl::OkStatus();
  }
  absl::Status Sync() override { return absl::OkStatus(); }

  std::vector<std::string> seen;
  std::function<void()> after_write;
  int64_t breaks_after = -1;
  int64_t knows_after = 0;  // So many it knows to be outside.
  std::optional<Position> known_done;
};

// Takes records and cursor together, or neither, as a table in the ledger's database does.
class TransactionalSink final : public ListSink {
 public:
  explicit TransactionalSink(SeqCursors& cursors) : cursors_(&cursors) {}
  SinkKind kind() const override { return SinkKind::kTransactional; }
  absl::StatusOr<std::map<std::string, Seq>> LastSeqs() override { return last; }
  Commit<Moved> WriteWithSeqCursor(std::span<const ReadyRecord> records,
                                   const MoveSeqCursorRequest& move) override {
    if (before_move) before_move();
    const Commit<Moved> moved = cursors_->MoveSeqCursor(move);
    const bool there = moved.committed() || applied_if_unknown;
    for (const ReadyRecord& record : records) {
      Seq& seq = last[std::string(record.producer)];
      if (!there || record.seq <= seq) continue;  // On conflict do nothing.
      seq = record.seq;
      seen.push_back(absl::StrCat(std::string(record.producer), record.seq.value()));
    }
    return moved;
  }

  std::map<std::string, Seq> last;
  std::function<void()> before_move;
  bool applied_if_unknown = false;

 private:
  SeqCursors* const cursors_;
};

// Can be away for some reads, of pages or of the epoch.
class AwayLedger final : public MemoryLedger {
 public:
  using MemoryLedger::MemoryLedger;
  absl::StatusOr<StreamPage> ReadStream(const ReadStreamRequest& request) override {
    if (away_reads == 0) return MemoryLedger::ReadStream(request);
    --away_reads;
    return absl::UnavailableError("away");
  }

  absl::StatusOr<Now> ReadNow() override {
    if (away_asks == 0) return MemoryLedger::ReadNow();
    --away_asks;
    return absl::UnavailableError("away");
  }

  int away_reads = 0;
  int away_asks = 0;
};

// Tells before each page, of which it gives small ones.
class PagedLedger final : public MemoryLedger {
 public:
  PagedLedger(LedgerState* state, std::function<void()> before_page)
      : MemoryLedger(state, kAllRules, "gate"), before_page_(std::move(before_page)) {}
  absl::StatusOr<StreamPage> ReadStream(const ReadStreamRequest& request) override {
    before_page_();
    ReadStreamRequest small = request;
    small.runs_per_producer_max = 1;
    return MemoryLedger::ReadStream(small);
  }

 private:
  const std::function<void()> before_page_;
};

class SeqStreamEngineTest : public testing::Test {
 protected:
  static constexpr char kTopic[] = "orders";

  void SetUp() override {
    auto cluster = MockCluster::Start();
    ASSERT_TRUE(cluster.ok()) << cluster.status();
    cluster_ = std::move(*cluster);
    ASSERT_TRUE(cluster_->CreateTopic(kTopic, 1).ok());
    auto producer =
        KafkaProducer::Open({.kafka = {.brokers = cluster_->brokers()}, .linger_ms = 0});
    ASSERT_TRUE(producer.ok()) << producer.status();
    producer_ = std::move(*producer);
  }
  void Write(const std::vector<std::string>& words) { WriteTo(kTopic, words); }
  void WriteTo(const std::string& topic, const std::vector<std::string>& words) {
    const auto handle = producer_->Topic(topic);
    ASSERT_TRUE(handle.ok());
    for (const std::string& word : words) {
      const std::string name = word.substr(0, 1);
      std::string header;
      AppendRecordHeader({terms_[name], Seq(std::stoll(word.substr(1))), "7", name}, header);
      const KafkaHeaderView view{kRecordHeaderKey, header};
      KafkaRecordView record;
      record.value = word;
      record.headers = {&view, 1};
      ASSERT_TRUE(producer_->Produce(*handle, record, 0).ok());
    }
    std::vector<DeliveryReport> reports;
    for (int i = 0; i < 100 && reports.size() < words.size(); ++i) {
      producer_->Poll(milliseconds(200), reports);
    }
    ASSERT_EQ(reports.size(), words.size());
  }
  void Open(const std::string& name, const std::string& cluster_id = "cluster",
            const std::string& log_topic = kTopic) {
    OpenProducerRequest request{name,       "jsonl:in", kTopic, 1, {{0, Offset(0)}},
                                cluster_id, log_topic};
    const auto opened = writer_.OpenProducer(request);
    ASSERT_TRUE(opened.committed()) << opened.why;
    ids_[name] = opened.value.producer;
    terms_[name] = opened.value.streams[0].term;
    stream_ = opened.value.streams[0].stream;
    ASSERT_TRUE(writer_.CloseEarlierTerms(ids_[name], {{stream_, terms_[name]}}).committed());
  }
  void Append(const std::string& name, int64_t first_seq, const std::string& offsets) {
    AppendRequest request{ids_[name], {}, {}};
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
  StreamEngineOptions Options() const {
    StreamEngineOptions options;
    options.mode = ReorderMode::kPerProducer;
    options.group = "g";
    options.until_end = true;
    options.stall_timeout = milliseconds(400);
    options.listing_patience = milliseconds(400);
    options.reader.kafka.brokers = cluster_->brokers();
    options.reader.topics = {kTopic};
    options.reader.stream = {kTopic, 0};
    return options;
  }
  StreamResult Run(const StreamEngineOptions& options, Sink& sink) {
    return RunOn(gate_, options, sink);
  }
  StreamResult RunOn(
      MemoryLedger& ledger, const StreamEngineOptions& options, Sink& sink,
      const StreamRunner::StopRequested& stop = [] { return false; }) {
    StreamProgress progress;
    return SeqStreamEngine(options, ledger, ledger, sink, progress).Run(stop);
  }
  // As a gate leaves it that was killed before its sink answered.
  void PutInDoubt(const std::map<std::string, int64_t>& intents) {
    const auto opened = gate_.OpenSeqGate("g", {kTopic, 0}, true);
    ASSERT_TRUE(opened.committed()) << opened.why;
    MoveSeqCursorRequest move{"g", stream_, opened.value.cursor.term, {}};
    for (const auto& [name, intent] : intents) {
      move.marks.push_back({ids_[name], Seq(intent), Seq(0)});
    }
    ASSERT_TRUE(gate_.MoveSeqCursor(move).committed());
  }
  // B's next record comes, and the ledger names the one before.
  void BGoesOn() {
    const std::string written = absl::StrCat("B", ++b_written_);
    Write({written});
    if (b_written_ == 1) return;
    const int64_t offset = b_written_ + 100;  // As the ledger says; the order of a log is not read.
    Append("B", b_written_ - 1, absl::StrCat("{[", offset, ",", offset + 1, ")}"));
  }
  std::vector<SeqMark> Marks() { return gate_.ReadSeqCursors().value().at(0).marks; }

  std::unique_ptr<MockCluster> cluster_;
  std::unique_ptr<KafkaProducer> producer_;
  LedgerState state_{true};
  MemoryLedger writer_{&state_, kAllRules, "writer"};
  AwayLedger gate_{&state_, kAllRules, "gate"};
  MemoryLedger admin_{&state_, kAllRules, "admin"};
  std::map<std::string, ProducerId> ids_;
  std::map<std::string, Term> terms_;
  StreamId stream_;
  int64_t b_written_ = 0;
};

TEST_F(SeqStreamEngineTest, AFailoverGoesOnByCountWhateverTheOrderOfTheLog) {
  Open("A");
  Open("B");
  Append("A", 1, "{[0,1),[2,3),[4,5)}");
  Append("B", 1, "{[1,2),[3,4)}");
  Write({"A1", "B1", "A2"});
  ListSink first;
  first.breaks_after = 3;
  EXPECT_EQ(Run(Options(), first).exit_code, ExitCode::kNo) << "A3 and B2 are missing";
  EXPECT_THAT(first.seen, ElementsAre("A1", "B1", "A2"));
  ASSERT_TRUE(admin_.BeginEpoch({Epoch(1), true, "", "test"}).committed());
  Write({"A1", "A2", "A3", "B1", "B2"});  // Re-injected, in no order but their own.
  ListSink second;
  const StreamResult result = Run(Options(), second);
  EXPECT_EQ(result.exit_code, ExitCode::kYes) << result.why;
  EXPECT_THAT(second.seen, ElementsAre("A3", "B2"));
  EXPECT_THAT(Marks(),
              ElementsAre(SeqMark{ids_["A"], Seq(3), Seq(3)}, SeqMark{ids_["B"], Seq(2), Seq(2)}));
  EXPECT_EQ(Run(Options(), second).emitted, 0);
}

TEST_F(SeqStreamEngineTest, ReadingBeginsAtTheLowestOffsetThatAnyProducerWants) {
  Open("A");
  Open("B");
  Append("A", 1, "{[0,3)}");
  Append("B", 1, "{[3,4)}");
  Append("A", 4, "{[4,6)}");
  Write({"A1", "A2", "A3", "B1", "A4", "A5"});
  ListSink sink;
  StreamEngineOptions options = Options();
  options.reader.cluster_id = "cluster";
  ASSERT_EQ(Run(options, sink).exit_code, ExitCode::kYes);
  // B's next lies above its last, which is at 3; A's above 5.
  StreamResult result = Run(options, sink);
  EXPECT_EQ(result.exit_code, ExitCode::kYes) << result.why;
  EXPECT_EQ(result.emitted, 0);
  EXPECT_LE(result.counts.duplicates_dropped, 2) << "A4 and A5, and nothing before";
  Append("B", 2, "{[6,7)}");
  Write({"B2"});
  EXPECT_EQ(Run(options, sink).exit_code, ExitCode::kYes);
  EXPECT_EQ(sink.seen.back(), "B2");
  ASSERT_TRUE(admin_.BeginEpoch({Epoch(1), true, "", "test"}).committed());
  // What was not sent of an earlier epoch may lie anywhere.
  ASSERT_TRUE(admin_.SetSeqCursor("g", stream_, ids_["A"], Seq(2)).committed());
  ListSink again;
  result = Run(options, again);
  EXPECT_EQ(result.exit_code, ExitCode::kYes) << result.why;
  EXPECT_THAT(again.seen, ElementsAre("A3", "A4", "A5"));
  // And of the new one from its log's beginning.
  Open("A");
  Append("A", 6, "{[7,8)}");
  Write({"A6"});
  result = Run(options, again);
  EXPECT_EQ(result.exit_code, ExitCode::kYes) << result.why;
  EXPECT_EQ(again.seen.back(), "A6");
}

TEST_F(SeqStreamEngineTest, ANewProducerIsKnownOnceTheLedgerIsBack) {
  Open("A");
  Append("A", 1, "{[0,1)}");
  Write({"A1"});
  ListSink sink;
  sink.after_write = [&] {
    sink.after_write = nullptr;
    Open("B");
    Append("B", 1, "{[1,2)}");
    Write({"B1"});
    gate_.away_reads = 2;
  };
  StreamEngineOptions options = Options();
  options.until_end = false;
  StreamProgress progress;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  const StreamResult result = SeqStreamEngine(options, gate_, gate_, sink, progress).Run([&] {
    return sink.seen.size() == 2 || std::chrono::steady_clock::now() > deadline;
  });
  EXPECT_THAT(sink.seen, ElementsAre("A1", "B1")) << result.why;
  EXPECT_EQ(gate_.away_reads, 0);
  EXPECT_EQ(result.counts.void_dropped, 0);
}

// A failover begins the epoch before it makes the topics.
TEST_F(SeqStreamEngineTest, TheEpochsLogIsReadThoughItsTopicIsMadeAfterTheStart) {
  Open("A");
  Append("A", 1, "{[0,1)}");
  Write({"A1"});
  ASSERT_TRUE(admin_.BeginEpoch({Epoch(1), true, "", "test"}).committed());
  ListSink sink;
  StreamEngineOptions options = Options();
  options.from_start = true;
  options.until_end = false;
  options.reader.cluster_id = "standby";
  StreamProgress progress;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  bool made = false;
  const StreamResult result = SeqStreamEngine(options, gate_, gate_, sink, progress).Run([&] {
    if (!made && progress.emitted == 1) {
      made = true;
      EXPECT_TRUE(cluster_->CreateTopic("later", 1).ok());
      Open("A", "standby", "later");
      Append("A", 2, "{[0,1)}");
      WriteTo("later", {"A2"});
    }
    return sink.seen.size() == 2 || std::chrono::steady_clock::now() > deadline;
  });
  EXPECT_THAT(sink.seen, ElementsAre("A1", "A2")) << result.why;
}

TEST_F(SeqStreamEngineTest, AHoleOfOneProducerIsNamedAndTheOthersGoOn) {
  Open("A");
  Open("B");
  Append("A", 1, "{[0,1),[3,5)}");
  Append("B", 1, "{[1,3)}");
  Write({"A1", "B2", "A2", "A3"});
  ListSink sink;
  const StreamResult result = Run(Options(), sink);
  EXPECT_EQ(result.exit_code, ExitCode::kNo);
  EXPECT_THAT(std::string(result.why.message()), HasSubstr("(B, term 1, seq 1) at 1:1"));
  EXPECT_THAT(sink.seen, ElementsAre("A1", "A2", "A3"));
}

TEST_F(SeqStreamEngineTest, ALogThatLacksItsEndIsRefusedAndNotWaitedFor) {
  Open("A");
  Append("A", 1, "{[0,1)}");
  Append("A", 2, "{[7,8)}");
  Write({"A1"});
  ListSink sink;
  StreamEngineOptions options = Options();
  options.reader.cluster_id = "cluster";
  options.until_end = false;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  const auto late = [&] { return std::chrono::steady_clock::now() > deadline; };
  StreamResult result = RunOn(gate_, options, sink, late);
  EXPECT_EQ(result.exit_code, ExitCode::kRefused);
  EXPECT_THAT(std::string(result.why.message()), HasSubstr("inconsistent-offsets"));
  EXPECT_THAT(std::string(result.why.message()),
              HasSubstr("(A, term 1, seq 2) at 1:7: in the ledger, above the end of the log"));
  // And one that lacks what was sent, when it is opened.
  Write({"A2"});
  options.reader.cluster_id = "";
  options.until_end = true;
  ASSERT_EQ(Run(options, sink).exit_code, ExitCode::kYes);
  options.reader.cluster_id = "cluster";
  result = Run(options, sink);
  EXPECT_EQ(result.exit_code, ExitCode::kRefused);
  EXPECT_THAT(std::string(result.why.message()),
              HasSubstr("offset 7 was sent before, the log ends at 2 now"));
}

TEST_F(SeqStreamEngineTest, WhatASinkThatBrokeMayHaveSentIsListedAndHeld) {
  Open("A");
  Append("A", 1, "{[0,3)}");
  Write({"A1", "A2", "A3"});
  ListSink broken;
  broken.breaks_after = 1;
  EXPECT_EQ(Run(Options(), broken).exit_code, ExitCode::kCouldNot);
  // The first batch: what had arrived, three records if the broker was quick.
  ASSERT_THAT(Marks(), testing::SizeIs(1));
  const SeqMark mark = Marks()[0];
  EXPECT_EQ(mark.done, Seq(0));
  const int64_t batch = mark.intent.value();
  ListSink held;
  const StreamResult result = Run(Options(), held);
  EXPECT_EQ(result.exit_code, ExitCode::kRefused);
  EXPECT_TRUE(result.held_in_doubt);
  EXPECT_EQ(static_cast<int64_t>(result.in_doubt_records.size()), batch);
  EXPECT_THAT(held.seen, IsEmpty());
  StreamEngineOptions resend = Options();
  resend.in_doubt = InDoubtPolicy::kResend;
  resend.old_gate_is_dead = true;
  ListSink again;
  EXPECT_EQ(Run(resend, again).exit_code, ExitCode::kYes);
  EXPECT_THAT(again.seen, ElementsAre("A1?", batch > 1 ? "A2?" : "A2", batch > 2 ? "A3?" : "A3"));
}

TEST_F(SeqStreamEngineTest, UnknownOutcomesAreAskedAgainAndNothingLeavesBefore) {
  Open("A");
  Append("A", 1, "{[0,1)}");
  Write({"A1"});
  int calls = 0;
  ListSink sink;
  gate_.SetFate([&](const PendingCommit& commit) {
    if (commit.call != "MoveSeqCursor" || ++calls > 6) return CommitFate::kDurable;
    EXPECT_THAT(sink.seen, IsEmpty()) << "an effect left before its intent was durable";
    return calls % 2 == 0 ? CommitFate::kUnknownApplied : CommitFate::kUnknownNotApplied;
  });
  EXPECT_EQ(Run(Options(), sink).exit_code, ExitCode::kYes);
  EXPECT_THAT(sink.seen, ElementsAre("A1"));
}

TEST_F(SeqStreamEngineTest, WhatASinkThatBrokeKnowsToBeOutsideIsNotInDoubt) {
  Open("A");
  Open("B");
  Append("A", 1, "{[0,2)}");
  Append("B", 1, "{[2,4)}");
  Write({"A1", "A2", "B1", "B2"});
  ListSink broken;
  StreamEngineOptions options = Options();
  options.reader.batch_records_max = 1'000;
  broken.breaks_after = 3;
  broken.knows_after = 3;
  EXPECT_EQ(Run(options, broken).exit_code, ExitCode::kCouldNot);
  ListSink rest;
  const StreamResult held = Run(options, rest);
  EXPECT_EQ(held.exit_code, ExitCode::kRefused);
  ASSERT_THAT(held.in_doubt_records, testing::SizeIs(1));
  EXPECT_EQ(held.in_doubt_records[0].producer, "B");
  EXPECT_EQ(held.in_doubt_records[0].seq, Seq(2));
}

TEST_F(SeqStreamEngineTest, ATransactionalSinkIsNeverInDoubtWhateverTheCommitAnswers) {
  Open("A");
  Open("B");
  Append("A", 1, "{[0,1),[2,3)}");
  Append("B", 1, "{[1,2)}");
  Write({"A1", "B1", "A2"});
  int calls = 0;
  TransactionalSink sink(gate_);
  gate_.SetFate([&](const PendingCommit& commit) {
    if (commit.call != "MoveSeqCursor" || ++calls > 4) return CommitFate::kDurable;
    sink.applied_if_unknown = calls % 2 == 0;
    return calls % 2 == 0 ? CommitFate::kUnknownApplied : CommitFate::kUnknownNotApplied;
  });
  const StreamResult result = Run(Options(), sink);
  EXPECT_EQ(result.exit_code, ExitCode::kYes) << result.why;
  EXPECT_THAT(sink.seen, ElementsAre("A1", "B1", "A2"));
  EXPECT_THAT(Marks(),
              ElementsAre(SeqMark{ids_["A"], Seq(2), Seq(2)}, SeqMark{ids_["B"], Seq(1), Seq(1)}));
  Append("B", 2, "{[3,4)}");
  Write({"B2"});
  EXPECT_EQ(Run(Options(), sink).exit_code, ExitCode::kYes);
  EXPECT_THAT(sink.seen, ElementsAre("A1", "B1", "A2", "B2"));
}

TEST_F(SeqStreamEngineTest, ASinkThatIsNotTheOutsideOfTheCursorIsRefused) {
  Open("A");
  Append("A", 1, "{[0,2)}");
  Write({"A1", "A2"});
  TransactionalSink sink(gate_);
  ASSERT_EQ(Run(Options(), sink).exit_code, ExitCode::kYes);
  for (const auto& [producer, seq] : {std::pair("A", 3), {"Z", 1}}) {
    TransactionalSink other(gate_);
    other.last = {{"A", Seq(2)}};
    other.last[producer] = Seq(seq);
    const StreamResult result = Run(Options(), other);
    EXPECT_EQ(result.exit_code, ExitCode::kRefused) << producer << seq;
    EXPECT_THAT(std::string(result.why.message()), HasSubstr("sink-is-not-the-outside"));
  }
  TransactionalSink emptied(gate_);  // By its reader, which may.
  emptied.last = {{"A", Seq(1)}};
  EXPECT_EQ(Run(Options(), emptied).exit_code, ExitCode::kYes);
}

TEST_F(SeqStreamEngineTest, AGateThatWasReplacedStopsAndSendsNothing) {
  Open("A");
  Append("A", 1, "{[0,1)}");
  Write({"A1"});
  TransactionalSink sink(gate_);
  sink.before_move = [&] { ASSERT_TRUE(gate_.OpenSeqGate("g", {kTopic, 0}, false).committed()); };
  StreamResult result = Run(Options(), sink);
  EXPECT_EQ(result.exit_code, ExitCode::kRefused);
  EXPECT_THAT(std::string(result.why.message()), HasSubstr("fenced"));
  EXPECT_FALSE(result.epoch_is_over);
  EXPECT_EQ(result.emitted, 0);
  EXPECT_THAT(sink.seen, IsEmpty());

  // A blind one, replaced between its opening and its first intent.
  class Replacing final : public ListSink {
   public:
    explicit Replacing(SeqCursors& cursors) : cursors_(&cursors) {}
    SinkKind kind() const override {
      if (!replaced_) replaced_ = cursors_->OpenSeqGate("g", {kTopic, 0}, false).committed();
      return SinkKind::kBlind;
    }

   private:
    SeqCursors* const cursors_;
    mutable bool replaced_ = false;
  } blind(gate_);
  result = Run(Options(), blind);
  EXPECT_THAT(std::string(result.why.message()), HasSubstr("fenced"));
  EXPECT_EQ(result.exit_code, ExitCode::kRefused);
  EXPECT_THAT(blind.seen, IsEmpty());
}

TEST_F(SeqStreamEngineTest, AGroupThatKeepsPositionsOrHasNoCursorAfterAFailoverIsRefused) {
  Open("A");
  ASSERT_TRUE(gate_.OpenGate("g", {{kTopic, 0}}, true).committed());
  ListSink sink;
  StreamResult result = Run(Options(), sink);
  EXPECT_THAT(std::string(result.why.message()), HasSubstr("keeps a position"));
  EXPECT_NE(result.exit_code, ExitCode::kYes);
  ASSERT_TRUE(admin_.BeginEpoch({Epoch(1), true, "", "test"}).committed());
  StreamEngineOptions options = Options();
  options.group = "other";
  result = Run(options, sink);
  EXPECT_EQ(result.exit_code, ExitCode::kRefused);
  EXPECT_THAT(std::string(result.why.message()), HasSubstr("--from start"));
  options.from_start = true;
  EXPECT_EQ(Run(options, sink).exit_code, ExitCode::kYes);
}

TEST_F(SeqStreamEngineTest, ALedgerThatIsAwayWhenTheGateOpensIsAskedAgain) {
  Open("A");
  Append("A", 1, "{[0,1)}");
  Write({"A1"});
  gate_.away_asks = 2;
  ListSink sink;
  const StreamResult result = Run(Options(), sink);
  EXPECT_EQ(result.exit_code, ExitCode::kYes) << result.why;
  EXPECT_THAT(sink.seen, ElementsAre("A1"));
}

// As the member of a group does every 15 s.
TEST_F(SeqStreamEngineTest, DoubtThatIsHeldIsListedAgainOnlyOnceTheCursorHasMoved) {
  Open("A");
  Append("A", 1, "{[0,3)}");
  Write({"A1", "A2", "A3"});
  PutInDoubt({{"A", 3}});
  ListSink sink;
  StreamProgress progress;
  StreamResult all;
  const auto reopen = [&] {
    const StreamResult result =
        SeqStreamEngine(Options(), gate_, gate_, sink, progress).Run([] { return false; });
    all.Add(result);
    progress.EndOfStream();
    return result;
  };
  EXPECT_THAT(reopen().in_doubt_records, testing::SizeIs(3));
  const Term term = gate_.ReadSeqCursors()->at(0).term;
  for (int i = 0; i < 3; ++i) {
    const StreamResult again = reopen();
    EXPECT_EQ(again.exit_code, ExitCode::kRefused);
    EXPECT_TRUE(again.held_in_doubt);
    EXPECT_THAT(std::string(again.why.message()), HasSubstr("in-doubt"));
    EXPECT_THAT(again.in_doubt_records, IsEmpty());
  }
  EXPECT_EQ(gate_.ReadSeqCursors()->at(0).term, term) << "no term is taken for nothing";
  EXPECT_EQ(all.in_doubt, 3);
  EXPECT_THAT(all.in_doubt_records, testing::SizeIs(3));
  ASSERT_TRUE(admin_.SetSeqCursor("g", stream_, ids_["A"], Seq(1)).committed());
  EXPECT_EQ(reopen().exit_code, ExitCode::kYes);
  EXPECT_THAT(sink.seen, ElementsAre("A2", "A3"));
  EXPECT_EQ(all.in_doubt, 3);
}

TEST_F(SeqStreamEngineTest, WhatIsInDoubtIsListedHoweverLongTheReadingTakes) {
  constexpr int kRuns = 12;
  Open("A");
  for (int64_t seq = 1; seq <= kRuns; ++seq) {
    Append("A", seq, absl::StrCat("{[", 2 * seq, ",", 2 * seq + 1, ")}"));
    Write({absl::StrCat("A", seq)});
  }
  PutInDoubt({{"A", kRuns}});
  PagedLedger slow(&state_, [] { std::this_thread::sleep_for(milliseconds(100)); });
  ListSink sink;
  const StreamEngineOptions options = Options();
  ASSERT_LT(options.listing_patience, kRuns * milliseconds(100));
  const StreamResult result = RunOn(slow, options, sink);
  EXPECT_EQ(result.exit_code, ExitCode::kRefused) << result.why;
  EXPECT_THAT(result.in_doubt_records, testing::SizeIs(kRuns));
}

TEST_F(SeqStreamEngineTest, WhatIsInDoubtAndGoneEndsTheListingThoughOthersGoOn) {
  Open("A");
  Open("B");
  Append("A", 1, "{[0,1)}");
  BGoesOn();
  PutInDoubt({{"A", 1}, {"B", 1}});
  const auto dry_at = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  bool dry = false;
  PagedLedger flows(&state_, [&] {
    dry = std::chrono::steady_clock::now() >= dry_at;
    if (!dry) BGoesOn();
  });
  ListSink sink;
  const StreamResult result = RunOn(flows, Options(), sink);
  EXPECT_FALSE(dry) << "the listing waited until B sent no more";
  EXPECT_EQ(result.exit_code, ExitCode::kRefused) << result.why;
  ASSERT_THAT(result.in_doubt_records, testing::SizeIs(1));
  EXPECT_EQ(result.in_doubt_records[0].producer, "B");
}

TEST_F(SeqStreamEngineTest, AStopEndsTheListingAndNothingIsSkipped) {
  Open("A");
  Open("B");
  Append("A", 1, "{[0,1)}");
  PutInDoubt({{"A", 1}});
  int pages = 0;
  PagedLedger flows(&state_, [&] {
    ++pages;
    if (pages < 500) BGoesOn();
  });
  StreamEngineOptions options = Options();
  options.until_end = false;
  options.listing_patience = std::chrono::seconds(30);
  options.in_doubt = InDoubtPolicy::kSkip;
  options.old_gate_is_dead = true;
  ListSink sink;
  const StreamResult result = RunOn(flows, options, sink, [&] { return pages >= 3; });
  EXPECT_EQ(result.exit_code, ExitCode::kInterrupted) << result.why;
  EXPECT_LT(pages, 500);
  EXPECT_THAT(sink.seen, IsEmpty());
  EXPECT_THAT(Marks(), ElementsAre(SeqMark{ids_["A"], Seq(1), Seq(0)}));
}

// Says when it was asked for pages.
class TimedLedger final : public MemoryLedger {
 public:
  using MemoryLedger::MemoryLedger;
  absl::StatusOr<StreamPage> ReadStream(const ReadStreamRequest& request) override {
    asked.push_back(std::chrono::steady_clock::now());
    return MemoryLedger::ReadStream(request);
  }

  std::vector<std::chrono::steady_clock::time_point> asked;
};

class ProducerOrderReaderTest : public SeqStreamEngineTest {
 protected:
  // One record at a time.
  std::unique_ptr<ProducerOrderReader> OpenReader() { return OpenReaderOn(gate_); }
  std::unique_ptr<ProducerOrderReader> OpenReaderOn(MemoryLedger& ledger) {
    StreamReaderOptions options = Options().reader;
    options.stream_id = stream_;
    options.epoch = Epoch(1);
    options.cluster_id = cluster_id_;
    options.batch_records_max = 1;
    auto reader = ProducerOrderReader::Open(options, {}, ledger, ledger, parking_);
    EXPECT_TRUE(reader.ok()) << reader.status();
    return *std::move(reader);
  }
  // The next record, as `A1`; empty if none comes before `until` holds.
  std::string Next(ProducerOrderReader& reader, const std::function<bool()>& until = {}) {
    for (int i = 0; i < 100 && !(until && until()); ++i) {
      std::vector<ReadyRecord> records;
      const absl::Status read = reader.Next(records, milliseconds(200));
      EXPECT_TRUE(read.ok()) << read;
      if (!records.empty()) {
        return absl::StrCat(std::string(records[0].producer), records[0].seq.value());
      }
    }
    return "";
  }

  FifoParking parking_;
  std::string cluster_id_;
};

TEST_F(ProducerOrderReaderTest, WhatWentOutIsNotWaitedForThoughOthersKeepComing) {
  Open("A");
  Open("B");
  Append("A", 1, "{[0,2)}");
  Append("B", 1, "{[2,5)}");
  Write({"A1"});
  const auto reader = OpenReader();
  EXPECT_EQ(Next(*reader), "A1");
  EXPECT_EQ(Next(*reader, [&] { return reader->waiting().has_value(); }), "");
  ASSERT_TRUE(reader->waiting().has_value());
  EXPECT_EQ(reader->waiting()->what, Waiting::For::kFrozenRecord);
  ASSERT_EQ(reader->waiting()->producer, "A");
  Write({"B1", "A2", "B2", "B3"});
  EXPECT_EQ(Next(*reader), "B1");
  EXPECT_TRUE(reader->waiting().has_value()) << "A2 has not come";
  EXPECT_EQ(Next(*reader), "A2");
  EXPECT_FALSE(reader->waiting().has_value()) << reader->waiting()->Describe();
}

TEST_F(ProducerOrderReaderTest, WhatTheLedgerSettledIsNotWaitedForThoughOthersKeepComing) {
  Open("A");
  Open("B");
  Append("B", 1, "{[1,3)}");
  Write({"A1"});
  const auto reader = OpenReader();
  const auto waits_for_a = [&] {
    return reader->waiting().has_value() && reader->waiting()->what == Waiting::For::kLedgerRow;
  };
  Append("B", 3, "{[3,4)}");
  Write({"B1", "B2", "B3"});
  EXPECT_EQ(Next(*reader), "B1");
  EXPECT_EQ(Next(*reader), "B2");
  EXPECT_EQ(Next(*reader), "B3");
  EXPECT_EQ(Next(*reader, waits_for_a), "");
  ASSERT_TRUE(waits_for_a());
  Open("A");  // What it wrote in its first term is void.
  Append("B", 4, "{[4,6)}");
  Write({"B4", "B5"});
  EXPECT_EQ(Next(*reader), "B4");
  EXPECT_FALSE(waits_for_a()) << reader->waiting()->Describe();
}

TEST_F(ProducerOrderReaderTest, WhereARecordLiesThatNoRowNamesIsSaidInTheEpochsLogOnly) {
  Open("A");
  Write({"A1"});
  cluster_id_ = "cluster";
  const auto here = OpenReader();
  EXPECT_EQ(Next(*here, [&] { return here->waiting().has_value(); }), "");
  EXPECT_EQ(here->waiting()->Describe(),
            "(A, term 1, seq 1) at 1:0: in the log, not settled by the ledger");
  cluster_id_ = "standby";
  parking_.Clear();
  const auto elsewhere = OpenReader();
  EXPECT_EQ(Next(*elsewhere, [&] { return elsewhere->waiting().has_value(); }), "");
  EXPECT_EQ(elsewhere->waiting()->Describe(),
            "(A, term 1, seq 1): in the log, not settled by the ledger");
}

// However long it had to wait before, a row comes a moment after its record.
TEST_F(ProducerOrderReaderTest, ANewRecordsRowIsAskedForAtOnceAndThenLessOften) {
  Open("A");
  TimedLedger ledger(&state_, kAllRules, "gate");
  const auto reader = OpenReaderOn(ledger);
  Write({"A1"});
  EXPECT_EQ(Next(*reader, [&] { return ledger.asked.size() >= 12; }), "");  // Pauses are long now.
  Open("A");  // A1 is void: nothing comes out.
  EXPECT_EQ(Next(*reader, [&] { return reader->order().unsettled() == 0; }), "");
  const size_t before = ledger.asked.size();
  Write({"A2"});
  EXPECT_EQ(Next(*reader, [&] { return ledger.asked.size() >= before + 8; }), "");
  ASSERT_GE(ledger.asked.size(), before + 8);
  auto shortest = milliseconds::max();
  for (size_t i = before + 1; i < ledger.asked.size(); ++i) {
    shortest = std::min(
        shortest, std::chrono::duration_cast<milliseconds>(ledger.asked[i] - ledger.asked[i - 1]));
  }
  EXPECT_LT(shortest, milliseconds(25));
}

TEST_F(ProducerOrderReaderTest, TheLedgerIsReadAsRecordsCome) {
  class CountingLedger final : public MemoryLedger {
   public:
    using MemoryLedger::MemoryLedger;
    absl::StatusOr<StreamPage> ReadStream(const ReadStreamRequest& request) override {
      auto page = MemoryLedger::ReadStream(request);
      if (page.ok()) runs_read += static_cast<int64_t>(page->runs.size());
      return page;
    }
    int64_t runs_read = 0;
  } ledger(&state_, kAllRules, "gate");
  constexpr int64_t kRuns = 400;
  Open("A");
  Open("B");
  std::vector<std::string> written;
  for (int64_t seq = 1; seq <= kRuns; ++seq) {
    Append("A", seq, absl::StrCat("{[", 2 * seq, ",", 2 * seq + 1, ")}"));
    Append("B", seq, absl::StrCat("{[", 2 * seq + 1, ",", 2 * seq + 2, ")}"));
    written.insert(written.end(), {absl::StrCat("A", seq), absl::StrCat("B", seq)});
  }
  Write(written);
  const auto reader = OpenReaderOn(ledger);
  int64_t given = 0;
  for (; Next(*reader) != ""; ++given) {
    ASSERT_LE(reader->order().runs_at_hand(), 2 * 256 * 3 / 2);  // Pages are of 4, 32, 256 runs.
    if (given == 0) {
      EXPECT_LE(ledger.runs_read, 2 * PageSize::kFirstRuns);
    }
    if (given == 2 * kRuns - 1) break;
  }
  EXPECT_EQ(given, 2 * kRuns - 1);
  EXPECT_EQ(ledger.runs_read, 2 * kRuns);
}

TEST_F(ProducerOrderReaderTest, WhatWasThereIsReadThoughMoreKeepsComing) {
  Open("B");
  Append("B", 1, "{[0,9)}");
  Write({"B1", "B2"});
  const auto reader = OpenReader();
  EXPECT_FALSE(reader->read_what_was_there());
  EXPECT_EQ(Next(*reader), "B1");
  EXPECT_FALSE(reader->read_what_was_there());
  Write({"B3", "B4", "B5"});
  EXPECT_EQ(Next(*reader), "B2");
  EXPECT_TRUE(reader->read_what_was_there());
  EXPECT_EQ(Next(*reader), "B3");
  EXPECT_TRUE(reader->read_what_was_there());
}

}  // namespace
}  // namespace lockstep
