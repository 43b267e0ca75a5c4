// ProgramTest: the shipped lockstep-producer against a real PostgreSQL pair and librdkafka's mock
// cluster. Afterwards ledger and log are compared record by record. For tests.
#ifndef LOCKSTEP_PRODUCER_PROGRAM_WORLD_TEST_H_
#define LOCKSTEP_PRODUCER_PROGRAM_WORLD_TEST_H_

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

using std::chrono::milliseconds;
using testing::HasSubstr;

constexpr int kPartitions = 2;

inline std::string ReadFile(const std::string& path) {
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

  // I1 and I2, record by record, the digests, and that no earlier term is open; the ledgered values
  // with how often they are.
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
      for (const Head& head : page->heads) EXPECT_EQ(head.closed, head.term);
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

  // Starts it again and again, kills it at random moments, every other time not before it sends,
  // until a run completes. Kafka is slow meanwhile, so that the kills fall into the work: 10,000
  // records take 800 ms at least.
  void KillUntilDone(const std::string& source, unsigned seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    cluster_->SetRoundTrip(1, 20);
    int adopted = 0;
    for (int i = 0; i < 12; ++i) {
      auto process = Start(source, {"--until-end", "-X", "batch.num.messages=50"});
      if (i % 2 == 1) {
        EXPECT_TRUE(process->AwaitLog("tenure_begun")) << process->Err();
      }
      if (process->EndsWithin(milliseconds(50 + random() % 400))) {
        EXPECT_EQ(process->Wait(), 0) << process->Err();
      }
      process->Kill();
      if (process->Err().find("tail_adopted") != std::string::npos) ++adopted;
    }
    EXPECT_GT(adopted, 0) << "no kill left anything between Kafka and the ledger";
    cluster_->SetRoundTrip(1, 0);
    auto process = Start(source, {"--until-end"});
    EXPECT_EQ(process->Wait(), 0) << process->Err();
  }

  PostgresWorld world_;
  std::unique_ptr<MockCluster> cluster_;
  std::string directory_;
  int runs_ = 0;
};

}  // namespace lockstep

#endif  // LOCKSTEP_PRODUCER_PROGRAM_WORLD_TEST_H_
