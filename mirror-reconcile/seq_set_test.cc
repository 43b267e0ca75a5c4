#include "mirror-reconcile/seq_set.h"

#include <rapidcheck.h>

#include <set>

#include <gtest/gtest.h>

namespace lockstep {
namespace {

std::string Text(const std::vector<SeqRange>& ranges) {
  std::string text;
  for (const SeqRange& range : ranges) {
    text += ToString(range.first) + "-" + ToString(range.last) + " ";
  }
  return text;
}

TEST(SeqSetTest, JoinsNeighboursOnBothSides) {
  SeqSet set;
  for (const int seq : {1, 2, 5, 4, 9}) EXPECT_TRUE(set.Add(Seq(seq)));
  EXPECT_EQ(Text(set.ranges()), "1-2 4-5 9-9 ");
  EXPECT_TRUE(set.Add(Seq(3)));
  EXPECT_EQ(Text(set.ranges()), "1-5 9-9 ");
  EXPECT_FALSE(set.Add(Seq(4)));
  EXPECT_EQ(Text(set.Missing({Seq(0), Seq(12)})), "0-0 6-8 10-12 ");
  EXPECT_EQ(Text(set.Missing({Seq(2), Seq(5)})), "");
}

TEST(SeqSetTest, AnswersAsAPlainSetDoes) {
  ASSERT_TRUE(rc::check([](const std::vector<uint8_t>& seqs) {
    SeqSet set;
    std::set<int64_t> plain;
    for (const uint8_t seq : seqs) {
      RC_ASSERT(set.Add(Seq(seq % 40)) == plain.insert(seq % 40).second);
    }
    RC_ASSERT(set.count() == static_cast<int64_t>(plain.size()));
    int64_t missing = 0;
    for (const SeqRange& range : set.Missing({Seq(0), Seq(39)})) missing += range.count();
    RC_ASSERT(missing == 40 - static_cast<int64_t>(plain.size()));
    for (int64_t seq = 0; seq < 40; ++seq) {
      RC_ASSERT(set.Contains(Seq(seq)) == plain.contains(seq));
    }
    for (size_t i = 1; i < set.ranges().size(); ++i) {
      RC_ASSERT(set.ranges()[i - 1].last + 1 < set.ranges()[i].first);
    }
  }));
}

}  // namespace
}  // namespace lockstep
