#include "db-ledger/memory_ledger.h"

#include "db-ledger/ledger_contract_test.h"

namespace lockstep {
namespace {

class MemoryWorld final : public LedgerWorld {
 public:
  std::unique_ptr<Ledger> Connect(const std::string& role) override {
    return std::make_unique<MemoryLedger>(&state_, kAllRules, role);
  }

 private:
  LedgerState state_;
};

INSTANTIATE_TEST_SUITE_P(Memory, LedgerContractTest, testing::Values([] {
                           return std::unique_ptr<LedgerWorld>(std::make_unique<MemoryWorld>());
                         }));

// The story that every test below begins with: A is open on stream 1 and has 1..3 ledgered.
class MemoryLedgerTest : public testing::Test {
 protected:
  MemoryLedgerTest() : MemoryLedgerTest(kAllRules) {}
  explicit MemoryLedgerTest(Rules rules) : ledger_(&state_, rules, "writer") {
    opened_ = ledger_.OpenProducer(OpenRequest("A")).value;
    EXPECT_TRUE(ledger_.Append(AppendOne(opened_, 0, 1, 3, 10)).committed());
  }

  LedgerState state_;
  MemoryLedger ledger_;
  OpenedProducer opened_;
};

TEST_F(MemoryLedgerTest, TheHookOrdersEveryFate) {
  const auto request = AppendOne(opened_, 0, 4, 4, 13);
  CommitFate fate = CommitFate::kRefused;
  ledger_.SetFate([&](const PendingCommit& commit) {
    EXPECT_EQ(commit.lsn, state_.lsn + 1);
    EXPECT_EQ(commit.call, "Append");
    return fate;
  });
  const LedgerState before = state_;
  EXPECT_REFUSED(Refusal::kNoDurableStandby, ledger_.Append(request));
  EXPECT_EQ(state_, before);

  fate = CommitFate::kUnknownNotApplied;
  EXPECT_EQ(ledger_.Append(request).outcome, CommitOutcome::kUnknown);
  EXPECT_EQ(state_, before);

  fate = CommitFate::kUnknownApplied;
  const auto unknown = ledger_.Append(request);
  EXPECT_EQ(unknown.outcome, CommitOutcome::kUnknown);
  EXPECT_FALSE(unknown.why.ok());
  EXPECT_EQ(state_.lsn, before.lsn + 1);

  fate = CommitFate::kDurable;
  const auto again = ledger_.Append(request);
  EXPECT_TRUE(again.committed());
  EXPECT_TRUE(again.value.again);
  EXPECT_EQ(state_.lsn, before.lsn + 2) << "a repeat writes WAL";
}

TEST_F(MemoryLedgerTest, ACopyPerCommitIsAPrefixOfTheWal) {
  std::vector<LedgerState> wal = {state_};
  ledger_.SetApplied([&](const LedgerState& state) { wal.push_back(state); });
  ledger_.Append(AppendOne(opened_, 0, 4, 4, 13));
  ledger_.Append(AppendOne(opened_, 0, 5, 5, 14));
  ASSERT_EQ(wal.size(), 3u);
  LedgerState standby = wal[1];  // The site is lost with its last commit.
  ledger_.Attach(&standby);
  EXPECT_EQ(ledger_.OpenProducer(OpenRequest("A")).value.streams[0].last_seq, Seq(4));
}

TEST_F(MemoryLedgerTest, AnUnknownOpenHandsItsTermOutNeverAgain) {
  ledger_.SetFate([](const PendingCommit&) { return CommitFate::kUnknownApplied; });
  EXPECT_EQ(ledger_.OpenProducer(OpenRequest("A")).value.streams[0].term, Term(2));
  ledger_.SetFate(nullptr);
  EXPECT_EQ(ledger_.OpenProducer(OpenRequest("A")).value.streams[0].term, Term(3));
}

TEST_F(MemoryLedgerTest, TenuresRememberWhereTheyEnded) {
  ledger_.BeginEpoch({Epoch(1), true, "", "lost"});
  const StreamId stream = opened_.streams[0].stream;
  EXPECT_EQ(state_.tenures.at({stream, opened_.producer, Term(1)}),
            (LedgerState::Tenure{Epoch(1), Seq(1), Seq(3)}));
  EXPECT_EQ(state_.tenures.at({stream, opened_.producer, Term(2)}),
            (LedgerState::Tenure{Epoch(2), Seq(4), std::nullopt}));
}

// --- each rule, switched off, lets its counterexample happen (docs/decisions/0001).

constexpr Rules Without(bool Rules::*rule) {
  Rules rules;
  rules.*rule = false;
  return rules;
}

class NoFence : public MemoryLedgerTest {
 protected:
  NoFence() : MemoryLedgerTest(Without(&Rules::fence)) {}
};
TEST_F(NoFence, AnOldTermAppends) {
  ledger_.OpenProducer(OpenRequest("A"));
  EXPECT_TRUE(ledger_.Append(AppendOne(opened_, 0, 4, 4, 13)).committed());
}

class NoCursorFence : public MemoryLedgerTest {
 protected:
  NoCursorFence() : MemoryLedgerTest(Without(&Rules::cursor_fence)) {}
};
TEST_F(NoCursorFence, AnOldGateMovesTheCursor) {
  const auto old = ledger_.OpenGate("g", {{"orders", 0}}, true).value.cursors.at(0);
  ledger_.OpenGate("g", {{"orders", 0}}, false);
  EXPECT_TRUE(ledger_.MoveCursor({"g", old.stream, old.term, Position{Epoch(1), Offset(1)}, {}})
                  .committed());
}

class NoEpochCursor : public MemoryLedgerTest {
 protected:
  NoEpochCursor() : MemoryLedgerTest(Without(&Rules::epoch_cursor)) {}
};
TEST_F(NoEpochCursor, AnEpochLeavesTheOldGateInOffice) {
  const auto old = ledger_.OpenGate("g", {{"orders", 0}}, true).value.cursors.at(0);
  ledger_.BeginEpoch({Epoch(1), true, "", "lost"});
  EXPECT_TRUE(ledger_.MoveCursor({"g", old.stream, old.term, Position{Epoch(1), Offset(1)}, {}})
                  .committed());
}

class NoNoopWal : public MemoryLedgerTest {
 protected:
  NoNoopWal() : MemoryLedgerTest(Without(&Rules::noop_wal)) {}
};
TEST_F(NoNoopWal, ARepeatAnswersWithoutWaiting) {
  ledger_.SetFate([](const PendingCommit&) { return CommitFate::kRefused; });
  EXPECT_TRUE(ledger_.Append(AppendOne(opened_, 0, 1, 3, 10)).committed());
}

class NoAtomicCheck : public MemoryLedgerTest {
 protected:
  NoAtomicCheck() : MemoryLedgerTest(Without(&Rules::atomic_check)) {}
};
TEST_F(NoAtomicCheck, AnAppendThatPassedItsCheckLandsAfterTheEpochEnded) {
  const LedgerState seen = state_;
  ledger_.BeginEpoch({Epoch(1), true, "", "lost"});
  ledger_.SetStaleView(&seen);
  EXPECT_TRUE(ledger_.Append(AppendOne(opened_, 0, 4, 4, 13)).committed());
}

class NoAdoptUnclosed : public MemoryLedgerTest {
 protected:
  NoAdoptUnclosed() : MemoryLedgerTest(Without(&Rules::adopt_unclosed)) {}
};
TEST_F(NoAdoptUnclosed, AVoidRecordIsAdopted) {
  ledger_.OpenProducer(OpenRequest("A"));
  auto third = ledger_.OpenProducer(OpenRequest("A")).value;
  ledger_.CloseEarlierTerms(third.producer, {{third.streams[0].stream, Term(3)}});
  auto adopt = AppendOne(third, 0, 4, 4, 13);
  adopt.runs[0].run.term = Term(2);
  EXPECT_TRUE(ledger_.Append(adopt).committed());
}

}  // namespace
}  // namespace lockstep
