#include "sim/cache_recorded.h"

#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lockstep::sim {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

absl::StatusOr<CacheOrders> Read(const std::string& ledger, const std::string& log) {
  std::istringstream ledger_lines(ledger);
  std::istringstream log_lines(log);
  return ReadRecordedOrders(ledger_lines, "ledger.jsonl", log_lines, "log.jsonl");
}

// As `lockstep-ledger order --runs` prints it.
std::string Line(int epoch, const std::string& producer, int first, int last,
                 const std::string& offsets) {
  std::ostringstream line;
  line << R"({"stream":"orders/0","epoch":)" << epoch << R"(,"producer":")" << producer
       << R"(","first_seq":)" << first << R"(,"last_seq":)" << last << R"(,"term":1,"offsets":")"
       << offsets << R"(","at_first":"1","at_last":"3","digest":"724332df91b05cc9"})" << '\n';
  return line.str();
}

TEST(ReadRecordedOrders, PutsRangesInTheOrderOfPositions) {
  // ledger A1 A2 B7 A3 | epoch 2: B8; log B7 B8 A1-A3.
  const auto orders = Read(Line(1, "A", 1, 3, "{[0,2),[3,4)}") + Line(1, "B", 7, 7, "{[2,3)}") +
                               Line(2, "B", 8, 8, "{[0,1)}"),
                           Line(1, "A", 1, 3, "{[2,5)}") + Line(1, "B", 7, 8, "{[0,2)}"));
  ASSERT_TRUE(orders.ok()) << orders.status();
  EXPECT_THAT(orders->ledger, ElementsAre(Burst{0, 2}, Burst{1, 1}, Burst{0, 1}, Burst{1, 1}));
  EXPECT_THAT(orders->log, ElementsAre(Burst{1, 2}, Burst{0, 3}));
  EXPECT_EQ(orders->records, 5);
  EXPECT_EQ(orders->writers, 2);
}

TEST(ReadRecordedOrders, PutsWhatTheLogLacksAtItsEndInTheLedgersOrder) {
  const auto orders = Read(
      Line(1, "A", 1, 2, "{[0,2)}") + Line(1, "B", 1, 2, "{[2,4)}") + Line(1, "A", 3, 3, "{[4,5)}"),
      Line(1, "A", 1, 1, "{[0,1)}"));
  ASSERT_TRUE(orders.ok()) << orders.status();
  EXPECT_THAT(orders->log, ElementsAre(Burst{0, 1}, Burst{0, 1}, Burst{1, 2}, Burst{0, 1}));
}

TEST(ReadRecordedOrders, PassesOverRepeatsAndWhatTheLedgerDoesNotName) {
  const auto orders = Read(Line(1, "A", 5, 6, "{[0,2)}"), Line(1, "A", 4, 6, "{[0,3)}") +
                                                              Line(1, "C", 1, 1, "{[3,4)}") +
                                                              Line(1, "A", 5, 7, "{[4,7)}"));
  ASSERT_TRUE(orders.ok()) << orders.status();
  EXPECT_THAT(orders->log, ElementsAre(Burst{0, 2}));
}

TEST(ReadRecordedOrders, NamesFileAndLineOfWhatIsNoRun) {
  const std::string good = Line(1, "A", 1, 2, "{[0,2)}");
  struct Case {
    std::string ledger;
    std::string log;
    std::string says;
  };
  for (const Case& c : {
           Case{good + "{", good, "ledger.jsonl, line 2: not a JSON object"},
           Case{good, good + R"({"stream":"orders/0"})", "log.jsonl, line 2: epoch, producer"},
           Case{Line(1, "A", 1, 3, "{[0,2)}"), good, "ledger.jsonl, line 1: it has not as many"},
           Case{"", good, "ledger.jsonl: no runs"},
           Case{good + Line(1, "A", 4, 4, "{[2,3)}"), good,
                "ledger.jsonl: A goes on at seq 4 where seq 3 was to come"},
           Case{Line(1, "A", 1, 3, "{[0,3)}"), Line(1, "A", 2, 3, "{[0,2)}"),
                "log.jsonl: A goes on at seq 2 where seq 1 was to come"},
       }) {
    EXPECT_THAT(Read(c.ledger, c.log).status().ToString(), HasSubstr(c.says));
  }
}

}  // namespace
}  // namespace lockstep::sim
