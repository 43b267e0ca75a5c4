// Bad days of the database: the standby away, promoted or no longer waited for, the primary dead,
// wrong roles. What was acknowledged must be on the standby's disk, whatever an operator does.
#include <future>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "db-ledger/postgres_world_test.h"

namespace lockstep {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

PostgresLedgerOptions Impatient(int ms) {
  PostgresLedgerOptions options;
  options.durable_timeout = milliseconds(ms);
  return options;
}

class LedgerFaultTest : public testing::Test {
 protected:
  LedgerFaultTest() : writer_(world_.ConnectAs("writer", Impatient(1500))) {
    opened_ = writer_->OpenProducer(OpenRequest("A")).value;
  }
  ~LedgerFaultTest() override {
    world_.pair().Thaw(PostgresPair::kStandby);
    Configure("synchronous_standby_names", "'FIRST 1 (dr)'");
  }
  void Configure(const std::string& setting, const std::string& value) {
    world_.Configure(setting, value);
  }
  void AwaitSyncWaits(const std::string& count) { world_.AwaitSyncWaits(count); }
  // Asks again until the standby, just let go, has caught up.
  Commit<Appended> Repeat(const AppendRequest& request) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    auto repeated = writer_->Append(request);
    while (!repeated.committed() && std::chrono::steady_clock::now() < deadline) {
      repeated = writer_->Append(request);
    }
    return repeated;
  }
  std::string RunsAt(PostgresPair::Site site) {
    return world_.Sql("select count(*) from lockstep.run", site);
  }

  PostgresWorld world_;
  std::unique_ptr<PostgresLedger> writer_;
  OpenedProducer opened_;
};

TEST_F(LedgerFaultTest, AFrozenStandbyIsAStallNotALoss) {
  world_.pair().Freeze(PostgresPair::kStandby);
  const auto request = AppendOne(opened_, 0, 1, 3, 10);
  const auto stalled = writer_->Append(request);
  EXPECT_EQ(stalled.outcome, CommitOutcome::kUnknown) << stalled.why;
  EXPECT_FALSE(stalled.why.ok());
  world_.pair().Thaw(PostgresPair::kStandby);
  const auto repeated = Repeat(request);
  ASSERT_TRUE(repeated.committed()) << repeated.why;
  EXPECT_TRUE(repeated.value.again);
  EXPECT_EQ(RunsAt(PostgresPair::kPrimary), "1");
}

// The standby answers, but its receiver does not write. An operator sets the waiter free.
TEST_F(LedgerFaultTest, ASettingThatFreesTheWaiterAcknowledgesNothing) {
  world_.pair().Freeze(PostgresPair::kStandby, "walreceiver");
  const auto request = AppendOne(opened_, 0, 1, 3, 10);
  auto append = std::async(std::launch::async, [&] { return writer_->Append(request); });
  AwaitSyncWaits("1");
  Configure("synchronous_standby_names", "''");
  const auto freed = append.get();
  EXPECT_EQ(freed.outcome, CommitOutcome::kUnknown)
      << "PostgreSQL answered with a plain success; the standby has nothing";
  // The standby says that it has not flushed it, or, stopped at a bad moment, nothing at all.
  EXPECT_THAT(std::string(freed.why.message()), HasSubstr("not proven durable"));
  EXPECT_EQ(RunsAt(PostgresPair::kPrimary), "1") << "it is visible, and proves nothing";

  const auto repeated = writer_->Append(request);  // Nor does a repeat, whose commit returns.
  EXPECT_EQ(repeated.outcome, CommitOutcome::kUnknown) << repeated.why;
  world_.pair().Thaw(PostgresPair::kStandby, "walreceiver");
  Configure("synchronous_standby_names", "'FIRST 1 (dr)'");
  const auto again = Repeat(request);
  ASSERT_TRUE(again.committed()) << again.why;
  EXPECT_TRUE(again.value.again);
}

TEST_F(LedgerFaultTest, ACancelledWaitIsUnknown) {
  world_.pair().Freeze(PostgresPair::kStandby, "walreceiver");
  const auto request = AppendOne(opened_, 0, 1, 3, 10);
  auto append = std::async(std::launch::async, [&] { return writer_->Append(request); });
  AwaitSyncWaits("1");
  world_.Sql("select pg_cancel_backend(pid) from pg_stat_activity where wait_event = 'SyncRep'");
  AwaitSyncWaits("0");
  // Now the standby may have everything: the notice alone must make it unknown.
  world_.pair().Thaw(PostgresPair::kStandby, "walreceiver");
  const auto cancelled = append.get();
  EXPECT_EQ(cancelled.outcome, CommitOutcome::kUnknown);
  EXPECT_THAT(std::string(cancelled.why.message()), HasSubstr("01000"));
  EXPECT_TRUE(Repeat(request).value.again);
}

TEST_F(LedgerFaultTest, AnEndedSessionIsUnknownAndItsRepeatAgain) {
  world_.pair().Freeze(PostgresPair::kStandby, "walreceiver");
  const auto request = AppendOne(opened_, 0, 1, 3, 10);
  auto append = std::async(std::launch::async, [&] { return writer_->Append(request); });
  AwaitSyncWaits("1");
  world_.Sql("select pg_terminate_backend(pid) from pg_stat_activity where wait_event = 'SyncRep'");
  EXPECT_EQ(append.get().outcome, CommitOutcome::kUnknown);
  world_.pair().Thaw(PostgresPair::kStandby, "walreceiver");
  const auto repeated = Repeat(request);
  ASSERT_TRUE(repeated.committed()) << repeated.why;
  EXPECT_TRUE(repeated.value.again);
}

// It changes nothing, and a commit without WAL would wait for nobody (C3).
TEST_F(LedgerFaultTest, ARepeatWaitsForTheStandbyToo) {
  const auto request = AppendOne(opened_, 0, 1, 3, 10);
  ASSERT_COMMITTED(writer_->Append(request));
  world_.pair().Freeze(PostgresPair::kStandby, "walreceiver");
  auto append = std::async(std::launch::async, [&] { return writer_->Append(request); });
  AwaitSyncWaits("1");
  world_.pair().Thaw(PostgresPair::kStandby, "walreceiver");
  append.wait();
  EXPECT_TRUE(Repeat(request).value.again);
}

TEST_F(LedgerFaultTest, WithoutAWitnessNothingIsSent) {
  PostgresLedgerOptions options = Impatient(1500);
  options.standby_ledger = "host=127.0.0.1 port=1";
  const auto blind = world_.ConnectAs("writer", options);
  EXPECT_REFUSED(Refusal::kNoDurableStandby, blind->Append(AppendOne(opened_, 0, 1, 3, 10)));
  EXPECT_EQ(RunsAt(PostgresPair::kPrimary), "0");
  const auto admin = world_.Connect("admin");
  ASSERT_COMMITTED(admin->BeginEpoch({Epoch(1), true, "", "alone"}));
  const auto solo = blind->OpenProducer(OpenRequest("A"));
  ASSERT_TRUE(solo.committed()) << solo.why;
  EXPECT_TRUE(solo.value.solo);
  // Solo is over: who is blind stalls, and says why.
  ASSERT_COMMITTED(admin->SoloOff());
  const auto stalled = blind->Append(AppendOne(solo.value, 0, 1, 1, 10));
  EXPECT_EQ(stalled.outcome, CommitOutcome::kUnknown);
  EXPECT_THAT(std::string(stalled.why.message()), HasSubstr("the witness does not answer"));
  ASSERT_COMMITTED(writer_->Append(AppendOne(solo.value, 0, 1, 1, 10)));
}

TEST_F(LedgerFaultTest, AnEpochOrSoloOffNeedsAStandbyThatIsWaitedFor) {
  const auto admin = world_.Connect("admin");
  Configure("synchronous_standby_names", "''");
  const auto none = world_.pair().AwaitSql(PostgresPair::kPrimary, "postgres",
                                           "select sync_state from pg_stat_replication", "async");
  ASSERT_TRUE(none.ok()) << none;
  EXPECT_REFUSED(Refusal::kNoDurableStandby, admin->BeginEpoch({Epoch(1), false, "", "planned"}));
  EXPECT_REFUSED(Refusal::kNoDurableStandby, admin->SoloOff());
}

TEST_F(LedgerFaultTest, RolesMayCallWhatTheyWereGrantedAndTouchNoTable) {
  const auto gate = world_.Connect("gate");
  const auto reader = world_.Connect("reader");
  const auto cursor = gate->OpenGate("g", {{"orders", 0}}, true).value.cursors.at(0);
  EXPECT_REFUSED(Refusal::kWrongOwner, reader->Append(AppendOne(opened_, 0, 1, 1, 0)));
  EXPECT_REFUSED(Refusal::kWrongOwner, reader->OpenGate("h", {{"orders", 0}}, true));
  EXPECT_REFUSED(Refusal::kWrongOwner, gate->Append(AppendOne(opened_, 0, 1, 1, 0)));
  EXPECT_REFUSED(Refusal::kWrongOwner, gate->OpenProducer(OpenRequest("B")));
  EXPECT_REFUSED(Refusal::kWrongOwner,
                 writer_->MoveCursor({"g", cursor.stream, cursor.term, {}, {}}));
  EXPECT_REFUSED(Refusal::kWrongOwner, writer_->BeginEpoch({Epoch(1), true, "", "no"}));
  EXPECT_REFUSED(Refusal::kWrongOwner, writer_->Seal("A"));
  EXPECT_REFUSED(Refusal::kWrongOwner, gate->SetCursor("g", cursor.stream, {}));
  EXPECT_TRUE(reader->ReadStream({cursor.stream, {}, 10, false}).ok());
  for (const char* role : {"writer", "gate", "reader", "admin"}) {
    for (const char* sql :
         {"select * from lockstep.head", "update lockstep.head set term = 9",
          "delete from lockstep.run", "insert into lockstep.now values (false, 3)",
          "truncate lockstep.cursor"}) {
      const auto hosts = ParsePgHosts(world_.pair().Conninfo(world_.database(), role), "test");
      const auto connection = PgConnection::Open(*hosts, PgRole::kPrimary, TestDeadline());
      const auto done = (*connection)->ExecuteScript(sql, TestDeadline());
      EXPECT_THAT(std::string(done.status().message()), HasSubstr("permission denied"))
          << role << ": " << sql;
    }
  }
}

TEST_F(LedgerFaultTest, WrongCredentialsAreRefusedAtOnce) {
  PostgresLedgerOptions options;
  options.ledger = world_.pair().Conninfo(world_.database(), "locked") + " password=wrong-secret";
  const auto refused = PostgresLedger::Connect(options);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kPermissionDenied) << refused.status();
}

TEST_F(LedgerFaultTest, ADatabaseWithoutALedgerSaysSo) {
  PostgresLedgerOptions options;
  options.ledger = world_.pair().Conninfo("postgres");
  EXPECT_EQ(PostgresLedger::Connect(options).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(LedgerFaultTest, ThreeHostsNeedANamedStandby) {
  PostgresLedgerOptions options;
  options.ledger = "host=a,b,c";
  EXPECT_EQ(PostgresLedger::Connect(options).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(LedgerFaultTest, AReaderIsServedByTheStandbyAlone) {
  ASSERT_COMMITTED(writer_->Append(AppendOne(opened_, 0, 1, 3, 10)));
  PostgresLedgerOptions options;
  options.read_only = true;
  options.ledger = world_.pair().ConninfoOf(PostgresPair::kStandby, world_.database(), "reader");
  const auto reader = PostgresLedger::Connect(options);
  ASSERT_TRUE(reader.ok()) << reader.status();
  // Flushed there is not yet replayed there.
  const auto replayed = world_.pair().AwaitSql(PostgresPair::kStandby, world_.database(),
                                               "select count(*) from lockstep.run", "1");
  ASSERT_TRUE(replayed.ok()) << replayed;
  EXPECT_EQ((*reader)->ReadStream({opened_.streams[0].stream, {}, 10, false})->runs.size(), 1u);
  EXPECT_REFUSED(Refusal::kUnavailable, (*reader)->Seal("A"));
}

// ---------------------------------------------------------------- the site is lost
// These end their pair, so each has its own.

class SiteLossTest : public testing::Test {
 protected:
  SiteLossTest() {
    auto started = PostgresPair::Start();
    LOCKSTEP_CHECK(started.ok(), "the tests need PostgreSQL's programs");
    pair_ = std::move(*started);
    world_ = std::make_unique<PostgresWorld>(*pair_);
  }
  std::unique_ptr<PostgresPair> pair_;
  std::unique_ptr<PostgresWorld> world_;
};

// One story, in the order in which it happens.
TEST_F(SiteLossTest, WhatWasAcknowledgedIsThereAndTheNewEpochGoesOnAlone) {
  const auto writer = world_->ConnectAs("writer", Impatient(20000));
  const auto admin = world_->ConnectAs("admin", Impatient(20000));
  const auto opened = writer->OpenProducer(OpenRequest("A")).value;
  int64_t acknowledged = 0;
  for (int64_t seq = 1; seq <= 20; ++seq) {
    if (writer->Append(AppendOne(opened, 0, seq, seq, 10 + seq)).committed()) acknowledged = seq;
  }
  ASSERT_EQ(acknowledged, 20);
  pair_->Kill(PostgresPair::kPrimary);
  const auto late = writer->Append(AppendOne(opened, 0, 21, 21, 40));
  EXPECT_FALSE(late.committed());

  // The inherited setting names a standby that is not there: every commit would hang.
  ASSERT_TRUE(
      pair_->Configure(PostgresPair::kStandby, "synchronous_standby_names", "'FIRST 1 (dr)'").ok());
  ASSERT_TRUE(pair_->Promote().ok());
  const auto hang = admin->BeginEpoch({Epoch(1), true, "", "site lost"});
  EXPECT_EQ(hang.refusal, Refusal::kNoDurableStandby);
  EXPECT_THAT(std::string(hang.why.message()), HasSubstr("set it to ''"));
  ASSERT_TRUE(pair_->Configure(PostgresPair::kStandby, "synchronous_standby_names", "''").ok());

  const auto began = std::chrono::steady_clock::now();
  auto begun = admin->BeginEpoch({Epoch(1), true, "", "site lost"});
  for (int i = 0; i < 50 && begun.refusal == Refusal::kNoDurableStandby; ++i) {
    begun = admin->BeginEpoch({Epoch(1), true, "", "site lost"});  // Until the reload has arrived.
  }
  ASSERT_TRUE(begun.committed()) << ToString(begun.refusal) << begun.why;
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(5))
      << "the dead host of the conninfo costs nothing";

  EXPECT_REFUSED(Refusal::kFenced, writer->Append(AppendOne(opened, 0, 21, 21, 40)));
  auto request = OpenRequest("A");
  request.cluster_id = "cluster-s";
  const auto next = writer->OpenProducer(request);
  ASSERT_TRUE(next.committed()) << next.why;
  EXPECT_GE(next.value.streams[0].last_seq, Seq(acknowledged));
  EXPECT_TRUE(next.value.solo);
  const int64_t seq = next.value.streams[0].last_seq.value() + 1;
  ASSERT_COMMITTED(writer->Append(AppendOne(next.value, 0, seq, seq, 0)));
}

// The standby was promoted behind the primary's back, and the waiter set free: the primary's
// commits are its own.
TEST_F(SiteLossTest, APromotedStandbyTestifiesNothing) {
  const auto writer = world_->ConnectAs("writer", Impatient(1500));
  const auto opened = writer->OpenProducer(OpenRequest("A")).value;
  ASSERT_COMMITTED(writer->Append(AppendOne(opened, 0, 1, 1, 10)));
  ASSERT_TRUE(pair_->Promote().ok());
  ASSERT_TRUE(pair_->Configure(PostgresPair::kPrimary, "synchronous_standby_names", "''").ok());
  const auto unproven = writer->Append(AppendOne(opened, 0, 2, 2, 11));
  EXPECT_FALSE(unproven.committed());
  const auto refused = writer->Append(AppendOne(opened, 0, 2, 2, 11));
  EXPECT_FALSE(refused.committed());
  EXPECT_EQ(refused.refusal, Refusal::kNoDurableStandby) << refused.why;
}

}  // namespace
}  // namespace lockstep
