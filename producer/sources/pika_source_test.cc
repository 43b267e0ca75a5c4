// The Pika source against a master on loopback that keeps a master's rules, and breaks them on
// command.
#include "producer/sources/pika_source.h"

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <random>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidjson/document.h>

#include "producer/pika/dump_reader.h"
#include "producer/pika/event_schema.h"
#include "producer/source_metrics.h"
#include "tests/support/pika_fixtures.h"
#include "tests/support/pika_master.h"

namespace lockstep {
namespace {

using pika::BinlogPosition;
using pika::PikaMaster;
using pika::PikaMasterOptions;
using std::chrono::milliseconds;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr milliseconds kPatience{20'000};

// As a part of a test's name.
std::string VersionName(std::string version) {
  std::replace(version.begin(), version.end(), '.', '_');
  return "Pika" + version;
}

class PikaSourceTest : public testing::Test {
 protected:
  void StartMaster(PikaMasterOptions options = {}) {
    source_.reset();
    master_ = std::make_unique<PikaMaster>(std::move(options));
  }
  // SET key-N for each N.
  void Append(int first, int last, const std::string& value = "v") {
    for (int i = first; i <= last; ++i) {
      master_->Append("db0", {"SET", absl::StrCat("key-", i), value});
    }
  }
  // Opens and starts a source, as the producer does: again while it is unavailable.
  absl::Status Start(const ResumePoint& point = {}, const SourceOptions& options = {},
                     const std::string& database = "") {
    source_ = OpenPikaSource({"127.0.0.1", master_->port(), database, protocol_}, options).value();
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    absl::Status status = source_->Start(point);
    while (absl::IsUnavailable(status) && std::chrono::steady_clock::now() < deadline) {
      status = source_->Start(point);
    }
    return status;
  }
  static std::string KeyOf(const SourceEvent& event) {
    rapidjson::Document json;
    json.Parse(event.payload.value->c_str());
    return json["key"].GetString();
  }
  // Polls until `count` events are there, or anything but UNAVAILABLE comes.
  absl::Status PollUntil(size_t count, std::vector<SourceEvent>& events) {
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    while (events.size() < count && !source_->ended()) {
      if (std::chrono::steady_clock::now() > deadline) {
        return absl::DeadlineExceededError(absl::StrCat("only ", events.size(), " events"));
      }
      const absl::Status status = source_->Poll(1000, milliseconds(20), events);
      if (!status.ok() && !absl::IsUnavailable(status)) return status;
    }
    return absl::OkStatus();
  }
  static void ExpectKeys(const std::vector<SourceEvent>& events, int first, int last) {
    ASSERT_EQ(events.size(), static_cast<size_t>(last - first + 1));
    for (int i = first; i <= last; ++i) {
      ASSERT_EQ(KeyOf(events[static_cast<size_t>(i - first)]), absl::StrCat("key-", i));
    }
  }
  void AwaitAcknowledged(BinlogPosition end) {
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    while (master_->Acknowledged("db0") != end && std::chrono::steady_clock::now() < deadline) {
      std::this_thread::sleep_for(milliseconds(5));
    }
    EXPECT_EQ(ToString(master_->Acknowledged("db0")), ToString(end));
  }

  SourceStatus Status() const { return source_->Status().value(); }
  // Polls until the status is as wanted.
  bool PollUntilStatus(const std::function<bool(const SourceStatus&)>& as_wanted) {
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    std::vector<SourceEvent> events;
    while (!as_wanted(Status())) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      (void)source_->Poll(10, milliseconds(20), events);
    }
    return true;
  }

  PikaProtocol protocol_ = PikaProtocol::kAuto;
  std::unique_ptr<PikaMaster> master_;
  std::unique_ptr<Source> source_;
};

TEST_F(PikaSourceTest, StreamsWhatIsThereAndWhatComes) {
  StartMaster({.window_items = 300, .binlog_file_bytes = 20'000});
  Append(1, 1000);
  ASSERT_TRUE(Start().ok());
  std::vector<SourceEvent> events;
  ASSERT_TRUE(PollUntil(1000, events).ok());
  Append(1001, 1500);
  ASSERT_TRUE(PollUntil(1500, events).ok());
  ExpectKeys(events, 1, 1500);
  AwaitAcknowledged(master_->End("db0"));
  EXPECT_GT(master_->End("db0").filenum, 3U);
  EXPECT_THAT(master_->Complaints(), IsEmpty());
}

TEST_F(PikaSourceTest, TellsItsPositionItsLagAndItsConnection) {
  StartMaster();
  Append(1, 100);
  ASSERT_TRUE(Start({"0:0:0:0:0:0", "", ""}).ok());
  const BinlogPosition end = master_->End("db0");
  EXPECT_EQ(Status().state, SourceState::kStreaming);
  EXPECT_EQ(Status().protocol, "pb");
  EXPECT_EQ(Status().master_end, end);
  EXPECT_EQ(Status().LagBytes(), end.offset);
  EXPECT_EQ(Status().LagSeconds(1'800'000'000'000), std::nullopt);

  std::vector<SourceEvent> events;
  while (events.size() < 40) {
    ASSERT_TRUE(source_->Poll(40 - events.size(), milliseconds(1'000), events).ok());
  }
  EXPECT_EQ(ToString(Status().received), events.back().at);
  EXPECT_EQ(Status().LagBytes(), end.offset - Status().received.offset);
  EXPECT_FALSE(Status().caught_up);
  rapidjson::Document json;
  json.Parse(events.back().payload.value->c_str());
  EXPECT_EQ(Status().LagSeconds(json["ts_ms"].GetInt64() + 7'500), 7.5);
  EXPECT_EQ(Status().binlog_events, 40);
  EXPECT_EQ(Status().ledgered, pika::PikaPosition());
  source_->Acknowledge(events[29].at, "");
  EXPECT_EQ(ToString(Status().ledgered), events[29].at);

  ASSERT_TRUE(PollUntil(100, events).ok());
  EXPECT_EQ(Status().LagBytes(), 0U);
  EXPECT_FALSE(Status().caught_up) << "no pause yet";
  ASSERT_TRUE(PollUntilStatus([](const SourceStatus& now) { return now.caught_up; }));
  EXPECT_EQ(Status().LagSeconds(1'800'000'000'000), 0);

  // What comes later moves the master's end as far as it was sent.
  Append(101, 300);
  ASSERT_TRUE(PollUntil(101, events).ok());
  EXPECT_FALSE(Status().caught_up);
  ASSERT_TRUE(PollUntil(300, events).ok());
  EXPECT_EQ(Status().master_end, master_->End("db0"));
  EXPECT_EQ(Status().LagBytes(), 0U);

  const int64_t current_at_ms = Status().current_at_ms;
  master_->SetSilent(true);
  master_->Disconnect();
  ASSERT_TRUE(PollUntilStatus(
      [](const SourceStatus& now) { return now.state == SourceState::kConnecting; }));
  EXPECT_EQ(Status().disconnects, 1);
  EXPECT_FALSE(Status().caught_up);
  EXPECT_GE(*Status().LagSeconds(current_at_ms + 9'000'000), 1'000);
  master_->SetSilent(false);
  master_->Disconnect();
  ASSERT_TRUE(PollUntilStatus([](const SourceStatus& now) { return now.caught_up; }));
  EXPECT_EQ(Status().state, SourceState::kStreaming);
  EXPECT_EQ(Status().disconnects, 1);
  EXPECT_EQ(Status().binlog_events, 300);
}

TEST_F(PikaSourceTest, WhatIsFilteredIsAPositionWithoutAnEvent) {
  StartMaster();
  PikaSpec spec{"127.0.0.1", master_->port(), "", protocol_};
  ASSERT_TRUE(spec.filter.Set("keys", {"key-*5"}).ok());
  const auto read = [&](const ResumePoint& point) {
    SourceOptions options;
    options.until_end = true;
    source_ = OpenPikaSource(spec, options).value();
    absl::Status status = source_->Start(point);
    while (absl::IsUnavailable(status)) status = source_->Start(point);
    EXPECT_TRUE(status.ok()) << status;
    std::vector<SourceEvent> events;
    EXPECT_TRUE(PollUntil(100'000, events).ok());
    EXPECT_TRUE(source_->ended());
    return events;
  };
  Append(1, 40);
  const std::vector<SourceEvent> events = read({});
  ASSERT_EQ(events.size(), 4U);
  EXPECT_EQ(KeyOf(events[3]), "key-35");
  EXPECT_EQ(Status().filtered, 36);
  EXPECT_EQ(Status().received, master_->End("db0"));
  // From any event on the same ones come again; from the last one on, none.
  const std::vector<SourceEvent> rest =
      read({source_->FormatCheckpoint()(events[1]), "", events[1].at});
  ASSERT_EQ(rest.size(), 2U);
  EXPECT_EQ(rest[0].payload.value, events[2].payload.value);
  EXPECT_THAT(read({source_->FormatCheckpoint()(events[3]), "", events[3].at}), IsEmpty());
}

TEST_F(PikaSourceTest, FiltersThatLetNothingPassAreNamed) {
  StartMaster();
  PikaSpec spec{"127.0.0.1", master_->port(), "", protocol_};
  ASSERT_TRUE(spec.filter.Set("types", {"hash"}).ok());
  SourceOptions options;
  options.pika_filtered_after = milliseconds(300);
  source_ = OpenPikaSource(spec, options).value();
  while (absl::IsUnavailable(source_->Start({}))) {
  }
  const auto logged = [&](const std::function<void()>& meanwhile) {
    testing::internal::CaptureStderr();
    const auto until = std::chrono::steady_clock::now() + milliseconds(700);
    std::vector<SourceEvent> events;
    while (std::chrono::steady_clock::now() < until) {
      meanwhile();
      EXPECT_TRUE(source_->Poll(1000, milliseconds(20), events).ok());
    }
    return testing::internal::GetCapturedStderr();
  };
  EXPECT_THAT(logged([] {}), testing::Not(HasSubstr("all_filtered")));
  EXPECT_THAT(logged([&] { Append(1, 1); }), HasSubstr("warn all_filtered"));
  EXPECT_THAT(logged([&] {
                Append(1, 1);
                master_->Append("db0", {"HSET", "h", "f", "v"});
              }),
              testing::Not(HasSubstr("all_filtered")));
  EXPECT_THAT(logged([] {}), testing::Not(HasSubstr("all_filtered")));
}

TEST_F(PikaSourceTest, CountsUnknownCommandsOverConnections) {
  StartMaster();
  ASSERT_TRUE(Start().ok());
  for (int i = 1; i <= 2; ++i) {
    master_->Append("db0", {"NEWCOMMAND", "x"});
    ASSERT_TRUE(PollUntilStatus([&](const SourceStatus& now) { return now.binlog_events == i; }));
    EXPECT_EQ(Status().unknown_commands, i);
    master_->Disconnect();
    ASSERT_TRUE(PollUntilStatus([&](const SourceStatus& now) {
      return now.disconnects == i && now.state == SourceState::kStreaming;
    }));
  }
  EXPECT_EQ(Status().unknown_commands, 2);
}

TEST_F(PikaSourceTest, AnUnknownCommandPassesOrStops) {
  StartMaster();
  Append(1, 1);
  master_->Append("db0", {"NEWCOMMAND", "x"});
  const std::string end = ToString(master_->End("db0"));
  std::vector<SourceEvent> events;
  ASSERT_TRUE(Start().ok());
  ASSERT_TRUE(PollUntil(2, events).ok());
  EXPECT_EQ(events[1].at, end);
  const std::string checkpoint = source_->FormatCheckpoint()(events[1]);

  SourceOptions options;
  options.unknown_stops = true;
  ASSERT_TRUE(Start({}, options).ok());
  events.clear();
  const absl::Status status = PollUntil(2, events);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("ends at " + end + " is the command 'newcommand'"));
  EXPECT_EQ(events.size(), 1U);
  // One that is ledgered, and only read to verify the place, stops nobody.
  Append(3, 3);
  ASSERT_TRUE(Start({checkpoint, "", end}, options).ok());
  events.clear();
  ASSERT_TRUE(PollUntil(1, events).ok());
  ExpectKeys(events, 3, 3);
}

TEST(SourceStatus, LagIsExactWithinAFileAndALowerBoundAcrossFiles) {
  SourceStatus status;
  EXPECT_EQ(status.LagBytes(), std::nullopt);
  status.received = {3, 400};
  status.master_end = BinlogPosition{3, 1000};
  EXPECT_EQ(status.LagBytes(), 600U);
  EXPECT_EQ(status.LagFiles(), 0U);
  status.master_end = BinlogPosition{5, 70};
  EXPECT_EQ(status.LagBytes(), 70U);
  EXPECT_EQ(status.LagFiles(), 2U);
  status.master_end = BinlogPosition{2, 1'000'000};
  EXPECT_EQ(status.LagBytes(), 0U);
  EXPECT_EQ(status.LagFiles(), 0U);
}

TEST(SourceStatus, TheWalksTimeLeftFollowsItsPace) {
  CopyStatus copy{.keys = 250, .keys_estimated = 1000, .walk_ms = 10'000};
  EXPECT_EQ(copy.SecondsLeft(), 30);
  copy.keys = 1200;  // Some keys were written twice: it is an estimate.
  EXPECT_EQ(copy.SecondsLeft(), 0);
  copy.keys_estimated = 0;
  EXPECT_EQ(copy.SecondsLeft(), std::nullopt);
}

TEST(SourceMetrics, ShowsWhatIsKnownAndTheCheckpointsAge) {
  Metrics metrics;
  SourceMetrics shown(metrics);
  SourceStatus status;
  shown.Export(status, 1'000'000, 0);
  EXPECT_THAT(metrics.Text(), HasSubstr("lockstep_pika_connected 0"));
  EXPECT_THAT(metrics.Text(), testing::Not(HasSubstr("lockstep_pika_lag_")));
  EXPECT_THAT(metrics.Text(), HasSubstr("lockstep_pika_checkpoint_age_seconds 0"));

  status.state = SourceState::kStreaming;
  status.protocol = "legacy";
  status.received = {2, 700};
  status.ledgered.binlog = {2, 500};
  status.master_end = BinlogPosition{2, 1000};
  status.current_at_ms = 996'000;
  status.binlog_events = 7;
  status.disconnects = 1;
  shown.Export(status, 1'000'000, 1'000);
  shown.Export(status, 1'000'000, 31'000);
  const std::string text = metrics.Text();
  for (const char* line :
       {"lockstep_pika_connected 1", "lockstep_pika_state{state=\"streaming\"} 1",
        "lockstep_pika_state{state=\"connecting\"} 0",
        "lockstep_pika_protocol{protocol=\"legacy\"} 1",
        "lockstep_pika_position_filenum{point=\"received\"} 2",
        "lockstep_pika_position_offset_bytes{point=\"received\"} 700",
        "lockstep_pika_position_offset_bytes{point=\"ledgered\"} 500",
        "lockstep_pika_position_offset_bytes{point=\"master_end\"} 1000",
        "lockstep_pika_lag_bytes 300", "lockstep_pika_lag_seconds 4",
        "lockstep_pika_checkpoint_age_seconds 30", "lockstep_pika_events_total{type=\"binlog\"} 7",
        "lockstep_pika_disconnects_total 1"}) {
    EXPECT_THAT(text, HasSubstr(std::string(line) + "\n"));
  }
  status.ledgered.binlog = {2, 600};
  shown.Export(status, 1'000'000, 40'000);
  EXPECT_THAT(metrics.Text(), HasSubstr("lockstep_pika_checkpoint_age_seconds 0"));
  shown.Export(status, 1'000'000, 45'000);
  EXPECT_THAT(metrics.Text(), HasSubstr("lockstep_pika_checkpoint_age_seconds 5"));
  status.ledgered.binlog = status.received;
  shown.Export(status, 1'000'000, 99'000);
  shown.Export(status, 1'000'000, 200'000);  // Nothing comes, nothing is late.
  EXPECT_THAT(metrics.Text(), HasSubstr("lockstep_pika_checkpoint_age_seconds 0"));
}

TEST_F(PikaSourceTest, EventsCallTheSourceByItsId) {
  StartMaster();
  Append(1, 1);
  for (const char* id : {"", "orders-pika"}) {
    SourceOptions options;
    options.source_id = id;
    ASSERT_TRUE(Start({}, options).ok());
    std::vector<SourceEvent> events;
    ASSERT_TRUE(PollUntil(1, events).ok());
    rapidjson::Document json;
    json.Parse(events[0].payload.value->c_str());
    EXPECT_EQ(json["source_id"].GetString(),
              *id == 0 ? absl::StrCat("127.0.0.1:", master_->port()) : id);
    EXPECT_EQ(json["source"]["port"].GetInt(), master_->port());
  }
}

TEST_F(PikaSourceTest, GoesOnBehindTheLedgersPosition) {
  StartMaster();
  Append(1, 100);
  SourceOptions until_end;
  until_end.until_end = true;
  ASSERT_TRUE(Start({}, until_end).ok());
  std::vector<SourceEvent> first;
  ASSERT_TRUE(PollUntil(1000, first).ok());
  EXPECT_TRUE(source_->ended());
  ExpectKeys(first, 1, 100);
  const std::string checkpoint = source_->FormatCheckpoint()(first[59]);
  ASSERT_TRUE(Start({checkpoint, "", first[59].at}, until_end).ok());
  std::vector<SourceEvent> second;
  ASSERT_TRUE(PollUntil(1000, second).ok());
  ExpectKeys(second, 61, 100);
  EXPECT_EQ(second[0].payload.value, first[60].payload.value);  // Read again, the same bytes.
  // One stream: its head is ahead of the checkpoint.
  ASSERT_TRUE(Start({checkpoint, first[79].at, first[79].at}, until_end).ok());
  std::vector<SourceEvent> third;
  ASSERT_TRUE(PollUntil(1000, third).ok());
  ExpectKeys(third, 81, 100);
}

TEST_F(PikaSourceTest, AConnectionThatBreaksAnywhereLosesAndRepeatsNothing) {
  std::mt19937 random(7);
  StartMaster({.window_items = 500, .frame_items_max = 10, .binlog_file_bytes = 50'000});
  Append(1, 3000);
  ASSERT_TRUE(Start().ok());
  std::vector<SourceEvent> events;
  for (int round = 0; round < 25; ++round) {
    master_->CutAfter(1'500 + random() % 8'000);
    master_->Disconnect();
    ASSERT_TRUE(PollUntil(std::min<size_t>(events.size() + 20, 3000), events).ok());
  }
  master_->CutAfter(0);
  ASSERT_TRUE(PollUntil(3000, events).ok());
  ExpectKeys(events, 1, 3000);
  EXPECT_GT(master_->connections(), 20);
  EXPECT_THAT(master_->Complaints(), IsEmpty());
}

TEST_F(PikaSourceTest, AnEntryThatTheMasterDropsIsFetchedAgain) {
  StartMaster();
  ASSERT_TRUE(Start().ok());
  master_->SkipOne();
  Append(1, 50);
  std::vector<SourceEvent> events;
  ASSERT_TRUE(PollUntil(50, events).ok());
  ExpectKeys(events, 1, 50);
  EXPECT_EQ(master_->connections(), 2);
}

TEST_F(PikaSourceTest, AHoleThatStaysStopsTheSource) {
  StartMaster();
  Append(1, 10);
  ASSERT_TRUE(Start().ok());
  std::vector<SourceEvent> events;
  ASSERT_TRUE(PollUntil(10, events).ok());
  for (int i = 0; i < 2; ++i) {
    master_->SkipOne();
    Append(11 + i, 11 + i);
  }
  master_->SkipOne();
  Append(13, 20);
  absl::Status status;
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  for (int skips = 0; std::chrono::steady_clock::now() < deadline; ++skips) {
    status = source_->Poll(1000, milliseconds(20), events);
    if (!status.ok() && !absl::IsUnavailable(status)) break;
    if (absl::IsUnavailable(status)) master_->SkipOne();
  }
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("binlog hole"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("(seen twice)"));
  ExpectKeys(events, 1, 10);
}

TEST_F(PikaSourceTest, ASlowReaderIsNotForgottenAndTakesNoMoreThanTheWindow) {
  StartMaster({.window_items = 100, .forget_after = milliseconds(5'500)});
  Append(1, 1000);
  ASSERT_TRUE(Start().ok());
  std::this_thread::sleep_for(milliseconds(7'000));  // Time itself: longer than forget_after.
  EXPECT_EQ(master_->Acknowledged("db0"), BinlogPosition());
  std::vector<SourceEvent> events;
  ASSERT_TRUE(PollUntil(1000, events).ok());
  ExpectKeys(events, 1, 1000);
  EXPECT_THAT(master_->Complaints(), IsEmpty());
  EXPECT_EQ(master_->connections(), 1);
}

TEST_F(PikaSourceTest, LargeValuesPassWhole) {
  StartMaster();
  const std::string value(3'000'000, '\xfe');
  Append(1, 5, value);
  ASSERT_TRUE(Start().ok());
  std::vector<SourceEvent> events;
  ASSERT_TRUE(PollUntil(5, events).ok());
  ExpectKeys(events, 1, 5);
  EXPECT_GT(events[3].payload.value->size(), 8'000'000U);
}

TEST_F(PikaSourceTest, WhatChangesNothingIsAPositionWithoutAnEvent) {
  StartMaster();
  Append(1, 1);
  for (int i = 0; i < 20; ++i) master_->Append("db0", {"clearcache"});
  SourceOptions until_end;
  until_end.until_end = true;
  ASSERT_TRUE(Start({}, until_end).ok());
  std::vector<SourceEvent> events;
  ASSERT_TRUE(PollUntil(2, events).ok());
  ExpectKeys(events, 1, 1);
  EXPECT_TRUE(source_->ended());
}

TEST_F(PikaSourceTest, WhatAPersonMustSettleIsRefused) {
  PikaMasterOptions options{.password = "secret", .binlog_file_bytes = 1000};
  options.databases = {"db0", "db1"};
  StartMaster(options);
  Append(1, 100);
  const auto refused = [&](absl::StatusCode code, const char* says, const ResumePoint& point,
                           const char* password, const char* database) {
    SourceOptions source;
    source.source_password = password;
    source.pika_behind_max = milliseconds(0);
    const absl::Status status = Start(point, source, database);
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(says));
    EXPECT_THAT(std::string(status.message()), HasSubstr(absl::StrCat(":", master_->port(), ": ")));
  };
  using absl::StatusCode;
  refused(StatusCode::kPermissionDenied, "refuses the password", {}, "wrong", "db0");
  refused(StatusCode::kInvalidArgument, "the databases db0, db1", {}, "secret", "");
  refused(StatusCode::kNotFound, "no database 'db3'", {}, "secret", "db3");
  refused(StatusCode::kFailedPrecondition, "begins there", {{}, "0:71", "0:71"}, "secret", "db0");
  refused(StatusCode::kFailedPrecondition, "another replication group", {"0:0:0:0:99:0", "", ""},
          "secret", "db0");
  refused(StatusCode::kFailedPrecondition, "source behind ledger", {"0:0:0:0:0:0", "", "9:1"},
          "secret", "db0");
  master_->Purge("db0", 1);
  refused(StatusCode::kFailedPrecondition, "has purged its binlog of db0 at 0:0", {}, "secret",
          "db0");
  const absl::Status checkpoint = Start({"17:3:9", "", ""});
  EXPECT_THAT(std::string(checkpoint.message()),
              HasSubstr("is not POSITION:LOGIC_ID:TERM_ID:HASH:MARK"));
}

TEST_F(PikaSourceTest, AMasterThatLostItsTailIsWaitedForAndThenRefused) {
  StartMaster();
  Append(1, 10);
  SourceOptions options;
  options.pika_behind_max = milliseconds(1'000);
  ASSERT_TRUE(Start({}, options).ok());
  std::vector<SourceEvent> events;
  ASSERT_TRUE(PollUntil(10, events).ok());
  master_->Truncate("db0", {0, 400});
  master_->Disconnect();
  absl::Status status;
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  do {
    status = source_->Poll(1000, milliseconds(20), events);
  } while ((status.ok() || absl::IsUnavailable(status)) &&
           std::chrono::steady_clock::now() < deadline);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("source behind ledger"));
}

// ---------------------------------------------------------------- another server

// The producer goes on at a replica, which has the entries of the master and numbers them anew.
class MovedSourceTest : public PikaSourceTest, public testing::WithParamInterface<const char*> {
 protected:
  MovedSourceTest() { until_end_.until_end = true; }
  void StartMaster() {
    PikaSourceTest::StartMaster({.version = GetParam(), .binlog_file_bytes = 5'000});
  }
  // From now on another server is asked.
  void Move(const std::string& replication_id = "0123456789abcdef") {
    PikaSourceTest::StartMaster({.version = GetParam(),
                                 .replication_id = replication_id,
                                 .binlog_file_bytes = 5'000,
                                 .exec_time_s = 1'800'000'000,
                                 .term = 7,
                                 .first_logic_id = 1'000});
  }
  std::vector<SourceEvent> ReadToEnd(const ResumePoint& point = {}) {
    const absl::Status started = Start(point, until_end_);
    EXPECT_TRUE(started.ok()) << started;
    std::vector<SourceEvent> events;
    const absl::Status status = PollUntil(1'000'000, events);
    EXPECT_TRUE(status.ok()) << status;
    return events;
  }
  std::string CheckpointOf(const SourceEvent& event) { return source_->FormatCheckpoint()(event); }

  SourceOptions until_end_;
};

TEST_P(MovedSourceTest, AReplicaGoesOnWhereTheMasterEnded) {
  StartMaster();
  Append(1, 200);
  const std::vector<SourceEvent> all = ReadToEnd();
  std::vector<std::string> checkpoints;
  for (const SourceEvent& event : all) checkpoints.push_back(CheckpointOf(event));
  Move();
  Append(1, 210);
  for (size_t done = 0; done < all.size(); ++done) {
    const std::vector<SourceEvent> rest = ReadToEnd({checkpoints[done], "", all[done].at});
    ASSERT_EQ(rest.size(), 209 - done) << all[done].at;
    ASSERT_EQ(rest[0].at, done + 1 < all.size() ? all[done + 1].at : rest[0].at);
    ASSERT_EQ(KeyOf(rest[0]), absl::StrCat("key-", done + 2));
  }
  EXPECT_EQ(master_->dumps(), 0);
  EXPECT_THAT(master_->Complaints(), IsEmpty());
}

TEST_P(MovedSourceTest, ThereTheCountIsTheReplicas) {
  StartMaster();
  Append(1, 10);
  const std::vector<SourceEvent> first = ReadToEnd();
  const ResumePoint point{CheckpointOf(first[9]), "", first[9].at};
  Move();
  Append(1, 10);
  ASSERT_TRUE(Start(point).ok());
  master_->SkipOne();  // A hole of the replica's is noticed from the first entry on.
  Append(11, 20);
  std::vector<SourceEvent> events;
  ASSERT_TRUE(PollUntil(10, events).ok());
  ExpectKeys(events, 11, 20);
}

TEST_P(MovedSourceTest, WhatWasLedgeredBehindTheCheckpointDoesNotComeAgain) {
  StartMaster();
  Append(1, 100);
  const std::vector<SourceEvent> all = ReadToEnd();
  const std::string checkpoint = CheckpointOf(all[59]);
  Move();
  Append(1, 100);
  ExpectKeys(ReadToEnd({checkpoint, all[79].at, all[79].at}), 81, 100);
}

TEST_P(MovedSourceTest, AnotherHistoryIsRefused) {
  StartMaster();
  Append(1, 100);
  const std::vector<SourceEvent> all = ReadToEnd();
  const ResumePoint point{CheckpointOf(all[99]), "", all[99].at};
  const auto refused = [&](const char* says) {
    const absl::Status status = Start(point, until_end_);
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("this is another history"));
    EXPECT_THAT(std::string(status.message()), HasSubstr(says));
  };
  Move();  // The last entry is of the same length.
  Append(1, 99);
  master_->Append("db0", {"SET", "yek-100", "v"});
  refused("and has 33 bytes, hash ");
  Move();  // Longer.
  Append(1, 99);
  Append(100, 100, "other");
  refused("and has 37 bytes, hash ");
  if (std::string(GetParam()) < "3.1") return;
  Move();  // No entry begins where it did.
  Append(1, 98);
  Append(99, 101, "other");
  refused("no entry of that length ends there");
}

TEST_P(MovedSourceTest, AForkBehindTheCheckpointIsSeenWhereTheLedgerEnds) {
  StartMaster();
  Append(1, 100);
  const std::vector<SourceEvent> all = ReadToEnd();
  const ResumePoint point{CheckpointOf(all[49]), "", all[89].at};
  Move();
  Append(1, 60);
  Append(61, 100, "other");
  ASSERT_TRUE(Start(point, until_end_).ok());
  std::vector<SourceEvent> events;
  const absl::Status status = PollUntil(1'000, events);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("the ledger has an entry of db0 that ends at " + all[89].at));
}

TEST_P(MovedSourceTest, OneThatLagsIsWaitedForAndThenRefused) {
  StartMaster();
  Append(1, 100);
  const std::vector<SourceEvent> all = ReadToEnd();
  const ResumePoint at_checkpoint{CheckpointOf(all[99]), "", all[99].at};
  const ResumePoint above{CheckpointOf(all[49]), "", all[99].at};
  for (const ResumePoint& point : {at_checkpoint, above}) {
    Move();
    Append(1, 99);
    SourceOptions options;
    options.pika_behind_max = milliseconds(500);
    const absl::Status status = Start(point, options);
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("source behind ledger"));
    options.pika_behind_max = kPatience;
    std::thread catches_up([&] {
      std::this_thread::sleep_for(milliseconds(300));  // So that it is seen behind first.
      Append(100, 101);
    });
    EXPECT_TRUE(Start(point, options).ok());
    catches_up.join();
  }
}

INSTANTIATE_TEST_SUITE_P(Versions, MovedSourceTest, testing::Values("3.0.16", "3.4.0", "3.5.5"),
                         [](const testing::TestParamInfo<const char*>& version) {
                           return VersionName(version.param);
                         });

TEST_F(PikaSourceTest, AMasterThatIsAwayIsNamed) {
  StartMaster();
  const int32_t port = master_->port();
  master_.reset();
  source_ = OpenPikaSource({"127.0.0.1", port, "", protocol_}, {}).value();
  absl::Status status;
  for (int i = 0; i < 10 && !absl::StrContains(status.ToString(), "cannot connect"); ++i) {
    status = source_->Start({});
  }
  EXPECT_TRUE(absl::IsUnavailable(status));
  EXPECT_THAT(std::string(status.message()),
              HasSubstr(absl::StrCat("cannot connect to the replication port ", port + 2000)));
}

// ---------------------------------------------------------------- before 3.1

class LegacySourceTest : public PikaSourceTest, public testing::WithParamInterface<const char*> {
 public:
  static std::string Name(const testing::TestParamInfo<const char*>& version) {
    return VersionName(version.param);
  }

 protected:
  void StartLegacyMaster(PikaMasterOptions options = {}) {
    options.version = GetParam();
    StartMaster(std::move(options));
  }
  // MSET of key-N for each N, as one record.
  void AppendTogether(int first, int last) {
    std::vector<std::string> keys;
    for (int i = first; i <= last; ++i) keys.push_back(absl::StrCat("key-", i));
    std::vector<std::vector<std::string_view>> commands;
    for (const std::string& key : keys) commands.push_back({"set", key, "v"});
    master_->AppendTogether("db0", commands);
  }
};

TEST_P(LegacySourceTest, AutoFindsTheProtocolAndStreamsWhatIsThereAndWhatComes) {
  StartLegacyMaster({.password = "secret", .binlog_file_bytes = 20'000});
  Append(1, 1000);
  SourceOptions options;
  options.source_password = "secret";
  ASSERT_TRUE(Start({}, options).ok());
  std::vector<SourceEvent> events;
  ASSERT_TRUE(PollUntil(1000, events).ok());
  Append(1001, 1500);
  ASSERT_TRUE(PollUntil(1500, events).ok());
  ExpectKeys(events, 1, 1500);
  EXPECT_GT(master_->End("db0").filenum, 3U);
  EXPECT_EQ(master_->dumps(), 0);
  EXPECT_THAT(master_->Complaints(), IsEmpty());
  rapidjson::Document json;
  json.Parse(events[0].payload.value->c_str());
  EXPECT_EQ(json["binlog"]["server_id"].GetInt(), 1);
  EXPECT_TRUE(json["binlog"]["term_id"].IsNull());
  const pika::EventSchema schema;
  schema.ExpectValid(*events[0].payload.value);
}

TEST_P(LegacySourceTest, GoesOnBehindEveryLedgeredPosition) {
  // Small files, so that positions lie behind full ones, too; records of several commands.
  StartLegacyMaster({.binlog_file_bytes = 500});
  const bool together = std::string(GetParam()) != "3.0.16";
  for (int i = 1; i <= 40; i += 4) {
    if (together) {
      AppendTogether(i, i + 2);
      Append(i + 3, i + 3);
    } else {
      Append(i, i + 3);
    }
  }
  SourceOptions until_end;
  until_end.until_end = true;
  ASSERT_TRUE(Start({}, until_end).ok());
  std::vector<SourceEvent> all;
  ASSERT_TRUE(PollUntil(1000, all).ok());
  EXPECT_TRUE(source_->ended());
  ExpectKeys(all, 1, 40);
  std::set<std::string> ids;
  for (size_t done = 0; done < all.size(); ++done) {
    rapidjson::Document json;
    json.Parse(all[done].payload.value->c_str());
    EXPECT_TRUE(ids.insert(json["event_id"].GetString()).second) << json["event_id"].GetString();
    const std::string& at = all[done].at;
    for (const ResumePoint& point :
         {ResumePoint{source_->FormatCheckpoint()(all[done]), "", at}, ResumePoint{{}, at, at}}) {
      ASSERT_TRUE(Start(point, until_end).ok()) << at;
      std::vector<SourceEvent> rest;
      ASSERT_TRUE(PollUntil(1000, rest).ok()) << at;
      ASSERT_TRUE(source_->ended()) << at;
      ASSERT_EQ(rest.size(), all.size() - done - 1) << at;
      for (size_t i = 0; i < rest.size(); ++i) {
        ASSERT_EQ(rest[i].at, all[done + 1 + i].at);
        ASSERT_EQ(rest[i].payload.value, all[done + 1 + i].payload.value);
      }
    }
  }
  EXPECT_EQ(master_->dumps(), 0);
  EXPECT_THAT(master_->Complaints(), IsEmpty());
}

TEST_P(LegacySourceTest, ABinlogConnectionThatBreaksAnywhereLosesAndRepeatsNothing) {
  protocol_ = PikaProtocol::kLegacy;
  std::mt19937 random(7);
  StartLegacyMaster({.binlog_file_bytes = 50'000});
  if (std::string(GetParam()) != "3.0.16") {
    for (int i = 1; i <= 3000; i += 3) AppendTogether(i, i + 2);
  } else {
    Append(1, 3000);
  }
  ASSERT_TRUE(Start().ok());
  std::vector<SourceEvent> events;
  for (int round = 0; round < 25; ++round) {
    master_->CutAfter(300 + random() % 8'000);
    if (round % 4 == 0) {
      master_->Disconnect();  // The registration, too.
    } else {
      master_->Redial();
    }
    ASSERT_TRUE(PollUntil(std::min<size_t>(events.size() + 20, 3000), events).ok());
  }
  master_->CutAfter(0);
  ASSERT_TRUE(PollUntil(3000, events).ok());
  ExpectKeys(events, 1, 3000);
  EXPECT_GT(master_->connections(), 20);
  EXPECT_EQ(master_->dumps(), 0);
  EXPECT_THAT(master_->Complaints(), IsEmpty());
}

TEST_P(LegacySourceTest, ARecordThatTheMasterLeavesOutIsFetchedAgain) {
  protocol_ = PikaProtocol::kLegacy;
  StartLegacyMaster();
  ASSERT_TRUE(Start().ok());
  master_->SkipOne();
  Append(1, 50);
  std::vector<SourceEvent> events;
  ASSERT_TRUE(PollUntil(50, events).ok());
  ExpectKeys(events, 1, 50);
}

TEST_F(PikaSourceTest, ASlowReaderOfALegacyMasterKeepsItsPlace) {
  protocol_ = PikaProtocol::kLegacy;
  StartMaster({.version = "3.0.16", .forget_after = milliseconds(2'500)});
  const std::string value(200'000, 'x');  // More than the link and the kernel take.
  Append(1, 400, value);
  ASSERT_TRUE(Start().ok());
  std::this_thread::sleep_for(milliseconds(5'000));  // Kafka is away; time is the subject.
  std::vector<SourceEvent> events;
  ASSERT_TRUE(PollUntil(400, events).ok());
  ExpectKeys(events, 1, 400);
  EXPECT_THAT(master_->Complaints(), IsEmpty());
}

TEST_P(LegacySourceTest, WhatAPersonMustSettleIsRefused) {
  StartLegacyMaster({.password = "secret", .binlog_file_bytes = 1000});
  Append(1, 100);
  const auto refused = [&](absl::StatusCode code, const char* says, const ResumePoint& point,
                           const char* password, const char* database) {
    SourceOptions source;
    source.source_password = password;
    source.pika_behind_max = milliseconds(0);
    const absl::Status status = Start(point, source, database);
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(says));
    EXPECT_THAT(std::string(status.message()), HasSubstr(absl::StrCat(":", master_->port(), ": ")));
  };
  using absl::StatusCode;
  refused(StatusCode::kPermissionDenied, "refuses the password", {}, "wrong", "");
  refused(StatusCode::kPermissionDenied, "refuses the password", {}, "", "");
  refused(StatusCode::kNotFound, "no database 'db3'", {}, "secret", "db3");
  refused(StatusCode::kFailedPrecondition, "source behind ledger", {"90:0:0:0:0:0", "", ""},
          "secret", "");
  master_->Purge("db0", 1);
  refused(StatusCode::kFailedPrecondition, "has purged its binlog of db0 at 0:0", {}, "secret",
          "db0");
}

TEST_P(LegacySourceTest, AWrongPositionIsSeenByWhatComes) {
  StartLegacyMaster();
  Append(1, 100);
  ASSERT_TRUE(Start({{}, "0:71", "0:71"}).ok());
  std::vector<SourceEvent> events;
  const absl::Status status = PollUntil(1, events);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("binlog hole"));
  EXPECT_THAT(events, IsEmpty());
}

TEST_P(LegacySourceTest, TheOtherProtocolIsNamed) {
  protocol_ = PikaProtocol::kPb;
  StartLegacyMaster();
  source_ = OpenPikaSource({"127.0.0.1", master_->port(), "", protocol_}, {}).value();
  EXPECT_THAT(source_->Start({}).ToString(), HasSubstr("a Pika before 3.1 wants protocol=legacy"));
}

INSTANTIATE_TEST_SUITE_P(Versions, LegacySourceTest,
                         testing::Values("2.3.2", "2.3.6", "3.0.4", "3.0.16"),
                         LegacySourceTest::Name);

// ---------------------------------------------------------------- the full copy

struct DumpFixture {
  const char* version;  // 4.0 is fetched from, the others push.
  const char* folder;
  const char* dump;
};

class PikaCopyTest : public PikaSourceTest, public testing::WithParamInterface<DumpFixture> {
 public:
  static std::string Name(const testing::TestParamInfo<DumpFixture>& fixture) {
    return VersionName(fixture.param.version);
  }

 protected:
  PikaCopyTest() {
    std::string pattern = std::filesystem::temp_directory_path() / "lockstep-pika-XXXXXX";
    directory_ = mkdtemp(pattern.data());
    pika::UnpackPikaFixture(GetParam().folder, directory_ + "/fixture", GetParam().dump);
    StartMaster({.password = "secret", .version = GetParam().version});
    std::ifstream in(Dump() + "/info");
    std::stringstream info;
    info << in.rdbuf();
    position_ = pika::ParseDumpInfo(info.str()).value();
    master_->SetDump("db0", Dump(), position_);
    options_.until_end = true;
    options_.source_password = "secret";
    options_.pika_push_idle_max = milliseconds(2'000);
    options_.snapshot_dir = directory_ + "/copies";
  }
  ~PikaCopyTest() override {
    source_.reset();
    std::filesystem::remove_all(directory_);
  }
  std::string Dump() const { return absl::StrCat(directory_, "/fixture/", GetParam().dump); }
  size_t KeysInDump() const {
    const int64_t now_ms = std::chrono::duration_cast<milliseconds>(
                               std::chrono::system_clock::now().time_since_epoch())
                               .count();
    const auto reader = pika::DumpReader::Open(Dump(), now_ms).value();
    pika::DumpBatch batch;
    while (reader->Next(batch).value()) {
    }
    return static_cast<size_t>(reader->keys());
  }
  std::vector<SourceEvent> ReadToEnd(const ResumePoint& point = {}) {
    const absl::Status started = Start(point, options_);
    EXPECT_TRUE(started.ok()) << started;
    std::vector<SourceEvent> events;
    const absl::Status status = PollUntil(1'000'000, events);
    EXPECT_TRUE(status.ok()) << status;
    EXPECT_TRUE(source_->ended());
    return events;
  }
  static std::string IdOf(const SourceEvent& event) {
    rapidjson::Document json;
    json.Parse(event.payload.value->c_str());
    return json["event_id"].GetString();
  }

  void ExpectKeysBeforeBinlog();

  std::string directory_;
  BinlogPosition position_;
  SourceOptions options_;
};

void PikaCopyTest::ExpectKeysBeforeBinlog() {
  Append(1, 20);
  master_->SpoilSnapshots(1, 1);  // Not ready at first, and then another dump in between.
  master_->SpoilPushes(1);
  const std::vector<SourceEvent> events = ReadToEnd();
  ASSERT_GT(events.size(), 20U);
  const pika::EventSchema schema;
  std::set<std::string> ids;
  std::set<std::string> keys;
  std::string before;
  for (size_t i = 0; i < events.size(); ++i) {
    const SourceEvent& event = events[i];
    schema.ExpectValid(*event.payload.value);
    EXPECT_TRUE(ids.insert(IdOf(event)).second) << IdOf(event);
    EXPECT_TRUE(CompareSourcePositions(event.at, before) > 0) << event.at;
    before = event.at;
    if (i + 20 < events.size()) keys.insert(*event.payload.key);
  }
  EXPECT_EQ(keys.size(), KeysInDump());
  ExpectKeys({events.end() - 20, events.end()}, 1, 20);
  EXPECT_EQ(events.back().at, ToString(master_->End("db0")));
  EXPECT_THAT(master_->Complaints(), IsEmpty());
}

TEST_P(PikaCopyTest, EveryKeyComesBeforeTheBinlogThatFollows) { ExpectKeysBeforeBinlog(); }

TEST_P(PikaCopyTest, TellsHowFarTheCopyIs) {
  Append(1, 5);
  ASSERT_TRUE(Start({}, options_).ok());
  ASSERT_TRUE(
      PollUntilStatus([](const SourceStatus& now) { return now.state == SourceState::kCopying; }));
  ASSERT_TRUE(
      PollUntilStatus([](const SourceStatus& now) { return now.state == SourceState::kWalking; }));
  EXPECT_EQ(Status().received, position_);
  const int64_t before = Status().snapshot_events;  // Of the first, short look.
  EXPECT_LT(before, 20);
  EXPECT_GT(Status().copy.received_bytes, 100'000U);
  const auto keys = static_cast<int64_t>(KeysInDump());
  EXPECT_GT(Status().copy.keys_estimated, keys / 2);  // With stale keys, without some new ones.
  EXPECT_LT(Status().copy.keys_estimated, keys * 2);
  std::vector<SourceEvent> events;
  ASSERT_TRUE(source_->Poll(50, milliseconds(20), events).ok());
  EXPECT_EQ(Status().snapshot_events - before, static_cast<int64_t>(events.size()));
  EXPECT_GT(Status().copy.keys, 0);
  EXPECT_LE(Status().copy.keys, Status().snapshot_events);
  EXPECT_TRUE(Status().copy.SecondsLeft().has_value());
  ASSERT_TRUE(PollUntil(1'000'000, events).ok());
  EXPECT_EQ(Status().state, SourceState::kStreaming);
  EXPECT_EQ(Status().snapshot_events - before, static_cast<int64_t>(events.size()) - 5);
  EXPECT_EQ(Status().copy.keys, keys);
  EXPECT_EQ(Status().binlog_events, 5);
}

TEST_P(PikaCopyTest, AProcessThatDiedInTheMiddleGoesOnWithTheSameCopy) {
  Append(1, 5);
  const std::vector<SourceEvent> events = ReadToEnd();
  const size_t done = events.size() / 2;
  const std::string checkpoint = source_->FormatCheckpoint()(events[done]);
  for (const ResumePoint& point : {ResumePoint{checkpoint, "", events[done].at},
                                   ResumePoint{std::nullopt, events[done].at, events[done].at}}) {
    const std::vector<SourceEvent> rest = ReadToEnd(point);
    ASSERT_EQ(rest.size(), events.size() - done - 1);
    for (size_t i = 0; i < rest.size(); ++i) {
      ASSERT_EQ(rest[i].at, events[done + 1 + i].at);
      ASSERT_EQ(rest[i].payload.value, events[done + 1 + i].payload.value);
    }
  }
}

TEST_P(PikaCopyTest, WithoutItsFilesTheCopyIsMadeAgainUnderAGreaterId) {
  const std::vector<SourceEvent> events = ReadToEnd();
  source_.reset();
  std::filesystem::remove_all(options_.snapshot_dir);
  const SourceEvent& last = events[10];
  const std::vector<SourceEvent> again = ReadToEnd({std::nullopt, last.at, last.at});
  EXPECT_EQ(again.size(), events.size());
  EXPECT_TRUE(CompareSourcePositions(again[0].at, events.back().at) > 0);
}

TEST_P(PikaCopyTest, OnRequestItIsMadeThoughTheBinlogReachesBack) {
  Append(1, 20);
  const std::vector<SourceEvent> events = ReadToEnd();
  const std::string last = events.back().at;
  source_.reset();
  const std::vector<SourceEvent> none = ReadToEnd({std::nullopt, last, last});
  EXPECT_THAT(none, IsEmpty());
  source_.reset();
  options_.full_copy = true;
  // The dump is older than what is ledgered: it would take that back.
  ASSERT_TRUE(Start({std::nullopt, last, last}, options_).ok());
  std::vector<SourceEvent> refused;
  const absl::Status status = PollUntil(1'000'000, refused);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("the full copy of db0 ends at"));
  EXPECT_THAT(refused, IsEmpty());
  source_.reset();
  const std::string at = ToString(position_);
  const std::vector<SourceEvent> again = ReadToEnd({std::nullopt, at, at});
  EXPECT_EQ(again.size(), events.size());
  EXPECT_TRUE(CompareSourcePositions(again[0].at, at) > 0) << again[0].at;
}

// A limit on file sizes fails a write as a full disk does.
TEST_P(PikaCopyTest, AFullDiskStopsItAndWithSpaceAgainItIsWhole) {
  const auto limit = [](rlim_t bytes) {
    rlimit now{};
    getrlimit(RLIMIT_FSIZE, &now);
    now.rlim_cur = std::min(bytes, now.rlim_max);
    setrlimit(RLIMIT_FSIZE, &now);
  };
  signal(SIGXFSZ, SIG_IGN);  // NOLINT(cert-err33-c)
  ASSERT_TRUE(Start({}, options_).ok());
  limit(20'000);
  std::vector<SourceEvent> events;
  const absl::Status status = PollUntil(1'000'000, events);
  limit(RLIM_INFINITY);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(options_.snapshot_dir));
  EXPECT_TRUE(events.empty());
  ExpectKeysBeforeBinlog();
}

TEST_P(PikaCopyTest, ItsFilesGoOnceTheBinlogBehindItIsLedgered) {
  Append(1, 5);
  const std::vector<SourceEvent> events = ReadToEnd();
  const auto dumps = [&] {
    int count = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(options_.snapshot_dir)) {
      count += entry.path().filename() == "dump" ? 1 : 0;
    }
    return count;
  };
  source_->Acknowledge(events[events.size() - 6].at, "");  // The copy's last.
  EXPECT_EQ(dumps(), 1);
  source_->Acknowledge(events.back().at, "");
  EXPECT_EQ(dumps(), 0);
}

TEST_P(PikaCopyTest, WithoutADirectoryItIsRefused) {
  options_.snapshot_dir.clear();
  const absl::Status status = Start({}, options_);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("has purged its binlog of db0 at 0:0"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("--snapshot-dir"));
}

TEST_P(PikaCopyTest, ACopyThatIsPurgedAtOnceIsAnAlarmAndNoLoop) {
  master_->Purge("db0", position_.filenum + 1);
  absl::Status status = Start({}, options_);
  std::vector<SourceEvent> events;
  if (status.ok()) status = PollUntil(1, events);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("right behind a full copy"));
}

TEST_P(PikaCopyTest, OneDirectoryServesOneProcess) {
  ASSERT_TRUE(Start({}, options_).ok());
  std::vector<SourceEvent> events;
  ASSERT_TRUE(PollUntil(1, events).ok());
  const auto first = std::move(source_);
  EXPECT_EQ(Start({}, options_).code(), absl::StatusCode::kFailedPrecondition);
}

TEST_P(PikaCopyTest, NoDaemonAndNoSecretAreLeftBehind) {
  ReadToEnd();
  for (const auto& entry : std::filesystem::recursive_directory_iterator(options_.snapshot_dir)) {
    EXPECT_THAT(entry.path().string(),
                testing::AnyOf(HasSubstr("/dump"), HasSubstr("/snapshot"), HasSubstr("/lock"),
                               testing::EndsWith("_db0"), testing::EndsWith("-db0")));
  }
}

INSTANTIATE_TEST_SUITE_P(Dumps, PikaCopyTest,
                         testing::Values(DumpFixture{"4.0.1", "4.0.1-pb", "dump/db0"},
                                         DumpFixture{"3.0.16", "3.0.16-legacy", "dump"}),
                         PikaCopyTest::Name);

// A push by protocol pb, with a password; 1,500 files.
class PikaPushedCopyTest : public PikaCopyTest {};
TEST_P(PikaPushedCopyTest, EveryKeyComesBeforeTheBinlogThatFollows) { ExpectKeysBeforeBinlog(); }
INSTANTIATE_TEST_SUITE_P(Dumps, PikaPushedCopyTest,
                         testing::Values(DumpFixture{"3.4.0", "3.4.0-pb", "dump/db0"}),
                         PikaCopyTest::Name);

TEST_F(PikaSourceTest, ACopyIsFetchedNoFasterThanItMay) {
  std::string pattern = std::filesystem::temp_directory_path() / "lockstep-pika-XXXXXX";
  const std::string directory = mkdtemp(pattern.data());
  pika::UnpackPikaFixture("4.0.1-pb", directory, "dump/db0");
  StartMaster();
  master_->SetDump("db0", directory + "/dump/db0", {3, 118515});
  SourceOptions options;
  options.until_end = true;
  options.snapshot_dir = directory + "/copies";
  options.snapshot_rate = 1'000'000;  // The dump has 2.1 MB.
  const auto begun = std::chrono::steady_clock::now();
  ASSERT_TRUE(Start({}, options).ok());
  std::vector<SourceEvent> events;
  ASSERT_TRUE(PollUntil(1'000'000, events).ok());
  EXPECT_GT(events.size(), 700U);
  EXPECT_GT(std::chrono::steady_clock::now() - begun, milliseconds(1'900));
  source_.reset();
  std::filesystem::remove_all(directory);
}

}  // namespace
}  // namespace lockstep
