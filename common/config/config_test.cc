#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/config/config_file.h"
#include "common/config/program.h"
#include "common/config/stop_request.h"
#include "common/config/terminal.h"
#include "common/config/units.h"

namespace lockstep {
namespace {

using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

TEST(Units, DurationsAreReadAndWritten) {
  const struct {
    const char* text;
    int64_t ms;
    const char* canonical;
  } rows[] = {{"5ms", 5, "5ms"},     {"30s", 30'000, "30s"},    {"90s", 90'000, "90s"},
              {"60s", 60'000, "1m"}, {"2h", 7'200'000, "2h"},   {"7d", 604'800'000, "7d"},
              {"0", 0, "0s"},        {"1500ms", 1500, "1500ms"}};
  for (const auto& row : rows) {
    const auto parsed = ParseDuration(row.text);
    ASSERT_TRUE(parsed.ok()) << row.text;
    EXPECT_EQ(parsed->count(), row.ms) << row.text;
    EXPECT_EQ(FormatDuration(*parsed), row.canonical);
  }
  for (const char* bad : {"", "5", "ms", "-5ms", "5 ms", "1.5s", "5S", "5us", "05s", "5ms ",
                          "9223372036854775807d"}) {
    EXPECT_FALSE(ParseDuration(bad).ok()) << bad;
  }
}

TEST(Units, SizesAreReadAndWritten) {
  const struct {
    const char* text;
    Size size;
    const char* canonical;
  } rows[] = {{"256MiB", {Size::Unit::kBytes, 256 << 20}, "256MiB"},
              {"4096", {Size::Unit::kBytes, 4096}, "4KiB"},
              {"64kB", {Size::Unit::kBytes, 64'000}, "64000B"},
              {"0B", {Size::Unit::kBytes, 0}, "0B"},
              {"20000records", {Size::Unit::kRecords, 20'000}, "20000records"}};
  for (const auto& row : rows) {
    ASSERT_TRUE(ParseSize(row.text).ok()) << row.text;
    EXPECT_EQ(ParseSize(row.text).value(), row.size);
    EXPECT_EQ(FormatSize(row.size), row.canonical);
  }
  for (const char* bad :
       {"", "MiB", "-1B", "1.5GiB", "1 MiB", "1mib", "1record", "9999999999TiB"}) {
    EXPECT_FALSE(ParseSize(bad).ok()) << bad;
  }
}

TEST(ConfigFile, ReadsTablesStringsAndArrays) {
  const auto entries = ParseConfigFile(
      "# for all\n"
      "[common]  # here\n"
      "ledger = \"host=db1,db2 application_name='a#b'\"  # not cut\n"
      "\n"
      "[producer]\r\n"
      "stream = [\"orders/0\",\n  'orders/1', # two\n]\n"
      "lines = 10\n"
      "adopt = false\n"
      "[kafka]\n"
      "sasl.password = \"x\\\"y\\\\z\"\n");
  ASSERT_TRUE(entries.ok()) << entries.status();
  EXPECT_THAT(
      *entries,
      ElementsAre(ConfigEntry{"common", "ledger", {"host=db1,db2 application_name='a#b'"}, 3},
                  ConfigEntry{"producer", "stream", {"orders/0", "orders/1"}, 6},
                  ConfigEntry{"producer", "lines", {"10"}, 9},
                  ConfigEntry{"producer", "adopt", {"false"}, 10},
                  ConfigEntry{"kafka", "sasl.password", {"x\"y\\z"}, 12}));
}

TEST(ConfigFile, MalformedIsRefusedWithTheLine) {
  for (const char* bad :
       {"x", "x =", "x = y", "x = \"y", "x = \"y\" z", "[x", "[[x]]", "= 1", "x = [1 2]", "x = [1",
        "x = {a = 1}", "x = \"\\q\"", "x = \"\"\"y\"\"\"", "x = 2026-01-01T00:00:00Z"}) {
    const auto entries = ParseConfigFile("[a]\n" + std::string(bad) + "\n");
    ASSERT_FALSE(entries.ok()) << bad;
    EXPECT_THAT(std::string(entries.status().message()), HasSubstr("line ")) << bad;
  }
  const std::string nasty = "a\"b\\c\nd\te";
  EXPECT_EQ(ParseConfigFile("x = " + QuoteToml(nasty)).value()[0].values[0], nasty);
}

// One program as the others write theirs.
class ProgramTest : public testing::Test {
 protected:
  struct Outcome {
    std::optional<ExitCode> exit;
    CommonOptions common;
    std::string name, order_from, bad_lines = "stop", command, out, err, printed;
    milliseconds linger{5};
    Size buffer{Size::Unit::kBytes, 256 << 20};
    bool typed_name = false, typed_topic = false;
  };

  void TearDown() override {
    for (const char* name :
         {"LOCKSTEP_NAME", "LOCKSTEP_LINGER", "LOCKSTEP_STREAM", "LOCKSTEP_X", "LOCKSTEP_BROKERS",
          "LOCKSTEP_EXECUTE", "LOCKSTEP_CONFIG", "LOCKSTEP_TOPIC"}) {
      unsetenv(name);
    }
  }

  std::string File(const std::string& content) {
    const std::string path = testing::TempDir() + "/lockstep_" + std::to_string(getpid()) + "_" +
                             std::to_string(++files_);
    std::ofstream(path) << content;
    return path;
  }

  Outcome Run(std::vector<const char*> arguments, bool with_commands = false, unsigned flags = 0) {
    Outcome outcome;
    Program program({.name = "lockstep-producer",
                     .purpose = "Writes a source's records to Kafka and their order to the ledger.",
                     .examples = {"one", "two", "three"}},
                    kKafkaFlags | kLedgerFlags | kStreamFlags | kChangeFlags | kDrainFlags | flags);
    program.app().add_option("--name", outcome.name, "Who writes")->group("Producer");
    program.app()
        .add_option("--bad-lines", outcome.bad_lines, "What to do")
        ->check(CLI::IsMember({"stop", "skip"}));
    program.AddDuration(program.app(), "--linger", outcome.linger, "How long a group waits");
    program.AddSize(program.app(), "--buffer-memory", outcome.buffer, "How much is parked");
    if (with_commands) {
      program.AddCommand("order", "Prints the order")
          .add_option("--from", outcome.order_from, "From here");
      program.AddCommand("status", "Prints the status");
    }
    arguments.insert(arguments.begin(), "lockstep-producer");
    testing::internal::CaptureStdout();
    testing::internal::CaptureStderr();
    outcome.exit = program.Parse(static_cast<int>(arguments.size()), arguments.data(), [&] {
      return outcome.name == "bad" ? std::vector<std::string>{"--name is bad"}
                                   : std::vector<std::string>{};
    });
    outcome.out = testing::internal::GetCapturedStdout();
    outcome.err = testing::internal::GetCapturedStderr();
    outcome.common = program.options();
    outcome.command = program.command();
    outcome.printed = program.PrintConfig();
    outcome.typed_name = program.Typed("--name");
    outcome.typed_topic = program.Typed("--topic");
    return outcome;
  }

 private:
  int files_ = 0;
};

TEST_F(ProgramTest, DefaultsStandBesideTheFields) {
  const Outcome outcome = Run({});
  EXPECT_EQ(outcome.exit, std::nullopt) << outcome.err;
  EXPECT_EQ(outcome.linger, milliseconds(5));
  EXPECT_EQ(outcome.common.format, OutputFormat::kText);
  EXPECT_EQ(outcome.common.drain_timeout, milliseconds(30'000));
}

TEST_F(ProgramTest, CommandLineWinsOverEnvironmentOverFile) {
  const std::string file = File(
      "[common]\nbrokers = \"file:1\"\ndrain-timeout = \"1s\"\nlog-level = \"warn\"\n"
      "[producer]\nname = \"file\"\nlinger = \"1ms\"\nbuffer-memory = \"5records\"\n"
      "drain-timeout = \"2s\"\n"
      "[reorder]\ngroup = \"another program's\"\n");
  setenv("LOCKSTEP_LINGER", "2ms", 1);
  setenv("LOCKSTEP_NAME", "environment", 1);
  const Outcome outcome = Run({"--config", file.c_str(), "--name", "typed"});
  ASSERT_EQ(outcome.exit, std::nullopt) << outcome.err;
  EXPECT_EQ(outcome.name, "typed");
  EXPECT_EQ(outcome.linger, milliseconds(2));
  EXPECT_EQ(outcome.buffer, (Size{Size::Unit::kRecords, 5}));
  EXPECT_EQ(outcome.common.brokers, "file:1");
  EXPECT_EQ(outcome.common.drain_timeout, milliseconds(2000));
  EXPECT_EQ(outcome.common.log.level, LogLevel::kWarn);
  SetUpLogging({});
}

TEST_F(ProgramTest, TheFileCanBeNamedByTheEnvironment) {
  const std::string file = File("[producer]\nname = \"file\"\n");
  const std::string broken = File("[producer]\nnmae = \"file\"\n");
  setenv("LOCKSTEP_CONFIG", broken.c_str(), 1);
  EXPECT_EQ(Run({}).exit, ExitCode::kCouldNot);
  const std::string typed = "--config=" + file;
  EXPECT_EQ(Run({typed.c_str()}).name, "file");
  setenv("LOCKSTEP_CONFIG", file.c_str(), 1);
  EXPECT_EQ(Run({}).name, "file");
}

TEST_F(ProgramTest, StreamsRepeat) {
  const Outcome typed = Run({"--stream", "orders/0", "--stream", "orders/1"});
  EXPECT_THAT(typed.common.streams, ElementsAre(StreamName{"orders", 0}, StreamName{"orders", 1}));
  setenv("LOCKSTEP_STREAM", "orders/2,orders/3", 1);
  EXPECT_THAT(Run({}).common.streams,
              ElementsAre(StreamName{"orders", 2}, StreamName{"orders", 3}));
  const std::string file = File("[common]\nstream = [\"orders/4\", \"orders/5\"]\n");
  unsetenv("LOCKSTEP_STREAM");
  EXPECT_THAT(Run({"--config", file.c_str()}).common.streams,
              ElementsAre(StreamName{"orders", 4}, StreamName{"orders", 5}));
}

TEST_F(ProgramTest, KafkaPropertiesComeFromEverywhereAndTheLaterWins) {
  const std::string secret = File("hush\n");
  const std::string file = File("[kafka]\nsasl.password = \"in the file\"\nlinger.ms = 1\n");
  setenv("LOCKSTEP_X", "linger.ms=2 sasl.username=u", 1);
  const std::string typed = "ssl.key.password=@" + secret;
  const Outcome outcome = Run({"--config", file.c_str(), "-X", typed.c_str(), "-X", "linger.ms=3"});
  ASSERT_EQ(outcome.exit, std::nullopt) << outcome.err;
  EXPECT_THAT(
      outcome.common.kafka_properties,
      ElementsAre(KafkaProperty{"sasl.password", "in the file"}, KafkaProperty{"linger.ms", "1"},
                  KafkaProperty{"linger.ms", "2"}, KafkaProperty{"sasl.username", "u"},
                  KafkaProperty{"ssl.key.password", "hush"}, KafkaProperty{"linger.ms", "3"}));
  EXPECT_THAT(outcome.printed, Not(HasSubstr("hush")));
  EXPECT_THAT(outcome.printed, Not(HasSubstr("in the file")));
}

TEST_F(ProgramTest, SecretsOnTheCommandLineAreRefused) {
  for (const std::vector<const char*>& arguments :
       std::vector<std::vector<const char*>>{{"-X", "sasl.password=hush"},
                                             {"-Xsasl.password=hush"},
                                             {"-X", "sasl.jaas.config=hush"},
                                             {"--ledger", "host=db1 password=hush"},
                                             {"--ledger", "postgres://user:hush@db1/lockstep"}}) {
    const Outcome outcome = Run(arguments);
    EXPECT_EQ(outcome.exit, ExitCode::kCouldNot) << arguments[0];
    EXPECT_THAT(outcome.err, Not(HasSubstr("hush")));
  }
}

TEST_F(ProgramTest, AllComplaintsArePrinted) {
  const Outcome outcome = Run({"--topic", "orders", "--stream", "orders/0", "--yes", "--name",
                               "bad", "--ledger", "password=x"});
  EXPECT_EQ(outcome.exit, ExitCode::kCouldNot);
  for (const char* part : {"--topic", "--yes", "--name is bad", "password", "--help"}) {
    EXPECT_THAT(outcome.err, HasSubstr(part));
  }
}

TEST_F(ProgramTest, MistakesAreCouldNot) {
  const std::string unknown = File("[producer]\nnmae = \"A\"\n");
  const std::string execute = File("[producer]\nexecute = true\n");
  const std::string broken = File("[producer\n");
  for (const std::vector<const char*>& arguments :
       std::vector<std::vector<const char*>>{{"--nmae", "A"},
                                             {"--linger", "5"},
                                             {"--format", "xml"},
                                             {"--stream", "orders"},
                                             {"--config", "/nonexistent/file"},
                                             {"--config", unknown.c_str()},
                                             {"--config", execute.c_str()},
                                             {"--config", broken.c_str()}}) {
    const Outcome outcome = Run(arguments);
    EXPECT_EQ(outcome.exit, ExitCode::kCouldNot) << arguments[0] << " " << arguments[1];
    EXPECT_FALSE(outcome.err.empty());
  }
  setenv("LOCKSTEP_EXECUTE", "true", 1);
  EXPECT_FALSE(Run({}).common.execute) << "the environment cannot say it for every program";
}

TEST_F(ProgramTest, AFlagThatWouldDoNothingIsNotThere) {
  const std::vector<const char*> metrics = {"--metrics", "127.0.0.1:0"};
  EXPECT_EQ(Run(metrics).exit, ExitCode::kCouldNot);
  EXPECT_THAT(Run({"--help"}).out, Not(HasSubstr("--metrics")));
  const Outcome served = Run(metrics, false, kMetricsFlags);
  EXPECT_EQ(served.exit, std::nullopt) << served.err;
  EXPECT_EQ(served.common.metrics, "127.0.0.1:0");
  EXPECT_EQ(Run({"--mirror-topic", "p.orders"}).exit, ExitCode::kCouldNot);
  EXPECT_EQ(Run({"--mirror-topic", "p.orders"}, false, kMirrorFlags).exit, std::nullopt);
  const std::string file = File("[common]\nmetrics = \"127.0.0.1:0\"\n");
  EXPECT_EQ(Run({"--config", file.c_str()}).exit, std::nullopt) << "[common] is for every program";
}

TEST_F(ProgramTest, WhatWasTypedIsKnown) {
  setenv("LOCKSTEP_TOPIC", "orders", 1);
  const Outcome outcome = Run({"--name=A", "--brokers", "h:1"});
  EXPECT_EQ(outcome.common.topic, "orders");
  EXPECT_TRUE(outcome.typed_name);
  EXPECT_FALSE(outcome.typed_topic);
}

TEST_F(ProgramTest, HelpTeaches) {
  const Outcome outcome = Run({"--help"});
  EXPECT_EQ(outcome.exit, ExitCode::kYes);
  for (const char* part : {"Writes a source's", "Most used:\n  one\n  two", "--brokers",
                           "Kafka:", "Producer:", "--linger", "(default 5ms)",
                           "--bad-lines stop|skip", "(default stop)", "Exit codes", "256MiB"}) {
    EXPECT_THAT(outcome.out, HasSubstr(part));
  }
  EXPECT_LT(outcome.out.find("Producer:"), outcome.out.find("Kafka:")) << "its own flags first";
  EXPECT_THAT(Run({"--version"}).out, HasSubstr("lockstep-producer 0."));
}

TEST_F(ProgramTest, PrintConfigLeadsToItselfAndMasksSecrets) {
  const std::string file = File(
      "[common]\nledger = \"host=db1 password=hush user=u\"\n"
      "[producer]\nname = \"A \\\"x\\\"\"\nstream = [\"o/0\", \"o/1\"]\n");
  const Outcome outcome = Run({"--config", file.c_str(), "--print-config"});
  EXPECT_EQ(outcome.exit, ExitCode::kYes);
  EXPECT_THAT(outcome.out, HasSubstr("host=db1 password=*** user=u"));
  const std::string again = File(outcome.out);
  const Outcome repeated = Run({"--config", again.c_str()});
  EXPECT_EQ(repeated.exit, std::nullopt) << repeated.err << outcome.out;
  EXPECT_EQ(repeated.name, "A \"x\"");
  EXPECT_EQ(repeated.common.streams.size(), 2u);
}

TEST_F(ProgramTest, CommandsShareTheCommonFlags) {
  const std::string file = File("[ledger]\n[producer]\nfrom = \"1:2\"\n");
  const Outcome after = Run({"order", "--ledger", "host=x", "--config", file.c_str()}, true);
  EXPECT_EQ(after.exit, std::nullopt) << after.err;
  EXPECT_EQ(after.command, "order");
  EXPECT_EQ(after.common.ledger, "host=x");
  EXPECT_EQ(after.order_from, "1:2");
  const Outcome other = Run({"--config", file.c_str(), "status"}, true);
  EXPECT_EQ(other.exit, std::nullopt) << other.err;
  EXPECT_EQ(Run({}, true).exit, ExitCode::kCouldNot);
  EXPECT_THAT(Run({"order", "--help"}, true).out, HasSubstr("--from"));
}

TEST(MaskSecrets, ConnectionStringsAndUrls) {
  EXPECT_EQ(MaskSecrets("host=a password='x y' user=b"), "host=a password=*** user=b");
  EXPECT_EQ(MaskSecrets("postgres://u:p@h/db?sslpassword=x&a=b"),
            "postgres://u:***@h/db?sslpassword=***&a=b");
  EXPECT_EQ(MaskSecrets("host=a user=b"), "host=a user=b");
}

TEST(ExitCodes, FollowTheStatus) {
  EXPECT_EQ(ExitCodeOf(absl::OkStatus()), ExitCode::kYes);
  EXPECT_EQ(ExitCodeOf(absl::FailedPreconditionError("")), ExitCode::kRefused);
  EXPECT_EQ(ExitCodeOf(absl::AbortedError("")), ExitCode::kRefused);
  EXPECT_EQ(ExitCodeOf(absl::UnavailableError("")), ExitCode::kCouldNot);
  EXPECT_EQ(ExitCodeOf(absl::CancelledError("")), ExitCode::kInterrupted);
}

TEST(Terminal, SummaryIsOneJsonObjectOrReadableLines) {
  Summary summary;
  summary.Add("records", 12)
      .Add("seconds", 0.5)
      .Add("go", true)
      .Add("why", "a \"b\"\n")
      .AddJson("in_doubt", "[]");
  EXPECT_EQ(summary.Json(),
            R"({"records":12,"seconds":0.5,"go":true,"why":"a \"b\"\n","in_doubt":[]})");
  EXPECT_THAT(summary.Text(), HasSubstr("records   12\n"));
}

TEST(Terminal, ConsentNeedsExecuteAndSomeoneToAsk) {
  EXPECT_EQ(AskConsent(false, false, "?").value(), Consent::kPlanOnly);
  EXPECT_EQ(AskConsent(true, true, "?").value(), Consent::kGo);
  const pid_t child = fork();
  if (child == 0) {
    close(STDIN_FILENO);
    _exit(AskConsent(true, false, "?").ok() ? 1 : 0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST(Terminal, ProgressIsClamped) {
  EXPECT_EQ(FormatProgress("x", 15, 10), "x  [##############################]  100 %  15/10");
  EXPECT_EQ(FormatProgress("x", 15, 0), "x  15");
}

TEST(Terminal, ProgressSaysItsRateAndTheTimeLeft) {
  const std::string half = "x  [###############...............]  50 %  5/10";
  EXPECT_EQ(FormatProgress("x", 5, 10), half);
  EXPECT_EQ(FormatProgress("x", 5, 10, 2), half + "  2/s  3 s left");
  EXPECT_EQ(FormatProgress("x", 5, 10, 0.05), half + "  0/s  2 min left");
  EXPECT_EQ(FormatProgress("x", 5, 10, 0.001), half + "  0/s  1 h 23 min left");
  EXPECT_EQ(FormatProgress("x", 15, 10, 2),
            "x  [##############################]  100 %  15/10  2/s");
  EXPECT_EQ(FormatProgress("x", 15, 0, 2), "x  15  2/s");
}

// In a child: handlers are the process's.
TEST(StopRequest, TheFirstSignalAsksAndTheSecondExits) {
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t child = fork();
  if (child == 0) {
    StopRequest& stop = StopRequest::Install();
    if (stop.requested() || stop.WaitFor(milliseconds(1))) _exit(1);
    (void)!write(ready[1], "r", 1);
    if (!stop.WaitFor(milliseconds(20'000)) || !stop.requested()) _exit(2);
    (void)!write(ready[1], "s", 1);
    pause();
    _exit(3);
  }
  char c = 0;
  ASSERT_EQ(read(ready[0], &c, 1), 1);
  kill(child, SIGTERM);
  ASSERT_EQ(read(ready[0], &c, 1), 1);
  EXPECT_EQ(c, 's');
  kill(child, SIGINT);
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(WEXITSTATUS(status), 130);
  close(ready[0]);
  close(ready[1]);
}

}  // namespace
}  // namespace lockstep
