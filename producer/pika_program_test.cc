// The shipped program with a Pika as its source: killed at any moment while the master's
// connections break too, nothing is lost and nothing comes twice.
#include "absl/strings/numbers.h"
#include <rapidjson/document.h>

#include "db-ledger/run_payload.h"
#include "producer/checkpoint_topic.h"
#include "producer/pika/dump_reader.h"
#include "producer/pika/pika_checkpoint.h"
#include "producer/program_world_test.h"
#include "producer/wal/wal.h"
#include "producer/wal/wal_payload_source.h"
#include "tests/support/pika_fixtures.h"
#include "tests/support/pika_master.h"

#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>

namespace lockstep {
namespace {

class PikaProgramTest : public ProgramTest {
 protected:
  PikaProgramTest() { StartMaster("3.5.5"); }
  std::string Source() const { return absl::StrCat("pika://127.0.0.1:", master_->port()); }
  void StartMaster(const std::string& version) {
    master_ = std::make_unique<pika::PikaMaster>(pika::PikaMasterOptions{
        .version = version, .window_items = 2000, .binlog_file_bytes = 200'000});
  }
  void Append(int first, int last) {
    for (int i = first; i <= last; ++i) {
      master_->Append("db0",
                      {i % 3 == 0 ? "HSET" : "SET", absl::StrCat("key-", i), "field", "value"});
    }
  }
  // Kills, each with entries before it and right before it; then what is in Kafka.
  void KillAtAnyMoment(unsigned seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    constexpr int kEntries = 10'000;  // The mock cluster keeps 5 MB a partition.
    const int kills = std::getenv("LOCKSTEP_SOAK") != nullptr ? 300 : 12;  // NOLINT
    int written = 0;
    const auto write = [&](int count) {
      count = std::min(count, kEntries - written);
      Append(written + 1, written + count);
      written += count;
    };
    int in_the_middle = 0;  // Of what the master had to send.
    for (int i = 0; i < kills; ++i) {
      master_->CutAfter(random() % 3 == 0 ? 5'000 + random() % 2'000'000 : 0);
      write(kEntries / kills / 2);
      auto process = Start(Source());
      EXPECT_FALSE(process->EndsWithin(milliseconds(50 + random() % 900))) << process->Err();
      write(kEntries / kills / 2);
      EXPECT_FALSE(process->EndsWithin(milliseconds(random() % 15))) << process->Err();
      if (master_->Acknowledged("db0") < master_->End("db0")) ++in_the_middle;
      process->Kill();
    }
    EXPECT_GE(in_the_middle, kills / 5);
    write(kEntries);
    master_->CutAfter(0);
    auto process = Start(Source(), {"--until-end"});
    EXPECT_EQ(process->Wait(), 0) << process->Err();
    ExpectEachKeyOnce(kEntries);
    EXPECT_THAT(master_->Complaints(), testing::IsEmpty());
  }
  bool AnythingLedgered() {
    const auto ledger = world_.Connect("reader");
    const auto streams = ledger->FindStreams("orders");
    for (const StreamInfo& stream : streams.ok() ? *streams : std::vector<StreamInfo>()) {
      ReadStreamRequest request;
      request.stream = stream.id;
      const auto page = ledger->ReadStream(request);
      if (!page.ok()) continue;
      for (const Head& head : page->heads) {
        if (head.last_seq > Seq(0)) return true;
      }
    }
    return false;
  }
  // I1, I2 and the digests; and every key once.
  void ExpectEachKeyOnce(int count) {
    std::map<std::string, int> keys;
    for (const auto& [value, times] : CheckedValues()) {
      rapidjson::Document json;
      json.Parse(value.c_str());
      ASSERT_FALSE(json.HasParseError()) << value;
      keys[json["key"].GetString()] += times;
    }
    EXPECT_EQ(keys.size(), static_cast<size_t>(count));
    for (int i = 1; i <= count; ++i) ASSERT_EQ(keys[absl::StrCat("key-", i)], 1) << i;
  }

  // What an exported checkpoint says; it must be whole, and this producer's.
  std::string PositionIn(const std::string& json) const {
    const auto checkpoint =
        pika::ParseCheckpointJson(json, {absl::StrCat("127.0.0.1:", master_->port()), "", "A"});
    EXPECT_TRUE(checkpoint.ok()) << checkpoint.status() << ": " << json;
    return checkpoint.ok() ? ToString(checkpoint->position) : "";
  }

  std::unique_ptr<pika::PikaMaster> master_;
};

TEST_F(PikaProgramTest, ReadsABinlogToItsEndAndGoesOnBehindIt) {
  Append(1, 1000);
  auto process = Start(Source(), {"--until-end"});
  EXPECT_EQ(process->Wait(), 0) << process->Err();
  EXPECT_THAT(process->Out(), HasSubstr("{\"records\":1000,\"adopted\":0,"));
  // Of each run the ledger has what a replica numbers anew.
  const auto payloads_begin_with = [&] {
    std::set<char> versions;
    const auto ledger = world_.Connect("reader");
    const std::vector<StreamInfo> streams = ledger->FindStreams("orders").value();
    for (const StreamInfo& stream : streams) {
      const StreamPage page = ledger->ReadStream({stream.id, {}, 1'000'000, true}).value();
      for (const struct Run& run : page.runs) versions.insert(run.payload.at(0));
    }
    return versions;
  };
  EXPECT_EQ(payloads_begin_with(), std::set<char>{kRunNotesVersion});
  Append(1001, 1010);
  auto again = Start(Source(), {"--until-end", "--payload-in-ledger"});
  EXPECT_EQ(again->Wait(), 0) << again->Err();
  EXPECT_THAT(again->Out(), HasSubstr("{\"records\":10,"));
  EXPECT_EQ(payloads_begin_with(), (std::set<char>{1, kRunNotesVersion}));
  ExpectEachKeyOnce(1010);
}

TEST_F(PikaProgramTest, KilledAtAnyMomentAnEntryComesOnce) { KillAtAnyMoment(3); }

// The master's site is lost while the producer runs; its standby's Pika has the same entries under
// other numbers, and more to come.
TEST_F(PikaProgramTest, AfterTheLossOfTheMasterAReplicaGoesOn) {
  const std::string id = absl::StrCat("127.0.0.1:", master_->port());
  pika::PikaMaster replica({.window_items = 2000,
                            .binlog_file_bytes = 200'000,
                            .exec_time_s = 1'800'000'000,
                            .term = 3,
                            .first_logic_id = 500});
  const auto append = [&](int first, int last) {
    Append(first, last);
    for (int i = first; i <= last; ++i) {
      replica.Append("db0",
                     {i % 3 == 0 ? "HSET" : "SET", absl::StrCat("key-", i), "field", "value"});
    }
  };
  const unsigned seed = 11;
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  std::thread writer([&] {
    for (int i = 0; i < 3'000; i += 100) {
      append(i + 1, i + 100);
      std::this_thread::sleep_for(milliseconds(20));  // So that the kill falls into the stream.
    }
  });
  auto process = Start(Source());
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!AnythingLedgered() && std::chrono::steady_clock::now() < deadline) {
    EXPECT_FALSE(process->EndsWithin(milliseconds(20))) << process->Err();
  }
  EXPECT_FALSE(process->EndsWithin(milliseconds(random() % 300))) << process->Err();
  process->Kill();
  writer.join();
  EXPECT_THAT(master_->Complaints(), testing::IsEmpty());
  master_.reset();
  const std::string source = absl::StrCat("pika://127.0.0.1:", replica.port(), "?protocol=pb");
  process = Start(source, {"--until-end"});
  EXPECT_EQ(process->Wait(), 3) << process->Err();
  EXPECT_THAT(process->Err(), HasSubstr("is known with source pika://" + id));
  for (const int last : {3'000, 3'010}) {
    process = Start(source, {"--until-end", "--source-id", id});
    EXPECT_EQ(process->Wait(), 0) << process->Err();
    EXPECT_EQ(process->Err().find("info source_moved") != std::string::npos, last == 3'000);
    if (last == 3'000) {
      for (int i = 3'001; i <= 3'010; ++i) {
        replica.Append("db0", {"SET", absl::StrCat("key-", i), "field", "value"});
      }
    }
  }
  ExpectEachKeyOnce(3'010);
  std::set<std::string> ids;
  for (const auto& [value, times] : CheckedValues()) {
    rapidjson::Document json;
    json.Parse(value.c_str());
    EXPECT_EQ(json["source_id"].GetString(), id);
    EXPECT_TRUE(ids.insert(json["event_id"].GetString()).second) << value;
  }
  EXPECT_THAT(replica.Complaints(), testing::IsEmpty());
}

TEST_F(PikaProgramTest, KilledAtAnyMomentAnEntryOfPika3_0ComesOnce) {
  StartMaster("3.0.16");
  KillAtAnyMoment(4);
  EXPECT_EQ(master_->dumps(), 0);
}

// Its positions are other than all others'.
TEST_F(PikaProgramTest, KilledAtAnyMomentAnEntryOfPika2_3ComesOnce) {
  StartMaster("2.3.6");
  KillAtAnyMoment(5);
  EXPECT_EQ(master_->dumps(), 0);
}

TEST_F(PikaProgramTest, FileAndTopicSayWhatTheLedgerSays) {
  ASSERT_TRUE(cluster_->CreateTopic("__offsets", 1).ok());
  const std::string file = directory_ + "/checkpoint.json";
  const std::vector<std::string> exports = {"--checkpoint-file",     file,
                                            "--checkpoint-topic",    "__offsets",
                                            "--checkpoint-interval", "20ms"};
  std::vector<std::string> to_end = exports;
  to_end.emplace_back("--until-end");
  const unsigned seed = 7;
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  constexpr int kEntries = 6'000;
  std::thread writer([&] {
    for (int i = 0; i < kEntries; i += 100) {
      Append(i + 1, i + 100);
      std::this_thread::sleep_for(milliseconds(40));  // So that the kills fall into the stream.
    }
  });
  for (int i = 0; i < 6; ++i) {
    auto process = Start(Source(), exports);
    EXPECT_FALSE(process->EndsWithin(milliseconds(300 + random() % 500))) << process->Err();
    process->Kill();
    EXPECT_THAT(process->Err(), testing::Not(HasSubstr("checkpoint_ahead_of_ledger")));
    if (std::filesystem::exists(file)) PositionIn(ReadFile(file));
  }
  writer.join();
  auto process = Start(Source(), to_end);
  EXPECT_EQ(process->Wait(), 0) << process->Err();
  ExpectEachKeyOnce(kEntries);
  const auto in_topic = [&] {
    const auto topic = OpenCheckpointTopic({.brokers = cluster_->brokers(), .properties = {}},
                                           "__offsets", milliseconds(10'000));
    return topic->ReadLast(absl::StrCat("127.0.0.1:", master_->port())).value().value_or("");
  };
  const auto in_ledger = [&] {
    const std::vector<ProducerInfo> producers = world_.Connect("reader")->ListProducers().value();
    return ToString(pika::ParsePikaCheckpoint(producers.at(0).checkpoint.value()).value().position);
  };
  EXPECT_EQ(PositionIn(ReadFile(file)), in_ledger());
  EXPECT_EQ(PositionIn(in_topic()), in_ledger());

  // The ledger decides: a file that is ahead is reported, and skips nothing.
  Append(kEntries + 1, kEntries + 10);
  const std::string ahead = ReadFile(file);
  const size_t filenum = ahead.find("\"filenum\":") + 10;
  std::ofstream(file) << ahead.substr(0, filenum) << "9" << ahead.substr(filenum);
  process = Start(Source(), to_end);
  EXPECT_EQ(process->Wait(), 0) << process->Err();
  EXPECT_THAT(process->Err(), HasSubstr("error checkpoint_ahead_of_ledger place=file position="));
  ExpectEachKeyOnce(kEntries + 10);
  EXPECT_EQ(in_ledger(), ToString(master_->End("db0")));
  EXPECT_EQ(PositionIn(ReadFile(file)), in_ledger());

  // One that is cut short is refused, with the way out.
  std::filesystem::resize_file(file, 40);
  process = Start(Source(), to_end);
  EXPECT_EQ(process->Wait(), 3) << process->Err();
  EXPECT_THAT(process->Err(), HasSubstr("checkpoint file " + file + ": it is no JSON at byte 40"));
  EXPECT_THAT(process->Err(), HasSubstr("remove the file, or name another --checkpoint-file"));
  std::filesystem::remove(file);
  process = Start(Source(), to_end);
  EXPECT_EQ(process->Wait(), 0) << process->Err();
}

TEST_F(PikaProgramTest, WithoutALedgerEverythingComesAtLeastOnce) {
  ASSERT_TRUE(cluster_->CreateTopic("__offsets", 1).ok());
  const std::string file = directory_ + "/checkpoint.json";
  const auto start = [&](bool until_end) {
    std::vector<std::string> arguments = {"--name",      "A",
                                          "--topic",     "orders",
                                          "--brokers",   cluster_->brokers(),
                                          "--source",    Source(),
                                          "--no-ledger", "--checkpoint-file",
                                          file,          "--checkpoint-topic",
                                          "__offsets",   "--checkpoint-interval",
                                          "20ms"};
    if (until_end) arguments.emplace_back("--until-end");
    return std::make_unique<Process>(arguments, absl::StrCat(directory_, "/run-", ++runs_));
  };
  const unsigned seed = 9;
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  constexpr int kEntries = 4'000;
  std::thread writer([&] {
    for (int i = 0; i < kEntries; i += 100) {
      Append(i + 1, i + 100);
      std::this_thread::sleep_for(milliseconds(40));  // So that the kills fall into the stream.
    }
  });
  for (int i = 0; i < 5; ++i) {
    auto process = start(false);
    EXPECT_FALSE(process->EndsWithin(milliseconds(200 + random() % 400))) << process->Err();
    process->Kill();
  }
  writer.join();
  auto process = start(true);
  EXPECT_EQ(process->Wait(), 0) << process->Err();
  EXPECT_THAT(process->Err(), HasSubstr("warn no_ledger resumes_by=file position="));

  // Every key, in the source's order once repeats are dropped; and no header of ours.
  const auto count = [&] {
    auto reader = KafkaReader::Open({.kafka = {.brokers = cluster_->brokers(), .properties = {}}});
    std::set<std::string> ids;
    size_t records = 0;
    for (int32_t partition = 0; partition < kPartitions; ++partition) {
      for (const auto& [offset, record] : ReadLog(**reader, {"orders", partition})) {
        EXPECT_EQ(record.first, "");
        rapidjson::Document json;
        json.Parse(record.second.value->c_str());
        ids.insert(json["event_id"].GetString());
        ++records;
      }
    }
    return std::pair(ids.size(), records);
  };
  EXPECT_EQ(count().first, static_cast<size_t>(kEntries));
  EXPECT_EQ(PositionIn(ReadFile(file)), ToString(master_->End("db0")));

  // Nothing is left to do; then the file is lost, and the topic says the same.
  const size_t records = count().second;
  process = start(true);
  EXPECT_EQ(process->Wait(), 0) << process->Err();
  std::filesystem::remove(file);
  process = start(true);
  EXPECT_EQ(process->Wait(), 0) << process->Err();
  EXPECT_THAT(process->Err(), HasSubstr("warn no_ledger resumes_by=topic position="));
  EXPECT_EQ(count().second, records);
}

TEST_F(PikaProgramTest, WhatWasReceivedWhileKafkaWasAwayOutlivesKillAndPurge) {
  const std::string wal = directory_ + "/wal";
  const auto in_wal = [&] {
    const auto reader = Wal::OpenForReading(wal);
    return reader.ok() ? (*reader)->last_at() : std::string(reader.status().message());
  };
  const auto await_in_wal = [&] {
    const auto deadline = std::chrono::steady_clock::now() + milliseconds(30'000);
    while (in_wal() != ToString(master_->End("db0"))) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      std::this_thread::sleep_for(milliseconds(50));
    }
    return true;
  };
  Append(1, 500);
  auto process = Start(Source(), {"--wal", wal, "--until-end"});
  EXPECT_EQ(process->Wait(), 0) << process->Err();
  process = Start(Source(), {"--wal", wal});
  ASSERT_TRUE(process->AwaitLog("pika_streaming")) << process->Err();
  cluster_->SetBrokerDown(1);
  for (int i = 500; i < 6'000; i += 500) {
    Append(i + 1, i + 500);
    ASSERT_TRUE(await_in_wal()) << in_wal() << process->Err();
  }
  process->Kill();
  ASSERT_GT(master_->End("db0").filenum, 1U);
  master_->Purge("db0", master_->End("db0").filenum);
  cluster_->SetBrokerUp(1);
  Append(6'001, 6'010);
  process = Start(Source(), {"--wal", wal, "--until-end"});
  EXPECT_EQ(process->Wait(), 0) << process->Err();
  EXPECT_THAT(process->Err(), HasSubstr("wal_replay from="));
  ExpectEachKeyOnce(6'010);

  // Every run can be had again from the WAL, byte for byte.
  const auto payloads = OpenWalPayloadSource(wal).value();
  const auto ledger = world_.Connect("reader");
  int64_t records = 0;
  const std::vector<StreamInfo> streams = ledger->FindStreams("orders").value();
  for (const StreamInfo& stream : streams) {
    ReadStreamRequest request;
    request.stream = stream.id;
    request.runs_per_producer_max = 1'000'000;
    const StreamPage page = ledger->ReadStream(request).value();
    for (const struct Run& run : page.runs) {
      const auto events = payloads->Read({stream, "A", run});
      ASSERT_TRUE(events.ok()) << events.status();
      RunDigest digest;
      for (size_t i = 0; i < events->size(); ++i, ++records) {
        digest.Add("A", run.term, run.first_seq + static_cast<int64_t>(i), (*events)[i].payload);
      }
      ASSERT_EQ(digest.Value(), run.digest);
    }
  }
  EXPECT_EQ(records, 6'010);
}

// The address of a port that was free a moment ago.
std::string FreeAddress() {
  asio::io_context io;
  const asio::ip::tcp::acceptor acceptor(io, {asio::ip::make_address("127.0.0.1"), 0});
  return absl::StrCat("127.0.0.1:", acceptor.local_endpoint().port());
}

TEST_F(PikaProgramTest, StatusSaysWhatTheLedgerAndTheRunningProducerSay) {
  const std::string metrics = FreeAddress();
  int code = 0;
  const auto status = [&](const std::string& name, std::vector<std::string> more) {
    std::vector<std::string> arguments = {"status", "--name", name, "--ledger", Conninfo("reader")};
    arguments.insert(arguments.end(), more.begin(), more.end());
    auto process = std::make_unique<Process>(arguments, absl::StrCat(directory_, "/run-", ++runs_));
    code = process->Wait();
    return process;
  };
  EXPECT_THAT(status("A", {})->Err(), HasSubstr("the ledger knows no producer 'A'; it knows none"));
  EXPECT_EQ(code, 2);

  Append(1, 300);
  auto process = Start(Source(), {"--metrics", metrics});
  const std::string end = ToString(master_->End("db0"));
  rapidjson::Document json;
  // What it says is of two moments at least, so wait until nothing moves.
  const auto settled = [&] {
    const rapidjson::Value& now = json["running"];
    return json["checkpoint_in_words"].GetString() == "binlog " + end &&
           !now["lag_seconds"].IsNull() && now["lag_seconds"].GetDouble() == 0 &&
           now["in_flight_records"].GetInt() == 0 && now["events_per_second"].GetInt() == 0;
  };
  const auto deadline = std::chrono::steady_clock::now() + milliseconds(30'000);
  do {
    ASSERT_LT(std::chrono::steady_clock::now(), deadline) << process->Err();
    json.Parse(status("A", {"--format", "json", "--metrics", metrics})->Out().c_str());
  } while (code != 0 || !settled());
  EXPECT_EQ(json["producer"].GetString(), std::string("A"));
  EXPECT_EQ(json["epoch"].GetInt(), 1);
  EXPECT_EQ(json["source"].GetString(), Source());
  EXPECT_EQ(json["checkpoint_in_words"].GetString(), "binlog " + end);
  ASSERT_EQ(json["streams"].Size(), static_cast<unsigned>(kPartitions));
  EXPECT_EQ(json["streams"][0]["last_seq"].GetInt() + json["streams"][1]["last_seq"].GetInt(), 300);
  const rapidjson::Value& running = json["running"];
  EXPECT_TRUE(running["connected"].GetBool());
  EXPECT_EQ(running["state"].GetString(), std::string("streaming"));
  EXPECT_EQ(running["protocol"].GetString(), std::string("pb"));
  EXPECT_EQ(running["received"].GetString(), end);
  EXPECT_EQ(running["master_end"].GetString(), end);
  EXPECT_EQ(running["lag_bytes"].GetInt(), 0);
  EXPECT_EQ(running["checkpoint_age_seconds"].GetDouble(), 0);
  EXPECT_EQ(running["in_flight_records"].GetInt(), 0);
  EXPECT_EQ(running["events_per_second"].GetInt(), 0);

  const std::string screen = status("A", {"--metrics", metrics})->Out();
  EXPECT_THAT(screen, HasSubstr("checkpoint      binlog " + end));
  EXPECT_THAT(screen, HasSubstr("connection      streaming, pb"));
  EXPECT_THAT(screen, HasSubstr("received        " + end + " of " + end));
  EXPECT_THAT(screen, HasSubstr("lag             0 s, 0 bytes"));
  EXPECT_THAT(status("B", {})->Err(), HasSubstr("the ledger knows no producer 'B'; it knows A"));
  EXPECT_EQ(code, 2);

  // It is gone: what the ledger knows, and that it is gone.
  process->Kill();
  const auto gone = status("A", {"--format", "json", "--metrics", metrics});
  EXPECT_EQ(code, 2);
  EXPECT_THAT(gone->Err(), HasSubstr("--metrics " + metrics + ": no answer"));
  json.Parse(gone->Out().c_str());
  EXPECT_TRUE(json["running"].IsNull());
  EXPECT_EQ(json["checkpoint_in_words"].GetString(), "binlog " + end);
}

TEST_F(PikaProgramTest, FiltersArePartOfTheSource) {
  Append(1, 300);  // Every third one is an HSET.
  const std::string filtered = Source() + "?types=string&keys=key-2*,key-30";
  auto process = Start(filtered, {"--until-end"});
  EXPECT_EQ(process->Wait(), 0) << process->Err();
  EXPECT_THAT(process->Err(), HasSubstr("warn deletions_filtered"));
  int expected = 0;
  for (int i = 1; i <= 300; ++i) expected += i % 3 != 0 && std::to_string(i)[0] == '2' ? 1 : 0;
  EXPECT_EQ(CheckedValues().size(), static_cast<size_t>(expected));
  process = Start(filtered, {"--until-end"});
  EXPECT_EQ(process->Wait(), 0) << process->Err();
  EXPECT_THAT(process->Out(), HasSubstr("{\"records\":0,"));
  process = Start(Source() + "?types=string,key&keys=key-2*,key-30", {"--until-end"});
  EXPECT_EQ(process->Wait(), 3) << process->Err();
  EXPECT_THAT(process->Err(), HasSubstr("refused"));
  EXPECT_THAT(process->Err(), testing::Not(HasSubstr("deletions_filtered")));
}

TEST_F(PikaProgramTest, APurgedPositionIsRefusedWithTheRemedy) {
  Append(1, 10'000);
  master_->Purge("db0", 2);
  auto process = Start(Source(), {"--until-end"});
  EXPECT_EQ(process->Wait(), 3) << process->Err();
  EXPECT_THAT(process->Err(), HasSubstr("has purged its binlog of db0 at 0:0"));
  EXPECT_THAT(process->Err(), HasSubstr("--snapshot-dir"));
}

// How a real dump comes: 3.0 to 3.5 have the same form. (Others have values above 1 MiB.)
struct CopyCase {
  const char* name;
  const char* version;
  const char* folder;
  const char* dump;
  unsigned lives_ms;  // A process at most; a push takes a while.
};
class PikaCopyProgramTest : public PikaProgramTest, public testing::WithParamInterface<CopyCase> {};

TEST_P(PikaCopyProgramTest, KilledInAFullCopyEveryEventComesOnce) {
  StartMaster(GetParam().version);
  const unsigned seed = 5;
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  pika::UnpackPikaFixture(GetParam().folder, directory_ + "/fixture", GetParam().dump);
  const std::string dump = absl::StrCat(directory_, "/fixture/", GetParam().dump);
  master_->SetDump("db0", dump, pika::ParseDumpInfo(ReadFile(dump + "/info")).value());
  Append(1, 500);
  const bool soak = std::getenv("LOCKSTEP_SOAK") != nullptr;  // NOLINT
  // Kafka is slow, so that a copy outlives its processes.
  cluster_->SetRoundTrip(1, 100);
  const std::vector<std::string> more = {"--snapshot-dir", directory_ + "/copies", "--until-end",
                                         "--in-flight", soak ? "2" : "20"};
  const int kills = soak ? 300 : 10;
  int killed = 0;
  for (; killed < kills; ++killed) {
    master_->SpoilSnapshots(static_cast<int>(random() % 2), static_cast<int>(random() % 2));
    master_->SpoilPushes(static_cast<int>(random() % 2));
    auto process = Start(Source(), more);
    if (process->EndsWithin(milliseconds(50 + random() % GetParam().lives_ms))) break;  // Done.
    process->Kill();
  }
  EXPECT_GE(killed, soak ? 50 : 5);
  cluster_->SetRoundTrip(1, 0);
  master_->SpoilPushes(0);
  auto process = Start(Source(), more);
  EXPECT_EQ(process->Wait(), 0) << process->Err();
  // I1, I2, the digests; and every event id once, of one copy, the binlog behind it.
  std::map<std::string, int> copies;
  std::map<std::string, int> ids;
  for (const auto& [value, times] : CheckedValues()) {
    rapidjson::Document json;
    json.Parse(value.c_str());
    ASSERT_FALSE(json.HasParseError()) << value;
    ids[json["event_id"].GetString()] += times;
    ++copies[json.HasMember("snapshot") ? std::to_string(json["snapshot"]["id"].GetUint64()) : ""];
  }
  for (const auto& [id, times] : ids) ASSERT_EQ(times, 1) << id;
  EXPECT_EQ(copies[""], 500);
  // One that had got next to nowhere may have been begun anew; the last one is whole.
  ASSERT_GE(copies.size(), 2U);
  const auto reader = pika::DumpReader::Open(dump, 0).value();
  pika::DumpBatch batch;
  while (reader->Next(batch).value()) {
  }
  EXPECT_GE(copies.rbegin()->second + 20, reader->keys());  // Some keys are stale by now.
  EXPECT_THAT(master_->Complaints(), testing::IsEmpty());
}

TEST_F(PikaProgramTest, InDualModeACopyHasATopicOfItsOwn) {
  pika::UnpackPikaFixture("3.5.5-pb", directory_ + "/fixture", "dump/db1");
  const std::string dump = directory_ + "/fixture/dump/db1";
  master_->SetDump("db0", dump, pika::ParseDumpInfo(ReadFile(dump + "/info")).value());
  Append(1, 500);
  const std::vector<std::string> arguments = {"--name",
                                              "A",
                                              "--topic",
                                              "orders",
                                              "--brokers",
                                              cluster_->brokers(),
                                              "--source",
                                              Source(),
                                              "--no-ledger",
                                              "--checkpoint-file",
                                              directory_ + "/checkpoint.json",
                                              "--snapshot-dir",
                                              directory_ + "/copies",
                                              "--stream-mode",
                                              "dual",
                                              "--until-end"};
  auto process = std::make_unique<Process>(arguments, directory_ + "/missing");
  EXPECT_EQ(process->Wait(), 2);
  EXPECT_THAT(process->Err(), HasSubstr("topic orders.snapshot does not exist"));

  ASSERT_TRUE(cluster_->CreateTopic("orders.snapshot", 3).ok());
  process = std::make_unique<Process>(arguments, directory_ + "/dual");
  EXPECT_EQ(process->Wait(), 0) << process->Err();
  auto reader = KafkaReader::Open({.kafka = {.brokers = cluster_->brokers(), .properties = {}}});
  std::map<std::string, std::map<std::string, int>> types;
  std::set<int32_t> partitions;
  for (const auto& [topic, count] : {std::pair("orders", kPartitions), {"orders.snapshot", 3}}) {
    for (int32_t partition = 0; partition < count; ++partition) {
      for (const auto& [offset, record] : ReadLog(**reader, {topic, partition})) {
        rapidjson::Document json;
        json.Parse(record.second.value->c_str());
        ++types[topic][json["event_type"].GetString()];
        if (topic != std::string("orders")) partitions.insert(partition);
      }
    }
  }
  EXPECT_EQ(types["orders"], (std::map<std::string, int>{{"binlog", 500}}));
  EXPECT_THAT(types["orders.snapshot"], testing::ElementsAre(testing::Pair("snapshot", 75)));
  EXPECT_EQ(partitions.size(), 3U);
}

INSTANTIATE_TEST_SUITE_P(
    Masters, PikaCopyProgramTest,
    testing::Values(CopyCase{"Fetched3_5", "3.5.5", "3.5.5-pb", "dump/db1", 900},
                    CopyCase{"Pushed3_0", "3.0.16", "3.5.5-pb", "dump/db1", 4'000}),
    [](const testing::TestParamInfo<CopyCase>& copy) { return copy.param.name; });

}  // namespace
}  // namespace lockstep
