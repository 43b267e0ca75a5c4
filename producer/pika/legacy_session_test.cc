// The legacy session as a transcript: what the master says on which connection, and what we answer.
#include "producer/pika/legacy_session.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "producer/pika/legacy_wire.h"
#include "producer/pika/resp_command.h"

namespace lockstep::pika {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using enum LegacySession::Channel;
using Stage = LegacySession::Stage;

class LegacySessionTest : public testing::Test {
 protected:
  SlaveOptions options_{.slave_ip = "10.0.0.5",
                        .slave_port = 9777,
                        .password = "",
                        .database = "",
                        .position = {},
                        .parts = 0,
                        .logic_id = {},
                        .replication_id = "",
                        .replication_hash = 0};
  std::optional<LegacySession> session_;
  int64_t now_ms_ = 1000;

  void Open() {
    session_.emplace(options_, now_ms_);
    session_->OnOpen(kCommand, now_ms_);
  }
  // What was sent since the last call, one line a command.
  std::vector<std::string> Sent(LegacySession::Channel channel = kCommand) {
    const std::string output = session_->TakeOutput(channel);
    std::vector<std::string> sent;
    for (std::string_view bytes = output; !bytes.empty();) {
      const size_t length = FindRespCommand(bytes).value().value();
      std::vector<std::string_view> args;
      EXPECT_TRUE(ParseRespCommand(bytes.substr(0, length), args).ok());
      sent.push_back(absl::StrJoin(
          args, " ", [](std::string* out, std::string_view arg) { out->append(arg); }));
      bytes.remove_prefix(length);
    }
    return sent;
  }
  void Say(const std::string& bytes, LegacySession::Channel channel = kCommand) {
    session_->OnBytes(channel, bytes, now_ms_);
  }
  static std::string Bulk(const std::string& text) {
    return absl::StrCat("$", text.size(), "\r\n", text, "\r\n");
  }
  void SayInfo(const std::string& version, BinlogPosition end, const std::string& role = "master") {
    Say(Bulk(absl::StrCat("# Server\r\npika_version:", version, "\r\nos:Linux\r\n\r\n# Log\r\n",
                          "binlog_offset:", end.filenum, " ", end.offset, "\r\n\r\n",
                          "# Replication(MASTER)\r\nrole:", role, "\r\n")));
  }
  void SayFileSize(int64_t bytes = 1000) {
    Say(absl::StrCat("*2\r\n$16\r\nbinlog-file-size\r\n", Bulk(absl::StrCat(bytes))));
  }
  // Up to where the stream begins.
  void Stream(const std::string& version = "3.0.16") {
    Open();
    SayInfo(version, {9, 0});
    SayFileSize();
    Say(":7\r\n");
    session_->OnOpen(kHeartbeat, now_ms_);
    Say("+OK\r\n", kHeartbeat);
    (void)Sent();
    (void)Sent(kHeartbeat);
    DialBack();
  }
  void DialBack() { session_->OnOpen(kBinlog, now_ms_); }
  void SayAuth(const std::string& sid = "7") {
    std::string command;
    AppendRespCommand(std::vector<std::string_view>{"auth", sid}, command);
    std::string frame;
    AppendTransferFrame(true, command, frame);
    Say(frame, kBinlog);
  }
  static std::string Set(const std::string& key) {
    std::string content;
    AppendRespCommand(std::vector<std::string_view>{"SET", key, "v"}, content);
    return content;
  }
  // 61 bytes, so 69 in the file.
  static std::string Item(BinlogPosition start, uint64_t logic_id) {
    const std::string content = Set("k");
    std::string bytes;
    AppendBinlogItem({1'700'000'000, 1, logic_id, start, content}, bytes);
    return bytes;
  }
  static std::string Frame(const std::string& record) {
    std::string frame;
    AppendTransferFrame(false, record, frame);
    return frame;
  }
  void SayRecord(BinlogPosition start, uint64_t logic_id) {
    Say(Frame(Item(start, logic_id)), kBinlog);
  }
  static std::string Marked(BinlogPosition start, const std::string& key = "k") {
    const std::string content = Set(key);
    std::string bytes;
    AppendMarkedCommand({1'700'000'000, 1, 0, start, content}, bytes);
    return bytes;
  }
  // The items since the last call as `END` or `START:0:PART`; `(END)` is one that we have.
  std::vector<std::string> Items() {
    std::vector<std::string> items;
    for (const ReceivedItem& item : session_->TakeItems()) {
      if (item.bytes.empty()) {
        items.push_back("(" + ToString(item.end) + ")");
      } else if (item.part == 0) {
        items.push_back(ToString(item.end));
      } else {
        items.push_back(
            absl::StrCat(ToString(ParseBinlogItem(item.bytes)->start), ":0:", item.part));
      }
    }
    return items;
  }
  void ExpectFailed(absl::StatusCode code, const std::string& says) {
    EXPECT_EQ(session_->stage(), Stage::kFailed);
    EXPECT_EQ(session_->status().code(), code) << session_->status();
    EXPECT_THAT(std::string(session_->status().message()), HasSubstr(says));
    for (const auto channel : {kCommand, kHeartbeat, kBinlog}) {
      EXPECT_FALSE(session_->Wants(channel));
    }
  }
};

TEST_F(LegacySessionTest, ShakesHandsOnThreeConnections) {
  options_.password = "secret";
  Open();
  EXPECT_THAT(Sent(), ElementsAre("auth secret"));
  Say("+O");
  EXPECT_THAT(Sent(), IsEmpty());
  Say("K\r\n");
  EXPECT_THAT(Sent(), ElementsAre("info"));
  EXPECT_FALSE(session_->understood());
  SayInfo("3.0.16", {0, 138});
  EXPECT_TRUE(session_->understood());
  EXPECT_EQ(session_->master_end(), (BinlogPosition{0, 138}));
  EXPECT_THAT(Sent(), ElementsAre("config get binlog-file-size"));
  SayFileSize();
  EXPECT_THAT(Sent(), ElementsAre("trysync 10.0.0.5 9777 0 0"));
  EXPECT_FALSE(session_->Wants(kHeartbeat));
  Say(":7\r\n");
  EXPECT_FALSE(session_->Wants(kCommand));
  EXPECT_TRUE(session_->Wants(kHeartbeat));
  EXPECT_TRUE(session_->Wants(kBinlog));
  session_->OnClosed(kCommand, now_ms_);
  session_->OnOpen(kHeartbeat, now_ms_);
  EXPECT_THAT(Sent(kHeartbeat), ElementsAre("spci 7"));
  Say("+OK\r\n", kHeartbeat);
  EXPECT_EQ(session_->stage(), Stage::kStream);
  DialBack();
  SayAuth();
  SayRecord({0, 0}, 0);
  SayRecord({0, 69}, 1);
  EXPECT_THAT(Items(), ElementsAre("0:69", "0:138"));
  EXPECT_TRUE(session_->status().ok()) << session_->status();
}

TEST_F(LegacySessionTest, TheHeartbeatGoesOnAndItsSilenceIsSeen) {
  Stream();
  now_ms_ += LegacySession::kPingEveryMs - 1;
  session_->OnTick(now_ms_);
  EXPECT_THAT(Sent(kHeartbeat), IsEmpty());
  session_->OnTick(++now_ms_);
  EXPECT_THAT(Sent(kHeartbeat), ElementsAre("ping"));
  Say("+PONG\r\n", kHeartbeat);
  now_ms_ += LegacySession::kPongTimeoutMs - 1;
  session_->OnTick(now_ms_);
  EXPECT_EQ(session_->stage(), Stage::kStream);
  session_->OnTick(++now_ms_);
  ExpectFailed(absl::StatusCode::kUnavailable, "does not answer a heartbeat for 20 s");
}

TEST_F(LegacySessionTest, AMasterThatDoesNotDialBackIsNamed) {
  Stream();
  session_->OnClosed(kBinlog, now_ms_);
  now_ms_ += LegacySession::kDialBackMaxMs - 1;
  Say("+PONG\r\n", kHeartbeat);
  session_->OnTick(now_ms_);
  EXPECT_EQ(session_->stage(), Stage::kStream);
  session_->OnTick(++now_ms_);
  ExpectFailed(absl::StatusCode::kUnavailable, "does not dial back to 10.0.0.5:10777 for 15 s");
}

TEST_F(LegacySessionTest, ARecordThatWasCutComesWholeOnTheNextConnection) {
  Stream();
  SayAuth();
  SayRecord({0, 0}, 0);
  Say(Frame(Item({0, 69}, 1)).substr(0, 40), kBinlog);
  EXPECT_THAT(Items(), ElementsAre("0:69"));
  session_->OnClosed(kBinlog, now_ms_);
  DialBack();
  SayAuth();
  SayRecord({0, 69}, 1);
  EXPECT_THAT(Items(), ElementsAre("0:138"));
}

TEST_F(LegacySessionTest, ARecordThatIsRepeatedByTheNextConnectionIsNotNews) {
  Stream();
  SayAuth();
  SayRecord({0, 0}, 0);
  SayRecord({0, 69}, 1);
  (void)Items();
  session_->OnClosed(kBinlog, now_ms_);
  DialBack();
  SayAuth();
  SayRecord({0, 69}, 1);
  SayRecord({0, 138}, 2);
  EXPECT_THAT(Items(), ElementsAre("(0:138)", "0:207"));
  SayRecord({0, 138}, 2);  // Only a connection's first record may be an old one.
  ExpectFailed(absl::StatusCode::kDataLoss, "position goes back: the next record begins at 0:138");
}

TEST_F(LegacySessionTest, AHoleIsSeenAndNotTaken) {
  Stream();
  SayAuth();
  SayRecord({0, 0}, 0);
  SayRecord({0, 138}, 2);
  EXPECT_THAT(Items(), ElementsAre("0:69"));
  ExpectFailed(absl::StatusCode::kDataLoss,
               "binlog of db0 behind 0:69: binlog hole: the next record begins at 0:138");
}

TEST_F(LegacySessionTest, TheFirstRecordBeginsWhereItWasAskedFor) {
  options_.position = {0, 60};  // Within a record: the master rounds up and says nothing.
  Stream();
  SayAuth();
  SayRecord({0, 69}, 1);
  ExpectFailed(absl::StatusCode::kDataLoss, "binlog hole: the next record begins at 0:69");
}

TEST_F(LegacySessionTest, ALogicIdThatDoesNotCountOnIsSeen) {
  options_.position = {0, 69};
  options_.logic_id = 1;
  Stream();
  SayAuth();
  SayRecord({0, 69}, 5);
  ExpectFailed(absl::StatusCode::kDataLoss, "logic_id mismatch: 5 follows 1");
}

TEST_F(LegacySessionTest, ARecordThatFindsItsFileFullLiesInTheNext) {
  options_.position = {0, 966};
  Stream();
  SayAuth();
  SayRecord({0, 966}, 3);  // The file may grow to 1000 and beyond, once.
  SayRecord({0, 1035}, 4);
  SayRecord({1, 69}, 5);
  EXPECT_THAT(Items(), ElementsAre("0:1035", "1:69", "1:138"));
}

TEST_F(LegacySessionTest, BehindAFullFileTheNextOneIsAwaited) {
  options_.position = {0, 1035};
  Open();
  SayInfo("3.0.16", {0, 1035});
  (void)Sent();
  SayFileSize();
  EXPECT_EQ(session_->stage(), Stage::kRoll);
  EXPECT_THAT(Sent(), IsEmpty());  // 1:0 does not exist: asked for, the master would dump.
  for (const BinlogPosition end : {BinlogPosition{0, 1035}, BinlogPosition{1, 69}}) {
    EXPECT_EQ(session_->stage(), Stage::kRoll);
    now_ms_ += 1000;
    session_->OnTick(now_ms_);
    EXPECT_THAT(Sent(), ElementsAre("info log"));
    Say(Bulk(absl::StrCat("# Log\r\nbinlog_offset:", end.filenum, " ", end.offset, "\r\n")));
  }
  EXPECT_THAT(Sent(), ElementsAre("trysync 10.0.0.5 9777 1 0"));
  EXPECT_EQ(session_->stage(), Stage::kAsk);
}

// ---------------------------------------------------------------- records of several commands

TEST_F(LegacySessionTest, SeveralCommandsInARecordHaveANumberEach) {
  Stream("3.0.4");
  SayAuth();
  Say(Frame(Item({0, 0}, 0) + Item({0, 0}, 0) + Item({0, 0}, 0)), kBinlog);
  SayRecord({0, 191}, 1);
  EXPECT_THAT(Items(), ElementsAre("0:0:0:1", "0:0:0:2", "0:191", "0:260"));
  // Resumed in the middle.
  options_.parts = 2;
  options_.logic_id = 0;
  Stream("3.0.4");
  SayAuth();
  Say(Frame(Item({0, 0}, 0) + Item({0, 0}, 0) + Item({0, 0}, 0)), kBinlog);
  EXPECT_THAT(Items(), ElementsAre("(0:69)", "(0:130)", "0:191"));
}

TEST_F(LegacySessionTest, ReadsTheMarkedCommandsOf2_3) {
  Stream("2.3.6");
  Say("*2\r\n$4\r\nauth\r\n$1\r\n7\r\n", kBinlog);
  // 85 bytes each; two of one record, then one that begins where that ends.
  Say(Marked({0, 0}, "a") + Marked({0, 0}, "b") + Marked({0, 178}, "c"), kBinlog);
  EXPECT_THAT(Items(), ElementsAre("0:0:0:1", "0:0:0:2", "0:178:0:1")) << session_->status();
  EXPECT_EQ(session_->position(), (BinlogPosition{0, 178 + 93}));
}

TEST_F(LegacySessionTest, TheReferencesBytesOf2_3AreRead) {
  using std::string_literals::operator""s;
  Stream("2.3.6");
  Say("*2\r\n$4\r\nauth\r\n$1\r\n7\r\n", kBinlog);
  Say("*7\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n$14\r\n__PIKA_X#$SKGI\r\n$1\r\n1\r\n$16\r\n"
      "\x00\xf1\x53\x65\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\r\n$1\r\n1\r\n"s,
      kBinlog);
  const auto items = session_->TakeItems();
  ASSERT_EQ(items.size(), 1U) << session_->status();
  const BinlogItem item = ParseBinlogItem(items[0].bytes).value();
  EXPECT_EQ(item.content, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n");
  EXPECT_EQ(item.exec_time_s, 1'700'000'000U);
  EXPECT_EQ(item.term_id, 1U);
  EXPECT_EQ(items[0].end, (BinlogPosition{0, 93}));
}

TEST_F(LegacySessionTest, ACutInARecordOf2_3IsMendedByItsRepetition) {
  Stream("2.3.6");
  const std::string auth = "*2\r\n$4\r\nauth\r\n$1\r\n7\r\n";
  const std::string record = Marked({0, 0}, "a") + Marked({0, 0}, "b") + Marked({0, 0}, "c");
  Say(auth + record.substr(0, 200), kBinlog);
  EXPECT_THAT(Items(), ElementsAre("0:0:0:1", "0:0:0:2"));
  session_->OnClosed(kBinlog, now_ms_);
  DialBack();
  Say(auth + record.substr(0, 100), kBinlog);  // And cut again, earlier.
  EXPECT_THAT(Items(), ElementsAre("(0:93)"));
  session_->OnClosed(kBinlog, now_ms_);
  DialBack();
  Say(auth + record, kBinlog);
  EXPECT_THAT(Items(), ElementsAre("(0:93)", "(0:178)", "0:0:0:3")) << session_->status();
}

TEST_F(LegacySessionTest, The2_3WithoutAuthStreamsAtOnce) {
  Stream("2.3.2");
  Say(Marked({0, 0}), kBinlog);
  EXPECT_THAT(Items(), ElementsAre("0:0:0:1")) << session_->status();
}

// ---------------------------------------------------------------- refusals

TEST_F(LegacySessionTest, WhatTheMasterIsDecides) {
  const auto is = [&](const std::string& version, const std::string& role = "master") {
    Open();
    SayInfo(version, {9, 0}, role);
  };
  is("3.1.0");
  ExpectFailed(absl::StatusCode::kUnimplemented, "a Pika 3.1.0, whose protocol is pb");
  EXPECT_FALSE(session_->understood());
  is("2.2.6");
  ExpectFailed(absl::StatusCode::kFailedPrecondition, "before 2.3 its stream has no positions");
  is("2.3.6", "slave");
  ExpectFailed(absl::StatusCode::kFailedPrecondition, "Name its master in --source");
  options_.copy = true;
  is("2.3.6");
  ExpectFailed(absl::StatusCode::kFailedPrecondition, "of a Pika before 3.0 is not read");
  options_.copy = false;
  is("3.0.16", "slave");
  EXPECT_TRUE(session_->status().ok());
  options_.database = "db1";
  is("3.0.16");
  ExpectFailed(absl::StatusCode::kNotFound, "no database 'db1'");
  Open();
  Say(Bulk("# Server\r\nredis_version:7.0.15\r\n"));
  ExpectFailed(absl::StatusCode::kDataLoss, "an INFO without a pika_version");
}

TEST_F(LegacySessionTest, APasswordIsRefusedOrNotWanted) {
  Open();
  Say("-ERR NOAUTH Authentication required.\r\n");
  ExpectFailed(absl::StatusCode::kPermissionDenied, "--source-password-file");
  options_.password = "secret";
  Open();
  Say("-ERR invalid password\r\n");
  ExpectFailed(absl::StatusCode::kPermissionDenied, "'ERR invalid password'");
  Open();
  (void)Sent();
  Say("-ERR Client sent AUTH, but no password is set\r\n");
  EXPECT_THAT(Sent(), ElementsAre("info"));
}

TEST_F(LegacySessionTest, EveryRefusalOfTrysyncIsToldApart) {
  options_.position = {2, 69};
  const auto answer = [&](const std::string& reply) {
    Open();
    SayInfo("3.0.16", {5, 100});
    SayFileSize();
    Say(reply);
  };
  answer("$4\r\nwait\r\n");
  ExpectFailed(absl::StatusCode::kAborted, "has purged its binlog of db0 at 2:69 (it is at 5:100)");
  answer("-ERR InvalidOffset\r\n");
  ExpectFailed(absl::StatusCode::kFailedPrecondition, "its binlog of db0 at 2:69 can not be read");
  answer("-ERR AlreadyExist\r\n");
  ExpectFailed(absl::StatusCode::kUnavailable, "'ERR AlreadyExist'");
  Open();
  SayInfo("3.0.16", {2, 68});
  ExpectFailed(absl::StatusCode::kOutOfRange, "source behind ledger");
}

TEST_F(LegacySessionTest, ACopyIsAskedForByAPositionThatNobodyHas) {
  options_.copy = true;
  options_.position = {2, 69};
  Open();
  SayInfo("3.0.16", {1, 0});
  SayFileSize();
  EXPECT_EQ(Sent().back(), "trysync 10.0.0.5 9777 4294967295 0");
  Say("$4\r\nwait\r\n");
  EXPECT_EQ(session_->stage(), Stage::kCopy);
}

TEST_F(LegacySessionTest, ConnectionsThatCloseTooEarlyAreNamed) {
  Open();
  session_->OnClosed(kCommand, now_ms_);
  ExpectFailed(absl::StatusCode::kUnavailable, "closed the connection (client port)");
  Open();
  SayInfo("3.0.16", {9, 0});
  SayFileSize();
  Say(":7\r\n");
  session_->OnOpen(kHeartbeat, now_ms_);
  session_->OnClosed(kHeartbeat, now_ms_);
  ExpectFailed(absl::StatusCode::kUnavailable, "and none over loopback");
}

TEST_F(LegacySessionTest, AMasterThatSaysNothingIsGivenUp) {
  Open();
  session_->OnTick(now_ms_ + LegacySession::kAnswerTimeoutMs - 1);
  EXPECT_TRUE(session_->status().ok());
  session_->OnTick(now_ms_ + LegacySession::kAnswerTimeoutMs);
  ExpectFailed(absl::StatusCode::kUnavailable, "does not answer for 10 s");
}

TEST_F(LegacySessionTest, AnotherSlavesConnectionIsNotOurs) {
  Stream();
  SayAuth("8");
  ExpectFailed(absl::StatusCode::kUnavailable, "is of slave 8, and we are 7");
}

TEST_F(LegacySessionTest, BytesThatMakeNoSenseAreNamedWithFieldAndPosition) {
  using std::string_literals::operator""s;
  Open();
  Say("HTTP/1.1 400\r\n");
  ExpectFailed(absl::StatusCode::kDataLoss, "client port, byte 0: reply byte 0: expected one of");
  Open();
  Say("$x\r\n");
  ExpectFailed(absl::StatusCode::kDataLoss, "client port, byte 0: reply byte 1: expected a number");
  Stream();
  Say(Frame(Item({0, 0}, 0)), kBinlog);
  ExpectFailed(absl::StatusCode::kDataLoss, "binlog connection, byte 0: a record before auth");
  const struct {
    std::string bytes;
    const char* says;
  } rows[] = {
      {"\7\0\1\0\0\0x"s, "binlog connection, byte 27: type at byte 0 is 7, not 1 or 2"},
      {"\2\0\0\0\0\0"s, "length at byte 2 is 0"},
      {"\2\0\xff\xff\xff\xff"s, "length at byte 2 is 4294967295"},
      {Frame("short"), "header cut at byte 5 of 34"},
      {Frame(Item({0, 0}, 0) + "x"), "header cut at byte 1 of 34"},
      {Frame(Item({0, 0}, 0).substr(0, 60)),
       "content_length at byte 30 is 27, but 26 bytes follow the header"},
  };
  for (const auto& row : rows) {
    Stream();
    SayAuth();
    Say(row.bytes, kBinlog);
    ExpectFailed(absl::StatusCode::kDataLoss, row.says);
  }
  const struct {
    std::string bytes;
    const char* says;
  } marked[] = {
      {"SET k v\r\n", "command byte 0: expected '*'"},
      {Set("k"), "the magic word is not the fourth argument from the end"},
      {"*5\r\n$3\r\nDEL\r\n$14\r\n__PIKA_X#$SKGI\r\n$1\r\n1\r\n$1\r\nX\r\n$1\r\n1\r\n",
       "the position, the second argument from the end, has 1 bytes, not 16"},
      {"*5\r\n$3\r\nDEL\r\n$14\r\n__PIKA_X#$SKGI\r\n$1\r\nx\r\n$1\r\nX\r\n$1\r\n1\r\n",
       "the server's id, the third argument from the end, is no number"},
  };
  for (const auto& row : marked) {
    Stream("2.3.2");
    Say(row.bytes, kBinlog);
    ExpectFailed(absl::StatusCode::kDataLoss, row.says);
  }
}

}  // namespace
}  // namespace lockstep::pika
