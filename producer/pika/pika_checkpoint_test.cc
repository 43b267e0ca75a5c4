#include "producer/pika/pika_checkpoint.h"

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lockstep::pika {
namespace {

using testing::HasSubstr;

const CheckpointOwner kOwner{"10.0.0.1:9221", "db0", "A"};

std::string WhyNot(std::string_view json, const CheckpointOwner& owner = kOwner) {
  return std::string(ParseCheckpointJson(json, owner).status().message());
}

TEST(PikaCheckpoint, TextsAreReadAsTheyAreWritten) {
  const PikaCheckpoint in_binlog{{{12, 4711}}, 99, 3, 18446744073709551615U, 6};
  EXPECT_EQ(ToString(in_binlog), "12:4711:99:3:18446744073709551615:6");
  EXPECT_EQ(ParsePikaCheckpoint(ToString(in_binlog)).value(), in_binlog);
  const PikaCheckpoint in_copy{{{12, 4711}, 1700000000, 17}, 0, 0, 5};
  EXPECT_EQ(ToString(in_copy), "12:4711:1700000000:17:0:0:5:0");
  EXPECT_EQ(ParsePikaCheckpoint(ToString(in_copy)).value(), in_copy);
  const PikaCheckpoint in_record{{{12, 4711}, 0, 17}, 0, 1, 0};
  EXPECT_EQ(ToString(in_record), "12:4711:0:17:0:1:0:0");
  EXPECT_EQ(ParsePikaCheckpoint(ToString(in_record)).value(), in_record);
  EXPECT_EQ(ParseCheckpointJson(CheckpointJson(kOwner, in_record, 1), kOwner).value(), in_record);
  for (const char* bad :
       {"", "12", "12:4711", "12:4711:99:5", "12:4711:17:99:3:5:6", "a:1:2:3:4:5"}) {
    EXPECT_FALSE(ParsePikaCheckpoint(bad).ok()) << bad;
  }
  for (const char* old : {"12:4711:99:3:5", "12:4711:1700000000:17:0:0:5"}) {
    EXPECT_THAT(std::string(ParsePikaCheckpoint(old).status().message()),
                HasSubstr("is of an earlier version"))
        << old;
  }
}

TEST(PikaCheckpoint, AnEventsCheckpointIsItsPositionAndMore) {
  SourceEvent event;
  event.at = "12:4711";
  event.resume = {99, 3, 5, 6};
  EXPECT_EQ(FormatPikaCheckpoint(event), "12:4711:99:3:5:6");
}

TEST(PikaCheckpointJson, IsTheManualsExample) {
  const PikaCheckpoint checkpoint{{{12, 4711}}, 99, 3, 13275398219847212345U, 116500541798U};
  const std::string json = CheckpointJson(kOwner, checkpoint, 1700000000000);
  EXPECT_EQ(
      json,
      R"({"source_id":"10.0.0.1:9221","db":"db0","producer":"A","filenum":12,"offset":4711,)"
      R"("logic_id":99,"server_id":null,"term_id":3,"ts_ms":1700000000000,)"
      R"("replication_hash":13275398219847212345,"content_mark":116500541798,"snapshot":null})"
      "\n");
  EXPECT_EQ(ParseCheckpointJson(json, kOwner).value(), checkpoint);
  EXPECT_EQ(CheckpointKey(kOwner), "10.0.0.1:9221/db0");
  EXPECT_EQ(CheckpointKey({"10.0.0.1:9221", "", "A"}), "10.0.0.1:9221");
}

TEST(PikaCheckpointJson, APlaceInAFullCopyComesBack) {
  const PikaCheckpoint checkpoint{{{12, 4711}, 1700000000, 17}, 0, 0, 5};
  EXPECT_EQ(ParseCheckpointJson(CheckpointJson(kOwner, checkpoint, 1), kOwner).value(), checkpoint);
}

TEST(PikaCheckpointJson, TheFieldsAskedForAreEnough) {
  EXPECT_EQ(ParseCheckpointJson(R"({"source_id":"10.0.0.1:9221","filenum":12,"offset":4711,)"
                                R"("logic_id":99,"server_id":null,"term_id":null,"ts_ms":1})",
                                kOwner)
                .value(),
            (PikaCheckpoint{{{12, 4711}}, 99, 0, 0}));
}

TEST(PikaCheckpointJson, CutAnywhereItIsRefused) {
  const std::string json = CheckpointJson(kOwner, {{{12, 4711}, 3, 4}, 99, 3, 5}, 1700000000000);
  for (size_t size = 0; size + 1 < json.size(); ++size) {  // Without its newline it is whole.
    EXPECT_THAT(WhyNot(json.substr(0, size)), HasSubstr("no JSON at byte")) << size;
  }
}

TEST(PikaCheckpointJson, ForeignOnesAreRefusedByName) {
  const std::string json = CheckpointJson(kOwner, {{{12, 4711}}, 99, 3, 5}, 1);
  EXPECT_THAT(WhyNot(json, {"10.0.0.2:9221", "db0", "A"}),
              HasSubstr(R"("source_id" says '10.0.0.1:9221', not '10.0.0.2:9221')"));
  EXPECT_THAT(WhyNot(json, {"10.0.0.1:9221", "db1", "A"}), HasSubstr(R"("db" says 'db0')"));
  EXPECT_THAT(WhyNot(json, {"10.0.0.1:9221", "db0", "B"}), HasSubstr(R"("producer" says 'A')"));
  EXPECT_THAT(WhyNot("[]"), HasSubstr("not a JSON object"));
  EXPECT_THAT(WhyNot("{}"), HasSubstr("source_id"));
  EXPECT_THAT(WhyNot(R"({"source_id":"10.0.0.1:9221","filenum":-1,"offset":0,"logic_id":0})"),
              HasSubstr(R"("filenum" is not a whole number)"));
  EXPECT_FALSE(
      ParseCheckpointJson(
          R"({"source_id":"10.0.0.1:9221","filenum":4294967296,"offset":0,"logic_id":0})", kOwner)
          .ok());
  EXPECT_THAT(
      WhyNot(R"({"source_id":"10.0.0.1:9221","filenum":1,"offset":0,"logic_id":0,"snapshot":7})"),
      HasSubstr(R"("snapshot" is neither)"));
}

TEST(PikaCheckpointStands, AsThePositionsDo) {
  const auto stands = [](const PikaPosition& exported, const ResumePoint& ledger) {
    return CompareWithLedger({exported, 0, 0, 0, 0}, ledger).value();
  };
  const ResumePoint ledger{"5:100:7:0:1:0", "", "5:300"};
  EXPECT_EQ(stands({{5, 99}}, ledger), ExportStands::kBehindLedger);
  EXPECT_EQ(stands({{5, 100}}, ledger), ExportStands::kWithLedger);
  EXPECT_EQ(stands({{5, 300}}, ledger), ExportStands::kWithLedger);  // Some stream has it.
  EXPECT_EQ(stands({{5, 301}}, ledger), ExportStands::kAheadOfLedger);
  EXPECT_EQ(stands({{5, 300}, 1700000000, 1}, ledger), ExportStands::kAheadOfLedger);
  // One stream's head is ahead of the checkpoint.
  EXPECT_EQ(stands({{5, 150}}, {"5:100:7:0:1:0", "5:200", "5:200"}), ExportStands::kBehindLedger);
  EXPECT_EQ(stands({{0, 0}}, {}), ExportStands::kWithLedger);
  EXPECT_EQ(stands({{0, 1}}, {}), ExportStands::kAheadOfLedger);  // A ledger that knows nothing.
  EXPECT_FALSE(CompareWithLedger({}, {"17", "", ""}).ok());
}

}  // namespace
}  // namespace lockstep::pika
