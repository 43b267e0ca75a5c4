#include "producer/wal/wal.h"

#include "producer/wal/wal_world_test.h"

namespace lockstep {
namespace {

using testing::ElementsAreArray;
using testing::HasSubstr;
using testing::IsEmpty;

using WalTest = WalWorld;

TEST(WalEvent, ComesBackAsItWas) {
  SourceEvent full;
  full.at = "12:4711:1700000000:17";
  full.payload.key = std::string("k\0\xff", 3);
  full.payload.value = std::string(70'000, 'x');
  full.payload.headers = {{"a", "1"}, {"a", std::nullopt}, {"", ""}};
  full.payload.timestamp_ms = -5;
  full.partition = 3;
  full.partition_key = "";
  full.resume = {1, UINT64_MAX, 7, 5};
  SourceEvent empty;
  for (const SourceEvent& event : {full, empty}) {
    std::string bytes;
    AppendWalEvent(event, bytes);
    const SourceEvent read = ParseWalEvent(bytes).value();
    EXPECT_EQ(read.at, event.at);
    EXPECT_EQ(read.payload, event.payload);
    EXPECT_EQ(read.partition, event.partition);
    EXPECT_EQ(read.partition_key, event.partition_key);
    EXPECT_EQ(read.resume, event.resume);
    bytes += '\0';
    EXPECT_FALSE(ParseWalEvent(bytes).ok()) << "something is left over";
    bytes.pop_back();
    bytes[0] = 1;
    EXPECT_FALSE(ParseWalEvent(bytes).ok()) << "another format";
  }
}

TEST(WalEvent, IsTheManualsExample) {
  SourceEvent event;
  event.at = "0:69";
  event.payload.key = "k";
  event.payload.timestamp_ms = 1;
  event.resume = {2, 0, 3, 4};
  std::string bytes;
  AppendWalEvent(event, bytes);
  const std::string expected(
      "\2"
      "\4\0\0\0"
      "0:69"
      "\1\0\0\0k"
      "\xff\xff\xff\xff"
      "\1\0\0\0\0\0\0\0"
      "\xff\xff\xff\xff"
      "\xff\xff\xff\xff"
      "\2\0\0\0\0\0\0\0"
      "\0\0\0\0\0\0\0\0"
      "\3\0\0\0\0\0\0\0"
      "\4\0\0\0\0\0\0\0"
      "\0\0\0\0",
      1 + 8 + 5 + 4 + 8 + 4 + 4 + 32 + 4);
  EXPECT_EQ(bytes, expected);
  for (size_t cut = 0; cut < bytes.size(); ++cut) {
    EXPECT_FALSE(ParseWalEvent(std::string_view(bytes).substr(0, cut)).ok()) << cut;
  }
}

TEST_F(WalTest, KeepsEventsInOrderOverARestart) {
  auto wal = Open();
  EXPECT_EQ(wal->begin(), wal->end());
  EXPECT_EQ(wal->last_at(), "");
  ASSERT_TRUE(wal->Append(Events(1, 50)).ok());
  ASSERT_TRUE(wal->Append(Events(51, 60)).ok());
  EXPECT_THAT(Contents(*wal, 0), ElementsAreArray(Positions(1, 60)));
  const uint64_t end = wal->end();
  wal.reset();
  wal = Open();
  EXPECT_EQ(wal->end(), end);
  EXPECT_EQ(wal->last_at(), "0:60");
  ASSERT_TRUE(wal->Append(Events(61, 70)).ok());
  EXPECT_THAT(Contents(*wal, 0), ElementsAreArray(Positions(1, 70)));
  for (int n = 0; n <= 70; ++n) {
    const uint64_t place = wal->PlaceBehind(absl::StrCat("0:", n)).value();
    ASSERT_THAT(Contents(*wal, place), ElementsAreArray(Positions(n + 1, 70))) << n;
  }
  EXPECT_EQ(wal->PlaceBehind("1:0").value(), wal->end());
}

TEST_F(WalTest, WhatWasAppendedIsSynced) {
  auto wal = Open();
  for (int n = 1; n <= 5; ++n) {
    ASSERT_TRUE(wal->Append(Events(n, n)).ok());
    EXPECT_EQ(disk_->unsynced_log_bytes, 0);
  }
  ASSERT_TRUE(wal->GoOnFrom("0:9").ok());
  EXPECT_EQ(disk_->unsynced_log_bytes, 0);
}

TEST_F(WalTest, WhatIsRemovedIsGoneAndItsSpaceFollows) {
  auto wal = Open();
  constexpr size_t kBytes = 100'000;
  for (int n = 1; n <= 1500; n += 10) ASSERT_TRUE(wal->Append(Events(n, n + 9, kBytes)).ok());
  const uint64_t place = wal->PlaceBehind("0:1400").value();
  ASSERT_TRUE(wal->RemoveBelow(place - 1).ok());
  EXPECT_EQ(wal->unbroken_from(), "0:1399") << "an event that reaches across stays";
  ASSERT_TRUE(wal->RemoveBelow(place).ok());
  EXPECT_EQ(wal->begin(), place);
  EXPECT_EQ(wal->unbroken_from(), "0:1400");
  EXPECT_EQ(wal->PlaceBehind("0:7").value(), place);
  EXPECT_EQ(wal->EntryBefore(place).value().has_value(), false);
  wal.reset();
  EXPECT_LT(DiskBytes(), 100 * kBytes + 4 * (size_t{16} << 20)) << "of 150 MB";
  wal = Open();
  EXPECT_EQ(wal->begin(), place);
  EXPECT_EQ(wal->unbroken_from(), "0:1400");
  EXPECT_THAT(Contents(*wal, place), ElementsAreArray(Positions(1401, 1500)));
  ASSERT_TRUE(wal->RemoveBelow(wal->end()).ok());
  EXPECT_EQ(wal->begin(), wal->end());
  wal.reset();
  wal = Open();
  EXPECT_EQ(wal->begin(), wal->end());
  EXPECT_EQ(wal->last_at(), "0:1500");
}

TEST_F(WalTest, BehindAHoleItGoesOnAndRemembersIt) {
  auto wal = Open();
  ASSERT_TRUE(wal->Append(Events(1, 10)).ok());
  ASSERT_TRUE(wal->GoOnFrom("0:100").ok());
  wal.reset();
  wal = Open();
  EXPECT_EQ(wal->last_at(), "0:100");
  EXPECT_EQ(wal->unbroken_from(), "0:100");
  ASSERT_TRUE(wal->Append(Events(101, 102)).ok());
  EXPECT_EQ(wal->last_at(), "0:102");
  std::vector<std::string> all = Positions(1, 10);
  all.insert(all.end(), {"0:101", "0:102"});
  EXPECT_THAT(Contents(*wal, 0), ElementsAreArray(all)) << "still there for re-injection";
}

TEST_F(WalTest, BelongsToOneProcessAndOneProducer) {
  auto wal = Open();
  const absl::Status busy = Wal::Open(Directory(), {"A", "pika://h:1"}).status();
  EXPECT_EQ(busy.code(), absl::StatusCode::kFailedPrecondition) << busy;
  EXPECT_THAT(std::string(busy.message()), HasSubstr("another process has it open"));
  wal.reset();
  for (const WalOwner& other : {WalOwner{"B", "pika://h:1"}, WalOwner{"A", "pika://h:2"}}) {
    const absl::Status foreign = Wal::Open(Directory(), other).status();
    EXPECT_EQ(foreign.code(), absl::StatusCode::kFailedPrecondition) << foreign;
    EXPECT_THAT(std::string(foreign.message()),
                HasSubstr("belongs to producer 'A' and source 'pika://h:1'"));
  }
}

TEST_F(WalTest, CanBeReadBesideItsProducer) {
  EXPECT_EQ(Wal::OpenForReading(Directory()).status().code(), absl::StatusCode::kNotFound);
  auto wal = Open();
  ASSERT_TRUE(wal->Append(Events(1, 10)).ok());
  const auto reader = Wal::OpenForReading(Directory()).value();
  EXPECT_EQ(reader->owner().producer, "A");
  ASSERT_TRUE(wal->Append(Events(11, 20)).ok());
  EXPECT_THAT(Contents(*reader, 0), ElementsAreArray(Positions(1, 10)));
}

TEST_F(WalTest, AFullDiskRefusesTheBatchAndKeepsTheRest) {
  auto wal = Open();
  ASSERT_TRUE(wal->Append(Events(1, 10)).ok());
  disk_->room = 5'000;
  const absl::Status full = wal->Append(Events(11, 20, 1'000));
  EXPECT_EQ(full.code(), absl::StatusCode::kResourceExhausted) << full;
  EXPECT_THAT(std::string(full.message()), HasSubstr("wal " + Directory()));
  EXPECT_THAT(std::string(full.message()), HasSubstr("Free some space"));
  EXPECT_EQ(wal->last_at(), "0:10");
  EXPECT_THAT(Contents(*wal, 0), ElementsAreArray(Positions(1, 10)));
  wal.reset();
  disk_->room = INT64_MAX / 2;
  wal = Open();
  EXPECT_THAT(Contents(*wal, 0), ElementsAreArray(Positions(1, 10)));
  ASSERT_TRUE(wal->Append(Events(11, 20, 1'000)).ok());
  EXPECT_THAT(Contents(*wal, 0), ElementsAreArray(Positions(1, 20)));
}

TEST_F(WalTest, ATornLastBatchWasNeverThere) {
  auto wal = Open();
  ASSERT_TRUE(wal->Append(Events(1, 10)).ok());
  const std::string copy = parent_ + "/copy";
  std::filesystem::copy(Directory(), copy);  // As SIGKILL would leave it.
  std::filesystem::remove(copy + "/LOCK");
  wal.reset();
  std::string log;
  for (const auto& entry : std::filesystem::directory_iterator(copy)) {
    if (entry.path().extension() == ".log" && entry.file_size() > 0) log = entry.path();
  }
  ASSERT_NE(log, "");
  std::filesystem::resize_file(log, std::filesystem::file_size(log) - 3);
  const auto torn = Wal::Open(copy, {"A", "pika://h:1"});
  ASSERT_TRUE(torn.ok()) << torn.status();
  EXPECT_THAT(Contents(**torn, 0), IsEmpty()) << "whole or not at all";
}

}  // namespace
}  // namespace lockstep
