// The table sink on a real PostgreSQL pair.
#include "reorder/sinks/table_sink.h"

#include <future>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "db-ledger/postgres_world_test.h"
#include "reorder/sinks/make_sink.h"
#include "reorder/sinks/sink_host_test.h"

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
  ~TableSinkTest() override { MakeWhole(); }
  std::unique_ptr<TableSink> Open(bool with_cursor, const StreamName& stream = kStream) {
    auto sink = TableSink::Open({.conninfo = world_.pair().Conninfo(world_.database(), "gate"),
                                 .table = QuoteTableName("effects").value(),
                                 .stream = stream,
                                 .with_cursor = with_cursor,
                                 .answer_max = std::chrono::seconds(5)});
    EXPECT_TRUE(sink.ok()) << sink.status();
    return std::move(*sink);
  }
  MoveCursorRequest Move(int64_t offset) const {
    const Position at{Epoch(1), Offset(offset)};
    return {"g", cursor_.stream, cursor_.term, at, at};
  }
  // A standby that is connected, and not waited for.
  void WaitForNoStandby() {
    world_.Configure("synchronous_standby_names", "''");
    world_.Await("select sync_state from pg_stat_replication", "async");
  }
  // What a test did to the pair is over.
  void MakeWhole() {
    world_.pair().Thaw(PostgresPair::kStandby, "walreceiver");
    world_.Configure("synchronous_standby_names", "'FIRST 1 (dr)'");
    world_.Await("select sync_state from pg_stat_replication", "sync");
  }
  std::string Rows() { return world_.Sql("select count(*) from public.effects"); }
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

TEST_F(TableSinkTest, ATableThatWasEmptiedIsNotOneThatWasNeverWritten) {
  const auto sink = Open(true);
  EXPECT_TRUE(sink->NeverWritten().value());
  ASSERT_TRUE(sink->WriteWithCursor(MakeRecords(0, 3), Move(2)).committed());
  world_.Sql("delete from public.effects");
  EXPECT_EQ(sink->Last().value(), std::nullopt);
  EXPECT_FALSE(sink->NeverWritten().value());
  EXPECT_FALSE(Open(true)->NeverWritten().value());
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

// A commit shows the rows: without a wait for the standby that would be before the standby has
// them.
TEST_F(TableSinkTest, WhileThePrimaryWaitsForNoStandbyNoRowIsShown) {
  const auto sink = Open(true);
  WaitForNoStandby();
  const auto stalled = sink->WriteWithCursor(MakeRecords(0, 3), Move(2));
  EXPECT_EQ(stalled.outcome, CommitOutcome::kNotCommitted);
  EXPECT_EQ(stalled.refusal, Refusal::kNoDurableStandby);
  EXPECT_THAT(std::string(stalled.why.message()),
              testing::HasSubstr("synchronous_standby_names is empty"));
  EXPECT_EQ(Rows(), "0");
  EXPECT_EQ(CursorNow().done, std::nullopt);
  MakeWhole();
  const auto moved = sink->WriteWithCursor(MakeRecords(0, 3), Move(2));
  ASSERT_TRUE(moved.committed()) << moved.why;
  EXPECT_EQ(Rows(), "3");
}

TEST_F(TableSinkTest, ASoloEpochWaitsForNobody) {
  const auto sink = Open(true);
  WaitForNoStandby();
  const auto admin = world_.Connect("admin");
  const auto begun = admin->BeginEpoch({Epoch(1), true, "", "alone"});
  ASSERT_TRUE(begun.committed()) << begun.why;
  const auto opened = ledger_->OpenGate("g", {kStream}, false);
  ASSERT_TRUE(opened.committed()) << opened.why;
  cursor_ = opened.value.cursors.at(0);
  const auto moved = sink->WriteWithCursor(MakeRecords(0, 3), Move(2));
  EXPECT_TRUE(moved.committed()) << moved.why;
  EXPECT_TRUE(moved.value.solo);
  EXPECT_EQ(Rows(), "3");
}

// The standby answers, but its receiver does not write. An operator sets the waiter free.
TEST_F(TableSinkTest, ACommitThatWasSetFreeIsNotTakenForOne) {
  const auto sink = Open(true);
  world_.pair().Freeze(PostgresPair::kStandby, "walreceiver");
  auto write = std::async(std::launch::async,
                          [&] { return sink->WriteWithCursor(MakeRecords(0, 3), Move(2)); });
  world_.AwaitSyncWaits("1");
  world_.Configure("synchronous_standby_names", "''");
  const auto freed = write.get();
  EXPECT_EQ(freed.outcome, CommitOutcome::kUnknown)
      << "PostgreSQL answered with a plain success; the standby has nothing";
  EXPECT_THAT(std::string(freed.why.message()), testing::HasSubstr("not proven durable"));
  EXPECT_EQ(Rows(), "3") << "the one batch whose commit was under way is seen";
  const auto next = sink->WriteWithCursor(MakeRecords(3, 3), Move(5));
  EXPECT_FALSE(next.committed());
  EXPECT_EQ(Rows(), "3") << "and nothing behind it";
  MakeWhole();
  const auto moved = sink->WriteWithCursor(MakeRecords(0, 3), Move(2));
  ASSERT_TRUE(moved.committed()) << moved.why;
  EXPECT_EQ(Rows(), "3");
}

TEST_F(TableSinkTest, ACommitWhoseWaitWasCancelledIsNotTakenForOne) {
  const auto sink = Open(true);
  world_.pair().Freeze(PostgresPair::kStandby, "walreceiver");
  auto write = std::async(std::launch::async,
                          [&] { return sink->WriteWithCursor(MakeRecords(0, 3), Move(2)); });
  world_.AwaitSyncWaits("1");
  world_.Sql("select pg_cancel_backend(pid) from pg_stat_activity where wait_event = 'SyncRep'");
  world_.AwaitSyncWaits("0");
  // Now the standby may have everything: the notice alone must make it unknown.
  world_.pair().Thaw(PostgresPair::kStandby, "walreceiver");
  const auto cancelled = write.get();
  EXPECT_EQ(cancelled.outcome, CommitOutcome::kUnknown);
  EXPECT_THAT(std::string(cancelled.why.message()), testing::HasSubstr("01000"));
}

TEST_F(TableSinkTest, WhatIsWrongWithTheTableStaysWrong) {
  const auto sink = Open(true);
  world_.Sql("alter table public.effects add check (seq < 3)");
  const auto refused = sink->WriteWithCursor(MakeRecords(0, 3), Move(2));
  EXPECT_EQ(refused.outcome, CommitOutcome::kNotCommitted);
  EXPECT_EQ(refused.refusal, Refusal::kInvalid);
  EXPECT_THAT(std::string(refused.why.message()), testing::HasSubstr("effects_seq_check"));
  EXPECT_EQ(CursorNow().done, std::nullopt);
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

TEST_F(TableSinkSeqTest, WhileThePrimaryWaitsForNoStandbyNoRowIsShown) {
  const auto sink = TableSinkTest::Open(true);
  WaitForNoStandby();
  const auto stalled = sink->WriteWithSeqCursor(MakeRecords(0, 3), Move(3));
  EXPECT_EQ(stalled.refusal, Refusal::kNoDurableStandby) << stalled.why;
  EXPECT_EQ(Rows(), "0");
  MakeWhole();
  const auto moved = sink->WriteWithSeqCursor(MakeRecords(0, 3), Move(3));
  ASSERT_TRUE(moved.committed()) << moved.why;
  EXPECT_EQ(Rows(), "3");
}

TEST_F(TableSinkTest, AnotherDatabaseIsAskedInstead) {
  const auto sink = Open(false);
  EXPECT_EQ(sink->kind(), SinkKind::kQueryable);
  ASSERT_EQ(sink->Write(MakeRecords(0, 2)), absl::OkStatus());
  ASSERT_EQ(sink->Write(MakeRecords(1, 3)), absl::OkStatus()) << "rows that are there stay";
  EXPECT_EQ(sink->Last().value(), (Position{Epoch(1), Offset(3)}));
}

// A table in another database, its server troubled.
class TableElsewhereTest : public TableSinkTest {
 protected:
  TableElsewhereTest() {
    sink_ = TableSink::Open({.conninfo = world_.pair().Conninfo(world_.database(), "gate"),
                             .table = QuoteTableName("effects").value(),
                             .stream = kStream,
                             .answer_max = std::chrono::milliseconds(500),
                             .pause_min = std::chrono::milliseconds(10),
                             .pause_max = std::chrono::milliseconds(100)})
                .value();
    sink_->Attach(host_);
  }
  // Until it waits for something.
  void AwaitWaiting() {
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (host_.waits_for().empty() && std::chrono::steady_clock::now() < give_up) {
      std::this_thread::yield();
    }
    ASSERT_NE(host_.waits_for(), "");
  }
  std::future<absl::Status> WriteAside(int64_t first, int64_t count) {
    return std::async(std::launch::async,
                      [=, this] { return sink_->Write(MakeRecords(first, count)); });
  }

  FakeSinkHost host_;
  std::unique_ptr<TableSink> sink_;
};

TEST_F(TableElsewhereTest, AnEndedSessionCostsAnother) {
  ASSERT_EQ(sink_->Write(MakeRecords(0, 3)), absl::OkStatus());
  world_.Sql(
      "select pg_terminate_backend(pid) from pg_stat_activity where application_name = "
      "'lockstep-reorder' and datname = current_database()");
  EXPECT_EQ(sink_->Write(MakeRecords(3, 3)), absl::OkStatus());
  EXPECT_EQ(Rows(), "6");
}

TEST_F(TableElsewhereTest, AServerThatIsAwayIsWaitedFor) {
  world_.pair().Kill(PostgresPair::kPrimary);
  auto write = WriteAside(0, 3);
  AwaitWaiting();
  EXPECT_THAT(host_.waits_for(), testing::HasSubstr("table \"public\".\"effects\" ("));
  ASSERT_TRUE(world_.pair().Restart(PostgresPair::kPrimary).ok());
  EXPECT_EQ(write.get(), absl::OkStatus());
  EXPECT_EQ(Rows(), "3");
}

// The attempts whose answers nobody waited for write the same rows.
TEST_F(TableElsewhereTest, AStatementThatIsNotAnsweredIsRepeatedUntilAStop) {
  const auto holder =
      PgConnection::Open(*ParsePgHosts(world_.pair().Conninfo(world_.database()), "holder"),
                         PgRole::kPrimary, TestDeadline());
  ASSERT_TRUE(holder.ok()) << holder.status();
  ASSERT_TRUE((*holder)
                  ->ExecuteScript("begin; lock table public.effects in access exclusive mode",
                                  TestDeadline())
                  .ok());
  auto write = WriteAside(0, 3);
  AwaitWaiting();
  host_.StopIn(std::chrono::milliseconds(100));
  const absl::Status stopped = write.get();
  EXPECT_EQ(stopped.code(), absl::StatusCode::kCancelled) << stopped;
  ASSERT_TRUE((*holder)->ExecuteScript("rollback", TestDeadline()).ok());
  host_.StopIn(std::chrono::seconds(30));
  EXPECT_EQ(sink_->Write(MakeRecords(0, 4)), absl::OkStatus());
  EXPECT_EQ(Rows(), "4");
}

TEST_F(TableElsewhereTest, WhatIsWrongWithTheTableEndsIt) {
  world_.Sql("alter table public.effects add check (seq < 3)");
  const absl::Status refused = sink_->Write(MakeRecords(0, 3));
  EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(refused.message()), testing::HasSubstr("effects_seq_check"));
  EXPECT_EQ(host_.waits_for(), "");
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
