#include "producer/source_event.h"

#include <gtest/gtest.h>

namespace lockstep {
namespace {

int Order(std::string_view a, std::string_view b) {
  const auto order = CompareSourcePositions(a, b);
  return order < 0 ? -1 : order > 0 ? 1 : 0;
}

TEST(CompareSourcePositions, GoesNumberByNumber) {
  const struct {
    const char* a;
    const char* b;
    int order;
  } kRows[] = {
      {"", "", 0},
      {"", "0", -1},
      {"9", "10", -1},
      {"10", "10", 0},
      {"007", "7", 0},
      {"731:5", "731:6", -1},
      {"731:9", "732:1", -1},
      {"99:1", "100:0", -1},
      {"731", "731:0", -1},
      {"18446744073709551615", "9223372036854775807", 1},
  };
  for (const auto& row : kRows) {
    EXPECT_EQ(Order(row.a, row.b), row.order) << row.a << " " << row.b;
    EXPECT_EQ(Order(row.b, row.a), -row.order) << row.b << " " << row.a;
  }
}

}  // namespace
}  // namespace lockstep
