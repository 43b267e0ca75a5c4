#include "mirror-reconcile/verify.h"

#include <gtest/gtest.h>

#include "mirror-reconcile/test_site.h"

namespace lockstep {
namespace {

class VerifyTest : public TwoSitesTest {
 protected:
  VerifyTest() {
    writer_.SendAndCommit("A", 2);  // P: A1 A2 B1 B2 A3
    writer_.SendAndCommit("B", 2);
    writer_.SendAndCommit("A");
  }

  // Every anomaly with its count, but for those that are 0.
  static std::string Text(const Verdicts& verdicts) {
    std::string text;
    for (const auto& [anomaly, count] : verdicts.anomalies) {
      if (count.records == 0) continue;
      text += std::string(ToString(anomaly)) + " " + std::to_string(count.records) + " ";
    }
    return text + (verdicts.good() ? "good" : "bad");
  }
  std::string Verify() const { return Text(site_.Verify()); }
};

TEST_F(VerifyTest, CompleteMirrorIsGood) {
  Mirror(p_, 0, 5, s_);
  EXPECT_EQ(Verify(), "good");
  EXPECT_EQ(site_.Verify().digests_checked, 3);
}

TEST_F(VerifyTest, TailThatTheMirrorLostIsLost) {
  Mirror(p_, 0, 3, s_);
  EXPECT_EQ(Verify(), "lost 2 bad");
}

TEST_F(VerifyTest, RewindGivesDuplicatesAndIsGood) {
  Mirror(p_, 0, 4, s_);
  Mirror(p_, 1, 5, s_);
  EXPECT_EQ(Verify(), "duplicate 3 good");
}

TEST_F(VerifyTest, LaterRecordFirstIsReordered) {
  Mirror(p_, 1, 5, s_);
  Mirror(p_, 0, 1, s_);
  EXPECT_EQ(Verify(), "reordered 1 bad");
}

TEST_F(VerifyTest, OtherBytesAreCorrupt) {
  Mirror(p_, 0, 4, s_);
  MemoryRecord other = p_.records()[4];
  other.payload->value = "not what was written";
  s_.Append(other);
  EXPECT_EQ(Verify(), "corrupt 1 bad");
}

TEST_F(VerifyTest, VoidAndForeignRecordsAreHarmless) {
  writer_.Send("A");      // A4, never ledgered …
  writer_.Open("A", p_);  // … and closed.
  p_.Append({});
  Mirror(p_, 0, 7, s_);
  EXPECT_EQ(Verify(), "void 1 foreign 1 good");
}

TEST_F(VerifyTest, UnledgeredRecordOfALivingTermIsUnexpectedOnly) {
  writer_.Send("A");
  Mirror(p_, 0, 6, s_);
  EXPECT_EQ(Verify(), "unexpected 1 good");
}

TEST_F(VerifyTest, RetentionIsNotALoss) {
  Mirror(p_, 0, 5, s_);
  s_.RemoveBelow(Offset(1));
  EXPECT_EQ(Verify(), "removed 1 good");
}

TEST_F(VerifyTest, OwnLogMustHoldWhatTheLedgerNamesWhereItNamesIt) {
  const TestSite primary{ledger_, "cluster-p", {{"orders", &p_}}};
  EXPECT_EQ(Text(primary.Verify()), "good");
  p_.Truncate(Offset(4));
  EXPECT_EQ(Text(primary.Verify()), "lost 1 inconsistent-offsets 1 bad");
}

TEST_F(VerifyTest, ExamplesNameTheRecord) {
  Mirror(p_, 0, 4, s_);
  const Verdicts verdicts = site_.Verify();
  const AnomalyExample& lost = verdicts.anomalies.at(Anomaly::kLost).first.front();
  EXPECT_EQ(lost.producer, "A");
  EXPECT_EQ(lost.seq, Seq(3));
  EXPECT_EQ(lost.position, (Position{Epoch(1), Offset(4)}));
}

}  // namespace
}  // namespace lockstep
