#include "db-ledger/pg_binary.h"

#include <rapidcheck.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lockstep {
namespace {

TEST(PgBinary, NumbersAreBigEndian) {
  EXPECT_EQ(PgInt(0x0102030405060708), "\x01\x02\x03\x04\x05\x06\x07\x08");
  EXPECT_EQ(PgInt4(-2), "\xff\xff\xff\xfe");
  EXPECT_EQ(ParsePgInt("\xff\xfe"), -2);
  EXPECT_EQ(ParsePgInt("\x7f\xff\xff\xff"), INT32_MAX);
}

TEST(PgBinary, AnyNumberComesBack) {
  ASSERT_TRUE(rc::check([](int64_t value) { RC_ASSERT(ParsePgInt(PgInt(value)) == value); }));
}

TEST(PgBinary, AnyRangesComeBack) {
  ASSERT_TRUE(rc::check([] {
    OffsetRanges ranges;
    int64_t at = 0;
    for (const int gap : *rc::gen::container<std::vector<int>>(rc::gen::inRange(0, 5))) {
      at += gap;
      ranges.Append(Offset(at));
      ++at;
    }
    const auto parsed = ParsePgMultirange(PgMultirange(ranges));
    RC_ASSERT(parsed.ok());
    RC_ASSERT(*parsed == ranges);
  }));
}

TEST(PgBinary, DamagedRangesAreRefused) {
  OffsetRanges ranges;
  ranges.Append(OffsetRange{Offset(10), Offset(13)});
  ranges.Append(OffsetRange{Offset(15), Offset(17)});
  const std::string good = PgMultirange(ranges);
  EXPECT_FALSE(ParsePgMultirange("").ok());
  EXPECT_FALSE(ParsePgMultirange(good.substr(0, good.size() - 1)).ok());
  EXPECT_FALSE(ParsePgMultirange(good + "x").ok());
  std::string bad = good;
  bad[8] = 0x01;  // An empty range.
  EXPECT_FALSE(ParsePgMultirange(bad).ok());
  bad = good;
  bad[3] = 0x03;
  EXPECT_FALSE(ParsePgMultirange(bad).ok());
}

TEST(PgBinary, ArraysCarryNulls) {
  EXPECT_EQ(PgArray(kPgText, {}), std::string("\0\0\0\0\0\0\0\0\0\0\0\x19", 12));
  EXPECT_EQ(PgArray(kPgText, {"a", std::nullopt}),
            std::string("\0\0\0\1\0\0\0\1\0\0\0\x19\0\0\0\2\0\0\0\1\0\0\0\1a\xff\xff\xff\xff", 29));
}

}  // namespace
}  // namespace lockstep
