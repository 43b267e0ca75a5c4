#include "reorder/replay_start.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lockstep {
namespace {

using testing::HasSubstr;

Position At(int64_t epoch, int64_t offset) { return {Epoch(epoch), Offset(offset)}; }

Run RunOf(int32_t producer, int64_t epoch, int64_t first_seq, const char* offsets) {
  Run run;
  run.producer = ProducerId(producer);
  run.epoch = Epoch(epoch);
  run.first_seq = Seq(first_seq);
  run.offsets = OffsetRanges::Parse(offsets).value();
  run.last_seq = Seq(first_seq + run.offsets.count() - 1);
  return run;
}

StreamPage Page(std::vector<Run> runs) {
  StreamPage page;
  page.runs = std::move(runs);
  return page;
}

TEST(ReplayStart, ALedgerWithEachProducersFirstRunIsWhole) {
  EXPECT_EQ(LedgerWholeFrom(Page({})), std::nullopt);
  const StreamPage page =
      Page({RunOf(1, 1, 1, "{[0,2)}"), RunOf(1, 1, 3, "{[5,6)}"), RunOf(2, 2, 1, "{[0,1)}")});
  EXPECT_EQ(LedgerWholeFrom(page), std::nullopt);
  EXPECT_TRUE(CheckReplayStart({"t", 0}, page, std::nullopt, std::nullopt).ok());
  EXPECT_TRUE(CheckReplayStart({"t", 0}, page, At(1, 0), At(2, 0)).ok());
}

// Producer 1 lost its seqs below 3, producer 2 those below 9, producer 3 nothing.
TEST(ReplayStart, APrunedLedgerIsRefusedBelowWhereItIsWhole) {
  const StreamPage page =
      Page({RunOf(1, 1, 3, "{[5,6)}"), RunOf(2, 2, 9, "{[7,8)}"), RunOf(3, 3, 1, "{[0,1)}")});
  EXPECT_EQ(LedgerWholeFrom(page), At(2, 7));
  const absl::Status all = CheckReplayStart({"t", 0}, page, std::nullopt, At(3, 0));
  EXPECT_EQ(all.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(all.message()), HasSubstr("--from 2:7"));
  EXPECT_FALSE(CheckReplayStart({"t", 0}, page, At(2, 6), At(3, 0)).ok());
  EXPECT_TRUE(CheckReplayStart({"t", 0}, page, At(2, 7), At(3, 0)).ok());
}

TEST(ReplayStart, ABeginningAboveTheCursorWouldLeaveOutWhatWasNotSent) {
  const StreamPage page = Page({RunOf(1, 1, 1, "{[0,9)}")});
  EXPECT_TRUE(CheckReplayStart({"t", 0}, page, At(1, 3), At(1, 3)).ok());
  EXPECT_THAT(std::string(CheckReplayStart({"t", 0}, page, At(1, 4), At(1, 3)).message()),
              HasSubstr("left out"));
  EXPECT_FALSE(CheckReplayStart({"t", 0}, page, At(1, 0), std::nullopt).ok());
}

}  // namespace
}  // namespace lockstep
