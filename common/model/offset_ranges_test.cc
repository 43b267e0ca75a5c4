#include "common/model/offset_ranges.h"

#include <rapidcheck.h>

#include <set>

#include <gtest/gtest.h>

namespace lockstep {
namespace {

OffsetRanges Of(const std::set<int>& offsets) {
  OffsetRanges ranges;
  for (const int o : offsets) ranges.Append(Offset(o));
  return ranges;
}

TEST(OffsetRanges, AdjacentOffsetsJoin) {
  EXPECT_EQ(Of({10, 11, 12, 15}).ToString(), "{[10,13),[15,16)}");
  EXPECT_EQ(Of({}).ToString(), "{}");
  EXPECT_EQ(Of({10, 11, 12, 15}).count(), 4);
}

TEST(OffsetRanges, ParsesOnlyTheCanonicalForm) {
  EXPECT_EQ(OffsetRanges::Parse("{[10,13),[15,16)}").value(), Of({10, 11, 12, 15}));
  EXPECT_TRUE(OffsetRanges::Parse("{}").value().empty());
  for (const char* bad : {"", "{", "}", "{[1,2)", "[1,2)", "{[2,1)}", "{[1,1)}", "{(1,2)}",
                          "{[1,2]}", "{[1,2),}", "{[1,2)[3,4)}", "{[3,4),[1,2)}", "{[1,2),[2,3)}",
                          "{[-1,2)}", "{[1,99999999999999999999)}", "{[,2)}", "{[1,)}", "{,}"}) {
    EXPECT_FALSE(OffsetRanges::Parse(bad).ok()) << bad;
  }
}

TEST(OffsetRanges, AgreesWithASet) {
  ASSERT_TRUE(rc::check([](const std::set<uint8_t>& some) {
    std::set<int> offsets(some.begin(), some.end());
    const OffsetRanges ranges = Of(offsets);
    RC_ASSERT(OffsetRanges::Parse(ranges.ToString()).value() == ranges);
    RC_ASSERT(ranges.count() == static_cast<int64_t>(offsets.size()));
    for (int o = 0; o < 256; ++o) {
      RC_ASSERT(ranges.Contains(Offset(o)) == offsets.contains(o));
      RC_ASSERT(ranges.CountBelow(Offset(o)) ==
                std::distance(offsets.begin(), offsets.lower_bound(o)));
    }
  }));
}

}  // namespace
}  // namespace lockstep
