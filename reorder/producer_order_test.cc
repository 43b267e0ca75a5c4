#include "reorder/producer_order.h"

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "reorder/history_fixture.h"
#include "reorder/parking/fifo_parking.h"
#include "reorder/seq_gate.h"

namespace lockstep {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// ---------------------------------------------------------------- by hand

// One topic; words are `A1` (producer A, seq 1, A's term now) or `x` (foreign).
class ProducerOrderTest : public testing::Test {
 protected:
  void Open(const std::string& name, int64_t term) {
    for (Head& head : page_.heads) {
      if (head.name == name) head.term = head.closed = Term(term);
      if (head.name == name) return;
    }
    Head head;
    head.producer = ProducerId(static_cast<int32_t>(page_.heads.size()) + 1);
    head.name = name;
    head.term = head.closed = Term(term);
    page_.heads.push_back(head);
  }
  Head& HeadOf(const std::string& name) {
    return *std::find_if(page_.heads.begin(), page_.heads.end(),
                         [&](const Head& head) { return head.name == name; });
  }
  void Ledger(const std::string& name, int64_t first, const char* offsets) {
    Head& head = HeadOf(name);
    lockstep::Run run;
    run.producer = head.producer;
    run.epoch = Epoch(1);
    run.term = head.term;
    run.first_seq = Seq(first);
    run.offsets = OffsetRanges::Parse(offsets).value();
    run.last_seq = Seq(first + run.offsets.count() - 1);
    head.last_seq = run.last_seq;
    page_.runs.push_back(run);
  }
  // What comes out of a page with what was ledgered since the last one.
  std::vector<std::string> Page() {
    std::vector<ReadyRecord> out;
    page_.epoch = Epoch(1);
    const absl::Status added = order_.AddPage(page_, out);
    EXPECT_TRUE(added.ok()) << added;
    page_.runs.clear();
    return Text(out);
  }
  std::vector<std::string> Take(const std::string& word) {
    FetchedRecord record;
    const std::string name = word.substr(0, 1);
    record.foreign = word == "x";
    if (!record.foreign)
      record.header = {HeadOf(name).term, Seq(std::stoll(word.substr(1))), "7", name};
    record.view.value = "v";
    record.view.log_offset = Offset(offset_++);
    std::vector<ReadyRecord> out;
    taken_ = order_.Take(0, record, out);
    return Text(out);
  }
  static std::vector<std::string> Text(const std::vector<ReadyRecord>& out) {
    std::vector<std::string> text;
    for (const ReadyRecord& record : out) {
      text.push_back(absl::StrCat(std::string(record.producer), record.seq.value(), "@",
                                  ToString(record.position)));
    }
    return text;
  }

  FifoParking parking_;
  ProducerOrder order_{{{"orders", 0}, Epoch(1)}, {}, parking_};
  StreamPage page_;
  int64_t offset_ = 0;
  absl::Status taken_;
};

TEST_F(ProducerOrderTest, WhatIsNotSettledHoldsUpItsOwnProducerOnly) {
  Open("A", 1);
  Open("B", 1);
  Ledger("A", 1, "{[0,1),[2,3)}");
  EXPECT_THAT(Page(), IsEmpty());
  EXPECT_THAT(Take("A1"), ElementsAre("A1@1:0"));
  EXPECT_THAT(Take("B1"), IsEmpty());
  EXPECT_THAT(Take("A2"), ElementsAre("A2@1:2"));
  EXPECT_TRUE(order_.wants_page());
  EXPECT_EQ(order_.Unsettled()->producer, "B");
  Ledger("B", 1, "{[1,2)}");
  EXPECT_THAT(Page(), ElementsAre("B1@1:1"));
  EXPECT_FALSE(order_.wants_page());
}

TEST_F(ProducerOrderTest, NoMoreThanABatchComesOutAtOnce) {
  FifoParking parking;
  ProducerOrder order({.stream = {"orders", 0}, .epoch = Epoch(1), .ready_max = 3}, {}, parking);
  Open("A", 1);
  Ledger("A", 1, "{[0,10)}");
  page_.epoch = Epoch(1);
  std::vector<ReadyRecord> out;
  ASSERT_TRUE(order.AddPage(page_, out).ok());
  FetchedRecord record;
  record.view.value = "v";
  for (const int64_t seq : {2, 3, 4, 5, 6, 7, 8, 1}) {
    record.header = {Term(1), Seq(seq), "7", "A"};
    ASSERT_TRUE(order.Take(0, record, out).ok());
  }
  EXPECT_EQ(Text(out), (std::vector<std::string>{"A1@1:0", "A2@1:1", "A3@1:2"}));
  EXPECT_TRUE(order.drain_pending());
  out.clear();
  order.Release();
  ASSERT_TRUE(order.DrainParked(out).ok());
  EXPECT_EQ(out.size(), 3U);
  out.clear();
  order.Release();
  ASSERT_TRUE(order.DrainParked(out).ok());
  EXPECT_EQ(Text(out), (std::vector<std::string>{"A7@1:6", "A8@1:7"}));
  EXPECT_FALSE(order.drain_pending());
}

// What is written right behind the cursor's last record need not be in the ledger yet.
TEST_F(ProducerOrderTest, ReadingBeginsRightBehindTheFirstCursor) {
  Open("A", 1);
  Open("B", 1);
  Ledger("A", 1, "{[4,6)}");
  Ledger("B", 1, "{[2,3),[9,10)}");
  page_.epoch = Epoch(1);
  const auto first_wanted = [&](std::map<ProducerId, Seq> done, Epoch epoch = Epoch(1)) {
    FifoParking parking;
    ProducerOrder order({{"orders", 0}, epoch}, std::move(done), parking);
    StreamPage page = page_;
    page.epoch = epoch;
    std::vector<ReadyRecord> out;
    EXPECT_TRUE(order.AddPage(page, out).ok());
    return order.FirstWanted(Offset(1));
  };
  const ProducerId a = HeadOf("A").producer;
  const ProducerId b = HeadOf("B").producer;
  EXPECT_EQ(first_wanted({{a, Seq(2)}, {b, Seq(2)}}), Offset(6)) << "A3 may lie there";
  EXPECT_EQ(first_wanted({{a, Seq(2)}, {b, Seq(1)}}), Offset(6));
  EXPECT_EQ(first_wanted({{a, Seq(1)}, {b, Seq(2)}}), Offset(5)) << "the second of A's run";
  EXPECT_EQ(first_wanted({{b, Seq(2)}}), Offset(4)) << "A has sent nothing";
  Open("C", 1);
  EXPECT_EQ(first_wanted({{a, Seq(2)}, {b, Seq(2)}}), Offset(1)) << "C1 may lie anywhere";
  EXPECT_EQ(first_wanted({{a, Seq(1)}, {b, Seq(2)}}, Epoch(2)), std::nullopt);
}

TEST_F(ProducerOrderTest, AHoleIsNotSteppedOverAndHoldsUpItsOwnProducerOnly) {
  Open("A", 1);
  Open("B", 1);
  Ledger("A", 1, "{[0,3)}");
  Ledger("B", 1, "{[3,4)}");
  Page();
  Take("A1");
  EXPECT_THAT(Take("A3"), IsEmpty());
  EXPECT_THAT(Take("B1"), ElementsAre("B1@1:3"));
  ASSERT_TRUE(order_.Missing().has_value());
  EXPECT_EQ(order_.Missing()->seq, Seq(2));
  EXPECT_EQ(order_.Missing()->position, (Position{Epoch(1), Offset(1)}));
  EXPECT_THAT(Take("A2"), ElementsAre("A2@1:1", "A3@1:2"));  // From another log, say.
  EXPECT_FALSE(order_.Missing().has_value());
}

TEST_F(ProducerOrderTest, ARecordOfAClosedTermIsVoidWheneverItLands) {
  Open("A", 1);
  Page();
  Take("A1");  // Not ledgered, and never will be.
  EXPECT_TRUE(order_.Unsettled().has_value());
  Open("A", 2);
  EXPECT_THAT(Page(), IsEmpty());
  EXPECT_FALSE(order_.Unsettled().has_value()) << "nobody waits for what is void";
  EXPECT_FALSE(order_.wants_page());
  EXPECT_THAT(Take("A1"), IsEmpty());
  Ledger("A", 1, "{[1,2)}");
  EXPECT_THAT(Page(), ElementsAre("A1@1:1"));
  EXPECT_EQ(order_.counts().void_dropped, 1);
}

TEST_F(ProducerOrderTest, ForeignRecordsStopItAndSoDoesANewEpoch) {
  Open("A", 1);
  Page();
  Take("x");
  EXPECT_EQ(taken_.code(), absl::StatusCode::kFailedPrecondition);
  std::vector<ReadyRecord> out;
  page_.epoch = Epoch(2);
  EXPECT_TRUE(absl::IsAborted(order_.AddPage(page_, out)));
}

TEST_F(ProducerOrderTest, APageThatComesLaterLeavesTheViewsOfWhatCameOut) {
  const std::string name(40, 'A');  // Longer than a string keeps in itself.
  Open(name, 1);
  Ledger(name, 1, "{[0,1)}");
  Page();
  std::vector<ReadyRecord> out;
  FetchedRecord record;
  record.header = {Term(1), Seq(1), "7", name};
  ASSERT_TRUE(order_.Take(0, record, out).ok());
  Ledger(name, 2, "{[1,2)}");
  page_.epoch = Epoch(1);
  ASSERT_TRUE(order_.AddPage(page_, out).ok());
  record.header.seq = Seq(2);
  ASSERT_TRUE(order_.Take(0, record, out).ok());
  ASSERT_EQ(out.size(), 2U);
  EXPECT_EQ(out[0].producer.data(), out[1].producer.data()) << "the name moved";
  EXPECT_THAT(order_.given(), ElementsAre(SeqRange{ProducerId(1), Seq(1), Seq(2)}));
}

TEST_F(ProducerOrderTest, ALedgerThatWasPrunedAboveTheCursorIsRefusedAndTheCureNamed) {
  Open("A", 1);
  Open("B", 1);
  Open("C", 1);
  Ledger("A", 5, "{[9,10)}");
  Ledger("B", 3, "{[10,11)}");
  Ledger("C", 1, "{[8,9)}");
  page_.epoch = Epoch(1);
  std::vector<ReadyRecord> out;
  const absl::Status refused = order_.AddPage(page_, out);
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  const std::string why(refused.message());
  EXPECT_THAT(why, HasSubstr("(A from seq 1 to 4, B from seq 1 to 2)"));
  EXPECT_THAT(why, HasSubstr("--stream orders/0` with --producer A --to 4, --producer B --to 2"));
}

TEST_F(ProducerOrderTest, WhereARecordLiesThatNoRowNamesIsSaidIfItIsKnown) {
  Open("A", 1);
  Page();
  offset_ = 17;
  Take("A1");
  Take("A2");
  ASSERT_TRUE(order_.Unsettled().has_value());
  EXPECT_EQ(order_.Unsettled()->log_offset, Offset(17));
  Ledger("A", 1, "{[17,18)}");
  EXPECT_THAT(Page(), ElementsAre("A1@1:17"));
  EXPECT_EQ(order_.Unsettled()->seq, Seq(2));
  EXPECT_EQ(order_.Unsettled()->log_offset, std::nullopt) << "not that of the first";
}

// A, B, … with one run a record: `{[0,1)} {[2,3)} …` for the first of two.
class LongLedger {
 public:
  LongLedger(int32_t producers, int64_t records) : producers_(producers), records_(records) {
    for (int32_t id = 1; id <= producers; ++id) {
      Head head;
      head.producer = ProducerId(id);
      head.name = std::string(1, static_cast<char>('A' + id - 1));
      head.term = head.closed = Term(1);
      head.last_seq = Seq(records);
      heads_.push_back(head);
    }
  }
  StreamPage Page(const RunMarks& marks, int64_t runs_max) const {
    StreamPage page;
    page.epoch = Epoch(1);
    page.heads = heads_;
    for (const Head& head : heads_) {
      const auto mark = marks.find(head.producer);
      int64_t seq = 1;
      if (mark != marks.end()) {
        seq = mark->second.epoch > Epoch(1) ? records_ + 1 : mark->second.first_seq.value() + 1;
      }
      for (const int64_t end = seq + runs_max; seq <= records_ && seq < end; ++seq) {
        page.runs.push_back(RunOf(head.producer, seq));
      }
      if (mark != marks.end() && mark->second.epoch > Epoch(1)) continue;
      if (seq <= records_) page.more.push_back(head.producer);
    }
    return page;
  }
  FetchedRecord Record(int32_t producer, int64_t seq) const {
    FetchedRecord record;
    record.header = {Term(1), Seq(seq), "7", heads_[static_cast<size_t>(producer - 1)].name};
    record.view.value = "v";
    return record;
  }
  std::vector<Head>& heads() { return heads_; }

 private:
  Run RunOf(ProducerId producer, int64_t seq) const {
    Run run;
    run.producer = producer;
    run.epoch = Epoch(1);
    run.term = Term(1);
    run.first_seq = run.last_seq = Seq(seq);
    run.offsets.Append(Offset((seq - 1) * producers_ + producer.value() - 1));
    return run;
  }

  const int32_t producers_;
  const int64_t records_;
  std::vector<Head> heads_;
};

// Reads pages of at most `kRuns` as they are needed.
class PageByPageTest : public testing::Test {
 protected:
  static constexpr int64_t kRuns = 8;

  void Read(ProducerOrder& order, std::vector<ReadyRecord>& out) {
    while (order.needs_page()) {
      ++pages_;
      const RunMarks marks = order.MarksToRead(kRuns);
      const absl::Status added = order.AddPage(ledger_.Page(marks, kRuns), out);
      ASSERT_TRUE(added.ok()) << added;
      runs_peak_ = std::max(runs_peak_, order.runs_at_hand());
    }
  }
  void Take(ProducerOrder& order, int32_t producer, int64_t seq, std::vector<ReadyRecord>& out) {
    Read(order, out);
    const absl::Status taken = order.Take(0, ledger_.Record(producer, seq), out);
    ASSERT_TRUE(taken.ok()) << taken;
    Read(order, out);
  }

  static constexpr int32_t kProducers = 3;
  static constexpr int64_t kRecords = 2'000;
  LongLedger ledger_{kProducers, kRecords};
  FifoParking parking_;
  ProducerOrder order_{{{"orders", 0}, Epoch(1)}, {}, parking_};
  int64_t pages_ = 0;
  int64_t runs_peak_ = 0;
};

TEST_F(PageByPageTest, TheRunsAtHandAreAPageAndAHalfHoweverLongTheLedger) {
  std::vector<ReadyRecord> out;
  for (int64_t seq = 1; seq <= kRecords; ++seq) {
    for (int32_t producer = 1; producer <= kProducers; ++producer) {
      Take(order_, producer, seq, out);
    }
  }
  EXPECT_EQ(out.size(), static_cast<size_t>(kProducers * kRecords));
  EXPECT_EQ(order_.counts().first_hits, kProducers * kRecords);
  EXPECT_LE(runs_peak_, kProducers * kRuns * 3 / 2);
  EXPECT_LE(pages_, kRecords / kRuns + 1) << "producers that take turns are read together";
}

// A failover's gap, filled at the topic's end: all but the first lies there before it.
TEST_F(PageByPageTest, WhatComesTooEarlyIsParkedAndNotReadFor) {
  std::vector<ReadyRecord> out;
  for (int64_t seq = 2; seq <= kRecords; ++seq) Take(order_, 1, seq, out);
  EXPECT_THAT(out, IsEmpty());
  EXPECT_EQ(pages_, 1);
  EXPECT_EQ(order_.unsettled(), 0) << "no row is waited for that the ledger has";
  EXPECT_FALSE(order_.wants_page());
  ASSERT_TRUE(order_.Missing().has_value());
  EXPECT_EQ(order_.Missing()->seq, Seq(1));
  Take(order_, 1, 1, out);
  EXPECT_EQ(out.size(), static_cast<size_t>(kRecords));
  EXPECT_LE(runs_peak_, kProducers * kRuns * 3 / 2);
}

// Its head is in every page: that its term was closed says nothing of what is not read yet.
TEST_F(PageByPageTest, AProducerThatIsPassedOverIsNotReadToItsEnd) {
  std::vector<ReadyRecord> out;
  Read(order_, out);
  ledger_.heads()[0].term = ledger_.heads()[0].closed = Term(2);
  Take(order_, 1, kRuns + 1, out);
  for (int64_t seq = 1; seq <= kRuns; ++seq) Take(order_, 2, seq, out);  // Another page comes.
  ASSERT_EQ(pages_, 2);
  Take(order_, 1, kRuns + 2, out);
  out.clear();
  for (int64_t seq = 1; seq <= kRuns; ++seq) Take(order_, 1, seq, out);
  EXPECT_EQ(out.size(), static_cast<size_t>(kRuns + 2));
  EXPECT_EQ(order_.counts().void_dropped, 0);
}

TEST_F(PageByPageTest, AHeadAboveItsRunsIsAnInconsistentLedger) {
  StreamPage page = ledger_.Page({}, kRuns);
  page.more.clear();
  std::vector<ReadyRecord> out;
  order_.MarksToRead(kRuns);
  const absl::Status added = order_.AddPage(page, out);
  EXPECT_TRUE(absl::IsDataLoss(added));
  EXPECT_THAT(std::string(added.message()), HasSubstr("the head of A stands at seq 2000"));
}

// ---------------------------------------------------------------- any history

// What the outside has, across the lives of several gates.
struct Outside {
  std::map<std::string, std::vector<std::string>> values;  // By producer, in order.
  std::map<ProducerId, Seq> done;
};

// One gate's life: reads the topics in some interleaving, sends, and dies after so many steps.
// Intents are durable before effects; a crash may come between any two effects of a batch.
// Pages have at most `runs_max` runs a producer.
void Live(History& history, SeqCursor& cursor, Outside& outside, int64_t steps_max,
          int64_t runs_max) {
  SeqGate gate({"orders", 0}, cursor);
  // The operator knows the outside: what is in doubt is sent again, and the outside drops repeats
  // (a prefix of it may have left).
  ASSERT_TRUE(gate.Resolve({.policy = InDoubtPolicy::kResend, .old_gate_is_dead = true}).ok());
  FifoParking parking;
  ProducerOrderOptions options{{"orders", 0}, history.epoch(), history.topics()};
  ProducerOrder order(options, gate.done(), parking);
  std::vector<size_t> next(static_cast<size_t>(history.topics()), 0);
  size_t visible = 0;
  std::vector<ReadyRecord> out;
  for (int64_t step = 0; step < steps_max; ++step) {
    out.clear();
    order.Release();
    const int topic = static_cast<int>(history.Pick(history.topics()));
    const auto& log = history.topic(topic);
    size_t& at = next[static_cast<size_t>(topic)];
    if (order.needs_page() || at == log.size() || history.Chance(10)) {
      visible = std::min(history.commits(), visible + static_cast<size_t>(history.Pick(6)));
      const int64_t runs = 1 + history.Pick(runs_max);
      const StreamPage page =
          history.Page(order.MarksToRead(runs), static_cast<size_t>(runs), visible);
      ASSERT_TRUE(order.AddPage(page, out).ok());
      ASSERT_LE(2 * order.runs_at_hand(), 3 * runs_max * static_cast<int64_t>(page.heads.size()));
    } else {
      if (log[at].written != nullptr) {
        ASSERT_TRUE(order.Take(topic, History::Record(log[at]), out).ok());
      }
      ++at;
    }
    if (out.empty()) continue;
    const std::vector<SeqRange> batch = order.given();
    const MoveSeqCursorRequest move = gate.Move(batch);
    for (const SeqMark& mark : move.marks) {
      const auto stored = std::find_if(cursor.marks.begin(), cursor.marks.end(),
                                       [&](const auto& m) { return m.producer == mark.producer; });
      if (stored == cursor.marks.end()) {
        cursor.marks.push_back(mark);
      } else {
        *stored = mark;
      }
    }
    Commit<Moved> committed;
    committed.outcome = CommitOutcome::kCommitted;
    ASSERT_EQ(gate.Moved(move, committed), Gate::Answer::kGo);
    gate.Leaves(batch);
    for (const ReadyRecord& record : out) {
      if (history.Chance(1)) return;  // Killed between two effects.
      const ProducerId producer = order.id(record.producer);
      Seq& sent = outside.done[producer];
      if (record.seq <= sent) {
        ASSERT_TRUE(gate.MayHaveLeft(producer, record.seq)) << "a repeat that nobody announced";
        continue;
      }
      ASSERT_EQ(record.seq, sent + 1) << "out of its producer's order";
      sent = record.seq;
      outside.values[std::string(record.producer)].emplace_back(record.view.value.value_or("null"));
    }
    gate.Left();
  }
}

TEST(ProducerOrderPropertyTest, EachProducersRecordsLeaveOnceInOrderThroughFailoversAndCrashes) {
  for (uint64_t seed = 1; seed <= 400; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    HistoryShape shape;
    shape.producers = 1 + static_cast<int>(seed % 5);
    shape.epochs = 1 + static_cast<int>(seed % 3);
    shape.two_topics = seed % 2 == 0;
    shape.unordered_reinjection = seed % 4 < 2;
    History history(seed, shape);
    Outside outside;
    SeqCursor cursor{"g", StreamId(1), Term(1), {}};
    std::map<std::string, std::vector<std::string>> expected;
    for (const Written* written : history.Ledgered()) {
      expected[written->producer].push_back(written->value.value_or("null"));
    }
    for (int life = 0; life < 60 && outside.values != expected; ++life) {
      Live(history, cursor, outside, life < 20 ? history.Pick(200) : 5'000, 1 + life % 4);
      ASSERT_FALSE(HasFatalFailure());
    }
    ASSERT_EQ(outside.values, expected);
  }
}

}  // namespace
}  // namespace lockstep
