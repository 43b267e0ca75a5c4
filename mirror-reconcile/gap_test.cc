#include "mirror-reconcile/gap.h"

#include <rapidcheck.h>

#include <algorithm>
#include <random>
#include <set>

#include <gtest/gtest.h>

#include "mirror-reconcile/test_site.h"

namespace lockstep {
namespace {

class GapTest : public TwoSitesTest {
 protected:
  // P: A1 A2 B1 A3 B2 B3 A4, each a commit group of its own.
  void WriteSeven() {
    writer_.SendAndCommit("A", 2);
    writer_.SendAndCommit("B");
    writer_.SendAndCommit("A");
    writer_.SendAndCommit("B", 2);
    writer_.SendAndCommit("A");
  }
};

TEST_F(GapTest, EmptyStandbyLacksEverythingInLedgerOrder) {
  WriteSeven();
  const Gap gap = site_.Find();
  EXPECT_EQ(Names(gap), "A1 A2 B1 A3 B2 B3 A4");
  EXPECT_EQ(Names(gap, ReinjectOrder::kNone), "A1 A2 A3 A4 B1 B2 B3");
  EXPECT_EQ(gap.ledger_end, (Position{Epoch(1), Offset(6)}));
}

TEST_F(GapTest, MirroredPrefixIsProvenByItsLastRecord) {
  WriteSeven();
  Mirror(p_, 0, 4, s_);  // A1 A2 B1 A3
  const Gap gap = site_.Find();
  EXPECT_EQ(Names(gap), "B2 B3 A4");
  EXPECT_EQ(gap.evidence.proofs.begin()->second.through, Offset(3));
  EXPECT_EQ(gap.producers[0].missing, 1);
  EXPECT_EQ(gap.producers[1].first_missing, Seq(2));
}

TEST_F(GapTest, PrefixMayEndInsideARun) {
  writer_.SendAndCommit("A", 10);
  Mirror(p_, 0, 7, s_);
  EXPECT_EQ(Names(site_.Find()), "A8 A9 A10");
}

TEST_F(GapTest, CompleteMirrorHasNoGap) {
  WriteSeven();
  Mirror(p_, 0, 7, s_);
  EXPECT_TRUE(site_.Find().empty());
}

TEST_F(GapTest, LedgerWithoutRecordsHasNoGap) {
  const Gap gap = site_.Find();
  EXPECT_TRUE(gap.empty());
  EXPECT_EQ(gap.ledger_end, std::nullopt);
}

TEST_F(GapTest, KilledUnorderedReinjectionHidesNothing) {
  WriteSeven();
  Mirror(p_, 0, 1, s_);                                     // A1
  Reinject(site_.Find(), ReinjectOrder::kNone, p_, s_, 3);  // A2 A3 A4, then killed.
  EXPECT_EQ(Names(site_.Find()), "B1 B2 B3");

  Rules by_highest_position = kAllRules;  // C10: the hole that the rule removes.
  by_highest_position.gap_safe = false;
  EXPECT_EQ(Names(site_.Find(false, by_highest_position)), "");
}

TEST_F(GapTest, LogWithOnlyReinjectedRecordsIsTakenByIdentity) {
  WriteSeven();
  Reinject(site_.Find(), ReinjectOrder::kLedger, p_, s_, 3);
  const Gap gap = site_.Find();
  EXPECT_EQ(Names(gap), "A3 B2 B3 A4");
  EXPECT_TRUE(gap.evidence.proofs.empty());
  EXPECT_EQ(gap.producers[0].reinjected_seen, 2);
}

TEST_F(GapTest, RecordsThatNoRunNamesProveNothing) {
  WriteSeven();
  writer_.Send("A", 3);  // A5 A6 A7 in P, never ledgered.
  Mirror(p_, 0, 4, s_);
  Mirror(p_, 7, 10, s_);  // Only in a broken world; but they must not count as a proof.
  const Gap gap = site_.Find();
  EXPECT_EQ(Names(gap), "B2 B3 A4");
  EXPECT_EQ(gap.unledgered, 3);
}

TEST_F(GapTest, RecordOfAClosedTermIsNotTheOneTheLedgerNames) {
  writer_.SendAndCommit("A", 2);
  writer_.Send("A");              // A3 of term 1: void, since …
  writer_.Open("A", p_);          // … term 2 closes term 1
  writer_.SendAndCommit("A", 2);  // and writes A3 A4 itself.
  Mirror(p_, 0, 3, s_);           // A1 A2 and the void A3.
  EXPECT_EQ(Names(site_.Find()), "A3 A4");
}

TEST_F(GapTest, MirrorThatRewoundIsNoSmallerThanItWas) {
  WriteSeven();
  Mirror(p_, 0, 6, s_);
  Mirror(p_, 2, 4, s_);  // Rewound, and died at A3.
  EXPECT_EQ(Names(site_.Find()), "A4");
}

TEST_F(GapTest, MirrorThatStartedOverAtEarliestIsSeenThrough) {
  for (int i = 0; i < 500; ++i) {
    writer_.SendAndCommit("A", 10);
    writer_.SendAndCommit("B", 10);
  }
  Mirror(p_, 0, 9'990, s_);
  Mirror(p_, 0, 300, s_);  // Killed early in its second copy.
  const Gap gap = site_.Find(false, kAllRules, {.chunk_records = 50, .chunk_records_max = 200});
  EXPECT_EQ(gap.records, 10);
  EXPECT_LT(s_.records_given(), 2'000) << "the bisection does not read the topic";
}

TEST_F(GapTest, CostFollowsTheGapNotTheTopic) {
  for (int i = 0; i < 5'000; ++i) writer_.SendAndCommit(i % 2 == 0 ? "A" : "B", 10);
  Mirror(p_, 0, 49'900, s_);
  const Gap gap = site_.Find(false, kAllRules, {.chunk_records = 100, .chunk_records_max = 1'000});
  EXPECT_EQ(gap.records, 100);
  EXPECT_LE(s_.records_given(), 200);
}

TEST_F(GapTest, RetentionOfTheStandbyIsNamed) {
  WriteSeven();
  Mirror(p_, 0, 5, s_);
  s_.RemoveBelow(Offset(2));
  const Gap gap = site_.Find();
  EXPECT_EQ(Names(gap), "B3 A4");
  EXPECT_EQ(gap.removed_below, (Position{Epoch(1), Offset(2)}));
}

TEST_F(GapTest, RecordBehindAHoleIsReported) {
  WriteSeven();
  Mirror(p_, 0, 1, s_);  // A1; then A2 is skipped, which no copier does …
  s_.Append({"A", Term(1), Seq(3), true, {}, ""});  // … and A3 comes.
  const Gap gap = site_.Find();
  EXPECT_TRUE(gap.has_hole());
  EXPECT_EQ(gap.producers[0].hole, Seq(2));
}

TEST_F(GapTest, BothTopicsOfTheDefaultPolicyCount) {
  WriteSeven();
  MemoryLog local;
  TestSite site{ledger_, "cluster-s", {{"p.orders", &s_}, {"orders", &local}}};
  Mirror(p_, 0, 4, s_);
  Reinject(site.Find(), ReinjectOrder::kLedger, p_, s_);
  ASSERT_TRUE(ledger_.BeginEpoch({Epoch(1), true, "", "test"}).committed());
  TestWriter standby(ledger_, "cluster-s", "orders");
  standby.Open("A", local);
  standby.SendAndCommit("A", 3);
  const Gap gap = site.Find();
  EXPECT_TRUE(gap.empty()) << Names(gap);
  EXPECT_TRUE(site.Verify().good());
}

// P → S → P: at the old site epoch 1 is at home, epoch 2 came back through the mirror.
TEST_F(GapTest, FailBackTrustsItsOwnEpochAndMissesTheOtherOnesTail) {
  WriteSeven();
  Mirror(p_, 0, 4, s_);
  Reinject(site_.Find(), ReinjectOrder::kLedger, p_, s_);
  ASSERT_TRUE(ledger_.BeginEpoch({Epoch(1), true, "", "failover"}).committed());
  TestWriter standby(ledger_, "cluster-s", "orders");
  standby.Open("A", s_);
  standby.SendAndCommit("A", 4);  // A5 … A8 in S.
  Mirror(s_, 0, 9, p_);           // Identity policy: the whole of S, until A6.
  TestSite old_site{ledger_, "cluster-p", {{"orders", &p_}}};
  EXPECT_EQ(Names(old_site.Find()), "A7 A8");

  p_.Truncate(Offset(5));  // The old site's own log lost its end, and what came behind.
  EXPECT_EQ(Names(old_site.Find()), "B3 A4 A5 A6 A7 A8");
}

TEST_F(GapTest, OwnLogThatHoldsAnotherRecordAtALedgeredOffsetProvesNothing) {
  WriteSeven();
  TestSite primary{ledger_, "cluster-p", {{"orders", &p_}}};
  EXPECT_TRUE(primary.Find().empty());
  p_.Truncate(Offset(5));
  p_.Append({"A", Term(1), Seq(9), false, {}, ""});  // Written after the truncation.
  p_.Append({"A", Term(1), Seq(10), false, {}, ""});
  EXPECT_EQ(Names(primary.Find()), "B3 A4");
}

// ------------------------------------------------------------------ property

struct RandomWorld {
  explicit RandomWorld(uint32_t seed) : random(seed), chunk(Pick(1, 40)) {
    for (const char* producer : {"A", "B", "C"}) writer.Open(producer, p);
    const int steps = Pick(1, 60);
    for (int i = 0; i < steps; ++i) {
      const std::string producer(1, static_cast<char>('A' + Pick(0, 2)));
      switch (Pick(0, 9)) {
        case 0:
          writer.Open(producer, p);  // What it had not ledgered is void now.
          break;
        case 1:
          p.Append({});  // Somebody else's record.
          break;
        case 2:
        case 3:
        case 4:
          writer.Commit(producer);
          break;
        default:
          writer.Send(producer, Pick(1, 5));
      }
    }
    Copy();
  }

  int Pick(int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); }

  // A lawful copier: in source order, never starting above the first record not yet copied.
  void Copy() {
    const int size = static_cast<int>(p.records().size());
    int copied = 0;
    const int stretches = Pick(0, 4);
    for (int i = 0; i < stretches; ++i) {
      const int from = Pick(0, copied);
      const int end = Pick(from, size);
      Mirror(p, from, end, s);
      copied = std::max(copied, end);
    }
  }

  Gap Find(bool whole) { return site.Find(whole, kAllRules, {chunk, chunk * 4}); }

  std::mt19937 random;
  int chunk;
  LedgerState state{true};
  MemoryLedger ledger{&state, kAllRules, "admin"};
  MemoryLog p;
  MemoryLog s;
  TestWriter writer{ledger, "cluster-p", "orders"};
  TestSite site{ledger, "cluster-s", {{"orders", &s}}};
};

std::set<std::string> SetOf(const std::string& names) {
  std::set<std::string> set;
  std::stringstream stream(names);
  for (std::string name; stream >> name;) set.insert(name);
  return set;
}

TEST(GapPropertyTest, FastNeverMissesWhatTheWholeScanFinds) {
  ASSERT_TRUE(rc::check([](uint32_t seed) {
    RandomWorld world(seed);
    // Any number of re-injections in any order, each killed anywhere, with late copies between.
    const int rounds = world.Pick(0, 4);
    for (int round = 0; round <= rounds; ++round) {
      const Gap fast = world.Find(false);
      const std::set<std::string> fast_set = SetOf(Names(fast));
      const std::set<std::string> whole_set = SetOf(Names(world.Find(true)));
      RC_ASSERT(
          std::includes(fast_set.begin(), fast_set.end(), whole_set.begin(), whole_set.end()));
      RC_ASSERT(!fast.has_hole());
      const auto order = world.Pick(0, 1) == 0 ? ReinjectOrder::kLedger : ReinjectOrder::kNone;
      Reinject(fast, order, world.p, world.s, world.Pick(0, 30));
    }
    Reinject(world.Find(false), ReinjectOrder::kLedger, world.p, world.s);
    RC_ASSERT(world.Find(true).empty());
    // A rewind may still make the fast answer too large; what it re-injects it sees the next time.
    for (int round = 0; round < 2; ++round) {
      Reinject(world.Find(false), ReinjectOrder::kLedger, world.p, world.s);
    }
    RC_ASSERT(world.Find(false).empty());
    const Verdicts verdicts = world.site.Verify();
    RC_ASSERT(verdicts.good());
    RC_ASSERT(verdicts.found == verdicts.ledgered);
  }));
}

TEST(GapPropertyTest, FastIsExactWithoutRewinds) {
  ASSERT_TRUE(rc::check([](uint32_t seed) {
    RandomWorld world(seed);
    MemoryLog straight;
    Mirror(world.p, 0, world.Pick(0, static_cast<int>(world.p.records().size())), straight);
    TestSite site{world.ledger, "cluster-s", {{"orders", &straight}}};
    RC_ASSERT(Names(site.Find(false, kAllRules, {world.chunk, 100})) == Names(site.Find(true)));
  }));
}

TEST(GapPropertyTest, LedgerOrderIsThePrimarysOrder) {
  ASSERT_TRUE(rc::check([](uint32_t seed) {
    RandomWorld world(seed);
    MemoryLog empty;
    TestSite site{world.ledger, "cluster-s", {{"orders", &empty}}};
    const Gap gap = site.Find();
    Reinject(gap, ReinjectOrder::kLedger, world.p, empty);
    std::vector<std::pair<std::string, Seq>> wanted;
    for (size_t i = 0; i < world.p.records().size(); ++i) {
      const MemoryRecord& record = world.p.records()[i];
      for (const GapPiece& piece : gap.pieces) {
        if (piece.run.offsets.Contains(Offset(static_cast<int64_t>(i)))) {
          wanted.emplace_back(record.producer, record.seq);
        }
      }
    }
    std::vector<std::pair<std::string, Seq>> got;
    for (const MemoryRecord& record : empty.records())
      got.emplace_back(record.producer, record.seq);
    RC_ASSERT(got == wanted);
  }));
}

}  // namespace
}  // namespace lockstep
