#include "producer/partitioner.h"

#include <gtest/gtest.h>

namespace lockstep {
namespace {

// The vectors of Kafka's own UtilsTest.testMurmur2.
TEST(Murmur2, IsThatOfTheJavaClients) {
  EXPECT_EQ(Murmur2("21"), -973932308);
  EXPECT_EQ(Murmur2("foobar"), -790332482);
  EXPECT_EQ(Murmur2("a-little-bit-long-string"), -985981536);
  EXPECT_EQ(Murmur2("a-little-bit-longer-string"), -1486304829);
  EXPECT_EQ(Murmur2("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8"), -58897971);
  EXPECT_EQ(Murmur2("abc"), 479470107);
}

TEST(ChoosePartition, TakesExplicitThenKeyThenPosition) {
  EXPECT_EQ(ChoosePartition(3, "foobar", "17", 4).value(), 3);
  EXPECT_EQ(ChoosePartition({}, "foobar", "17", 7).value(), (-790332482 & 0x7fffffff) % 7);
  EXPECT_EQ(ChoosePartition({}, {}, "21", 7).value(), (-973932308 & 0x7fffffff) % 7);
}

TEST(ChoosePartition, AnEmptyKeyIsAKey) {
  EXPECT_EQ(ChoosePartition({}, "", "21", 1000).value(), (Murmur2("") & 0x7fffffff) % 1000);
}

TEST(ChoosePartition, RefusesAPartitionThatIsNotThere) {
  EXPECT_EQ(ChoosePartition(4, {}, "1", 4).status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(ChoosePartition(-1, {}, "1", 4).status().code(), absl::StatusCode::kOutOfRange);
}

}  // namespace
}  // namespace lockstep
