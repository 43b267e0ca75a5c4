#include "reorder/gate.h"

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lockstep {
namespace {

using testing::HasSubstr;

Position At(int64_t offset) { return {Epoch(1), Offset(offset)}; }

Cursor MakeCursor(std::optional<int64_t> done, std::optional<int64_t> intent) {
  Cursor cursor;
  cursor.group = "g";
  cursor.term = Term(7);
  if (done.has_value()) cursor.done = At(*done);
  if (intent.has_value()) cursor.intent = At(*intent);
  return cursor;
}

Gate MakeGate(const Cursor& cursor, Rules rules = kAllRules) {
  return Gate({rules, "g", StreamId(1), {"orders", 0}}, cursor);
}

Commit<Moved> Committed() { return {CommitOutcome::kCommitted, Refusal::kNone, {}, {}}; }
Commit<Moved> Unknown() {
  return {CommitOutcome::kUnknown, Refusal::kNone, absl::UnavailableError("?"), {}};
}
Commit<Moved> Refused(Refusal refusal) {
  return {CommitOutcome::kNotCommitted, refusal, absl::AbortedError("no"), {}};
}

TEST(GateTest, DoneRidesWithTheNextIntent) {
  Gate gate = MakeGate(MakeCursor({}, {}));
  EXPECT_FALSE(gate.in_doubt());
  MoveCursorRequest move = gate.Move(At(5));
  EXPECT_EQ(move.term, Term(7));
  EXPECT_EQ(move.intent, At(5));
  EXPECT_EQ(move.done, std::nullopt);
  EXPECT_FALSE(gate.MayLeave(At(1)));
  EXPECT_EQ(gate.Moved(move, Committed()), Gate::Answer::kGo);
  EXPECT_TRUE(gate.MayLeave(At(5)));
  EXPECT_FALSE(gate.MayLeave(At(6)));
  gate.Leaves(At(2));
  gate.Leaves(At(5));
  gate.Left(At(5));
  EXPECT_TRUE(gate.owes_done());
  move = gate.Move(At(9));
  EXPECT_EQ(move.intent, At(9));
  EXPECT_EQ(move.done, At(5));
}

TEST(GateTest, DoneGoesAloneWhenIdle) {
  Gate gate = MakeGate(MakeCursor({}, {}));
  MoveCursorRequest move = gate.Move(At(5));
  gate.Moved(move, Committed());
  gate.Leaves(At(5));
  gate.Left(At(5));
  move = gate.Move(std::nullopt);
  EXPECT_EQ(move.intent, std::nullopt);
  EXPECT_EQ(move.done, At(5));
  gate.Moved(move, Committed());
  EXPECT_FALSE(gate.owes_done());
}

TEST(GateTest, NothingLeavesWhileTheOutcomeIsUnknown) {
  Gate gate = MakeGate(MakeCursor(3, 3));
  const MoveCursorRequest move = gate.Move(At(5));
  EXPECT_EQ(gate.Moved(move, Unknown()), Gate::Answer::kRepeat);
  EXPECT_FALSE(gate.MayLeave(At(5)));
  EXPECT_EQ(gate.Moved(move, Refused(Refusal::kUnavailable)), Gate::Answer::kRepeat);
  EXPECT_EQ(gate.Moved(move, Refused(Refusal::kNoDurableStandby)), Gate::Answer::kRepeat);
  EXPECT_FALSE(gate.MayLeave(At(5)));
  EXPECT_EQ(gate.Moved(move, Committed()), Gate::Answer::kGo);
  EXPECT_TRUE(gate.MayLeave(At(5)));
}

TEST(GateTest, AFencedGateStops) {
  Gate gate = MakeGate(MakeCursor(3, 3));
  EXPECT_EQ(gate.Moved(gate.Move(At(5)), Refused(Refusal::kFenced)), Gate::Answer::kFenced);
  EXPECT_FALSE(gate.MayLeave(At(5)));
  EXPECT_EQ(gate.Moved(gate.Move(At(5)), Refused(Refusal::kInvalid)), Gate::Answer::kRefused);
}

TEST(GateTest, WithoutTheRuleIntentSyncEffectsWouldLeaveAtOnce) {
  Rules rules;
  rules.intent_sync = false;
  EXPECT_TRUE(MakeGate(MakeCursor(3, 3), rules).MayLeave(At(5)));
}

struct DoubtCase {
  const char* name;
  std::optional<int64_t> done, intent;
  SinkKind sink;
  std::optional<int64_t> last;
  InDoubtPolicy policy;
  bool old_gate_is_dead;
  const char* refused;              // nullptr: resolved …
  std::optional<int64_t> new_done;  // … and this is done now.
};

TEST(GateTest, Doubt) {
  constexpr auto kHold = InDoubtPolicy::kHold;
  constexpr auto kResend = InDoubtPolicy::kResend;
  constexpr auto kSkip = InDoubtPolicy::kSkip;
  const DoubtCase table[] = {
      {"NothingInDoubt", 5, 5, SinkKind::kBlind, {}, kHold, false, nullptr, 5},
      {"NeverSent", {}, {}, SinkKind::kBlind, {}, kHold, false, nullptr, {}},
      {"FencingSinkAnswers", 5, 9, SinkKind::kQueryableFencing, 7, kHold, false, nullptr, 7},
      {"FencingSinkNothingYet", {}, 9, SinkKind::kQueryableFencing, {}, kHold, false, nullptr, {}},
      {"TransactionalAnswers", 5, 9, SinkKind::kTransactional, 5, kHold, false, nullptr, 5},
      {"QueryableOldGateMayLive", 5, 9, SinkKind::kQueryable, 7, kHold, false, "in-doubt", {}},
      {"QueryableOldGateIsDead", 5, 9, SinkKind::kQueryable, 7, kHold, true, nullptr, 7},
      {"QueryableResendNeedsDeath", 5, 9, SinkKind::kQueryable, 7, kResend, false, "in-doubt", {}},
      {"BlindHold", 5, 9, SinkKind::kBlind, {}, kHold, false, "in-doubt", {}},
      {"BlindHoldEvenIfDead", 5, 9, SinkKind::kBlind, {}, kHold, true, "in-doubt", {}},
      {"BlindResendNeedsDeath", 5, 9, SinkKind::kBlind, {}, kResend, false, "in-doubt", {}},
      {"BlindSkipNeedsDeath", 5, 9, SinkKind::kBlind, {}, kSkip, false, "in-doubt", {}},
      {"BlindResend", 5, 9, SinkKind::kBlind, {}, kResend, true, nullptr, 5},
      {"BlindSkip", 5, 9, SinkKind::kBlind, {}, kSkip, true, nullptr, 9},
      {"SinkBehindDone",
       5,
       9,
       SinkKind::kQueryableFencing,
       4,
       kHold,
       true,
       "sink-is-not-the-outside",
       {}},
      {"SinkIsEmpty",
       5,
       5,
       SinkKind::kQueryableFencing,
       {},
       kHold,
       true,
       "sink-is-not-the-outside",
       {}},
      {"SinkAheadOfIntent",
       5,
       9,
       SinkKind::kQueryableFencing,
       10,
       kHold,
       true,
       "sink-is-not-the-outside",
       {}},
      {"NewGroupOldSink",
       {},
       {},
       SinkKind::kTransactional,
       3,
       kHold,
       true,
       "sink-is-not-the-outside",
       {}},
  };
  for (const DoubtCase& row : table) {
    SCOPED_TRACE(row.name);
    Gate gate = MakeGate(MakeCursor(row.done, row.intent));
    Gate::Doubt doubt{row.sink, {}, row.policy, row.old_gate_is_dead};
    if (row.last.has_value()) doubt.last = At(*row.last);
    const absl::Status status = gate.Resolve(doubt);
    if (row.refused != nullptr) {
      EXPECT_THAT(std::string(status.message()), HasSubstr(row.refused));
      EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
      continue;
    }
    ASSERT_EQ(status, absl::OkStatus());
    EXPECT_EQ(gate.done().has_value(), row.new_done.has_value());
    if (row.new_done.has_value()) {
      EXPECT_EQ(gate.done(), At(*row.new_done));
    }
  }
}

// Rows and cursor move together, so a row that is not there was removed by who has read it.
TEST(GateTest, ATableMayLackRowsThatItsReadersRemoved) {
  constexpr auto kTable = SinkKind::kTransactional;
  struct {
    const char* name;
    SinkKind sink;
    std::optional<int64_t> done, intent, last;
    bool never_written;
    bool ok;
  } const rows[] = {
      {"All", kTable, 5, 5, {}, false, true},
      {"Some", kTable, 5, 5, 3, false, true},
      {"NotEverWritten", kTable, 5, 5, {}, true, false},
      {"NewGroupNewTable", kTable, {}, {}, {}, true, true},
      {"Ahead", kTable, 5, 5, 6, false, false},
      {"InDoubtSinceAnotherSink", kTable, 5, 9, {}, false, false},
      {"TableElsewhere", SinkKind::kQueryable, 5, 5, 3, false, false},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.name);
    Gate gate = MakeGate(MakeCursor(row.done, row.intent));
    Gate::Doubt doubt;
    doubt.sink = row.sink;
    doubt.never_written = row.never_written;
    if (row.last.has_value()) doubt.last = At(*row.last);
    const absl::Status status = gate.Resolve(doubt);
    EXPECT_EQ(status.ok(), row.ok) << status;
    if (row.ok && row.done.has_value()) {
      EXPECT_EQ(gate.done(), At(*row.done));
    }
  }
}

TEST(GateTest, ResentRecordsAreMarkedAndTheIntentNeverGoesBack) {
  Gate gate = MakeGate(MakeCursor(5, 9));
  ASSERT_TRUE(gate.Resolve({SinkKind::kBlind, {}, InDoubtPolicy::kResend, true}).ok());
  const MoveCursorRequest move = gate.Move(At(6));
  EXPECT_EQ(move.intent, At(9));
  gate.Moved(move, Committed());
  EXPECT_TRUE(gate.MayHaveLeft(At(6)));
  EXPECT_FALSE(gate.MayHaveLeft(At(10)));
  gate.Leaves(At(6));
  gate.Left(At(6));
  EXPECT_EQ(gate.Move(At(12)).done, At(6));
}

TEST(GateDeathTest, NothingLeavesTwiceOrBack) {
  Gate gate = MakeGate(MakeCursor(5, 5));
  gate.Moved(gate.Move(At(9)), Committed());
  gate.Leaves(At(7));
  EXPECT_DEATH(gate.Leaves(At(7)), "once, in order");
  EXPECT_DEATH(gate.Leaves(At(5)), "once, in order");
  EXPECT_DEATH(gate.Leaves(At(10)), "durable intent");
}

}  // namespace
}  // namespace lockstep
