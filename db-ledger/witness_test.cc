#include "db-ledger/witness.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lockstep {
namespace {

constexpr int64_t kSystem = 7300000000000000001;
constexpr PrimaryFacts kPrimary{false, kSystem, 3, 0x1'00000100};

struct Row {
  const char* what;
  WitnessFacts witness;
  Testimony expected;
  const char* why;
};

TEST(JudgeWitness, Table) {
  const Row table[] = {
      {"level", {true, kSystem, "streaming", 3, 0x1'00000100}, Testimony::kDurable, ""},
      {"ahead of the question",
       {true, kSystem, "streaming", 3, 0x1'00000200},
       Testimony::kDurable,
       ""},
      {"a byte behind",
       {true, kSystem, "streaming", 3, 0x1'000000ff},
       Testimony::kNotYet,
       "the standby has flushed 1/FF of 1/100"},
      {"no receiver", {true, kSystem, "", 0, 0}, Testimony::kNotYet, "the standby receives no WAL"},
      {"receiver starting",
       {true, kSystem, "starting", 3, 0x1'00000100},
       Testimony::kNotYet,
       "the standby's WAL receiver is starting"},
      {"still on the old timeline",
       {true, kSystem, "streaming", 2, 0x1'00000100},
       Testimony::kNotYet,
       "the standby is on timeline 2, the primary on 3"},
      {"on a later timeline",
       {true, kSystem, "streaming", 4, 0x1'00000100},
       Testimony::kNotYet,
       "the standby is on timeline 4, the primary on 3"},
      {"promoted", {false, kSystem, "", 0, 0}, Testimony::kNever, "the standby has been promoted"},
      {"promoted, and its receiver not yet gone",
       {false, kSystem, "streaming", 3, 0x2'00000000},
       Testimony::kNever,
       "the standby has been promoted"},
      {"of another database",
       {true, kSystem + 1, "streaming", 3, 0x2'00000000},
       Testimony::kNever,
       "the standby belongs to another database system"},
  };
  for (const Row& row : table) {
    const Judgement judgement = JudgeWitness(kPrimary, row.witness);
    EXPECT_EQ(judgement.testimony, row.expected) << row.what;
    EXPECT_EQ(judgement.why, row.why) << row.what;
  }
}

TEST(JudgeWitness, AStandbyIsNoPrimary) {
  PrimaryFacts standby = kPrimary;
  standby.in_recovery = true;
  EXPECT_EQ(JudgeWitness(standby, {true, kSystem, "streaming", 3, 0x2'00000000}).testimony,
            Testimony::kNever);
}

}  // namespace
}  // namespace lockstep
