#include "bench/ledger_writer.h"

#include <gtest/gtest.h>

namespace lockstep::bench {
namespace {

TEST(CutRanges, KeepsOrderAndCount) {
  OffsetRanges offsets;
  for (int64_t i = 0; i < 5; ++i) offsets.Append(Offset(2 * i));
  const std::vector<OffsetRanges> pieces = CutRanges(offsets, 2);
  ASSERT_EQ(pieces.size(), 3U);
  EXPECT_EQ(pieces[0].ToString(), "{[0,1),[2,3)}");
  EXPECT_EQ(pieces[2].ToString(), "{[8,9)}");
}

}  // namespace
}  // namespace lockstep::bench
