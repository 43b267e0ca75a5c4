#include "common/base/strong_int.h"

#include <type_traits>

#include <gtest/gtest.h>

#include "common/model/ids.h"

namespace lockstep {
namespace {

TEST(StrongInt, KindsDoNotMix) {
  static_assert(!std::is_convertible_v<Offset, Seq>);
  static_assert(!std::is_convertible_v<int64_t, Offset>);
  static_assert(!std::is_convertible_v<Offset, int64_t>);
  static_assert(!std::is_invocable_v<std::minus<>, Offset, Seq>);
}

TEST(StrongInt, StepsAndDistances) {
  EXPECT_EQ(Offset(5) + 2, Offset(7));
  EXPECT_EQ(Offset(7) - Offset(5), 2);
  EXPECT_LT(Seq(1), Seq(2));
  EXPECT_EQ(ToString(Term(4)), "4");
}

TEST(Position, OrdersByEpochFirst) {
  EXPECT_LT((Position{Epoch(1), Offset(99)}), (Position{Epoch(2), Offset(0)}));
  EXPECT_EQ(ParsePosition("2:4711").value(), (Position{Epoch(2), Offset(4711)}));
  EXPECT_EQ(ToString(Position{Epoch(2), Offset(4711)}), "2:4711");
  for (const char* bad :
       {"", ":", "1:", ":1", "1:2:3", "-1:2", "a:1", "1:9223372036854775808", " 1:2"}) {
    EXPECT_FALSE(ParsePosition(bad).ok()) << bad;
  }
}

TEST(StreamName, TakesTheLastSlash) {
  EXPECT_EQ(ParseStreamName("orders/0").value(), (StreamName{"orders", 0}));
  for (const char* bad :
       {"", "orders", "/0", "orders/", "orders/x", "orders/-1", "orders/01", "a b/0", "../0"}) {
    EXPECT_FALSE(ParseStreamName(bad).ok()) << bad;
  }
}

}  // namespace
}  // namespace lockstep
