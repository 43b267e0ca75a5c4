#include "db-ledger/order_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "db-ledger/ledger_test_support.h"
#include "db-ledger/memory_ledger.h"

namespace lockstep {
namespace {

class OrderReaderTest : public testing::Test {
 protected:
  void Append(const std::string& name, std::initializer_list<std::pair<int64_t, int64_t>> offsets) {
    auto& opened = opened_[name];
    if (opened.streams.empty()) opened = ledger_.OpenProducer(OpenRequest(name)).value;
    const int64_t first = next_[name] + 1;
    auto request = AppendOne(opened, 0, first, first, 0);
    auto& run = request.runs[0].run;
    run.offsets = Offsets(offsets);
    run.last_seq = Seq(first + run.offsets.count() - 1);
    next_[name] = run.last_seq.value();
    ASSERT_COMMITTED(ledger_.Append(request));
  }

  // `1:10 A1 1:11 A2 …`
  std::string Walk(std::optional<Position> from, int64_t runs_per_page = 1) {
    OrderReader reader(&ledger_, StreamId(1), from, runs_per_page);
    std::string out;
    for (;;) {
      const auto range = reader.NextRange();
      if (!range.ok()) return out + std::string(range.status().message());
      if (!*range) return out;
      for (int64_t i = 0; i < (*range)->records; ++i) {
        Position at = (*range)->first;
        at.offset = at.offset + i;
        out += ToString(at) + " " + *(*range)->producer +
               std::to_string((*range)->first_seq.value() + i) + " ";
      }
    }
  }

  LedgerState state_;
  MemoryLedger ledger_{&state_, kAllRules, "writer"};
  std::map<std::string, OpenedProducer> opened_;
  std::map<std::string, int64_t> next_;
};

TEST_F(OrderReaderTest, MergesRunsByOffset) {
  // [0..1] A1-A2  [2] B1  [3] A3  [4..5] B2-B3  then [6] A4
  Append("A", {{0, 2}, {3, 4}});
  Append("B", {{2, 3}, {4, 6}});
  Append("A", {{6, 7}});
  EXPECT_EQ(Walk({}), "1:0 A1 1:1 A2 1:2 B1 1:3 A3 1:4 B2 1:5 B3 1:6 A4 ");
  EXPECT_EQ(Walk(Position{Epoch(1), Offset(5)}), "1:5 B3 1:6 A4 ");
  EXPECT_EQ(Walk(Position{Epoch(1), Offset(0)}), Walk({}));
  EXPECT_EQ(Walk(Position{Epoch(2), Offset(0)}), "");
}

TEST_F(OrderReaderTest, GoesOnIntoTheNextEpoch) {
  Append("A", {{10, 12}});
  ledger_.BeginEpoch({Epoch(1), true, "", "lost"});
  auto request = OpenRequest("A");
  request.cluster_id = "cluster-s";
  opened_["A"] = ledger_.OpenProducer(request).value;
  Append("A", {{3, 4}});
  EXPECT_EQ(Walk({}), "1:10 A1 1:11 A2 2:3 A3 ");
}

TEST_F(OrderReaderTest, TwoClaimsOfOneOffsetAreDataLoss) {
  Append("A", {{0, 2}});
  Append("B", {{1, 2}});
  EXPECT_THAT(Walk({}), testing::HasSubstr("names position 1:1 twice"));
}

TEST_F(OrderReaderTest, WhatComesLaterIsNotInTheSnapshot) {
  Append("A", {{0, 1}});
  Append("A", {{2, 3}});
  OrderReader reader(&ledger_, StreamId(1), {}, 1);
  ASSERT_TRUE(reader.NextRange().ok());
  Append("A", {{5, 6}});
  Append("B", {{1, 2}});  // Committed late at a lower offset.
  EXPECT_EQ((*reader.NextRange())->first.offset, Offset(2));
  EXPECT_FALSE(reader.NextRange()->has_value());
}

TEST_F(OrderReaderTest, RunsComeByTheirFirstOffset) {
  Append("A", {{0, 2}, {3, 4}});
  Append("B", {{2, 3}});
  Append("A", {{6, 7}});
  OrderReader reader(&ledger_, StreamId(1), Position{Epoch(1), Offset(3)}, 1);
  EXPECT_EQ((*reader.NextRun())->first_seq, Seq(1));
  EXPECT_EQ((*reader.NextRun())->offsets.first(), Offset(6));
  EXPECT_EQ(*reader.NextRun(), std::nullopt);
}

}  // namespace

}  // namespace lockstep
