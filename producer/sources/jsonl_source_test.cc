#include "producer/sources/jsonl_source.h"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "producer/sources/line_reader.h"

namespace lockstep {
namespace {

using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::HasSubstr;

// A file of a test's own.
class JsonlTest : public testing::Test {
 protected:
  JsonlTest() {
    std::string pattern = std::filesystem::temp_directory_path() / "lockstep-jsonl-XXXXXX";
    directory_ = ::mkdtemp(pattern.data());
    path_ = directory_ + "/events.jsonl";
  }
  ~JsonlTest() override { std::filesystem::remove_all(directory_); }

  void Write(const std::string& text) { std::ofstream(path_) << text; }
  void Append(const std::string& text) { std::ofstream(path_, std::ios::app) << text; }
  static std::string Line(const std::string& value) { return R"({"value":")" + value + "\"}\n"; }

  std::unique_ptr<Source> Open(SourceOptions options) {
    return OpenJsonlSource({path_}, options).value();
  }

  std::string directory_;
  std::string path_;
};

SourceOptions UntilEnd(BadLines bad_lines = BadLines::kStop) {
  return {.until_end = true, .bad_lines = bad_lines, .source_db = ""};
}

// `line=value …`, as far as it goes; then what stopped it.
std::string Drain(Source& source, absl::Status* status = nullptr, size_t max = 100) {
  std::vector<SourceEvent> events;
  absl::Status polled;
  while (polled.ok() && !source.ended() && events.size() < max) {
    const size_t before = events.size();
    polled = source.Poll(max - before, milliseconds(0), events);
    if (events.size() == before) break;
  }
  if (status != nullptr) *status = polled;
  std::string text;
  for (const SourceEvent& event : events) text += event.at + "=" + *event.payload.value + " ";
  return text;
}

// The point behind the last of the first `count` events.
ResumePoint After(Source& source, size_t count) {
  std::vector<SourceEvent> events;
  EXPECT_TRUE(source.Poll(count, milliseconds(0), events).ok());
  const SourceEvent& last = events.at(count - 1);
  return {source.FormatCheckpoint()(last), last.at, last.at};
}

TEST_F(JsonlTest, ThePositionIsTheLineNumber) {
  Write(Line("a") + Line("b") + Line("c"));
  auto source = Open(UntilEnd());
  ASSERT_TRUE(source->Start({}).ok());
  EXPECT_EQ(Drain(*source), "1=a 2=b 3=c ");
  EXPECT_TRUE(source->ended());
}

TEST_F(JsonlTest, ResumesBehindTheCheckpoint) {
  Write(Line("a") + Line("b") + Line("c"));
  auto first = Open(UntilEnd());
  ASSERT_TRUE(first->Start({}).ok());
  const ResumePoint point = After(*first, 2);
  auto source = Open(UntilEnd());
  ASSERT_TRUE(source->Start(point).ok());
  EXPECT_EQ(Drain(*source), "3=c ");
}

TEST_F(JsonlTest, FollowsAFileThatGrows) {
  Write(Line("a"));
  auto source = Open({});
  ASSERT_TRUE(source->Start({}).ok());
  EXPECT_EQ(Drain(*source), "1=a ");
  EXPECT_FALSE(source->ended());
  Append(R"({"value":)");
  EXPECT_EQ(Drain(*source), "") << "half a line waits";
  Append("\"b\"}\n" + Line("c"));
  EXPECT_EQ(Drain(*source), "2=b 3=c ");
}

TEST_F(JsonlTest, AnUnterminatedLastLineCountsAtTheEndAndIsKnownAgainLater) {
  Write(Line("a") + R"({"value":"b"})");
  auto source = Open(UntilEnd());
  ASSERT_TRUE(source->Start({}).ok());
  const ResumePoint point = After(*source, 2);
  auto follower = Open({});
  ASSERT_TRUE(follower->Start(point).ok());
  absl::Status status;
  EXPECT_EQ(Drain(*follower, &status), "");
  EXPECT_TRUE(status.ok()) << status;
  Append("\n" + Line("c"));
  EXPECT_EQ(Drain(*follower, &status), "3=c ");
  EXPECT_TRUE(status.ok()) << status;
}

TEST_F(JsonlTest, ABadLineStopsWithItsNumberAfterWhatCameBefore) {
  const struct {
    const char* line;
    const char* says;
  } kRows[] = {
      {"not json\n", "bad line 2"},
      {"\n", "bad line 2"},
      {"{\"key\":\"k\"}\n", "value"},
      {"{\"value\":\"\xff\"}\n", "UTF-8"},
  };
  for (const auto& row : kRows) {
    Write(Line("a") + row.line + Line("c"));
    auto source = Open(UntilEnd());
    ASSERT_TRUE(source->Start({}).ok());
    absl::Status status;
    EXPECT_EQ(Drain(*source, &status), "1=a ") << row.line;
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << row.line;
    EXPECT_THAT(std::string(status.message()), HasSubstr("bad line 2"));
    EXPECT_THAT(std::string(status.message()), HasSubstr(row.says));
  }
}

TEST_F(JsonlTest, ASkippedLineIsAPosition) {
  Write(Line("a") + "not json\n" + Line("c"));
  auto source = Open(UntilEnd(BadLines::kSkip));
  ASSERT_TRUE(source->Start({}).ok());
  EXPECT_EQ(Drain(*source), "1=a 3=c ");
}

TEST_F(JsonlTest, ALineThatIsTooLongIsABadLine) {
  Write(Line("a") + Line(std::string(kLineBytesMax, 'x')) + Line("c"));
  auto source = Open(UntilEnd(BadLines::kSkip));
  ASSERT_TRUE(source->Start({}).ok());
  EXPECT_EQ(Drain(*source), "1=a 3=c ");
}

TEST_F(JsonlTest, AChangedLineIsSourceBehindLedger) {
  Write(Line("a") + Line("b") + Line("c"));
  auto first = Open(UntilEnd());
  ASSERT_TRUE(first->Start({}).ok());
  const ResumePoint point = After(*first, 2);
  Write(Line("a") + Line("B") + Line("c"));
  auto source = Open(UntilEnd());
  absl::Status status = source->Start(point);
  if (status.ok()) Drain(*source, &status);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("source behind ledger"));
}

TEST_F(JsonlTest, AShorterFileIsSourceBehindLedger) {
  Write(Line("a") + Line("b") + Line("c"));
  auto first = Open(UntilEnd());
  ASSERT_TRUE(first->Start({}).ok());
  const ResumePoint point = After(*first, 3);
  for (const std::string& text : {std::string(), Line("a"), Line("a") + Line("b")}) {
    Write(text);
    auto source = Open(UntilEnd());
    absl::Status status = source->Start(point);
    if (status.ok()) Drain(*source, &status);
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << text;
  }
}

TEST_F(JsonlTest, AFileThatEndsBelowWhatAnotherStreamHasIsBehind) {
  Write(Line("a") + Line("b") + Line("c"));
  auto source = Open(UntilEnd());
  ASSERT_TRUE(source->Start({std::nullopt, "1", "4"}).ok());
  absl::Status status;
  Drain(*source, &status);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(JsonlTest, AFileThatShrinksOrIsReplacedWhileItIsReadStops) {
  Write(Line("a") + Line("b"));
  auto source = Open({});
  ASSERT_TRUE(source->Start({}).ok());
  EXPECT_EQ(Drain(*source), "1=a 2=b ");
  Write(Line("a"));
  absl::Status status;
  Drain(*source, &status);
  EXPECT_THAT(std::string(status.message()), HasSubstr("shortened"));

  auto other = Open({});
  ASSERT_TRUE(other->Start({}).ok());
  Drain(*other);
  std::filesystem::remove(path_);
  Write(Line("x"));
  Drain(*other, &status);
  EXPECT_THAT(std::string(status.message()), HasSubstr("replaced"));
}

TEST_F(JsonlTest, AMissingFileIsNotFound) {
  EXPECT_EQ(Open({})->Start({}).code(), absl::StatusCode::kNotFound);
}

// ---------------------------------------------------------------- payloads

PayloadRequest Request(int64_t first_at, int64_t last_at, int64_t seqs, int32_t partition = 0,
                       int32_t partition_count = 1) {
  PayloadRequest request;
  request.stream = {StreamId(1), {"orders", partition}, partition_count};
  request.producer = "A";
  request.run.first_seq = Seq(1);
  request.run.last_seq = Seq(seqs);
  request.run.at_first = std::to_string(first_at);
  request.run.at_last = std::to_string(last_at);
  return request;
}

std::vector<std::string> Values(const absl::StatusOr<std::vector<SourceEvent>>& events) {
  std::vector<std::string> values;
  EXPECT_TRUE(events.ok()) << events.status();
  for (const SourceEvent& event : *events) values.push_back(event.at + "=" + *event.payload.value);
  return values;
}

TEST_F(JsonlTest, PayloadsOfARunComeInOrderAndAgain) {
  std::string text;
  for (int i = 1; i <= 5000; ++i) text += Line("v" + std::to_string(i));
  Write(text);
  auto payloads = OpenJsonlPayloadSource({path_}).value();
  EXPECT_THAT(Values(payloads->Read(Request(2, 4, 3))), ElementsAre("2=v2", "3=v3", "4=v4"));
  EXPECT_THAT(Values(payloads->Read(Request(4999, 5000, 2))),
              ElementsAre("4999=v4999", "5000=v5000"));
  EXPECT_THAT(Values(payloads->Read(Request(2500, 2500, 1))), ElementsAre("2500=v2500"));
  EXPECT_THAT(Values(payloads->Read(Request(1, 1, 1))), ElementsAre("1=v1"));
}

TEST_F(JsonlTest, PayloadsGoThroughThePartitionFunction) {
  std::string text;
  for (int i = 1; i <= 100; ++i) text += Line("v" + std::to_string(i));
  Write(text);
  auto payloads = OpenJsonlPayloadSource({path_}).value();
  size_t total = 0;
  for (int32_t p = 0; p < 3; ++p) {
    // As many as the partition has: found by asking for each number in turn.
    for (int64_t n = 1; n < 100; ++n) {
      const auto events = payloads->Read(Request(1, 100, n, p, 3));
      if (events.ok()) {
        total += events->size();
        break;
      }
    }
  }
  EXPECT_EQ(total, 100u) << "the partitions share the lines out";
  EXPECT_EQ(payloads->Read(Request(1, 100, 100, 1, 3))->size(), 100u)
      << "a producer with --partition wrote them all to one";
}

TEST_F(JsonlTest, AMissingPayloadIsNamed) {
  Write(Line("a") + Line("b"));
  auto payloads = OpenJsonlPayloadSource({path_}).value();
  const auto events = payloads->Read(Request(2, 4, 3));
  EXPECT_EQ(events.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(events.status().message()), HasSubstr("ends before line 3"));
  EXPECT_THAT(Values(payloads->Read(Request(1, 2, 2))), ElementsAre("1=a", "2=b"));
}

TEST_F(JsonlTest, StandardInputIsNoPayloadSource) {
  EXPECT_EQ(OpenJsonlPayloadSource({"-"}).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace lockstep
