#include "reorder/seq_gate.h"

#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lockstep {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr ProducerId kA{1};
constexpr ProducerId kB{2};

SeqRange Range(ProducerId producer, int64_t first, int64_t last) {
  return {producer, Seq(first), Seq(last)};
}
SeqMark Mark(ProducerId producer, int64_t intent, int64_t done) {
  return {producer, Seq(intent), Seq(done)};
}
SeqGate Opened(const std::vector<SeqMark>& marks) {
  return SeqGate({"orders", 0}, {"g", StreamId(1), Term(7), marks});
}
Commit<Moved> Answered(CommitOutcome outcome, Refusal refusal = Refusal::kNone) {
  return {outcome, refusal, absl::OkStatus(), {}};
}

TEST(SeqGateTest, ABatchIsOneCommitThatCarriesTheDonesThatAreOwed) {
  SeqGate gate = Opened({Mark(kA, 3, 3)});
  const std::vector<SeqRange> first = {Range(kB, 1, 2), Range(kA, 4, 6)};
  MoveSeqCursorRequest move = gate.Move(first);
  EXPECT_EQ(move.term, Term(7));
  EXPECT_THAT(move.marks, ElementsAre(Mark(kA, 6, 3), Mark(kB, 2, 0)));
  EXPECT_EQ(gate.Moved(move, Answered(CommitOutcome::kCommitted)), Gate::Answer::kGo);
  gate.Leaves(first);
  EXPECT_FALSE(gate.owes_done());
  gate.Left();
  EXPECT_TRUE(gate.owes_done());
  const std::vector<SeqRange> second = {Range(kA, 7, 7)};
  move = gate.Move(second);
  EXPECT_THAT(move.marks, ElementsAre(Mark(kA, 7, 6), Mark(kB, 2, 2)));
  EXPECT_EQ(gate.Moved(move, Answered(CommitOutcome::kCommitted)), Gate::Answer::kGo);
  gate.Leaves(second);
  gate.Left();
  EXPECT_THAT(gate.Move({}).marks, ElementsAre(Mark(kA, 7, 7)));
}

TEST(SeqGateTest, WithTheCursorInTheSameTransactionWhatIsIntendedIsDone) {
  SeqGate gate = Opened({Mark(kA, 3, 3)});
  const std::vector<SeqRange> batch = {Range(kA, 4, 6), Range(kB, 1, 1)};
  const MoveSeqCursorRequest move = gate.MoveDone(batch);
  EXPECT_THAT(move.marks, ElementsAre(Mark(kA, 6, 6), Mark(kB, 1, 1)));
  EXPECT_EQ(gate.Moved(move, Answered(CommitOutcome::kCommitted)), Gate::Answer::kGo);
  gate.LeftWithCursor(batch);
  EXPECT_FALSE(gate.owes_done());
  EXPECT_FALSE(gate.in_doubt());
}

TEST(SeqGateTest, NothingLeavesUnderAnIntentThatIsNotKnownToBeDurable) {
  const std::vector<SeqRange> batch = {Range(kA, 1, 2)};
  for (const auto& [answer, meaning] :
       {std::pair(Answered(CommitOutcome::kUnknown), Gate::Answer::kRepeat),
        {Answered(CommitOutcome::kNotCommitted, Refusal::kUnavailable), Gate::Answer::kRepeat},
        {Answered(CommitOutcome::kNotCommitted, Refusal::kNoDurableStandby), Gate::Answer::kRepeat},
        {Answered(CommitOutcome::kNotCommitted, Refusal::kFenced), Gate::Answer::kFenced},
        {Answered(CommitOutcome::kNotCommitted, Refusal::kInvalid), Gate::Answer::kRefused}}) {
    SeqGate gate = Opened({});
    EXPECT_EQ(gate.Moved(gate.Move(batch), answer), meaning);
    EXPECT_DEATH(gate.Leaves(batch), "durable intent");
  }
}

TEST(SeqGateTest, OfEachProducerSeqsLeaveOnceInOrder) {
  for (const SeqRange& wrong : {Range(kA, 3, 3), Range(kA, 5, 5)}) {
    SeqGate gate = Opened({Mark(kA, 3, 3)});
    const MoveSeqCursorRequest move = gate.Move(std::vector{Range(kA, 4, 5)});
    ASSERT_EQ(gate.Moved(move, Answered(CommitOutcome::kCommitted)), Gate::Answer::kGo);
    EXPECT_DEATH(gate.Leaves(std::vector{wrong}), "once, in order");
  }
}

TEST(SeqGateTest, OfABatchThatBrokeOnlyWhatTheSinkDoesNotKnowOfStaysInDoubt) {
  SeqGate gate = Opened({});
  const std::vector<SeqRange> batch = {Range(kA, 1, 3), Range(kB, 1, 1)};
  ASSERT_EQ(gate.Moved(gate.Move(batch), Answered(CommitOutcome::kCommitted)), Gate::Answer::kGo);
  gate.Leaves(batch);
  gate.LeftUpTo(kA, Seq(2));
  EXPECT_THAT(gate.Move({}).marks, ElementsAre(Mark(kA, 3, 2)));
}

struct DoubtCase {
  const char* name;
  SinkKind sink;
  InDoubtPolicy policy;
  bool old_gate_is_dead;
  const char* refused;  // Else nullptr, and done is …
  int64_t done;
};

TEST(SeqGateTest, DoubtIsAnsweredByTheSinkOrByAPersonWhoKnowsThatTheOldGateIsDead) {
  using enum SinkKind;
  using enum InDoubtPolicy;
  for (const DoubtCase& row : std::vector<DoubtCase>{
           {"BlindHeld", kBlind, kHold, true, "in-doubt", 0},
           {"BlindResentWhileItLives", kBlind, kResend, false, "may yet be", 0},
           {"BlindResent", kBlind, kResend, true, nullptr, 3},
           {"BlindSkipped", kBlind, kSkip, true, nullptr, 9},
           {"AskedWhileItLives", kQueryable, kHold, false, "--old-gate-is-dead", 0},
           {"Asked", kQueryable, kHold, true, nullptr, 5},
           {"AskedAndFenced", kQueryableFencing, kHold, false, nullptr, 5},
           {"Transactional", kTransactional, kHold, false, nullptr, 5},
       }) {
    SeqGate gate = Opened({Mark(kA, 9, 3), Mark(kB, 2, 2)});
    SeqGate::Doubt doubt{row.sink, {}, row.policy, row.old_gate_is_dead};
    if (row.sink != kBlind) doubt.last = {{kA, "A", Seq(5)}, {kB, "B", Seq(2)}};
    const absl::Status resolved = gate.Resolve(doubt);
    if (row.refused != nullptr) {
      EXPECT_TRUE(IsInDoubt(resolved)) << row.name;
      EXPECT_THAT(std::string(resolved.message()), HasSubstr(row.refused)) << row.name;
      continue;
    }
    EXPECT_EQ(resolved, absl::OkStatus()) << row.name;
    EXPECT_EQ(gate.done().at(kA), Seq(row.done)) << row.name;
    EXPECT_EQ(gate.MayHaveLeft(kA, Seq(9)), row.policy == kResend) << row.name;
    EXPECT_FALSE(gate.MayHaveLeft(kA, Seq(10))) << row.name;
  }
}

TEST(SeqGateTest, ASinkBesideTheCursorIsNotItsOutsideEvenWithoutDoubt) {
  struct {
    int64_t last_a, last_b;
    bool ok;
  } const rows[] = {{3, 0, true}, {2, 0, false}, {4, 0, false}, {3, 1, false}};
  for (const auto& row : rows) {
    SeqGate gate = Opened({Mark(kA, 3, 3)});
    const absl::Status resolved =
        gate.Resolve({.sink = SinkKind::kQueryable,
                      .last = {{kA, "A", Seq(row.last_a)}, {kB, "B", Seq(row.last_b)}}});
    EXPECT_EQ(resolved.ok(), row.ok) << resolved;
    if (!row.ok) {
      EXPECT_THAT(std::string(resolved.message()), HasSubstr("sink-is-not-the-outside"));
    }
  }
  EXPECT_THAT(Opened({}).Move({}).marks, IsEmpty());
}

// A's rows were removed by their reader; B's doubt is of another sink that came before.
TEST(SeqGateTest, ATableMayLackRowsThatItsReadersRemoved) {
  struct {
    int64_t last_a, last_b;
    bool never_written;
    bool ok;
  } const rows[] = {{0, 2, false, true},
                    {1, 2, false, true},
                    {0, 2, true, false},
                    {4, 2, false, false},
                    {0, 0, false, false}};
  for (const auto& row : rows) {
    SeqGate gate = Opened({Mark(kA, 3, 3), Mark(kB, 9, 1)});
    const absl::Status resolved =
        gate.Resolve({.sink = SinkKind::kTransactional,
                      .last = {{kA, "A", Seq(row.last_a)}, {kB, "B", Seq(row.last_b)}},
                      .never_written = row.never_written});
    EXPECT_EQ(resolved.ok(), row.ok) << resolved;
    if (row.ok) {
      EXPECT_EQ(gate.done().at(kA), Seq(3)) << "and nothing of it is sent again";
      EXPECT_EQ(gate.done().at(kB), Seq(2));
    }
  }
}

}  // namespace
}  // namespace lockstep
