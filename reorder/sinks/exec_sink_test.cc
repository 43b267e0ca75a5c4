// The exec sink with commands that do as the manual says, and with those that do not.
#include "reorder/sinks/exec_sink.h"

#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <future>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lockstep {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

ReadyRecord MakeRecord(int64_t offset) {
  ReadyRecord record;
  record.position = {Epoch(2), Offset(offset)};
  record.producer = "A";
  record.term = Term(1);
  record.seq = Seq(offset + 1);
  record.view.value = R"(v "epoch":9,"offset":9, x)";
  return record;
}

class ExecSinkTest : public testing::Test {
 protected:
  ExecSinkTest() {
    std::signal(SIGPIPE, SIG_IGN);  // NOLINT(cert-err33-c)
    std::string pattern = std::filesystem::temp_directory_path() / "lockstep-exec-XXXXXX";
    directory_ = mkdtemp(pattern.data());
  }
  ~ExecSinkTest() override {
    sink_.reset();
    std::filesystem::remove_all(directory_);
  }
  void Start(const std::string& command, milliseconds answer_max = milliseconds(20'000),
             milliseconds end_max = milliseconds(5'000)) {
    sink_ = ExecSink::Start({command, {"orders", 0}, answer_max, end_max}).value();
  }
  absl::Status Send(int64_t first, int64_t last) {
    std::vector<ReadyRecord> records;
    for (int64_t offset = first; offset <= last; ++offset) records.push_back(MakeRecord(offset));
    const absl::Status written = sink_->Write(records);
    return written.ok() ? sink_->Sync() : written;
  }
  std::string Outbox() const { return directory_ + "/outbox"; }
  std::vector<std::string> Lines() const {
    std::ifstream in(Outbox());
    std::vector<std::string> lines;
    for (std::string line; std::getline(in, line);) lines.push_back(line);
    return lines;
  }
  // What becomes of three records given to a command that answers with these words.
  absl::Status Answering(const std::string& answer) {
    Start("head -n 3 >/dev/null; printf '" + answer + R"(\n'; cat >/dev/null)");
    return Send(1, 3);
  }

  std::string directory_;
  std::unique_ptr<ExecSink> sink_;
};

TEST_F(ExecSinkTest, TheExamplesGetEveryRecordInOrder) {
  for (const char* example : {"consumer.py", "consumer.sh"}) {
    SCOPED_TRACE(example);
    std::filesystem::remove(Outbox());
    Start(absl::StrCat("'" LOCKSTEP_SOURCE_DIR "/docs/examples/", example, "' '", Outbox(), "'"));
    const int64_t last = example == std::string("consumer.py") ? 20'000 : 50;
    ASSERT_TRUE(Send(0, 9).ok());
    EXPECT_EQ(Lines().size(), 10U);  // Synced: it is there.
    EXPECT_EQ(Send(10, last - 1), absl::OkStatus());
    EXPECT_EQ(Lines().size(), static_cast<size_t>(last));
    if (last == 50) {
      EXPECT_THAT(Lines()[49], HasSubstr(R"("epoch":2,"offset":49,"producer":"A")"));
    } else {
      EXPECT_EQ(Lines()[0], *MakeRecord(0).view.value);
    }
  }
}

TEST_F(ExecSinkTest, TheCommandKnowsItsStream) {
  Start("echo \"$LOCKSTEP_SINK_STREAM\" >'" + Outbox() + "'; cat >/dev/null");
  sink_.reset();
  EXPECT_THAT(Lines(), testing::ElementsAre("orders/0"));
}

TEST_F(ExecSinkTest, ACommandThatAnswersWhileItReadsDoesNotLockUp) {
  // More answers than a pipe holds, before the last record is read.
  Start(R"py(/usr/bin/python3 -uc '
import sys
for number, line in enumerate(sys.stdin.buffer):
    print("{\"done\":\"2:%d\",\"padding\":\"%s\"}" % (number, "x" * 30))
')py");
  EXPECT_EQ(Send(0, 9'999), absl::OkStatus());
}

TEST_F(ExecSinkTest, OneThatEndsIsNamedWithWhatIsDone) {
  Start(R"(head -n 2 >/dev/null; echo '{"done":"2:1"}'; exit 7)");
  const absl::Status status = Send(0, 4);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("the command ended with 7; 2:4 was sent, 2:1 is done"));
  EXPECT_EQ(sink_->Sync(), status);  // For good.
  EXPECT_EQ(sink_->KnownDone(), (Position{Epoch(2), Offset(1)}));
}

TEST_F(ExecSinkTest, OneThatIsNotThereIsNamed) {
  Start("no-such-command-here 2>/dev/null");
  EXPECT_THAT(std::string(Send(0, 0).message()), HasSubstr("the command ended with 127"));
}

TEST_F(ExecSinkTest, OneThatHangsIsGivenUp) {
  Start("sleep 100", milliseconds(300), milliseconds(50));
  const absl::Status status = Send(0, 0);
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(std::string(status.message()), HasSubstr("2:0 was sent, nothing is done"));
}

// An engine that is asked to stop.
class StoppingHost final : public SinkHost {
 public:
  std::optional<std::chrono::steady_clock::time_point> StopBy() override { return stop_by; }
  void Waits(const std::string& for_what, std::chrono::steady_clock::time_point) override {
    waits_for = for_what;
  }
  std::optional<std::chrono::steady_clock::time_point> stop_by;
  std::string waits_for;
};

TEST_F(ExecSinkTest, AStopEndsTheWaitForAnAnswer) {
  StoppingHost host;
  Start("read line; echo '{\"done\":\"2:0\"}'; sleep 100", milliseconds(60'000), milliseconds(50));
  sink_->Attach(host);
  const auto start = std::chrono::steady_clock::now();
  host.stop_by = start + milliseconds(300);
  const absl::Status status = Send(0, 2);
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled);
  EXPECT_THAT(std::string(status.message()), HasSubstr("2:2 was sent, 2:0 is done"));
  EXPECT_EQ(sink_->KnownDone(), (Position{Epoch(2), Offset(0)}));
  EXPECT_GE(std::chrono::steady_clock::now() - start, milliseconds(300));
  EXPECT_LT(std::chrono::steady_clock::now() - start, milliseconds(10'000));
  EXPECT_THAT(host.waits_for, HasSubstr("the answer of exec:read line"));
}

// The stop is due as soon as something is done.
class StopsWithTheFirstAnswer final : public SinkHost {
 public:
  explicit StopsWithTheFirstAnswer(const Sink& sink) : sink_(&sink) {}
  std::optional<std::chrono::steady_clock::time_point> StopBy() override {
    if (!sink_->KnownDone().has_value()) return std::nullopt;
    return std::chrono::steady_clock::time_point::min();
  }
  void Waits(const std::string& /*for_what*/, std::chrono::steady_clock::time_point) override {}

 private:
  const Sink* const sink_;
};

TEST_F(ExecSinkTest, AStopIsObeyedWhileAnswersKeepComing) {
  Start(R"(head -n 1 >/dev/null; yes '{"done":"2:0"}' | head -n 1000000; exit 7)");
  StopsWithTheFirstAnswer host(*sink_);
  sink_->Attach(host);
  const absl::Status status = Send(0, 1);
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled);
  EXPECT_THAT(std::string(status.message()), HasSubstr("2:1 was sent, 2:0 is done"));
}

// A program that reads 1,000 records and no more, and answers them with one write. What is sent
// beyond them is more than a pipe holds, so something is always left to be written.
std::string AnswersAtOnce(const std::string& then) {
  return absl::StrCat(R"py(exec /usr/bin/python3 -uc '
import os, sys, time
for _ in range(1000): sys.stdin.buffer.readline()
answers = b"".join(b"{\"done\":\"2:%d\",\"padding\":\"%s\"}\n" % (i, b"x" * 20)
                   for i in range(1000))
)py",
                      then, "'");
}

TEST_F(ExecSinkTest, WhatWasAnsweredIsDoneHoweverItEnds) {
  const std::pair<const char*, const char*> ends[] = {
      {"it dies", "os.write(1, answers); os._exit(7)"},
      {"it reads no more, then answers", "os.close(0); os.write(1, answers); os._exit(7)"},
      {"it reads no more, then answers slowly",
       "os.close(0); os.write(1, answers[:9]); time.sleep(0.1); os.write(1, answers[9:]); "
       "os._exit(7)"},
  };
  for (const auto& [how, then] : ends) {
    SCOPED_TRACE(how);
    Start(AnswersAtOnce(then));
    const absl::Status status = Send(0, 19'999);
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
    EXPECT_THAT(std::string(status.message()),
                HasSubstr("the command ended with 7; 2:19999 was sent, 2:999 is done"));
    EXPECT_EQ(sink_->KnownDone(), (Position{Epoch(2), Offset(999)}));
  }
}

TEST_F(ExecSinkTest, WhatWasAnsweredBeforeAStopIsDone) {
  Start(AnswersAtOnce("os.write(1, answers); time.sleep(1000)"), milliseconds(60'000),
        milliseconds(50));
  StopsWithTheFirstAnswer host(*sink_);  // One look takes less than all of them.
  sink_->Attach(host);
  EXPECT_EQ(Send(0, 19'999).code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(sink_->KnownDone(), (Position{Epoch(2), Offset(999)}));
}

TEST_F(ExecSinkTest, AnAnswerThatMakesNoSenseIsNamedAtTheEndToo) {
  Start(AnswersAtOnce(R"(os.close(0); os.write(1, answers[:-1] + b"\nthanks\n"); os._exit(7))"));
  const absl::Status status = Send(0, 19'999);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("\"thanks\" is no JSON object"));
  EXPECT_EQ(sink_->KnownDone(), (Position{Epoch(2), Offset(999)}));
}

TEST_F(ExecSinkTest, OneThatWritesWithoutEndIsKilled) {
  const std::string pid_file = directory_ + "/pid";
  // Several, so that its pipe is never empty.
  Start("echo $$ >'" + pid_file + "'; yes & yes & yes & yes & cat /dev/zero", milliseconds(20'000),
        milliseconds(50));
  EXPECT_EQ(Send(0, 0).code(), absl::StatusCode::kInvalidArgument);
  auto ended = std::async(std::launch::async, [this] { sink_.reset(); });
  const bool in_time = ended.wait_for(std::chrono::seconds(60)) == std::future_status::ready;
  EXPECT_TRUE(in_time);
  pid_t group = 0;
  std::ifstream(pid_file) >> group;
  ASSERT_GT(group, 1);
  if (!in_time) kill(-group, SIGKILL);
}

TEST_F(ExecSinkTest, AnswersThatMakeNoSenseAreNamed) {
  EXPECT_EQ(Answering(R"({"done":"2:3"})"), absl::OkStatus());
  EXPECT_EQ(Answering(R"({"stream":"orders/0","done":"2:1"}\n{"done":"2:3"})"), absl::OkStatus());
  const std::pair<const char*, const char*> wrong[] = {
      {"ok", "the answer \"ok\" is no JSON object"},
      {"[]", "is no JSON object"},
      {R"({"stream":"orders/1","done":"2:3"})", "is another stream's"},
      {R"({"stream":"orders/0"})", "says nothing of `done`"},
      {R"({"done":7})", "says nothing of `done`"},
      {R"({"done":"x"})", "has no position"},
      {R"({"done":"2:4"})", "is of a record that was not sent"},
      {R"({"done":"2:2"}\n{"done":"2:1"})", "goes back behind 2:2"},
  };
  for (const auto& [answer, what] : wrong) {
    SCOPED_TRACE(answer);
    const absl::Status status = Answering(answer);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(what));
  }
}

TEST_F(ExecSinkTest, WithItsInputClosedItMayFinish) {
  Start("cat >/dev/null; echo finished >'" + Outbox() + "'");
  sink_.reset();
  EXPECT_THAT(Lines(), testing::ElementsAre("finished"));
}

}  // namespace
}  // namespace lockstep
