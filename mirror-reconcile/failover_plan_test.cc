#include "mirror-reconcile/failover_plan.h"

#include <rapidcheck.h>

#include <random>
#include <utility>

#include <gtest/gtest.h>

#include "mirror-reconcile/reinject.h"
#include "mirror-reconcile/test_site.h"

namespace lockstep {
namespace {

constexpr char kSite[] = "cluster-s";

std::string NextOf(const FailoverFacts& facts) {
  const auto standing = StandingOf(facts, kSite);
  if (!standing.ok()) return "refused";
  return (standing->next ? std::string(ToString(*standing->next)) : "done") + " " +
         ToString(standing->target);
}

// What can be seen at the site, and what follows.
struct Row {
  bool in_recovery;
  int64_t epoch;
  const char* begun_for;
  bool lives_here;
  bool handed_over;
  const char* next;
};

std::string NextOf(const Row& row, bool in_place) {
  FailoverFacts facts;
  facts.in_recovery = row.in_recovery;
  facts.epoch = Epoch(row.epoch);
  facts.epoch_cluster_id = row.begun_for;
  facts.epoch_lives_here = row.lives_here;
  facts.handed_over = row.handed_over;
  facts.in_place = in_place;
  return NextOf(facts);
}

TEST(FailoverPlanTest, NextStepFollowsFromWhatCanBeSeen) {
  const Row rows[] = {
      {true, 1, "", false, false, "promote 2"},
      {false, 1, "", false, false, "begin_epoch 2"},
      {false, 2, kSite, false, false, "topics 2"},
      {false, 2, kSite, true, false, "topics 2"},  // Producers started early.
      {false, 2, kSite, true, true, "done 2"},
      {false, 1, "", true, false, "refused"},
      {false, 3, "cluster-p", true, true, "refused"},
      // The second failover to the same site: epoch 3 was the other site's.
      {true, 3, "cluster-p", false, true, "promote 4"},
      {false, 3, "cluster-p", false, true, "begin_epoch 4"},
  };
  for (const Row& row : rows) EXPECT_EQ(NextOf(row, false), row.next);

  const Row in_place[] = {
      {false, 1, "", true, false, "begin_epoch 2"},
      {false, 2, kSite, false, false, "topics 2"},
      {false, 2, kSite, false, true, "done 2"},
      {false, 2, kSite, true, true, "begin_epoch 3"},  // It lost records again.
      {true, 1, "", false, false, "refused"},
  };
  for (const Row& row : in_place) EXPECT_EQ(NextOf(row, true), row.next);
}

TEST(FailoverPlanTest, EveryStepSaysHowToUndoIt) {
  for (const FailoverStep step : kFailoverSteps) {
    EXPECT_FALSE(TextOf(step).what.empty()) << ToString(step);
    EXPECT_FALSE(TextOf(step).why.empty()) << ToString(step);
    EXPECT_FALSE(TextOf(step).undo.empty()) << ToString(step);
  }
}

// The answer to the first attempt is lost; the second finds the epoch begun.
TEST(FailoverPlanTest, AnEpochWhoseAnswerWasLostIsOursIfItIsForThisSite) {
  for (const char* site : {kSite, "cluster-q"}) {
    LedgerState state(true);
    MemoryLedger ledger(&state, kAllRules, "admin");
    MemoryLedger other(&state, kAllRules, "admin");
    bool first = true;
    ledger.SetFate([&](const PendingCommit&) {
      if (!std::exchange(first, false)) return CommitFate::kDurable;
      EXPECT_TRUE(other.BeginEpoch({Epoch(1), true, site, "test"}).committed());
      return CommitFate::kUnknownNotApplied;
    });
    const auto begun = BeginFailoverEpoch(ledger, Epoch(2), true, kSite, 2);
    EXPECT_EQ(begun.ok(), site == std::string_view(kSite)) << begun.status();
    EXPECT_EQ(state.epoch, Epoch(2)) << "begun once";
  }
}

// A failover that is killed after any action, answers of commits lost, and started over until it
// is through.
class CrashingFailover {
 public:
  explicit CrashingFailover(uint32_t seed) : random_(seed) {
    for (const char* producer : {"A", "B"}) writer_.Open(producer, p_);
    const int groups = Pick(1, 8);
    for (int i = 0; i < groups; ++i) writer_.SendAndCommit(Pick(0, 1) == 0 ? "A" : "B", Pick(1, 4));
    writer_.Send("A", Pick(0, 3));  // Never ledgered: void after the failover.
    Mirror(p_, 0, Pick(0, static_cast<int>(p_.records().size())), s_);
  }

  // One run of the program; false: it was killed.
  bool Run(int kill_after) {
    actions_left_ = kill_after;
    MemoryLedger ledger(&state_, kAllRules, "admin");
    ledger.SetFate([this](const PendingCommit&) {
      switch (Pick(0, 3)) {
        case 0:
          return CommitFate::kUnknownApplied;
        case 1:
          return CommitFate::kUnknownNotApplied;
        default:
          return CommitFate::kDurable;
      }
    });
    return RunSteps(ledger);
  }

  const LedgerState& state() const { return state_; }
  TestSite site() { return {reader_, kSite, {{"orders", &s_}}}; }

 private:
  int Pick(int low, int high) { return std::uniform_int_distribution<int>(low, high)(random_); }
  bool Killed() { return actions_left_-- <= 0; }

  bool RunSteps(MemoryLedger& ledger) {
    for (;;) {
      const auto streams = ledger.FindStreams("orders");
      auto facts = ReadFailoverFacts(ledger, *streams, "orders", kSite);
      facts->in_recovery = in_recovery_;
      const auto standing = StandingOf(*facts, kSite);
      EXPECT_TRUE(standing.ok()) << standing.status();
      if (!standing->next) return true;
      switch (*standing->next) {
        case FailoverStep::kPromote:
          in_recovery_ = false;
          break;
        case FailoverStep::kBeginEpoch:
          if (!BeginFailoverEpoch(ledger, standing->target, true, kSite, 2).ok()) return false;
          break;
        default:
          if (!FillAndHandOver(ledger, standing->target)) return false;
      }
      if (Killed()) return false;
    }
  }

  bool FillAndHandOver(MemoryLedger& ledger, Epoch target) {
    const Gap gap = site().Find();
    const auto order = Pick(0, 1) == 0 ? ReinjectOrder::kLedger : ReinjectOrder::kNone;
    const int64_t records_max = actions_left_;
    Reinject(gap, order, p_, s_, records_max);
    actions_left_ -= static_cast<int>(gap.records);
    if (Killed()) return false;
    EXPECT_TRUE(site().Find().empty());
    return ledger.RecordStep({target, HandOverStepName("orders"), "done", "{}", 0}).committed();
  }

  std::mt19937 random_;
  LedgerState state_{true};
  MemoryLedger reader_{&state_, kAllRules, "admin"};
  MemoryLog p_;
  MemoryLog s_;
  TestWriter writer_{reader_, "cluster-p", "orders"};
  bool in_recovery_ = true;
  int actions_left_ = 0;
};

TEST(FailoverPlanPropertyTest, KilledAfterAnyActionItEndsInTheSamePlace) {
  ASSERT_TRUE(rc::check([](uint32_t seed) {
    CrashingFailover failover(seed);
    bool done = false;
    for (int kill_after = 0; kill_after < 60 && !done; ++kill_after) {
      done = failover.Run(kill_after);
    }
    RC_ASSERT(done);
    RC_ASSERT(failover.state().epoch == Epoch(2));  // Begun exactly once.
    RC_ASSERT(failover.site().Find(true).empty());
    RC_ASSERT(failover.site().Verify().good());
  }));
}

}  // namespace
}  // namespace lockstep
