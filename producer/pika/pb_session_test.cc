// The session as a transcript: what the master says, and what we answer.
#include "producer/pika/pb_session.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "producer/pika/resp_command.h"

namespace lockstep::pika {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class PbSessionTest : public testing::Test {
 protected:
  SlaveOptions options_{.slave_ip = "10.0.0.5",
                        .slave_port = 9777,
                        .password = "",
                        .database = "db0",
                        .position = {},
                        .parts = 0,
                        .logic_id = {},
                        .replication_id = "",
                        .replication_hash = 0};
  std::optional<PbSession> session_;
  int64_t now_ms_ = 1000;

  void Open() { session_.emplace(options_, now_ms_); }

  // What the session sent since the last call, one line a request.
  std::vector<std::string> Sent() {
    PbFrameReader reader;
    reader.Append(session_->TakeOutput());
    std::vector<std::string> sent;
    for (auto frame = reader.Next(); frame.ok() && *frame; frame = reader.Next()) {
      Request request;
      EXPECT_TRUE(request.ParseFromArray((*frame)->data(), static_cast<int>((*frame)->size())));
      sent.push_back(Line(request));
    }
    return sent;
  }
  static std::string Line(const Request& request) {
    const auto point = [](const BinlogPoint& p) {
      return absl::StrCat(p.filenum(), ":", p.offset());
    };
    if (request.type() == META_SYNC) {
      const auto& sync = request.meta_sync();
      return absl::StrCat("meta ", sync.node().ip(), ":", sync.node().port(),
                          sync.has_auth() ? " auth=" + sync.auth() : "");
    }
    if (request.type() == DB_SYNC) {
      return absl::StrCat("copy ", request.db_sync().slot().db_name(), " ",
                          point(request.db_sync().point()));
    }
    if (request.type() == TRY_SYNC) {
      return absl::StrCat("try ", request.try_sync().slot().db_name(), " ",
                          point(request.try_sync().point()));
    }
    const auto& sync = request.binlog_sync();
    if (sync.first_send()) {
      return absl::StrCat("first ", sync.db_name(), " session=", sync.session_id(), " ",
                          point(sync.ack_start()));
    }
    if (sync.ack_start().filenum() == 0 && sync.ack_start().offset() == 0) {
      return absl::StrCat("ping session=", sync.session_id());
    }
    return absl::StrCat("ack ", point(sync.ack_start()), " ", point(sync.ack_end()));
  }

  void Say(const Response& response) {
    std::string frame;
    AppendPbFrame(response.SerializeAsString(), frame);
    session_->OnBytes(frame, now_ms_);
  }
  void SayMeta(const std::vector<std::string>& databases, const std::string& replication_id = "",
               bool before_3_5 = false) {
    Response response;
    response.set_type(META_SYNC);
    response.set_status(STATUS_OK);
    response.mutable_meta_sync()->set_classic_mode(true);
    for (const std::string& name : databases) {
      response.mutable_meta_sync()->add_databases()->set_db_name(name);
    }
    response.mutable_meta_sync()->set_replication_id(replication_id);
    if (!before_3_5) response.mutable_meta_sync()->set_run_id("run");
    Say(response);
  }
  void SayRefusal(MessageType type, const std::string& reply) {
    Response response;
    response.set_type(type);
    response.set_status(STATUS_ERROR);
    response.set_reply(reply);
    Say(response);
  }
  void SayTry(Response::TrySync::Answer answer, BinlogPosition end,
              const std::string& database = "db0") {
    Response response;
    response.set_type(TRY_SYNC);
    response.set_status(STATUS_OK);
    response.mutable_try_sync()->set_answer(answer);
    response.mutable_try_sync()->mutable_slot()->set_db_name(database);
    response.mutable_try_sync()->mutable_point()->set_filenum(end.filenum);
    response.mutable_try_sync()->mutable_point()->set_offset(end.offset);
    response.mutable_try_sync()->set_session_id(7);
    Say(response);
  }
  struct Item {
    BinlogPosition start;
    uint64_t logic_id;
    BinlogPosition end;
    std::string database = "db0";
    int32_t session_id = 7;
  };
  static std::string Bytes(const Item& item) {
    std::string bytes;
    AppendBinlogItem(
        {1700000000, 0, item.logic_id, item.start, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n"},
        bytes);
    return bytes;
  }
  void SayItems(const std::vector<Item>& items) {
    Response response;
    response.set_type(BINLOG_SYNC);
    response.set_status(STATUS_OK);
    for (const Item& item : items) {
      Response::BinlogSync& element = *response.add_binlog_sync();
      element.mutable_slot()->set_db_name(item.database);
      element.mutable_end()->set_filenum(item.end.filenum);
      element.mutable_end()->set_offset(item.end.offset);
      element.set_item(Bytes(item));
      element.set_session_id(item.session_id);
    }
    Say(response);
  }
  void SayKeepAlive() {
    Response response;
    response.set_type(BINLOG_SYNC);
    response.set_status(STATUS_OK);
    Response::BinlogSync& element = *response.add_binlog_sync();
    element.mutable_slot()->set_db_name("db0");
    element.mutable_end()->set_filenum(0);
    element.mutable_end()->set_offset(0);
    element.set_item("");
    element.set_session_id(7);
    Say(response);
  }
  void Stream() {
    Open();
    SayMeta({"db0"});
    SayTry(Response::TrySync::OK, {0, 1000});
    (void)Sent();
  }
  // Its start and its end 69 bytes on, in one file.
  static Item At(uint64_t start, uint64_t logic_id) {
    return {{0, start}, logic_id, {0, start + 69}};
  }
  void ExpectFailed(absl::StatusCode code, const std::string& says) {
    EXPECT_EQ(session_->stage(), PbSession::Stage::kFailed);
    EXPECT_EQ(session_->status().code(), code) << session_->status();
    EXPECT_THAT(std::string(session_->status().message()), HasSubstr(says));
  }
};

TEST_F(PbSessionTest, ShakesHandsStreamsAndAcknowledges) {
  options_.password = "secret";
  Open();
  EXPECT_THAT(Sent(), ElementsAre("meta 10.0.0.5:9777 auth=secret"));
  SayMeta({"db0", "db1"}, "group");
  EXPECT_EQ(session_->replication_id(), "group");
  EXPECT_THAT(Sent(), ElementsAre("try db0 0:0"));
  SayTry(Response::TrySync::OK, {0, 500}, "db1");  // Answers come in any order.
  EXPECT_THAT(Sent(), IsEmpty());
  SayTry(Response::TrySync::OK, {0, 138});
  EXPECT_THAT(Sent(), ElementsAre("first db0 session=7 0:0"));
  EXPECT_EQ(session_->master_end(), (BinlogPosition{0, 138}));
  SayItems({At(0, 1), At(69, 2), At(138, 3)});
  EXPECT_THAT(Sent(), IsEmpty());
  EXPECT_EQ(session_->TakeItems().size(), 3U);
  session_->Acknowledge(2, now_ms_);
  session_->Acknowledge(1, now_ms_);
  EXPECT_THAT(Sent(), ElementsAre("ack 0:69 0:138", "ack 0:207 0:207"));
  EXPECT_EQ(session_->position(), (BinlogPosition{0, 207}));
}

TEST_F(PbSessionTest, RequestsAreTheReferencesBytes) {
  const auto frame = [](const Request& request) {
    std::string bytes;
    AppendPbFrame(request.SerializeAsString(), bytes);
    return bytes;
  };
  options_.password = "secret";
  Open();
  Request meta;
  meta.set_type(META_SYNC);
  meta.mutable_meta_sync()->mutable_node()->set_ip("10.0.0.5");
  meta.mutable_meta_sync()->mutable_node()->set_port(9777);
  meta.mutable_meta_sync()->set_auth("secret");
  const std::string sent = session_->TakeOutput();
  EXPECT_EQ(sent, frame(meta));
  EXPECT_EQ(sent, std::string("\x00\x00\x00\x1b\x08\x01\x12\x17\x0a\x0d\x0a\x08"
                              "10.0.0.5\x10\xb1\x4c\x12\x06secret",
                              31));
}

TEST_F(PbSessionTest, AKeepAliveIsAnsweredAndSilenceIsFilled) {
  Stream();
  SayKeepAlive();
  EXPECT_THAT(Sent(), ElementsAre("ping session=7"));
  now_ms_ += PbSession::kPingEveryMs - 1;
  session_->OnTick(now_ms_);
  EXPECT_THAT(Sent(), IsEmpty());
  session_->OnTick(++now_ms_);
  EXPECT_THAT(Sent(), ElementsAre("ping session=7"));
}

TEST_F(PbSessionTest, PingsGoOnWhileItemsWait) {
  Stream();
  SayItems({At(0, 1)});
  for (int i = 0; i < 20; ++i) {
    now_ms_ += PbSession::kPingEveryMs;
    session_->OnTick(now_ms_);
  }
  EXPECT_EQ(Sent().size(), 20U);
  EXPECT_EQ(session_->stage(), PbSession::Stage::kStream);  // Its silence is our doing.
  session_->Acknowledge(1, now_ms_);
  session_->OnTick(now_ms_ + PbSession::kSilenceMaxMs);
  ExpectFailed(absl::StatusCode::kUnavailable, "the master is silent for 30 s");
}

TEST_F(PbSessionTest, OtherDatabasesAndEarlierSessionsAreNotOurs) {
  Stream();
  Item other_database = At(0, 9);
  other_database.database = "db1";
  Item other_session = At(0, 9);
  other_session.session_id = 6;
  SayItems({other_database, other_session, At(0, 1)});
  EXPECT_EQ(session_->TakeItems().size(), 1U);
  EXPECT_EQ(session_->ignored(), 2);
}

TEST_F(PbSessionTest, AHoleIsSeenAndNotTaken) {
  Stream();
  SayItems({At(0, 1), At(138, 3)});
  EXPECT_EQ(session_->TakeItems().size(), 1U);
  ExpectFailed(absl::StatusCode::kDataLoss,
               "binlog of db0 behind 0:69: binlog hole: the next item begins at 0:138");
}

TEST_F(PbSessionTest, TheFirstItemBeginsWhereItWasAskedFor) {
  options_.position = {0, 69};
  Stream();
  SayItems({At(138, 3)});
  ExpectFailed(absl::StatusCode::kDataLoss, "binlog hole: the next item begins at 0:138");
}

TEST_F(PbSessionTest, APositionThatGoesBackIsSeen) {
  Stream();
  SayItems({At(0, 1), At(0, 1)});
  ExpectFailed(absl::StatusCode::kDataLoss, "position goes back: an item that ends at 0:69");
}

TEST_F(PbSessionTest, AnEndThatLiesIsSeen) {
  Stream();
  Item item = At(0, 1);
  item.end.offset = 70;
  SayItems({item});
  ExpectFailed(absl::StatusCode::kDataLoss, "an item of 61 bytes can not end at 0:70");
}

TEST_F(PbSessionTest, ALogicIdThatDoesNotCountOnIsSeen) {
  options_.position = {0, 69};
  options_.logic_id = 1;
  Stream();
  SayItems({At(69, 5)});
  ExpectFailed(absl::StatusCode::kDataLoss, "logic_id mismatch: 5 follows 1");
}

TEST_F(PbSessionTest, AFileRollIsNoHole) {
  options_.position = {0, 262227};
  Stream();
  SayItems({{{0, 262227}, 8, {1, 69}}, {{1, 69}, 9, {1, 138}}});
  EXPECT_EQ(session_->TakeItems().size(), 2U) << session_->status();
}

TEST_F(PbSessionTest, EveryRefusalOfMetaSyncIsToldApart) {
  Open();
  SayRefusal(META_SYNC, "Auth with master error, Invalid masterauth");
  ExpectFailed(absl::StatusCode::kPermissionDenied, "--source-password-file");
  Open();
  SayRefusal(META_SYNC, "Slave AlreadyExist");
  ExpectFailed(absl::StatusCode::kUnavailable, "'Slave AlreadyExist'");
  Open();
  SayMeta({});
  ExpectFailed(absl::StatusCode::kDataLoss, "names no database");
  options_.database = "db7";
  Open();
  SayMeta({"db0", "db1"});
  ExpectFailed(absl::StatusCode::kNotFound, "no database 'db7'; it has db0, db1");
  options_.database = "";
  Open();
  SayMeta({"db0", "db1"});
  ExpectFailed(absl::StatusCode::kInvalidArgument, "?db=NAME");
}

TEST_F(PbSessionTest, TheOnlyDatabaseNeedsNoName) {
  options_.database = "";
  Open();
  SayMeta({"db0"});
  EXPECT_THAT(Sent(), ElementsAre("meta 10.0.0.5:9777", "try db0 0:0"));
}

TEST_F(PbSessionTest, AnotherReplicationGroupIsRefused) {
  options_.replication_id = "one";
  Open();
  SayMeta({"db0"}, "other");
  ExpectFailed(absl::StatusCode::kFailedPrecondition, "another replication group ('other')");
  options_.replication_id = "";
  options_.replication_hash = ReplicationHash("one");
  Open();
  SayMeta({"db0"}, "other");
  ExpectFailed(absl::StatusCode::kFailedPrecondition, "another replication group");
  Open();
  SayMeta({"db0"}, "one");
  EXPECT_EQ(session_->stage(), PbSession::Stage::kTry);
}

TEST_F(PbSessionTest, EveryRefusalOfTrySyncIsToldApart) {
  options_.position = {2, 69};
  const auto answer = [&](Response::TrySync::Answer what, BinlogPosition end) {
    Open();
    SayMeta({"db0"});
    SayTry(what, end);
  };
  answer(Response::TrySync::POINT_PURGED, {5, 100});
  ExpectFailed(absl::StatusCode::kAborted, "purged its binlog of db0 at 2:69 (it is at 5:100)");
  answer(Response::TrySync::POINT_PURGED, {2, 100});
  ExpectFailed(absl::StatusCode::kAborted, "even deleted the file that it writes to");
  answer(Response::TrySync::POINT_LARGER, {1, 0});
  ExpectFailed(absl::StatusCode::kOutOfRange, "source behind ledger");
  answer(Response::TrySync::ERROR, {5, 0});
  ExpectFailed(absl::StatusCode::kFailedPrecondition, "no entry of db0 at 2:69 begins there");
  Open();
  SayMeta({"db0"});
  SayRefusal(TRY_SYNC, "DB not found\n");
  ExpectFailed(absl::StatusCode::kUnavailable, "refuses TrySync of db0 at 2:69: 'DB not found?'");
}

// ---------------------------------------------------------------- the entry that is had already

constexpr char kContent[] = "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n";

TEST_F(PbSessionTest, TheLastEntryIsAskedForAgainAndMustBeTheSame) {
  options_.position = {2, 207};
  options_.content_mark = ContentMark(kContent);
  Open();
  SayMeta({"db0"});
  SayTry(Response::TrySync::OK, {2, 1000});
  EXPECT_THAT(Sent(),
              ElementsAre("meta 10.0.0.5:9777", "try db0 2:138", "first db0 session=7 2:138"));
  EXPECT_TRUE(session_->verifying());
  // The replica counts otherwise; from there on its count counts.
  SayItems({{{2, 138}, 900, {2, 207}}, {{2, 207}, 901, {2, 276}}});
  EXPECT_FALSE(session_->verifying());
  const std::vector<ReceivedItem> items = session_->TakeItems();
  ASSERT_EQ(items.size(), 2U) << session_->status();
  EXPECT_TRUE(items[0].verified);
  EXPECT_FALSE(items[1].verified);
  session_->Acknowledge(2, now_ms_);
  EXPECT_THAT(Sent(), ElementsAre("ack 2:207 2:276"));
  SayItems({{{2, 276}, 903, {2, 345}}});
  ExpectFailed(absl::StatusCode::kDataLoss, "logic_id mismatch: 903 follows 901");
}

TEST_F(PbSessionTest, AnEntryThatMayBeginAtSeveralPlacesIsTriedAtEach) {
  options_.position = {2, 65'605};
  options_.content_mark = ContentMark(kContent);
  Open();
  SayMeta({"db0"});
  SayTry(Response::TrySync::ERROR, {2, 70'000});
  SayTry(Response::TrySync::ERROR, {2, 70'000});
  SayTry(Response::TrySync::OK, {2, 70'000});
  EXPECT_THAT(Sent(), ElementsAre("meta 10.0.0.5:9777", "try db0 2:65528", "try db0 2:65529",
                                  "try db0 2:65530", "first db0 session=7 2:65530"));
  SayItems({{{2, 65'530}, 1, {2, 65'605}}});
  EXPECT_FALSE(session_->verifying()) << session_->status();

  Open();
  SayMeta({"db0"});
  for (int i = 0; i < 9; ++i) SayTry(Response::TrySync::ERROR, {2, 70'000});
  ExpectFailed(absl::StatusCode::kFailedPrecondition, "no entry of that length ends there in db0");
}

TEST_F(PbSessionTest, TheFirstEntryOfAFileIsAskedForInIt) {
  options_.position = {2, 69};
  options_.content_mark = ContentMark(kContent);
  Open();
  SayMeta({"db0"});
  SayTry(Response::TrySync::OK, {2, 1000});
  EXPECT_THAT(Sent(), ElementsAre("meta 10.0.0.5:9777", "try db0 2:0", "first db0 session=7 2:0"));
  SayItems({{{1, 5'000}, 1, {2, 69}}});
  EXPECT_FALSE(session_->verifying()) << session_->status();
}

TEST_F(PbSessionTest, OfAnEntryOfAnotherHistoryBothFactsAreTold) {
  options_.position = {2, 207};
  const std::string other = absl::StrCat(kContent).replace(25, 1, "w");
  options_.content_mark = ContentMark(other);
  Open();
  SayMeta({"db0"});
  SayTry(Response::TrySync::OK, {2, 1000});
  SayItems({{{2, 138}, 900, {2, 207}}});
  ExpectFailed(absl::StatusCode::kFailedPrecondition,
               absl::StrCat("ends at 2:207 and has ", DescribeContentMark(ContentMark(other)),
                            ", but here one of db0 ends at 2:207 and has ",
                            DescribeContentMark(ContentMark(kContent)))
                   .c_str());
  EXPECT_THAT(session_->TakeItems(), IsEmpty());
  // A server that rounds the wish up.
  Open();
  SayMeta({"db0"});
  SayTry(Response::TrySync::OK, {2, 1000});
  SayItems({{{2, 150}, 900, {2, 219}}});
  ExpectFailed(absl::StatusCode::kFailedPrecondition, "one of db0 ends at 2:219");
}

TEST_F(PbSessionTest, AReplicaThatEndsBeforeTheEntryIsBehind) {
  options_.position = {2, 207};
  options_.content_mark = ContentMark(kContent);
  Open();
  SayMeta({"db0"});
  SayTry(Response::TrySync::OK, {2, 138});
  ExpectFailed(absl::StatusCode::kOutOfRange, "db0 at 2:207 ends at 2:138");
}

TEST_F(PbSessionTest, AMasterThatDoesNotSendTheEntryIsLeft) {
  options_.position = {2, 207};
  options_.content_mark = ContentMark(kContent);
  Open();
  SayMeta({"db0"});
  SayTry(Response::TrySync::OK, {2, 1000});
  SayKeepAlive();
  session_->OnTick(now_ms_ + PbSession::kAnswerTimeoutMs);
  ExpectFailed(absl::StatusCode::kUnavailable, "does not answer BinlogSync");
}

TEST_F(PbSessionTest, ACopyIsAskedForAndKeptAlive) {
  options_.copy = true;
  options_.position = {2, 69};
  Open();
  SayMeta({"db0"});
  EXPECT_THAT(Sent(), ElementsAre("meta 10.0.0.5:9777", "copy db0 2:69"));
  Response response;
  response.set_type(DB_SYNC);
  response.set_status(STATUS_OK);
  response.mutable_db_sync()->mutable_slot()->set_db_name("db0");
  response.mutable_db_sync()->set_session_id(7);
  Say(response);
  EXPECT_EQ(session_->stage(), PbSession::Stage::kCopy);
  SayKeepAlive();
  EXPECT_THAT(Sent(), ElementsAre("ping session=7"));
  now_ms_ += PbSession::kPingEveryMs;
  session_->OnTick(now_ms_);
  EXPECT_THAT(Sent(), ElementsAre("ping session=7"));
  session_->OnTick(now_ms_ + PbSession::kSilenceMaxMs);
  ExpectFailed(absl::StatusCode::kUnavailable, "the master is silent");
}

TEST_F(PbSessionTest, ACopyThatIsPushedByRsyncIsOnlyAskedForIfItCanCome) {
  options_.copy = true;
  Open();
  SayMeta({"db0"}, "", true);
  EXPECT_THAT(Sent(), ElementsAre("meta 10.0.0.5:9777"));
  ExpectFailed(absl::StatusCode::kUnimplemented, "a Pika before 3.5 pushes its full copy");
  options_.push = true;
  Open();
  SayMeta({"db0"}, "", true);
  EXPECT_THAT(Sent(), ElementsAre("meta 10.0.0.5:9777", "copy db0 0:0"));
  Open();
  SayMeta({"db0"});
  ExpectFailed(absl::StatusCode::kUnimplemented, "does not push");
}

TEST_F(PbSessionTest, AMasterThatSaysNothingIsGivenUp) {
  Open();
  session_->OnTick(now_ms_ + PbSession::kAnswerTimeoutMs - 1);
  EXPECT_TRUE(session_->status().ok());
  session_->OnTick(now_ms_ + PbSession::kAnswerTimeoutMs);
  ExpectFailed(absl::StatusCode::kUnavailable, "does not answer MetaSync for 10 s");
}

TEST_F(PbSessionTest, BytesThatMakeNoSenseAreNamed) {
  Open();
  session_->OnBytes("-ERR What are you", now_ms_);
  ExpectFailed(absl::StatusCode::kDataLoss, "is this the replication port");
  Stream();
  std::string frame;
  AppendPbFrame("\xff\xff", frame);
  session_->OnBytes(frame, now_ms_);
  ExpectFailed(absl::StatusCode::kDataLoss, "2 bytes, is no reply of Pika's");
  EXPECT_THAT(std::string(session_->status().message()), HasSubstr("frame 3 at byte "));
}

}  // namespace
}  // namespace lockstep::pika
