#include "reorder/ledger_order.h"

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lockstep {
namespace {

using testing::HasSubstr;

Head MakeHead(int id, std::string name, int64_t last_seq) {
  Head head;
  head.producer = ProducerId(id);
  head.name = std::move(name);
  head.last_seq = Seq(last_seq);
  return head;
}

Run MakeRun(int id, int64_t epoch, int64_t first_seq, const std::string& offsets) {
  Run run;
  run.producer = ProducerId(id);
  run.epoch = Epoch(epoch);
  run.term = Term(epoch);
  run.first_seq = Seq(first_seq);
  run.offsets = OffsetRanges::Parse(offsets).value();
  run.last_seq = Seq(first_seq + run.offsets.count() - 1);
  return run;
}

// Steps to the end: "1:10A1 1:11A2 …".
std::string Walk(LedgerOrder& order) {
  std::string text;
  while (const LedgerOrder::Next* next = order.Peek()) {
    if (!text.empty()) text += ' ';
    text += ToString(next->position) + order.producer_name(next->producer) +
            std::to_string(next->seq.value());
    order.Advance();
  }
  return text;
}

StreamPage TwoProducers() {
  StreamPage page;
  page.epoch = Epoch(2);
  page.heads = {MakeHead(1, "A", 5), MakeHead(2, "B", 3)};
  page.runs = {MakeRun(1, 1, 1, "{[10,12),[15,16)}"), MakeRun(1, 2, 4, "{[3,5)}"),
               MakeRun(2, 1, 1, "{[12,14)}"), MakeRun(2, 2, 3, "{[0,1)}")};
  return page;
}

// A [10 11] . . . [15]   B . . [12 13]     epoch 2: B [0], A [3 4]
TEST(LedgerOrderTest, MergesRangesByPosition) {
  LedgerOrder order(Epoch(2), std::nullopt);
  EXPECT_TRUE(order.needs_page());
  ASSERT_TRUE(order.AddPage(TwoProducers(), std::nullopt).ok());
  EXPECT_FALSE(order.needs_page());
  EXPECT_EQ(Walk(order), "1:10A1 1:11A2 1:12B1 1:13B2 1:15A3 2:0B3 2:3A4 2:4A5");
  EXPECT_EQ(order.next_seq(0), Seq(6));
}

TEST(LedgerOrderTest, StartsAfterAPositionInsideARange) {
  LedgerOrder order(Epoch(2), Position{Epoch(1), Offset(12)});
  ASSERT_TRUE(order.AddPage(TwoProducers(), std::nullopt).ok());
  EXPECT_EQ(order.next_seq(0), Seq(3));
  EXPECT_EQ(order.next_seq(1), Seq(2));
  EXPECT_EQ(Walk(order), "1:13B2 1:15A3 2:0B3 2:3A4 2:4A5");
}

TEST(LedgerOrderTest, AskForAPageWhenAProducerIsNotReadToItsEnd) {
  LedgerOrder order(Epoch(2), std::nullopt);
  StreamPage page = TwoProducers();
  const StreamPage whole = page;
  page.runs = {whole.runs[0], whole.runs[2], whole.runs[3]};
  page.more = {ProducerId(1)};
  ASSERT_TRUE(order.AddPage(page, std::nullopt).ok());
  EXPECT_FALSE(order.needs_page());
  while (!order.needs_page()) order.Advance();
  EXPECT_EQ(order.next_seq(0), Seq(4));  // A's run in epoch 1 is used up, more is there.
  int64_t hint = 0;
  EXPECT_EQ(order.Find(0, Seq(4), hint).known, LedgerOrder::Known::kNotRead);
  EXPECT_EQ(order.marks().at(ProducerId(1)), (RunKey{Epoch(1), Seq(1)}));
  page.runs = {whole.runs[1]};
  page.more.clear();
  ASSERT_TRUE(order.AddPage(page, std::nullopt).ok());
  EXPECT_EQ(order.Find(0, Seq(4), hint).known, LedgerOrder::Known::kRun);
  EXPECT_EQ(order.Find(0, Seq(3), hint).known, LedgerOrder::Known::kBefore);
  EXPECT_EQ(order.Find(0, Seq(6), hint).known, LedgerOrder::Known::kNothing);
  EXPECT_EQ(Walk(order), "2:0B3 2:3A4 2:4A5");
}

// Concurrent appends commit out of order: a lower range may come while a higher one is under way.
TEST(LedgerOrderTest, ALowerRangeThatComesLaterGoesFirst) {
  LedgerOrder order(Epoch(1), std::nullopt);
  StreamPage page;
  page.epoch = Epoch(1);
  page.heads = {MakeHead(1, "A", 2), MakeHead(2, "B", 0)};
  page.runs = {MakeRun(1, 1, 1, "{[10,12)}")};
  ASSERT_TRUE(order.AddPage(page, Offset(3)).ok());
  EXPECT_EQ(order.Peek()->position.offset, Offset(10));
  page.heads[1].last_seq = Seq(2);
  page.runs = {MakeRun(2, 1, 1, "{[4,6)}")};
  ASSERT_TRUE(order.AddPage(page, Offset(3)).ok());
  EXPECT_EQ(Walk(order), "1:4B1 1:5B2 1:10A1 1:11A2");
}

struct Contradiction {
  const char* name;
  std::vector<Run> runs;
  const char* message;
};

TEST(LedgerOrderTest, RefusesRowsThatContradictEachOther) {
  const Contradiction table[] = {
      {"SeqMissing", {MakeRun(1, 1, 1, "{[0,2)}"), MakeRun(1, 1, 4, "{[2,4)}")}, "does not follow"},
      {"OffsetsDescend", {MakeRun(1, 1, 1, "{[5,7)}"), MakeRun(1, 1, 3, "{[2,4)}")}, "lies below"},
      {"TwoClaimOneOffset",
       {MakeRun(1, 1, 1, "{[0,9)}"), MakeRun(2, 1, 1, "{[4,5)}")},
       "is claimed by"},
      {"NoHead", {MakeRun(7, 1, 1, "{[0,1)}")}, "no head"},
  };
  for (const Contradiction& row : table) {
    LedgerOrder order(Epoch(2), std::nullopt);
    StreamPage page;
    page.epoch = Epoch(2);
    page.heads = {MakeHead(1, "A", 9), MakeHead(2, "B", 9)};
    page.runs = row.runs;
    const absl::Status status = order.AddPage(page, std::nullopt);
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << row.name;
    EXPECT_THAT(std::string(status.message()), HasSubstr(row.message)) << row.name;
  }
}

TEST(LedgerOrderTest, RefusesARowBelowWhatTheLogHasPassed) {
  LedgerOrder order(Epoch(1), std::nullopt);
  StreamPage page;
  page.epoch = Epoch(1);
  page.heads = {MakeHead(1, "A", 2)};
  page.runs = {MakeRun(1, 1, 1, "{[3,5)}")};
  EXPECT_THAT(std::string(order.AddPage(page, Offset(3)).message()), HasSubstr("read past"));
}

}  // namespace
}  // namespace lockstep
