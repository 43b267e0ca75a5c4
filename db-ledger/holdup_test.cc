#include "db-ledger/holdup.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lockstep {
namespace {

using testing::HasSubstr;

// A has ledgered up to seq 10 in term 4; terms below 3 are closed.
const std::vector<Head> kHeads = {{ProducerId(1), "A", Term(4), Term(3), Epoch(1), Seq(10), "110"}};

struct Row {
  const char* header;
  const char* what;  // Empty: settled.
  const char* command;
};

TEST(JudgeRecord, Table) {
  const Row table[] = {
      {"4/10/110/A", "", ""},  // Ledgered, or a duplicate of what is.
      {"2/10/110/A", "", ""},  // A duplicate, or void.
      {"2/11/111/A", "", ""},  // Void: its term is closed.
      {"4/11/111/A", "has not ledgered it", "lockstep-ledger seal A"},
      {"3/11/111/A", "is starting", "lockstep-ledger seal A"},
      {"5/11/111/A", "above the ledger's 4", "failover --in-place"},
      {"1/1//B", "has no tenure", "failover --in-place"},
      {"nonsense", "cannot be read", ""},
  };
  for (const Row& row : table) {
    const HoldUp found = JudgeRecord(kHeads, row.header, false);
    EXPECT_EQ(found.settled, *row.what == '\0') << row.header;
    EXPECT_THAT(found.what, HasSubstr(row.what)) << row.header;
    EXPECT_THAT(found.command, HasSubstr(row.command)) << row.header;
  }
}

TEST(JudgeRecord, AForeignRecordHoldsUpAGateThatLetsNonePass) {
  EXPECT_FALSE(JudgeRecord(kHeads, "", true).settled);
}

}  // namespace
}  // namespace lockstep
