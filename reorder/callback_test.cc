// What an Outside is asked and told. (The gate as a whole: tests/integration/callback_gate.py.)
#include "reorder/callback.h"

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lockstep {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class Headers final : public HeaderSource {
 public:
  void Read(const void*, std::vector<HeaderView>& out) const override {
    out.emplace_back("h", "x");
  }
};

// Keeps what it is told; fails at a seq, or at the next Sync.
class Shop final : public Outside {
 public:
  absl::Status Take(const EmittedRecordView& record) override {
    if (record.seq == fails_at) return absl::UnavailableError("closed");
    told.push_back(absl::StrCat(std::string(record.stream), " ", record.epoch.value(), ":",
                                record.offset.value(), " ", std::string(record.producer),
                                record.seq.value(), "=", std::string(record.value.value_or("null")),
                                record.headers.empty() ? "" : " h", record.in_doubt ? "?" : "",
                                record.replayed ? " again" : ""));
    return absl::OkStatus();
  }
  absl::Status Sync() override {
    told.emplace_back("sync");
    return disk;
  }
  std::vector<std::string> told;
  Seq fails_at;
  absl::Status disk;
};

ReadyRecord MakeRecord(int64_t seq) {
  static const Headers headers;
  ReadyRecord record;
  record.position = {Epoch(2), Offset(100 + seq)};
  record.producer = "A";
  record.term = Term(1);
  record.seq = Seq(seq);
  record.view.value = "v";
  record.view.header_source = &headers;
  return record;
}

std::vector<ReadyRecord> MakeRecords(int64_t last) {
  std::vector<ReadyRecord> records;
  for (int64_t seq = 1; seq <= last; ++seq) records.push_back(MakeRecord(seq));
  return records;
}

TEST(CallbackTest, EachRecordIsACallAndABatchASync) {
  Shop shop;
  const auto sink = MakeOutsideSink(shop, {"orders", 0});
  std::vector<ReadyRecord> records = MakeRecords(2);
  records[0].replayed = true;
  records[1].in_doubt = true;
  ASSERT_TRUE(sink->Write(records).ok());
  ASSERT_TRUE(sink->Sync().ok());
  EXPECT_THAT(shop.told,
              ElementsAre("orders/0 2:101 A1=v h again", "orders/0 2:102 A2=v h?", "sync"));
  EXPECT_EQ(sink->kind(), SinkKind::kBlind);
  EXPECT_FALSE(sink->Last().ok());
}

TEST(CallbackTest, WhatWasTakenBeforeAnErrorIsSyncedAndNotInDoubt) {
  Shop shop;
  shop.fails_at = Seq(3);
  const auto sink = MakeOutsideSink(shop, {"orders", 0});
  EXPECT_EQ(sink->Write(MakeRecords(4)), absl::UnavailableError("closed"));
  EXPECT_EQ(shop.told.size(), 3U);
  EXPECT_EQ(shop.told.back(), "sync");
  EXPECT_EQ(sink->KnownDone(), MakeRecord(2).position);
}

TEST(CallbackTest, WhatCannotBeSyncedStaysInDoubt) {
  Shop shop;
  shop.fails_at = Seq(3);
  shop.disk = absl::ResourceExhaustedError("full");
  const auto sink = MakeOutsideSink(shop, {"orders", 0});
  EXPECT_EQ(sink->Write(MakeRecords(4)), absl::UnavailableError("closed"));
  EXPECT_EQ(sink->KnownDone(), std::nullopt);
}

TEST(CallbackTest, MemoryForParkedRecordsIsABoundWithAndWithoutADisk) {
  CallbackOptions options;
  options.buffer_memory_bytes = 1'000'000;
  BufferOptions buffer = EngineOptionsOf(options).buffer;
  EXPECT_EQ(buffer.kind, BufferOptions::Kind::kBounded);
  EXPECT_EQ(buffer.budget.bytes, 1'000'000);
  options.spill_directory = "spill";
  buffer = EngineOptionsOf(options).buffer;
  EXPECT_EQ(buffer.kind, BufferOptions::Kind::kSpill);
  EXPECT_EQ(buffer.budget.bytes, 1'000'000);
}

TEST(CallbackTest, WhatErrorsNameAsTheCureCanBeSaid) {
  CallbackOptions options;
  options.mode = ReorderMode::kReplay;
  options.replay_from = Position{Epoch(2), Offset(7)};
  options.foreign = ForeignPolicy::kPass;
  const StreamEngineOptions engine = EngineOptionsOf(options);
  EXPECT_EQ(engine.replay_from, options.replay_from);
  EXPECT_EQ(engine.reader.foreign, ForeignPolicy::kPass);
}

TEST(CallbackTest, ALedgerThatIsAwayIsSaid) {
  Shop shop;
  CallbackGate gate({.brokers = "127.0.0.1:1",
                     .ledger = "host=127.0.0.1 port=1 dbname=lockstep",
                     .stream = {"orders", 0},
                     .group = "g"},
                    shop);
  const StreamResult result = gate.Run();
  EXPECT_EQ(result.exit_code, ExitCode::kCouldNot);
  EXPECT_THAT(std::string(result.why.message()), HasSubstr("127.0.0.1"));
  EXPECT_THAT(shop.told, testing::IsEmpty());
}

}  // namespace
}  // namespace lockstep
