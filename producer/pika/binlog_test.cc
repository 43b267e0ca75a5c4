// The formats: frames, binlog items, RESP commands. Bytes are those of the reference's examples.
#include <rapidcheck.h>

#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "producer/pika/binlog_item.h"
#include "producer/pika/command_table.h"
#include "producer/pika/pb_frame.h"
#include "producer/pika/resp_command.h"

namespace lockstep::pika {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string Hex(const char* hex) { return absl::HexStringToBytes(hex); }

// `SET k v`, logged as the first entry of a log.
const std::string& SetItem() {
  static const auto& item =
      *new std::string(Hex("010000f153650000000001000000000000000000000000000000000000001b000000"
                           "2a330d0a24330d0a5345540d0a24310d0a6b0d0a24310d0a760d0a"));
  return item;
}

std::string MessageOf(const absl::Status& status) { return std::string(status.message()); }

TEST(PbFrameTest, CutsBytesHoweverTheyArrive) {
  ASSERT_TRUE(rc::check([](const std::vector<std::string>& raw, uint8_t chunk) {
    std::vector<std::string> messages;
    std::string bytes;
    for (const std::string& message : raw) {
      if (message.empty()) continue;
      messages.push_back(message);
      AppendPbFrame(message, bytes);
    }
    PbFrameReader reader;
    std::vector<std::string> read;
    const size_t step = size_t{chunk} + 1;
    for (size_t at = 0; at < bytes.size(); at += step) {
      reader.Append(std::string_view(bytes).substr(at, step));
      for (;;) {
        const auto frame = reader.Next();
        RC_ASSERT(frame.ok());
        if (!*frame) break;
        read.emplace_back(**frame);
      }
    }
    RC_ASSERT(read == messages);
    RC_ASSERT(reader.buffered_bytes() == 0U);
  }));
}

TEST(PbFrameTest, ALengthThatLiesNamesFrameAndByte) {
  PbFrameReader reader(1000);
  reader.Append(Hex("00000002") + "ab" + Hex("00000000"));
  ASSERT_TRUE(reader.Next().ok());
  EXPECT_EQ(MessageOf(reader.Next().status()),
            "frame 2 at byte 6: length 0 is not between 1 and 999");
  PbFrameReader resp;
  resp.Append("-ERR What");  // A legacy master's heartbeat port.
  EXPECT_THAT(MessageOf(resp.Next().status()), HasSubstr("frame 1 at byte 0: length 759517778"));
}

TEST(BinlogItemTest, ReadsTheReferencesExample) {
  const auto item = ParseBinlogItem(SetItem());
  ASSERT_TRUE(item.ok()) << item.status();
  EXPECT_EQ(item->exec_time_s, 1700000000U);
  EXPECT_EQ(item->term_id, 0U);
  EXPECT_EQ(item->logic_id, 1U);
  EXPECT_EQ(item->start, BinlogPosition());
  EXPECT_EQ(item->content, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n");
  EXPECT_TRUE(EndsAt(item->start, SetItem().size(), {0, 69}));
}

TEST(BinlogItemTest, EveryFieldKeepsItsValue) {
  ASSERT_TRUE(rc::check([](uint32_t time, uint32_t term, uint64_t logic, uint32_t filenum,
                           uint32_t offset, const std::string& content) {
    std::string bytes;
    AppendBinlogItem({time, term, logic, {filenum, offset}, content}, bytes);
    const auto item = ParseBinlogItem(bytes);
    RC_ASSERT(item.ok());
    RC_ASSERT(item->exec_time_s == time && item->term_id == term && item->logic_id == logic);
    RC_ASSERT(item->start == (BinlogPosition{filenum, offset}) && item->content == content);
  }));
}

TEST(BinlogItemTest, WhatIsWrongIsNamedWithItsByte) {
  std::string other_type = SetItem();
  other_type[0] = 2;
  std::string long_content = SetItem();
  long_content[30] = 0x1c;
  std::string far_offset = SetItem();
  far_offset[29] = 0x7f;
  const struct {
    const char* name;
    std::string bytes;
    const char* says;
  } rows[] = {
      {"Empty", "", "header cut at byte 0 of 34"},
      {"HeaderCut", SetItem().substr(0, 33), "header cut at byte 33 of 34"},
      {"ContentCut", SetItem().substr(0, 60),
       "content_length at byte 30 is 27, but 26 bytes follow the header"},
      {"BytesBehind", SetItem() + "x",
       "content_length at byte 30 is 27, but 28 bytes follow the header"},
      {"LengthLies", long_content, "content_length at byte 30 is 28, but 27"},
      {"OtherType", other_type, "type at byte 0 is 2, not 1"},
      {"FarOffset", far_offset, "offset at byte 22 is 9151314442816847872"},
  };
  for (const auto& row : rows) {
    EXPECT_THAT(MessageOf(ParseBinlogItem(row.bytes).status()), HasSubstr(row.says)) << row.name;
  }
}

TEST(BinlogItemTest, RecordsEndWhereTheReferenceSays) {
  EXPECT_EQ(AdvanceBinlogOffset(0, 61), 69U);
  EXPECT_EQ(AdvanceBinlogOffset(65520, 61), 65597U);
  EXPECT_EQ(AdvanceBinlogOffset(65528, 61), 65605U);
  EXPECT_EQ(AdvanceBinlogOffset(65530, 61), 65605U);
  EXPECT_EQ(AdvanceBinlogOffset(65467, 61), 65536U);
  EXPECT_EQ(AdvanceBinlogOffset(100, 200000), 200132U);
}

TEST(BinlogItemTest, WhereARecordBeganFollowsFromItsEnd) {
  EXPECT_THAT(BinlogStartsOf(69, 61), testing::ElementsAre(0));
  EXPECT_THAT(BinlogStartsOf(65'597, 61), testing::ElementsAre(65'520));
  // A rest of up to 8 bytes is passed over.
  EXPECT_THAT(
      BinlogStartsOf(65'605, 61),
      testing::ElementsAre(65'528, 65'529, 65'530, 65'531, 65'532, 65'533, 65'534, 65'535, 65'536));
  EXPECT_THAT(BinlogStartsOf(68, 61), testing::IsEmpty());
  EXPECT_THAT(BinlogStartsOf(0, 61), testing::IsEmpty());
  for (const uint64_t bytes : {0U, 61U, 65'519U, 65'520U, 65'528U, 65'529U, 200'000U}) {
    for (uint64_t start = 65'400; start<131'100; start += start % 65'536> 65'500 ? 1 : 50) {
      const std::vector<uint64_t> starts = BinlogStartsOf(AdvanceBinlogOffset(start, bytes), bytes);
      EXPECT_THAT(starts, testing::Contains(start)) << bytes;
      EXPECT_LE(starts.size(), 9U);
    }
  }
}

TEST(BinlogItemTest, ContentIsKnownByLengthAndHash) {
  EXPECT_EQ(ContentMark("abc") >> 32, 3U);
  EXPECT_NE(ContentMark("abc"), ContentMark("abd"));
  EXPECT_NE(ContentMark(""), 0U);
  EXPECT_EQ(DescribeContentMark(uint64_t{27} << 32 | 0xabc), "27 bytes, hash 00000abc");
}

TEST(BinlogItemTest, TheFirstOfAFileBeganInTheOneBefore) {
  EXPECT_TRUE(EndsAt({0, 262227}, 81, {1, 89}));
  EXPECT_FALSE(EndsAt({0, 262227}, 81, {2, 89}));
  EXPECT_FALSE(EndsAt({0, 262227}, 81, {1, 90}));
  EXPECT_FALSE(EndsAt({1, 100}, 81, {0, 189}));
}

TEST(BinlogPositionTest, IsWrittenAndRead) {
  EXPECT_EQ(ToString(BinlogPosition{12, 345}), "12:345");
  EXPECT_EQ(*ParseBinlogPosition("12:345"), (BinlogPosition{12, 345}));
  for (const char* text : {"", "12", "12:", ":3", "4294967296:0", "-1:0", "1:2:3", "a:1"}) {
    EXPECT_FALSE(ParseBinlogPosition(text).ok()) << text;
  }
}

TEST(RespCommandTest, WhatIsWrittenIsRead) {
  ASSERT_TRUE(rc::check([](const std::vector<std::string>& raw) {
    RC_PRE(!raw.empty());
    const std::vector<std::string_view> args(raw.begin(), raw.end());
    std::string content;
    AppendRespCommand(args, content);
    std::vector<std::string_view> read;
    RC_ASSERT(ParseRespCommand(content, read).ok());
    RC_ASSERT(read == args);
  }));
}

TEST(RespCommandTest, WhatIsWrongIsNamedWithItsByte) {
  const struct {
    const char* content;
    const char* says;
  } rows[] = {
      {"", "command byte 0: expected '*'"},
      {"*0\r\n", "command byte 0: a command without a name"},
      {"*1\r\n", "command byte 4: expected '$'"},
      {"*\r\n", "command byte 1: expected a digit"},
      {"*1\n$1\r\na\r\n", "command byte 2: expected \\r\\n"},
      {"*1\r\n$2\r\na\r\n", "command byte 8: argument 0 of 2 bytes is cut"},
      {"*1\r\n$1\r\nab\r\n", "command byte 9: expected \\r\\n behind argument 0"},
      {"*2\r\n$1\r\na\r\n", "command byte 11: expected '$'"},
      {"*1\r\n$1\r\na\r\n*1", "command byte 11: bytes behind the command"},
      {"*4294967297\r\n", "command byte 1: a number that is too large"},
      {"*4294967296\r\n", "command byte 13: expected '$'"},
      {"*1\r\n$4294967296\r\na\r\n", "argument 0 of 4294967296 bytes is cut"},
  };
  std::vector<std::string_view> args;
  for (const auto& row : rows) {
    EXPECT_THAT(MessageOf(ParseRespCommand(row.content, args)), HasSubstr(row.says)) << row.content;
  }
}

TEST(RespCommandTest, LengthsMayHaveLeadingZeros) {
  std::vector<std::string_view> args;
  ASSERT_TRUE(ParseRespCommand("*2\r\n$7\r\npadding\r\n$00002\r\n**\r\n", args).ok());
  EXPECT_THAT(args, ElementsAre("padding", "**"));
}

TEST(CommandTableTest, KnowsTypeAndKey) {
  EXPECT_EQ(FindCommand("pksetexat").type, DataType::kString);
  EXPECT_EQ(FindCommand("bitop").key_index, 2U);
  EXPECT_EQ(FindCommand("del").type, DataType::kKey);
  EXPECT_EQ(FindCommand("flushall").key_index, 0U);
  EXPECT_FALSE(FindCommand("clearcache").changes_data);
  EXPECT_EQ(FindCommand("nosuchcommand").type, DataType::kUnknown);
  EXPECT_TRUE(FindCommand("nosuchcommand").changes_data);
}

}  // namespace
}  // namespace lockstep::pika
