#include "bench/measure.h"

#include <sstream>
#include <string>

#include "absl/status/status.h"
#include <gtest/gtest.h>

namespace lockstep::bench {
namespace {

TEST(Median, IsTheMiddleOrTheMeanOfTheMiddleTwo) {
  EXPECT_EQ(Median({3}), 3);
  EXPECT_EQ(Median({9, 1, 5}), 5);
  EXPECT_EQ(Median({4, 1, 3, 2}), 2.5);
}

TEST(Quantile, IsAValueThatWasSeen) {
  EXPECT_EQ(Quantile({10, 20, 30, 40}, 0.5), 20);
  EXPECT_EQ(Quantile({10, 20, 30, 40}, 0.99), 40);
  EXPECT_EQ(Quantile({10, 20, 30, 40}, 0), 10);
}

TEST(RunPairs, TakesTurnsAtGoingFirst) {
  std::string order;
  const absl::StatusOr<Pair> pair = RunPairs(
      3,
      [&]() -> absl::StatusOr<double> {
        order += 'o';
        return 2;
      },
      [&]() -> absl::StatusOr<double> {
        order += 'b';
        return 1;
      });
  ASSERT_TRUE(pair.ok());
  EXPECT_EQ(order, "obboob");
  EXPECT_EQ(pair->value, 2);
  EXPECT_EQ(pair->baseline, 1);
}

TEST(RunPairs, TheFirstErrorEndsIt) {
  int calls = 0;
  const absl::StatusOr<Pair> pair = RunPairs(
      5, [&]() -> absl::StatusOr<double> { return absl::UnavailableError("broker away"); },
      [&]() -> absl::StatusOr<double> { return ++calls; });
  EXPECT_FALSE(pair.ok());
  EXPECT_EQ(calls, 0);
}

TEST(PrintJson, IsTheContractsLine) {
  Figure figure{.name = "reorder/memory/2w",
                .value = 800000.4,
                .baseline = "raw consumer",
                .baseline_value = 1000000,
                .unit = "records/s",
                .params = {{"records", int64_t{5}}, {"note", "a \"quote\""}, {"seconds", 0.25}}};
  std::ostringstream out;
  PrintJson(figure, out);
  EXPECT_EQ(out.str(),
            R"({"name":"reorder/memory/2w","value":800000,"baseline":"raw consumer",)"
            R"("baseline_value":1000000,"unit":"records/s","better":"higher","ratio":0.8,)"
            R"("params":{"records":5,"note":"a \"quote\"","seconds":0.25}})"
            "\n");
}

TEST(Figure, RatioToNothingIsZero) {
  Figure figure;
  figure.value = 3;
  EXPECT_EQ(figure.ratio(), 0);
}

}  // namespace
}  // namespace lockstep::bench
