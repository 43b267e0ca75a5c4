#include "producer/run_builder.h"

#include <string>

#include <gtest/gtest.h>

namespace lockstep {
namespace {

Payload Value(std::string text) {
  Payload payload;
  payload.value = std::move(text);
  return payload;
}

RunBuilder Fresh(const MakePayloadEncoder& encode = nullptr) {
  return RunBuilder("A", ProducerId(1), Seq(0), Offset(10), encode);
}

TEST(RunBuilder, ARunNamesWhatWasAdded) {
  RunBuilder builder = Fresh();
  builder.Add(Term(4), Seq(1), Offset(10), "7", Value("a"));
  builder.Add(Term(4), Seq(2), Offset(11), "9", Value("b"));
  builder.Add(Term(4), Seq(3), Offset(15), "12", Value("c"));
  const auto runs = builder.Take();
  ASSERT_EQ(runs.size(), 1u);
  EXPECT_EQ(runs[0].first_seq, Seq(1));
  EXPECT_EQ(runs[0].last_seq, Seq(3));
  EXPECT_EQ(runs[0].term, Term(4));
  EXPECT_EQ(runs[0].offsets.ToString(), "{[10,12),[15,16)}");
  EXPECT_EQ(runs[0].at_first, "7");
  EXPECT_EQ(runs[0].at_last, "12");
  RunDigest digest;
  digest.Add("A", Term(4), Seq(1), Value("a"));
  digest.Add("A", Term(4), Seq(2), Value("b"));
  digest.Add("A", Term(4), Seq(3), Value("c"));
  EXPECT_EQ(runs[0].digest, digest.Value());
  EXPECT_TRUE(builder.empty());
  EXPECT_EQ(builder.next_seq(), Seq(4));
}

TEST(RunBuilder, EachRunHasADigestOfItsOwn) {
  RunBuilder builder = Fresh();
  builder.Add(Term(1), Seq(1), Offset(10), "1", Value("a"));
  (void)builder.Take();
  builder.Add(Term(1), Seq(2), Offset(11), "2", Value("b"));
  RunDigest digest;
  digest.Add("A", Term(1), Seq(2), Value("b"));
  EXPECT_EQ(builder.Take().at(0).digest, digest.Value());
}

TEST(RunBuilder, AnotherTermBeginsAnotherRun) {
  RunBuilder builder = Fresh();
  builder.Add(Term(1), Seq(1), Offset(10), "1", Value("a"));
  builder.Add(Term(2), Seq(2), Offset(11), "2", Value("b"));
  const auto runs = builder.Take();
  ASSERT_EQ(runs.size(), 2u);
  EXPECT_EQ(runs[0].last_seq, Seq(1));
  EXPECT_EQ(runs[1].first_seq, Seq(2));
  EXPECT_EQ(runs[1].term, Term(2));
}

TEST(RunBuilder, CutsARunAtTheMostRangesALedgerRowMayName) {
  RunBuilder builder = Fresh();
  const int64_t records = static_cast<int64_t>(kRangesPerRunMax) + 1;
  for (int64_t i = 1; i <= records; ++i) {
    builder.Add(Term(1), Seq(i), Offset(10 + 2 * i), std::to_string(i), Value("x"));
  }
  const auto runs = builder.Take();
  ASSERT_EQ(runs.size(), 2u);
  EXPECT_EQ(runs[0].offsets.ranges().size(), kRangesPerRunMax);
  EXPECT_EQ(runs[1].first_seq, runs[0].last_seq + 1);
  EXPECT_EQ(runs[1].last_seq, Seq(records));
}

TEST(RunBuilder, KeepsPayloadsOnlyWhenAsked) {
  RunBuilder builder = Fresh(GatherPayloads([](const std::vector<Payload>& payloads) {
    std::string text;
    for (const Payload& payload : payloads) text += *payload.value;
    return text;
  }));
  builder.Add(Term(1), Seq(1), Offset(10), "1", Value("a"));
  builder.Add(Term(1), Seq(2), Offset(11), "2", Value("b"));
  EXPECT_EQ(builder.Take().at(0).payload, "ab");
  builder.Add(Term(1), Seq(3), Offset(12), "3", Value("c"));
  EXPECT_EQ(builder.Take().at(0).payload, "c");
}

TEST(RunBuilder, CutsARunWhosePayloadGrowsLarge) {
  RunBuilder builder =
      Fresh(GatherPayloads([](const std::vector<Payload>& p) { return std::to_string(p.size()); }));
  builder.Add(Term(1), Seq(1), Offset(10), "1", Value(std::string(kInlineBytesPerRunMax, 'x')));
  builder.Add(Term(1), Seq(2), Offset(11), "2", Value("b"));
  EXPECT_EQ(builder.Take().size(), 2u);
}

}  // namespace
}  // namespace lockstep
