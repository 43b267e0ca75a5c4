// The shipped program against a real PostgreSQL pair and librdkafka's mock cluster: killed at any
// moment, run twice, its standby frozen. Afterwards ledger and log are compared record by record.
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/kafka/kafka_reader.h"
#include "common/kafka/mock_cluster.h"
#include "common/model/record_header.h"
#include "db-ledger/postgres_world_test.h"

namespace lockstep {

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(LedgerContractTest);  // Only its fixture is used.

namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

constexpr int kPartitions = 2;

std::string ReadFile(const std::string& path) {
  std::ifstream in(path);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

// One lockstep-producer. Ends with this object, and with the test's process.
class Process {
 public:
  Process(const std::vector<std::string>& arguments, std::string log) : log_(std::move(log)) {
    const std::string program =
        std::filesystem::read_symlink("/proc/self/exe").parent_path() / "lockstep-producer";
    std::vector<std::string> owned = {program};
    owned.insert(owned.end(), arguments.begin(), arguments.end());
    std::vector<char*> argv;
    for (std::string& argument : owned) argv.push_back(argument.data());
    argv.push_back(nullptr);
    pid_ = fork();
    if (pid_ == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      const int out = open((log_ + ".out").c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
      const int err = open((log_ + ".err").c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
      dup2(out, STDOUT_FILENO);
      dup2(err, STDERR_FILENO);
      execv(argv[0], argv.data());
      _exit(127);
    }
  }
  ~Process() { Kill(); }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  void Kill() {
    if (pid_ > 0) kill(pid_, SIGKILL);
    (void)Wait();
  }
  void Terminate() { kill(pid_, SIGTERM); }
  // The exit code; -1 if a signal ended it. Blocks.
  int Wait() {
    if (pid_ > 0) {
      int status = 0;
      waitpid(pid_, &status, 0);
      pid_ = 0;
      code_ = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    }
    return code_;
  }
  // True iff it ended by itself within `time`.
  bool EndsWithin(milliseconds time) {
    const auto deadline = std::chrono::steady_clock::now() + time;
    while (std::chrono::steady_clock::now() < deadline) {
      int status = 0;
      if (waitpid(pid_, &status, WNOHANG) == pid_) {
        pid_ = 0;
        code_ = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
        return true;
      }
      std::this_thread::sleep_for(milliseconds(5));
    }
    return false;
  }
  bool AwaitLog(const std::string& text, milliseconds time = milliseconds(30'000)) {
    const auto deadline = std::chrono::steady_clock::now() + time;
    while (Err().find(text) == std::string::npos) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      std::this_thread::sleep_for(milliseconds(10));
    }
    return true;
  }
  std::string Out() const { return ReadFile(log_ + ".out"); }
  std::string Err() const { return ReadFile(log_ + ".err"); }

 private:
  const std::string log_;
  pid_t pid_ = 0;
  int code_ = -1;
};

class ProgramTest : public testing::Test {
 protected:
  ProgramTest() : cluster_(MockCluster::Start().value()) {
    LOCKSTEP_CHECK(cluster_->CreateTopic("orders", kPartitions).ok(), "a mock cluster obeys");
    std::string pattern = std::filesystem::temp_directory_path() / "lockstep-producer-XXXXXX";
    directory_ = mkdtemp(pattern.data());
  }
  ~ProgramTest() override { std::filesystem::remove_all(directory_); }

  std::string LinesFile() const { return directory_ + "/lines.jsonl"; }
  void AppendLines(int first, int last) {
    std::ofstream out(LinesFile(), std::ios::app);
    for (int i = first; i <= last; ++i) out << "{\"value\":\"event " << i << "\"}\n";
  }
  std::string Conninfo(const std::string& user = "writer") {
    return world_.pair().Conninfo(world_.database(), user);
  }
  std::vector<std::string> Arguments(const std::string& source, std::vector<std::string> more) {
    std::vector<std::string> arguments = {
        "--name",   "A",        "--topic",  "orders", "--brokers", cluster_->brokers(),
        "--ledger", Conninfo(), "--source", source,   "--format",  "json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
  std::unique_ptr<Process> Start(const std::string& source, std::vector<std::string> more = {}) {
    return std::make_unique<Process>(Arguments(source, std::move(more)),
                                     absl::StrCat(directory_, "/run-", ++runs_));
  }

  // I1 and I2, record by record, and the digests; the ledgered values with how often they are.
  std::map<std::string, int> CheckedValues() {
    std::map<std::string, int> values;
    const auto ledger = world_.Connect("reader");
    const auto streams = ledger->FindStreams("orders");
    EXPECT_TRUE(streams.ok()) << streams.status();
    auto reader = KafkaReader::Open({.kafka = {.brokers = cluster_->brokers(), .properties = {}}});
    for (const StreamInfo& stream : *streams) {
      const auto log = ReadLog(**reader, stream.name);
      ReadStreamRequest request;
      request.stream = stream.id;
      request.runs_per_producer_max = 1'000'000;
      const auto page = ledger->ReadStream(request);
      EXPECT_TRUE(page.ok()) << page.status();
      Seq next(1);
      Offset below(0);
      for (const struct Run& run : page->runs) {
        EXPECT_EQ(run.first_seq, next) << "I1";
        EXPECT_GE(run.offsets.first(), below) << "I1";
        RunDigest digest;
        for (const OffsetRange& range : run.offsets.ranges()) {
          for (Offset o = range.first; o < range.end; ++o, ++next) {
            const auto found = log.find(o);
            if (found == log.end()) {
              ADD_FAILURE() << "I2: nothing at offset " << o;
              return values;
            }
            const auto header = ParseRecordHeader(found->second.first);
            EXPECT_TRUE(header.ok() && header->term == run.term && header->seq == next) << "I2";
            digest.Add("A", run.term, next, found->second.second);
            ++values[found->second.second.value.value_or("")];
          }
        }
        EXPECT_EQ(digest.Value(), run.digest);
        below = run.offsets.end();
      }
    }
    return values;
  }

  static std::map<Offset, std::pair<std::string, Payload>> ReadLog(KafkaReader& reader,
                                                                   const StreamName& stream) {
    std::map<Offset, std::pair<std::string, Payload>> log;
    const LogOffsets ends = reader.Offsets(stream, milliseconds(5000)).value();
    EXPECT_TRUE(reader.Start(stream, ends.lo_offset).ok());
    ReaderBatch batch;
    for (Offset next = ends.lo_offset; next < ends.hi_offset;) {
      EXPECT_TRUE(reader.Poll(milliseconds(100), batch).ok());
      for (const KafkaMessage& message : batch.records) {
        log[message.offset()] = {std::string(message.Header("lockstep").value_or("")),
                                 message.CopyPayload()};
        next = message.offset() + 1;
      }
    }
    EXPECT_TRUE(reader.Stop(stream).ok());
    return log;
  }

  void ExpectEachOnce(int events) {
    const std::map<std::string, int> values = CheckedValues();
    EXPECT_EQ(values.size(), static_cast<size_t>(events));
    for (const auto& [value, count] : values) EXPECT_EQ(count, 1) << value;
    EXPECT_TRUE(values.contains("event 1"));
    EXPECT_TRUE(values.contains("event " + std::to_string(events)));
  }

  // Starts it again and again, kills it at random moments, until a run completes.
  void KillUntilDone(const std::string& source, unsigned seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    for (int i = 0; i < 12; ++i) {
      auto process = Start(source, {"--until-end"});
      if (process->EndsWithin(milliseconds(50 + random() % 900))) {
        EXPECT_EQ(process->Wait(), 0) << process->Err();
      }
      process->Kill();
    }
    auto process = Start(source, {"--until-end"});
    EXPECT_EQ(process->Wait(), 0) << process->Err();
  }

  PostgresWorld world_;
  std::unique_ptr<MockCluster> cluster_;
  std::string directory_;
  int runs_ = 0;
};

TEST_F(ProgramTest, ReadsAFileToItsEndAndSaysWhatItDid) {
  AppendLines(1, 1000);
  auto process = Start("jsonl:" + LinesFile(), {"--until-end"});
  EXPECT_EQ(process->Wait(), 0) << process->Err();
  EXPECT_THAT(process->Out(), HasSubstr("{\"records\":1000,\"adopted\":0,"));
  ExpectEachOnce(1000);
  AppendLines(1001, 1010);
  auto again = Start("jsonl:" + LinesFile(), {"--until-end", "--payload-in-ledger"});
  EXPECT_EQ(again->Wait(), 0) << again->Err();
  EXPECT_THAT(again->Out(), HasSubstr("{\"records\":10,"));
  ExpectEachOnce(1010);
}

TEST_F(ProgramTest, KilledAtAnyMomentALineComesOnce) {
  AppendLines(1, 20'000);
  KillUntilDone("jsonl:" + LinesFile(), 1);
  ExpectEachOnce(20'000);
}

TEST_F(ProgramTest, KilledAtAnyMomentARowComesOnceWhileOthersWrite) {
  world_.Sql(
      "create table public.outbox (id bigserial primary key, value text not null); grant select on "
      "public.outbox to writer; insert into public.outbox (value) select 'event ' || g from "
      "generate_series(1, 10000) g");
  std::thread writer([&] {
    for (int i = 10'001; i <= 10'200; ++i) {
      world_.Sql(absl::StrCat("insert into public.outbox (value) values ('event ", i, "')"));
    }
  });
  KillUntilDone("table:outbox?id=id&value=value", 2);
  writer.join();
  auto process = Start("table:outbox?id=id&value=value", {"--until-end"});
  EXPECT_EQ(process->Wait(), 0) << process->Err();
  ExpectEachOnce(10'200);
}

TEST_F(ProgramTest, ASecondLiveProcessFencesTheFirst) {
  AppendLines(1, 100);
  auto first = Start("jsonl:" + LinesFile());
  ASSERT_TRUE(first->AwaitLog("tenure_begun"));
  auto second = Start("jsonl:" + LinesFile());
  ASSERT_TRUE(second->AwaitLog("tenure_begun"));
  AppendLines(101, 200);
  EXPECT_TRUE(first->EndsWithin(milliseconds(20'000)));
  EXPECT_EQ(first->Wait(), 3) << first->Err();
  EXPECT_THAT(first->Err(), HasSubstr("refused: fenced: another process named 'A'"));
  second->Terminate();
  EXPECT_EQ(second->Wait(), 0) << second->Err();
  auto last = Start("jsonl:" + LinesFile(), {"--until-end"});
  EXPECT_EQ(last->Wait(), 0);
  ExpectEachOnce(200);
}

TEST_F(ProgramTest, AFrozenStandbyIsAStallNotALoss) {
  AppendLines(1, 10);
  auto process = Start("jsonl:" + LinesFile());
  ASSERT_TRUE(process->AwaitLog("tenure_begun"));
  world_.pair().Freeze(PostgresPair::kStandby);
  AppendLines(11, 2000);
  EXPECT_TRUE(process->AwaitLog("ledger_stalled"));
  world_.pair().Thaw(PostgresPair::kStandby);
  EXPECT_TRUE(process->AwaitLog("ledger_resumed"));
  process->Terminate();
  EXPECT_EQ(process->Wait(), 0) << process->Err();
  EXPECT_THAT(process->Out(), HasSubstr("\"records\":2000"));
  ExpectEachOnce(2000);
}

TEST_F(ProgramTest, WrongCredentialsAreSaidAndNotRetriedForEver) {
  AppendLines(1, 1);
  std::vector<std::string> arguments =
      Arguments("jsonl:" + LinesFile(), {"--until-end", "--ledger", Conninfo("locked")});
  arguments.erase(arguments.begin() + 6, arguments.begin() + 8);  // The good --ledger.
  Process process(arguments, directory_ + "/locked");
  EXPECT_EQ(process.Wait(), 2) << process.Err();
  EXPECT_THAT(process.Err(), HasSubstr("no password supplied"));
}

TEST_F(ProgramTest, AnotherSourceForAKnownProducerIsRefused) {
  AppendLines(1, 5);
  EXPECT_EQ(Start("jsonl:" + LinesFile(), {"--until-end"})->Wait(), 0);
  std::filesystem::copy(LinesFile(), directory_ + "/other.jsonl");
  auto process = Start("jsonl:" + directory_ + "/other.jsonl", {"--until-end"});
  EXPECT_EQ(process->Wait(), 3) << process->Err();
}

TEST_F(ProgramTest, ABadLineStopsBehindWhatCameBefore) {
  AppendLines(1, 50);
  std::ofstream(LinesFile(), std::ios::app) << "not json\n";
  AppendLines(52, 60);
  auto process = Start("jsonl:" + LinesFile(), {"--until-end"});
  EXPECT_EQ(process->Wait(), 2) << process->Err();
  EXPECT_THAT(process->Err(), HasSubstr("bad line 51"));
  EXPECT_THAT(process->Out(), HasSubstr("\"records\":50"));
  auto skipping = Start("jsonl:" + LinesFile(), {"--until-end", "--bad-lines", "skip"});
  EXPECT_EQ(skipping->Wait(), 0) << skipping->Err();
  EXPECT_THAT(skipping->Out(), HasSubstr("\"records\":9"));
}

TEST_F(ProgramTest, AFileThatWasChangedIsRefused) {
  AppendLines(1, 50);
  EXPECT_EQ(Start("jsonl:" + LinesFile(), {"--until-end"})->Wait(), 0);
  std::filesystem::remove(LinesFile());
  AppendLines(2, 60);
  auto process = Start("jsonl:" + LinesFile(), {"--until-end"});
  EXPECT_EQ(process->Wait(), 3) << process->Err();
  EXPECT_THAT(process->Err(), HasSubstr("source behind ledger"));
}

TEST_F(ProgramTest, UsageErrorsComeAllAtOnce) {
  Process process({"--source", "orders.jsonl", "--partition", "3", "--stream", "orders/1"},
                  directory_ + "/usage");
  EXPECT_EQ(process.Wait(), 2);
  for (const char* says : {"--name is needed", "--brokers is needed", "--ledger is needed",
                           "write jsonl:FILE", "different partitions"}) {
    EXPECT_THAT(process.Err(), HasSubstr(says));
  }
}

}  // namespace
}  // namespace lockstep
