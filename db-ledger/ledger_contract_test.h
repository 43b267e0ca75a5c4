// The ledger's contract as tests, run against every implementation.
//
// A file instantiates it with INSTANTIATE_TEST_SUITE_P(Memory, LedgerContractTest,
// Values(factory)). Names in the tests: writers "writer" and "other_writer", gates "gate" and
// "other_gate", "admin".
#ifndef LOCKSTEP_DB_LEDGER_LEDGER_CONTRACT_TEST_H_
#define LOCKSTEP_DB_LEDGER_LEDGER_CONTRACT_TEST_H_

#include <memory>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "db-ledger/ledger.h"
#include "db-ledger/ledger_test_support.h"

namespace lockstep {

class LedgerContractTest : public testing::TestWithParam<LedgerWorldFactory> {
 protected:
  LedgerContractTest()
      : world_(GetParam()()),
        writer_(world_->Connect("writer")),
        gate_(world_->Connect("gate")),
        admin_(world_->Connect("admin")) {}

  OpenedProducer Open(Ledger& ledger, const OpenProducerRequest& request) {
    const auto opened = ledger.OpenProducer(request);
    EXPECT_TRUE(opened.committed()) << opened.why;
    return opened.value;
  }
  // The streams' heads and all their runs, page by page.
  StreamPage ReadAll(StreamId stream, int64_t runs_per_page = 2) {
    StreamPage all;
    ReadStreamRequest request{stream, {}, runs_per_page, true};
    for (;;) {
      const auto page = gate_->ReadStream(request);
      EXPECT_TRUE(page.ok()) << page.status();
      if (!page.ok()) return all;
      all.heads = page->heads;
      all.epoch = page->epoch;
      for (const auto& run : page->runs) {
        all.runs.push_back(run);
        request.after[run.producer] = {run.epoch, run.first_seq};
      }
      if (page->more.empty()) return all;
    }
  }

  std::unique_ptr<LedgerWorld> world_;
  std::unique_ptr<Ledger> writer_;
  std::unique_ptr<Ledger> gate_;
  std::unique_ptr<Ledger> admin_;
};

// ---------------------------------------------------------------- producers

TEST_P(LedgerContractTest, EveryOpenTakesTheNextTerm) {
  const auto first = Open(*writer_, OpenRequest("A", {0, 2}));
  ASSERT_EQ(first.streams.size(), 2u);
  EXPECT_EQ(first.epoch, Epoch(1));
  EXPECT_FALSE(first.solo);
  EXPECT_EQ(first.checkpoint, std::nullopt);
  EXPECT_EQ(first.streams[1].partition, 2);
  EXPECT_EQ(first.streams[1].term, Term(1));
  EXPECT_EQ(first.streams[1].closed, Term(0));
  EXPECT_EQ(first.streams[1].last_seq, Seq(0));
  const auto second = Open(*writer_, OpenRequest("A", {2}));
  EXPECT_EQ(second.streams[0].term, Term(2));
  EXPECT_EQ(second.producer, first.producer);
  EXPECT_EQ(second.streams[0].stream, first.streams[1].stream);
}

TEST_P(LedgerContractTest, OpenSaysWhereAdoptionMayLook) {
  const auto first = Open(*writer_, OpenRequest("A", {0}, 40));
  EXPECT_EQ(first.streams[0].adopt_from, Offset(40));
  ASSERT_COMMITTED(writer_->Append(AppendOne(first, 0, 1, 3, 50)));
  const auto second = Open(*writer_, OpenRequest("A", {0}, 70));
  EXPECT_EQ(second.streams[0].adopt_from, Offset(53));
  EXPECT_EQ(second.streams[0].last_seq, Seq(3));
  EXPECT_EQ(second.streams[0].last_at, "103");
  const auto logs = writer_->ReadLogs(first.streams[0].stream);
  ASSERT_TRUE(logs.ok());
  ASSERT_EQ(logs->size(), 1u);
  EXPECT_EQ(logs->front().start, Offset(40));
  EXPECT_EQ(logs->front().cluster_id, "cluster-p");
}

TEST_P(LedgerContractTest, OpenRefusesWhatChanged) {
  Open(*writer_, OpenRequest("A"));
  auto request = OpenRequest("A");
  request.source = "table:other";
  EXPECT_REFUSED(Refusal::kSourceChanged, writer_->OpenProducer(request));
  request = OpenRequest("B");
  request.partition_count = 5;
  EXPECT_REFUSED(Refusal::kPartitionsChanged, writer_->OpenProducer(request));
  request = OpenRequest("B");
  request.cluster_id = "cluster-s";
  EXPECT_REFUSED(Refusal::kLogChanged, writer_->OpenProducer(request));
  request = OpenRequest("B");
  request.log_topic = "p.orders";
  EXPECT_REFUSED(Refusal::kLogChanged, writer_->OpenProducer(request));
  const auto producers = writer_->ListProducers();
  ASSERT_TRUE(producers.ok());
  EXPECT_EQ(producers->size(), 1u) << "a refused open leaves nothing behind";
}

TEST_P(LedgerContractTest, AnotherRoleIsRefused) {
  const auto opened = Open(*writer_, OpenRequest("A"));
  const auto other = world_->Connect("other_writer");
  EXPECT_REFUSED(Refusal::kWrongOwner, other->OpenProducer(OpenRequest("A")));
  EXPECT_REFUSED(Refusal::kWrongOwner, other->Append(AppendOne(opened, 0, 1, 1, 0)));
  EXPECT_REFUSED(Refusal::kWrongOwner,
                 other->CloseEarlierTerms(opened.producer, {{opened.streams[0].stream, Term(1)}}));
}

TEST_P(LedgerContractTest, AppendIsReadBackAsItWas) {
  const auto a = Open(*writer_, OpenRequest("A"));
  auto request = AppendOne(a, 0, 1, 5, 10);
  request.runs[0].run.offsets = Offsets({{10, 13}, {15, 17}});
  request.runs[0].run.payload = std::string("\0\1zstd\xff", 7);
  const auto appended = writer_->Append(request);
  ASSERT_TRUE(appended.committed()) << appended.why;
  EXPECT_EQ(appended.value.epoch, Epoch(1));
  EXPECT_FALSE(appended.value.again);
  const auto page = ReadAll(a.streams[0].stream);
  ASSERT_EQ(page.heads.size(), 1u);
  EXPECT_EQ(page.heads[0], (Head{a.producer, "A", Term(1), Term(0), Epoch(1), Seq(5), "105"}));
  auto expected = request.runs[0].run;
  expected.epoch = Epoch(1);
  EXPECT_THAT(page.runs, testing::ElementsAre(expected));
}

TEST_P(LedgerContractTest, ARepeatIsAgainOrDiffers) {
  const auto a = Open(*writer_, OpenRequest("A"));
  const auto request = AppendOne(a, 0, 1, 3, 10);
  ASSERT_COMMITTED(writer_->Append(request));
  const auto again = writer_->Append(request);
  ASSERT_TRUE(again.committed()) << again.why;
  EXPECT_TRUE(again.value.again);
  ASSERT_COMMITTED(writer_->Append(AppendOne(a, 0, 4, 4, 13)));
  EXPECT_TRUE(writer_->Append(request).value.again) << "also behind the head";
  auto other = request;
  other.runs[0].run.digest ^= 1;
  EXPECT_REFUSED(Refusal::kDiffers, writer_->Append(other));
  other = request;
  other.runs[0].run.offsets = Offsets({{20, 23}});
  EXPECT_REFUSED(Refusal::kDiffers, writer_->Append(other));
  EXPECT_REFUSED(Refusal::kDiffers, writer_->Append(AppendOne(a, 0, 2, 3, 11)));
  EXPECT_EQ(ReadAll(a.streams[0].stream).runs.size(), 2u);
}

TEST_P(LedgerContractTest, AppendRefusesGapsAndWhatContradictsItself) {
  const auto a = Open(*writer_, OpenRequest("A"));
  EXPECT_REFUSED(Refusal::kGap, writer_->Append(AppendOne(a, 0, 2, 3, 10)));
  auto request = AppendOne(a, 0, 1, 3, 10);
  request.runs[0].run.last_seq = Seq(4);
  EXPECT_REFUSED(Refusal::kInvalid, writer_->Append(request));
  request = AppendOne(a, 0, 1, 3, 10);
  request.runs[0].run.term = Term(2);
  EXPECT_REFUSED(Refusal::kInvalid, writer_->Append(request));
  EXPECT_REFUSED(Refusal::kInvalid, writer_->Append({a.producer, {}, {}}));
  ASSERT_COMMITTED(writer_->Append(AppendOne(a, 0, 1, 3, 10)));
  EXPECT_REFUSED(Refusal::kInvalid, writer_->Append(AppendOne(a, 0, 4, 5, 9)));
  EXPECT_REFUSED(
      Refusal::kNotFound,
      writer_->Append({ProducerId(99),
                       {{a.streams[0].stream, Term(1), MakeRun(ProducerId(99), Term(1), 1, 1, 0)}},
                       {}}));
}

TEST_P(LedgerContractTest, AppendOverStreamsIsAllOrNothing) {
  const auto a = Open(*writer_, OpenRequest("A", {0, 1}));
  auto request = AppendOne(a, 0, 1, 2, 10);
  request.runs.push_back(AppendOne(a, 1, 2, 2, 10).runs[0]);  // A gap on the second stream.
  request.checkpoint = "c1";
  EXPECT_REFUSED(Refusal::kGap, writer_->Append(request));
  EXPECT_TRUE(ReadAll(a.streams[0].stream).runs.empty());
  request.runs[1] = AppendOne(a, 1, 1, 2, 30).runs[0];
  request.runs.push_back(AppendOne(a, 0, 3, 3, 12).runs[0]);  // Two runs of one stream.
  ASSERT_COMMITTED(writer_->Append(request));
  EXPECT_EQ(ReadAll(a.streams[0].stream).runs.size(), 2u);
  EXPECT_EQ(ReadAll(a.streams[1].stream).runs.size(), 1u);
  EXPECT_EQ(writer_->ListProducers()->front().checkpoint, "c1");
  EXPECT_EQ(Open(*writer_, OpenRequest("A")).checkpoint, "c1");
  EXPECT_TRUE(writer_->Append(AppendOne(a, 1, 1, 2, 30)).value.again);
}

TEST_P(LedgerContractTest, TheOlderOfTwoOpensIsFenced) {
  const auto old = Open(*writer_, OpenRequest("A"));
  ASSERT_COMMITTED(writer_->Append(AppendOne(old, 0, 1, 2, 10)));
  const auto young = Open(*writer_, OpenRequest("A"));
  EXPECT_REFUSED(Refusal::kFenced, writer_->Append(AppendOne(old, 0, 3, 3, 12)));
  EXPECT_REFUSED(Refusal::kFenced, writer_->Append(AppendOne(old, 0, 1, 2, 10)));
  EXPECT_REFUSED(
      Refusal::kFenced,
      writer_->CloseEarlierTerms(old.producer, {{old.streams[0].stream, old.streams[0].term}}));
  ASSERT_COMMITTED(writer_->Append(AppendOne(young, 0, 3, 3, 12)));
}

TEST_P(LedgerContractTest, OnlyTermsNotYetClosedAreAdopted) {
  const auto one = Open(*writer_, OpenRequest("A"));
  const auto two = Open(*writer_, OpenRequest("A"));
  auto adopt = AppendOne(two, 0, 1, 2, 10);
  adopt.runs[0].run.term = one.streams[0].term;
  ASSERT_COMMITTED(writer_->Append(adopt));
  ASSERT_COMMITTED(writer_->CloseEarlierTerms(two.producer, {{two.streams[0].stream, Term(2)}}));
  ASSERT_COMMITTED(writer_->CloseEarlierTerms(two.producer, {{two.streams[0].stream, Term(2)}}));
  EXPECT_EQ(ReadAll(two.streams[0].stream).heads[0].closed, Term(2));
  adopt = AppendOne(two, 0, 3, 3, 20);
  adopt.runs[0].run.term = one.streams[0].term;
  EXPECT_REFUSED(Refusal::kInvalid, writer_->Append(adopt));
}

TEST_P(LedgerContractTest, SealFencesAndClosesEveryStreamOfAProducer) {
  const auto a = Open(*writer_, OpenRequest("A", {0, 1}));
  ASSERT_COMMITTED(writer_->Append(AppendOne(a, 1, 1, 1, 0)));
  const auto sealed = admin_->Seal("A");
  ASSERT_TRUE(sealed.committed()) << sealed.why;
  EXPECT_THAT(sealed.value, testing::ElementsAre(a.streams[0].stream, a.streams[1].stream));
  EXPECT_REFUSED(Refusal::kFenced, writer_->Append(AppendOne(a, 1, 2, 2, 1)));
  const Head head = ReadAll(a.streams[1].stream).heads[0];
  EXPECT_EQ(head.term, Term(2));
  EXPECT_EQ(head.closed, Term(2));
  EXPECT_EQ(Open(*writer_, OpenRequest("A")).streams[0].term, Term(3));
  EXPECT_REFUSED(Refusal::kNotFound, admin_->Seal("nobody"));
}

// ---------------------------------------------------------------- gates

TEST_P(LedgerContractTest, AGateIsCreatedOnlyWhenAsked) {
  EXPECT_REFUSED(Refusal::kNotFound, gate_->OpenGate("g", {{"orders", 0}}, false));
  const auto opened = gate_->OpenGate("g", {{"orders", 1}, {"orders", 0}}, true);
  ASSERT_TRUE(opened.committed()) << opened.why;
  ASSERT_EQ(opened.value.cursors.size(), 2u);
  EXPECT_EQ(opened.value.epoch, Epoch(1));
  EXPECT_EQ(opened.value.cursors[0].term, Term(1));
  EXPECT_EQ(opened.value.cursors[0].intent, std::nullopt);
  EXPECT_EQ(opened.value.cursors[0].done, std::nullopt);
  const auto again = gate_->OpenGate("g", {{"orders", 1}}, false);
  ASSERT_TRUE(again.committed()) << again.why;
  EXPECT_EQ(again.value.cursors[0].term, Term(2));
  EXPECT_REFUSED(Refusal::kWrongOwner,
                 world_->Connect("other_gate")->OpenGate("g", {{"orders", 1}}, true));
  const auto a = Open(*writer_, OpenRequest("A", {1}));  // The first producer comes later.
  EXPECT_EQ(a.streams[0].stream, again.value.cursors[0].stream);
}

TEST_P(LedgerContractTest, ACursorMovesForwardUnderItsTermOnly) {
  const auto old = gate_->OpenGate("g", {{"orders", 0}}, true).value.cursors.at(0);
  const auto move = [&](const Cursor& cursor, std::optional<Position> intent,
                        std::optional<Position> done) {
    return gate_->MoveCursor({"g", cursor.stream, cursor.term, intent, done});
  };
  const Position p10{Epoch(1), Offset(10)}, p20{Epoch(1), Offset(20)};
  EXPECT_REFUSED(Refusal::kInvalid, move(old, {}, p10));
  ASSERT_COMMITTED(move(old, p10, {}));
  ASSERT_COMMITTED(move(old, p10, {}));
  ASSERT_COMMITTED(move(old, p20, p10));
  EXPECT_REFUSED(Refusal::kInvalid, move(old, p10, {}));
  EXPECT_REFUSED(Refusal::kInvalid, move(old, {}, Position{Epoch(1), Offset(21)}));
  EXPECT_REFUSED(Refusal::kWrongOwner,
                 world_->Connect("other_gate")->MoveCursor({"g", old.stream, old.term, p20, {}}));
  const auto young = gate_->OpenGate("g", {{"orders", 0}}, false).value.cursors.at(0);
  EXPECT_EQ(young.intent, p20);
  EXPECT_EQ(young.done, p10);
  EXPECT_REFUSED(Refusal::kFenced, move(old, {}, p20));
  ASSERT_COMMITTED(move(young, {}, p20));
  const auto cursors = gate_->ReadCursors();
  ASSERT_TRUE(cursors.ok());
  EXPECT_THAT(*cursors, testing::ElementsAre(Cursor{"g", old.stream, young.term, p20, p20}));
}

TEST_P(LedgerContractTest, SetCursorFencesTheGate) {
  const auto cursor = gate_->OpenGate("g", {{"orders", 0}}, true).value.cursors.at(0);
  const Position p{Epoch(1), Offset(5)};
  ASSERT_COMMITTED(
      gate_->MoveCursor({"g", cursor.stream, cursor.term, Position{Epoch(1), Offset(9)}, {}}));
  ASSERT_COMMITTED(admin_->SetCursor("g", cursor.stream, p));
  EXPECT_REFUSED(Refusal::kFenced, gate_->MoveCursor({"g", cursor.stream, cursor.term, p, {}}));
  EXPECT_EQ(gate_->ReadCursors()->at(0), (Cursor{"g", cursor.stream, cursor.term + 1, p, p}));
  EXPECT_REFUSED(Refusal::kNotFound, admin_->SetCursor("g", StreamId(99), p));
}

// ---------------------------------------------------------------- cursors of seqs

TEST_P(LedgerContractTest, ACursorOfSeqsMovesEachProducerForwardUnderItsTermOnly) {
  const auto a = Open(*writer_, OpenRequest("A"));
  const auto b = Open(*writer_, OpenRequest("B"));
  SeqCursors& gate = SeqsOf(*gate_);
  EXPECT_REFUSED(Refusal::kNotFound, gate.OpenSeqGate("g", {"orders", 0}, false));
  const SeqCursor old = gate.OpenSeqGate("g", {"orders", 0}, true).value.cursor;
  EXPECT_EQ(old, (SeqCursor{"g", a.streams[0].stream, Term(1), {}}));
  const auto move = [&](const SeqCursor& cursor, const std::vector<SeqMark>& marks) {
    return gate.MoveSeqCursor({"g", cursor.stream, cursor.term, marks});
  };
  const auto mark = [](const OpenedProducer& producer, int64_t intent, int64_t done) {
    return SeqMark{producer.producer, Seq(intent), Seq(done)};
  };
  EXPECT_REFUSED(Refusal::kInvalid, move(old, {}));
  EXPECT_REFUSED(Refusal::kInvalid, move(old, {mark(a, 1, 2)}));
  ASSERT_COMMITTED(move(old, {mark(a, 5, 0), mark(b, 2, 0)}));
  ASSERT_COMMITTED(move(old, {mark(a, 5, 0), mark(b, 2, 0)}));
  ASSERT_COMMITTED(move(old, {mark(a, 7, 5)}));
  EXPECT_REFUSED(Refusal::kInvalid, move(old, {mark(b, 3, 2), mark(a, 7, 4)}));  // All or nothing.
  EXPECT_REFUSED(Refusal::kInvalid, move(old, {mark(a, 6, 5)}));
  EXPECT_REFUSED(Refusal::kNotFound, move(old, {{ProducerId(99), Seq(1), Seq(0)}}));
  const auto other = world_->Connect("other_gate");
  EXPECT_REFUSED(Refusal::kWrongOwner,
                 SeqsOf(*other).MoveSeqCursor({"g", old.stream, old.term, {mark(a, 8, 5)}}));

  const SeqCursor young = gate.OpenSeqGate("g", {"orders", 0}, false).value.cursor;
  EXPECT_EQ(young, (SeqCursor{"g", old.stream, Term(2), {mark(a, 7, 5), mark(b, 2, 0)}}));
  EXPECT_REFUSED(Refusal::kFenced, move(old, {mark(a, 8, 7)}));
  ASSERT_TRUE(admin_->BeginEpoch({Epoch(1), true, "", "site lost"}).committed());
  EXPECT_REFUSED(Refusal::kFenced, move(young, {mark(a, 8, 7)}));
  EXPECT_THAT(gate.ReadSeqCursors().value(),
              testing::ElementsAre(SeqCursor{"g", old.stream, Term(3), young.marks}));
}

TEST_P(LedgerContractTest, AGroupHasOneKindOfCursorOnAStream) {
  const auto a = Open(*writer_, OpenRequest("A", {0, 1}));
  SeqCursors& seqs = SeqsOf(*gate_);
  const auto position = gate_->OpenGate("p", {{"orders", 0}}, true).value.cursors.at(0);
  const SeqCursor by_seq = seqs.OpenSeqGate("s", {"orders", 0}, true).value.cursor;
  const Position at{Epoch(1), Offset(3)};
  EXPECT_REFUSED(Refusal::kWrongKind, seqs.OpenSeqGate("p", {"orders", 0}, true));
  EXPECT_REFUSED(Refusal::kWrongKind, gate_->OpenGate("s", {{"orders", 0}}, true));
  EXPECT_REFUSED(Refusal::kWrongKind,
                 gate_->MoveCursor({"s", by_seq.stream, by_seq.term, at, std::nullopt}));
  EXPECT_REFUSED(
      Refusal::kWrongKind,
      seqs.MoveSeqCursor({"p", position.stream, position.term, {{a.producer, Seq(1), Seq(0)}}}));
  EXPECT_REFUSED(Refusal::kWrongKind, admin_->SetCursor("s", by_seq.stream, at));
  EXPECT_REFUSED(Refusal::kWrongKind,
                 SeqsOf(*admin_).SetSeqCursor("p", position.stream, a.producer, Seq(1)));
  // A refusal fences nobody and moves nothing.
  EXPECT_EQ(gate_->ReadCursors()->at(0), position);
  EXPECT_EQ(seqs.ReadSeqCursors()->at(0), by_seq);
  ASSERT_COMMITTED(gate_->OpenGate("s", {{"orders", 1}}, true));  // Of another stream, any.
  EXPECT_EQ(gate_->ReadCursors()->size(), 2U);
  EXPECT_EQ(seqs.ReadSeqCursors()->size(), 1U);
}

TEST_P(LedgerContractTest, AnOperatorPutsOneProducersSeqAndFencesTheGate) {
  const auto a = Open(*writer_, OpenRequest("A"));
  const auto b = Open(*writer_, OpenRequest("B"));
  SeqCursors& gate = SeqsOf(*gate_);
  SeqCursors& admin = SeqsOf(*admin_);
  const SeqCursor old = gate.OpenSeqGate("g", {"orders", 0}, true).value.cursor;
  const SeqMark stays{b.producer, Seq(2), Seq(1)};
  ASSERT_COMMITTED(gate.MoveSeqCursor({"g", old.stream, old.term, {stays}}));
  ASSERT_COMMITTED(admin.SetSeqCursor("g", old.stream, a.producer, Seq(7)));
  EXPECT_REFUSED(Refusal::kFenced, gate.MoveSeqCursor({"g", old.stream, old.term, {stays}}));
  ASSERT_COMMITTED(admin.SetSeqCursor("g", old.stream, a.producer, Seq(3)));  // Back, too.
  EXPECT_EQ(gate.OpenSeqGate("g", {"orders", 0}, false).value.cursor,
            (SeqCursor{"g", old.stream, Term(4), {{a.producer, Seq(3), Seq(3)}, stays}}));
  EXPECT_REFUSED(Refusal::kInvalid, admin.SetSeqCursor("g", old.stream, a.producer, Seq(-1)));
  EXPECT_REFUSED(Refusal::kNotFound, admin.SetSeqCursor("g", old.stream, ProducerId(99), Seq(1)));
  EXPECT_REFUSED(Refusal::kNotFound, admin.SetSeqCursor("g", StreamId(99), a.producer, Seq(1)));
  // A group that never ran begins there; whoever opens it first owns it.
  ASSERT_COMMITTED(admin.SetSeqCursor("new", old.stream, a.producer, Seq(5)));
  EXPECT_EQ(gate.OpenSeqGate("new", {"orders", 0}, false).value.cursor,
            (SeqCursor{"new", old.stream, Term(2), {{a.producer, Seq(5), Seq(5)}}}));
}

TEST_P(LedgerContractTest, ReadingBeginsWithTheRunThatHoldsTheLastSeqSent) {
  const auto a = Open(*writer_, OpenRequest("A"));
  const StreamId stream = a.streams[0].stream;
  for (int64_t first = 1; first <= 7; first += 3) {
    ASSERT_COMMITTED(writer_->Append(AppendOne(a, 0, first, first + 2, first)));
  }
  for (const auto& [seq, first] : std::map<int64_t, int64_t>{{1, 1}, {3, 1}, {4, 4}, {7, 7}}) {
    const auto marks = SeqsOf(*gate_).MarksAfterSeqs(stream, {{a.producer, Seq(seq)}});
    ASSERT_TRUE(marks.ok()) << marks.status();
    const auto page = gate_->ReadStream({.stream = stream, .after = *marks});
    ASSERT_FALSE(page->runs.empty()) << seq;
    EXPECT_EQ(page->runs[0].first_seq, Seq(first)) << seq;
  }
  EXPECT_THAT(SeqsOf(*gate_).MarksAfterSeqs(stream, {}).value(), testing::IsEmpty());
}

// ---------------------------------------------------------------- epochs

TEST_P(LedgerContractTest, BeginEpochFencesEverybody) {
  const auto a = Open(*writer_, OpenRequest("A"));
  const auto cursor = gate_->OpenGate("g", {{"orders", 0}}, true).value.cursors.at(0);
  ASSERT_COMMITTED(writer_->Append(AppendOne(a, 0, 1, 3, 10)));
  EXPECT_REFUSED(Refusal::kWrongEpoch, admin_->BeginEpoch({Epoch(2), true, "", "wrong"}));
  const auto begun = admin_->BeginEpoch({Epoch(1), true, "", "site lost"});
  ASSERT_TRUE(begun.committed()) << begun.why;
  EXPECT_EQ(begun.value.epoch, Epoch(2));
  EXPECT_TRUE(begun.value.solo);
  EXPECT_REFUSED(Refusal::kWrongEpoch, admin_->BeginEpoch({Epoch(1), true, "", "site lost"}));
  EXPECT_REFUSED(Refusal::kFenced, writer_->Append(AppendOne(a, 0, 4, 4, 13)));
  EXPECT_REFUSED(Refusal::kFenced, gate_->MoveCursor({"g", cursor.stream, cursor.term, {}, {}}));
  EXPECT_EQ(ReadAll(a.streams[0].stream).heads[0],
            (Head{a.producer, "A", Term(2), Term(2), Epoch(2), Seq(3), "103"}));

  auto request = OpenRequest("A", {0}, 7);  // At the standby: other cluster, lower offsets.
  request.cluster_id = "cluster-s";
  const auto next = Open(*writer_, request);
  EXPECT_TRUE(next.solo);
  EXPECT_EQ(next.streams[0].term, Term(3));
  EXPECT_EQ(next.streams[0].last_seq, Seq(3));
  EXPECT_EQ(next.streams[0].adopt_from, Offset(7));
  const auto appended = writer_->Append(AppendOne(next, 0, 4, 4, 7));
  ASSERT_TRUE(appended.committed()) << appended.why;
  EXPECT_EQ(appended.value.epoch, Epoch(2));
  EXPECT_TRUE(appended.value.solo);
  const auto runs = ReadAll(a.streams[0].stream, 1).runs;
  ASSERT_EQ(runs.size(), 2u);
  EXPECT_EQ(runs[1].epoch, Epoch(2));
  EXPECT_EQ(admin_->ReadLogs(a.streams[0].stream)->size(), 2u);
  const auto epochs = admin_->ReadEpochs();
  ASSERT_TRUE(epochs.ok());
  ASSERT_EQ(epochs->size(), 2u);
  EXPECT_EQ(epochs->back().cluster_id, "");
  EXPECT_EQ(epochs->back().reason, "site lost");
  EXPECT_TRUE(epochs->back().solo);
}

// A producer that is restarted at the lost site and reaches this database must not decide where the
// new epoch's log is.
TEST_P(LedgerContractTest, AnEpochBegunForAClusterIsWrittenThere) {
  Open(*writer_, OpenRequest("A"));
  ASSERT_COMMITTED(admin_->BeginEpoch({Epoch(1), true, "cluster-s", "site lost"}));
  EXPECT_REFUSED(Refusal::kLogChanged, writer_->OpenProducer(OpenRequest("A")));
  EXPECT_REFUSED(Refusal::kLogChanged, writer_->OpenProducer(OpenRequest("B", {1})));
  auto request = OpenRequest("A");
  request.cluster_id = "cluster-s";
  EXPECT_EQ(Open(*writer_, request).epoch, Epoch(2));
  EXPECT_EQ(admin_->ReadEpochs()->back().cluster_id, "cluster-s");
  const std::string too_long(256, 'x');
  EXPECT_REFUSED(Refusal::kInvalid, admin_->BeginEpoch({Epoch(2), true, too_long, "site lost"}));
}

TEST_P(LedgerContractTest, SoloOffKeepsTerms) {
  const auto a = Open(*writer_, OpenRequest("A"));
  ASSERT_COMMITTED(admin_->BeginEpoch({Epoch(1), true, "", "site lost"}));
  EXPECT_TRUE(admin_->ReadNow()->solo);
  const auto next = Open(*writer_, OpenRequest("A"));
  ASSERT_COMMITTED(admin_->SoloOff());
  EXPECT_FALSE(admin_->ReadNow()->solo);
  const auto appended = writer_->Append(AppendOne(next, 0, 1, 1, 0));
  ASSERT_TRUE(appended.committed()) << appended.why;
  EXPECT_FALSE(appended.value.solo);
}

TEST_P(LedgerContractTest, StepsAreRememberedPerEpoch) {
  ASSERT_COMMITTED(admin_->RecordStep({Epoch(2), "gap", "started", "{}", 0}));
  ASSERT_COMMITTED(admin_->RecordStep({Epoch(2), "gap", "done", R"({"gap_records": 3})", 0}));
  ASSERT_COMMITTED(admin_->RecordStep({Epoch(3), "gap", "started", "{}", 0}));
  const auto steps = admin_->ReadSteps(Epoch(2));
  ASSERT_TRUE(steps.ok());
  ASSERT_EQ(steps->size(), 1u);
  EXPECT_EQ(steps->front().state, "done");
  EXPECT_EQ(steps->front().detail, R"({"gap_records": 3})");
}

// ---------------------------------------------------------------- reads

TEST_P(LedgerContractTest, StreamsAreFoundByTopic) {
  Open(*writer_, OpenRequest("A", {2, 0}));
  const auto found = gate_->FindStreams("orders");
  ASSERT_TRUE(found.ok());
  ASSERT_EQ(found->size(), 2u);
  EXPECT_EQ((*found)[0].name, (StreamName{"orders", 0}));
  EXPECT_EQ((*found)[1].name, (StreamName{"orders", 2}));
  EXPECT_EQ((*found)[1].partition_count, 4);
  EXPECT_TRUE(gate_->FindStreams("unknown")->empty());
  EXPECT_EQ(gate_->ReadStream({StreamId(99), {}, 10, false}).status().code(),
            absl::StatusCode::kNotFound);
}

// [0..2] A1-A3  [3..4] B1-B2  [5] A4  [6..7] B3-B4, then epoch 2: [3..4] A5-A6
TEST_P(LedgerContractTest, MarksAfterSkipsWhatEndsBelow) {
  const auto a = Open(*writer_, OpenRequest("A"));
  const auto b = Open(*writer_, OpenRequest("B"));
  ASSERT_COMMITTED(writer_->Append(AppendOne(a, 0, 1, 3, 0)));
  ASSERT_COMMITTED(writer_->Append(AppendOne(b, 0, 1, 2, 3)));
  ASSERT_COMMITTED(writer_->Append(AppendOne(a, 0, 4, 4, 5)));
  ASSERT_COMMITTED(writer_->Append(AppendOne(b, 0, 3, 4, 6)));
  ASSERT_COMMITTED(admin_->BeginEpoch({Epoch(1), false, "", "switchover"}));
  auto request = OpenRequest("A", {0}, 3);
  request.cluster_id = "cluster-s";
  const auto a2 = Open(*writer_, request);
  ASSERT_COMMITTED(writer_->Append(AppendOne(a2, 0, 5, 6, 3)));

  const StreamId stream = a.streams[0].stream;
  const auto marks = [&](int64_t epoch, int64_t offset) {
    return *gate_->MarksAfter(stream, Position{Epoch(epoch), Offset(offset)});
  };
  const auto key = [](int64_t epoch, int64_t seq) { return RunKey{Epoch(epoch), Seq(seq)}; };
  EXPECT_EQ(*gate_->MarksAfter(stream, std::nullopt), RunMarks());
  EXPECT_EQ(marks(1, 1), RunMarks());
  EXPECT_EQ(marks(1, 3), (RunMarks{{a.producer, key(1, 1)}}));
  EXPECT_EQ(marks(1, 5), (RunMarks{{a.producer, key(1, 4)}, {b.producer, key(1, 1)}}));
  EXPECT_EQ(marks(1, 6), marks(1, 5));
  EXPECT_EQ(marks(2, 3), (RunMarks{{a.producer, key(1, 4)}, {b.producer, key(1, 3)}}));
  EXPECT_EQ(marks(2, 4), (RunMarks{{a.producer, key(2, 5)}, {b.producer, key(1, 3)}}));
}

TEST_P(LedgerContractTest, PayloadsAreReadOnlyWhenAsked) {
  const auto a = Open(*writer_, OpenRequest("A"));
  auto request = AppendOne(a, 0, 1, 1, 0);
  request.runs[0].run.payload = "bytes";
  ASSERT_COMMITTED(writer_->Append(request));
  const StreamId stream = a.streams[0].stream;
  EXPECT_EQ(gate_->ReadStream({stream, {}, 10, true})->runs.at(0).payload, "bytes");
  EXPECT_EQ(gate_->ReadStream({stream, {}, 10, false})->runs.at(0).payload, "");
}

}  // namespace lockstep

#endif  // LOCKSTEP_DB_LEDGER_LEDGER_CONTRACT_TEST_H_
