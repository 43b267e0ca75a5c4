// The table sink on a real PostgreSQL pair.
#include "reorder/sinks/table_sink.h"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "db-ledger/postgres_world_test.h"
#include "reorder/sinks/make_sink.h"

namespace lockstep {
namespace {

const StreamName kStream{"orders", 0};

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(LedgerContractTest);

class TwoHeaders final : public HeaderSource {
 public:
  void Read(const void*, std::vector<HeaderView>& out) const override {
    out = {{"h", "v"}, {"b", std::string_view("\xff", 1)}, {"n", std::nullopt}};
  }
};

std::vector<ReadyRecord> MakeRecords(int64_t first, int64_t count) {
  static const TwoHeaders headers;
  std::vector<ReadyRecord> records;
  for (int64_t i = first; i < first + count; ++i) {
    ReadyRecord& record = records.emplace_back();
    record.position = {Epoch(1), Offset(i)};
    record.producer = "A";
    record.term = Term(1);
    record.seq = Seq(i + 1);
    record.view.timestamp_ms = 1'700'000'000'123;
    record.view.value = std::string_view("\x00v\xff", 3);
    if (i == 0) record.view.header_source = &headers;
  }
  return records;
}

class TableSinkTest : public testing::Test {
 protected:
  TableSinkTest() : ledger_(world_.Connect("gate")) {
    world_.Sql("grant create, usage on schema public to gate");
    Commit<OpenedGate> opened;
    for (int i = 0; i < 100 && !opened.committed(); ++i) {  // Until the standby knows the role.
      opened = ledger_->OpenGate("g", {kStream}, true);
    }
    EXPECT_TRUE(opened.committed()) << opened.why;
    cursor_ = opened.value.cursors.at(0);
  }
  std::unique_ptr<TableSink> Open(bool with_cursor, const StreamName& stream = kStream) {
    auto sink = TableSink::Open({.conninfo = world_.pair().Conninfo(world_.database(), "gate"),
                                 .table = QuoteTableName("effects").value(),
                                 .stream = stream,
                                 .with_cursor = with_cursor});
    EXPECT_TRUE(sink.ok()) << sink.status();
    return std::move(*sink);
  }
  MoveCursorRequest Move(int64_t offset) const {
    const Position at{Epoch(1), Offset(offset)};
    return {"g", cursor_.stream, cursor_.term, at, at};
  }
  Cursor CursorNow() { return ledger_->ReadCursors().value().at(0); }

  PostgresWorld world_;
  std::unique_ptr<Ledger> ledger_;
  Cursor cursor_;
};

TEST_F(TableSinkTest, RowsAndCursorAreOneTransaction) {
  const auto sink = Open(true);
  EXPECT_EQ(sink->kind(), SinkKind::kTransactional);
  EXPECT_EQ(sink->Last().value(), std::nullopt);
  const auto moved = sink->WriteWithCursor(MakeRecords(0, 3), Move(2));
  ASSERT_TRUE(moved.committed()) << moved.why;
  EXPECT_EQ(sink->Last().value(), (Position{Epoch(1), Offset(2)}));
  EXPECT_EQ(CursorNow().done, (Position{Epoch(1), Offset(2)}));
  EXPECT_EQ(
      world_.Sql("select string_agg(\"offset\"::text, ',' order by emitted) from public.effects"),
      "0,1,2");
  EXPECT_EQ(world_.Sql("select headers::text from public.effects where \"offset\" = 0"),
            "{\"b\": {\"b64\": \"/w==\"}, \"h\": \"v\", \"n\": null}");
  EXPECT_EQ(world_.Sql("select encode(value, 'hex') || coalesce(key::text, '-') || "
                       "extract(epoch from ts)::text from public.effects where \"offset\" = 1"),
            "0076ff-1700000000.123000");
}

TEST_F(TableSinkTest, ARepeatAfterAnUnknownOutcomeIsHarmless) {
  const auto sink = Open(true);
  ASSERT_TRUE(sink->WriteWithCursor(MakeRecords(0, 3), Move(2)).committed());
  ASSERT_TRUE(sink->WriteWithCursor(MakeRecords(0, 3), Move(2)).committed());
  EXPECT_EQ(world_.Sql("select count(*) from public.effects"), "3");
}

TEST_F(TableSinkTest, AFencedGateWritesNoRow) {
  const auto sink = Open(true);
  ASSERT_TRUE(ledger_->OpenGate("g", {kStream}, false).committed());
  const auto moved = sink->WriteWithCursor(MakeRecords(0, 3), Move(2));
  EXPECT_EQ(moved.outcome, CommitOutcome::kNotCommitted);
  EXPECT_EQ(moved.refusal, Refusal::kFenced);
  EXPECT_EQ(world_.Sql("select count(*) from public.effects"), "0");
}

// MakeRecords are producer A's, seq = offset + 1.
class TableSinkSeqTest : public TableSinkTest {
 protected:
  TableSinkSeqTest() {
    const auto writer = world_.Connect("writer");
    const auto opened = writer->OpenProducer(
        {"A", "jsonl:in", kStream.topic, 1, {{kStream.partition, Offset(0)}}, "c", kStream.topic});
    EXPECT_TRUE(opened.committed()) << opened.why;
    a_ = opened.value.producer;
    cursor_ = Open();
  }
  SeqCursor Open() {
    const auto opened = Seqs().OpenSeqGate("s", kStream, true);
    EXPECT_TRUE(opened.committed()) << opened.why;
    return opened.value.cursor;
  }
  SeqCursors& Seqs() { return dynamic_cast<SeqCursors&>(*ledger_); }
  MoveSeqCursorRequest Move(int64_t seq) const {
    return {"s", cursor_.stream, cursor_.term, {{a_, Seq(seq), Seq(seq)}}};
  }

  ProducerId a_;
  SeqCursor cursor_;
};

TEST_F(TableSinkSeqTest, RowsAndACursorOfSeqsAreOneTransactionAndARepeatIsHarmless) {
  const auto sink = TableSinkTest::Open(true);
  EXPECT_THAT(sink->LastSeqs().value(), testing::IsEmpty());
  for (int i = 0; i < 2; ++i) {
    const auto moved = sink->WriteWithSeqCursor(MakeRecords(0, 3), Move(3));
    ASSERT_TRUE(moved.committed()) << moved.why;
  }
  EXPECT_THAT(sink->LastSeqs().value(), testing::ElementsAre(testing::Pair("A", Seq(3))));
  EXPECT_THAT(Seqs().ReadSeqCursors()->at(0).marks,
              testing::ElementsAre(SeqMark{a_, Seq(3), Seq(3)}));
  EXPECT_EQ(world_.Sql("select count(*) from public.effects"), "3");
}

TEST_F(TableSinkSeqTest, AFencedGateWritesNoRow) {
  const auto sink = TableSinkTest::Open(true);
  Open();
  const auto moved = sink->WriteWithSeqCursor(MakeRecords(0, 3), Move(3));
  EXPECT_EQ(moved.outcome, CommitOutcome::kNotCommitted);
  EXPECT_EQ(moved.refusal, Refusal::kFenced);
  EXPECT_EQ(world_.Sql("select count(*) from public.effects"), "0");
}

TEST_F(TableSinkTest, AnotherDatabaseIsAskedInstead) {
  const auto sink = Open(false);
  EXPECT_EQ(sink->kind(), SinkKind::kQueryable);
  ASSERT_EQ(sink->Write(MakeRecords(0, 2)), absl::OkStatus());
  ASSERT_EQ(sink->Write(MakeRecords(1, 3)), absl::OkStatus()) << "rows that are there stay";
  EXPECT_EQ(sink->Last().value(), (Position{Epoch(1), Offset(3)}));
}

TEST_F(TableSinkTest, EachStreamFindsItsOwnLastRow) {
  const auto sink = Open(false);
  const auto other = Open(false, {"orders", 1});
  ASSERT_EQ(sink->Write(MakeRecords(0, 5)), absl::OkStatus());
  EXPECT_EQ(other->Last().value(), std::nullopt);
  ASSERT_EQ(other->Write(MakeRecords(0, 2)), absl::OkStatus());
  EXPECT_EQ(other->Last().value(), (Position{Epoch(1), Offset(1)}));
  EXPECT_EQ(sink->Last().value(), (Position{Epoch(1), Offset(4)}));
}

TEST_F(TableSinkTest, ConnectsAgainAfterTheSessionWasEnded) {
  const auto sink = Open(true);
  world_.Sql(
      "select pg_terminate_backend(pid) from pg_stat_activity where application_name = "
      "'lockstep-reorder' and datname = current_database()");
  Commit<Moved> moved;
  for (int i = 0; i < 50 && !moved.committed(); ++i) {
    moved = sink->WriteWithCursor(MakeRecords(0, 3), Move(2));
    ASSERT_NE(moved.refusal, Refusal::kInvalid) << moved.why;
  }
  EXPECT_TRUE(moved.committed()) << moved.why;
  EXPECT_EQ(world_.Sql("select count(*) from public.effects"), "3");
}

TEST_F(TableSinkTest, TableNamesAreChecked) {
  EXPECT_EQ(QuoteTableName("pay.outbox").value(), "\"pay\".\"outbox\"");
  EXPECT_EQ(QuoteTableName("outbox").value(), "\"public\".\"outbox\"");
  for (const char* bad : {"", ".", "a.", ".a", "a.b.c", "a;b", "a\"b", "a b"}) {
    EXPECT_FALSE(QuoteTableName(bad).ok()) << bad;
  }
}

}  // namespace
}  // namespace lockstep
