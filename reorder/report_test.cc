#include "reorder/report.h"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lockstep {
namespace {

using testing::HasSubstr;
using testing::Not;

StreamPlan PlanOf(int64_t records, double seconds) {
  StreamPlan plan;
  plan.records = records;
  for (const char* const buffer : {"memory", "spill", "bounded"}) {
    BufferPlan one;
    one.buffer = buffer;
    one.parking.records_peak = records;
    one.estimated_seconds = seconds;
    plan.buffers.push_back(one);
  }
  return plan;
}

// What comes before the first stream: all of them together.
std::string TogetherOf(const Summary& summary) {
  const std::string json = summary.Json();
  return json.substr(0, json.find("\"streams\""));
}

class PlanSummaryTest : public testing::Test {
 protected:
  const std::vector<StreamName> streams_{{"orders", 0}, {"orders", 1}, {"orders", 2}};
};

TEST_F(PlanSummaryTest, StreamsThatRunSideBySideTakeTheLongestOnesTime) {
  const Summary summary = MakePlanSummary(streams_, {PlanOf(1, 2), PlanOf(1, 8), PlanOf(1, 2)}, 4);
  EXPECT_THAT(TogetherOf(summary), HasSubstr("\"estimated_seconds\":8.0"));
  EXPECT_THAT(TogetherOf(summary), HasSubstr("\"peak_records\":3"));
  EXPECT_THAT(summary.Json(), HasSubstr("\"complete\":true"));
}

TEST_F(PlanSummaryTest, MoreStreamsThanCoresShareThem) {
  const Summary summary = MakePlanSummary(streams_, {PlanOf(1, 8), PlanOf(1, 8), PlanOf(1, 8)}, 2);
  EXPECT_THAT(TogetherOf(summary), HasSubstr("\"estimated_seconds\":12.0"));
}

TEST_F(PlanSummaryTest, OfAPlanThatWasStoppedItSaysWhatThereIs) {
  StreamPlan stopped = PlanOf(5, 1);
  stopped.why = absl::CancelledError("stopped before the end");
  const std::string json = MakePlanSummary(streams_, {PlanOf(7, 1), stopped}, 2).Json();
  EXPECT_THAT(json, HasSubstr("\"records\":12"));
  EXPECT_THAT(json, HasSubstr("\"complete\":false"));
  EXPECT_THAT(json, HasSubstr("\"why\":\"stopped before the end\""));
  EXPECT_THAT(json, Not(HasSubstr("orders/2")));
}

TEST_F(PlanSummaryTest, AStreamThatCouldNotBeOpenedHasNoBuffers) {
  StreamPlan failed;
  failed.why = absl::NotFoundError("no such stream");
  const std::string json = MakePlanSummary(streams_, {failed, PlanOf(7, 3)}, 2).Json();
  EXPECT_THAT(json, HasSubstr("\"records\":7"));
  EXPECT_THAT(MakePlanSummary({}, {}, 2).Json(), HasSubstr("\"complete\":false"));
}

TEST_F(PlanSummaryTest, PeopleReadTables) {
  StreamPlan second = PlanOf(1'234'567, 3);
  second.from = Position{Epoch(1), Offset(9)};
  second.why = absl::CancelledError("stopped before the end");
  const std::string text = PlanText(streams_, {PlanOf(7, 1), second}, 2);
  EXPECT_THAT(text, Not(HasSubstr("{")));
  EXPECT_THAT(text, HasSubstr("  stream   from    records  first hits"));
  EXPECT_THAT(text, HasSubstr("orders/1    1:9  1,234,567"));
  EXPECT_THAT(text, HasSubstr("     all    spill     1,234,574"));
  EXPECT_THAT(text, HasSubstr("orders/1 was not read to its end: stopped before the end\n"));
}

}  // namespace
}  // namespace lockstep
