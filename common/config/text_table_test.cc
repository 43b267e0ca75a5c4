#include "common/config/text_table.h"

#include <gtest/gtest.h>

namespace lockstep {
namespace {

TEST(Numbers, AreWrittenAsPeopleReadThem) {
  EXPECT_EQ(WithSeparators(0), "0");
  EXPECT_EQ(WithSeparators(999), "999");
  EXPECT_EQ(WithSeparators(1'000), "1,000");
  EXPECT_EQ(WithSeparators(-1'234'567), "-1,234,567");
  EXPECT_EQ(Percent(0, 0), "0 %");
  EXPECT_EQ(Percent(3'228, 10'000'000), "0.03 %");
  EXPECT_EQ(Percent(147, 1'000), "15 %");
  EXPECT_EQ(ThreeDigits(0.0451), "0.045");
  EXPECT_EQ(ThreeDigits(1.234), "1.23");
  EXPECT_EQ(ThreeDigits(789.4), "789");
}

TEST(TextTable, LinesColumnsUpByCharactersNotBytes) {
  TextTable table({"peak", "× N"});
  table.Add({"4,953–24,625", "1.5"});
  EXPECT_EQ(table.Text(),
            "        peak  × N\n"
            "4,953–24,625  1.5\n");
}

}  // namespace
}  // namespace lockstep
