// The gate and the file together: wherever a process dies, the power fails, the disk is full or a
// commit's outcome stays unknown, the file ends up with every position once, in order.
#include "reorder/sinks/jsonl_sink.h"

#include <unistd.h>

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_split.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/base/status_macros.h"
#include "db-ledger/memory_ledger.h"
#include "tests/support/faulty_file_system.h"

namespace lockstep {
namespace {

using testing::HasSubstr;

const StreamName kStream{"orders", 0};
constexpr int64_t kRecords = 40;

ReadyRecord MakeRecord(int64_t offset) {
  ReadyRecord record;
  record.position = {Epoch(1), Offset(offset)};
  record.producer = "A";
  record.term = Term(1);
  record.seq = Seq(offset + 1);
  record.view.value = "v";
  return record;
}

// One life of a gate: opens, resolves doubt, sends in batches of `batch` until all is out.
absl::Status Live(FileSystem& fs, Ledger& ledger, int64_t batch, int repeats_max) {
  LOCKSTEP_ASSIGN_OR_RETURN(const auto file, JsonlFile::Open(fs, "d/out", {kStream}));
  JsonlSink sink(file, kStream, true);
  const auto opened = ledger.OpenGate("g", {kStream}, true);
  if (!opened.committed()) return absl::UnavailableError("open");
  const Cursor& cursor = opened.value.cursors[0];
  Gate gate({kAllRules, "g", cursor.stream, kStream}, cursor);
  LOCKSTEP_ASSIGN_OR_RETURN(const std::optional<Position> last, sink.Last());
  LOCKSTEP_RETURN_IF_ERROR(gate.Resolve({sink.kind(), last, InDoubtPolicy::kHold, false}));

  const auto commit = [&](const MoveCursorRequest& move) -> absl::Status {
    for (int i = 0; i < repeats_max; ++i) {
      const Gate::Answer answer = gate.Moved(move, ledger.MoveCursor(move));
      if (answer == Gate::Answer::kGo) return absl::OkStatus();
      if (answer != Gate::Answer::kRepeat) return absl::AbortedError("fenced");
    }
    return absl::UnavailableError("unknown for ever");
  };
  int64_t next = gate.done().has_value() ? gate.done()->offset.value() + 1 : 0;
  while (next < kRecords) {
    std::vector<ReadyRecord> records;
    for (; next < kRecords && static_cast<int64_t>(records.size()) < batch; ++next) {
      records.push_back(MakeRecord(next));
    }
    const Position end = records.back().position;
    LOCKSTEP_RETURN_IF_ERROR(commit(gate.Move(end)));
    for (const ReadyRecord& record : records) gate.Leaves(record.position);
    LOCKSTEP_RETURN_IF_ERROR(sink.Write(records));
    LOCKSTEP_RETURN_IF_ERROR(sink.Sync());
    gate.Left(end);
  }
  return gate.owes_done() ? commit(gate.Move(std::nullopt)) : absl::OkStatus();
}

void ExpectOnceInOrder(FileSystem& fs, const std::string& trace) {
  std::vector<std::string> lines = absl::StrSplit(fs.Read("d/out").value(), '\n');
  ASSERT_EQ(lines.back(), "") << trace;
  lines.pop_back();
  ASSERT_EQ(lines.size(), static_cast<size_t>(kRecords)) << trace;
  for (int64_t i = 0; i < kRecords; ++i) {
    const auto record = ParseRecordJson(lines[static_cast<size_t>(i)]);
    ASSERT_TRUE(record.ok()) << trace << record.status();
    ASSERT_EQ(record->offset, Offset(i)) << trace;
  }
}

TEST(JsonlSinkFaultTest, APowerCutBeforeAnyOperationLosesAndDoublesNothing) {
  for (uint64_t seed = 0; seed < 4; ++seed) {
    for (int cut = 0;; ++cut) {
      FaultyFileSystem fs(seed);
      LedgerState state;
      MemoryLedger ledger(&state, kAllRules, "gate");
      fs.PowerOffAfter(cut);
      const absl::Status first = Live(fs, ledger, 7, 1);
      const bool finished = !fs.powered_off();
      fs.Crash();
      const std::string trace = "seed " + std::to_string(seed) + " cut " + std::to_string(cut);
      ASSERT_EQ(Live(fs, ledger, 7, 1), absl::OkStatus()) << trace;
      ExpectOnceInOrder(fs, trace);
      if (finished) break;
      ASSERT_FALSE(first.ok());
    }
  }
}

TEST(JsonlSinkFaultTest, CrashesUnknownOutcomesAndFullDisksInAnyOrder) {
  for (uint64_t seed = 1; seed <= 400; ++seed) {
    std::mt19937_64 random(seed);
    FaultyFileSystem fs(seed);
    LedgerState state;
    MemoryLedger ledger(&state, kAllRules, "gate");
    ledger.SetFate([&](const PendingCommit&) {
      constexpr CommitFate kFates[] = {CommitFate::kUnknownApplied, CommitFate::kUnknownNotApplied,
                                       CommitFate::kRefused};
      return random() % 4 == 0 ? kFates[random() % 3] : CommitFate::kDurable;
    });
    const std::string trace = "seed " + std::to_string(seed);
    for (int life = 0; life < 12; ++life) {
      if (random() % 2 == 0) fs.PowerOffAfter(static_cast<int>(random() % 25));
      if (random() % 3 == 0) fs.FailNext(absl::ResourceExhaustedError("disk full"));
      const absl::Status lived = Live(fs, ledger, static_cast<int64_t>(1 + random() % 9),
                                      static_cast<int>(1 + random() % 3));
      ASSERT_FALSE(absl::IsFailedPrecondition(lived)) << trace << lived;
      if (fs.powered_off()) fs.Crash();
    }
    ledger.SetFate(nullptr);
    fs.Crash();
    ASSERT_EQ(Live(fs, ledger, 5, 1), absl::OkStatus()) << trace;
    ExpectOnceInOrder(fs, trace);
  }
}

TEST(JsonlSinkTest, ATornLastLineIsCutOff) {
  FaultyFileSystem fs;
  LedgerState state;
  MemoryLedger ledger(&state, kAllRules, "gate");
  ASSERT_EQ(Live(fs, ledger, 7, 1), absl::OkStatus());
  const std::string whole = fs.Read("d/out").value();
  ASSERT_TRUE(fs.Append("d/out", "{\"stream\":\"orders/0\",\"ep").ok());
  const auto file = JsonlFile::Open(fs, "d/out", {kStream});
  ASSERT_TRUE(file.ok());
  EXPECT_EQ((*file)->Last(kStream), (Position{Epoch(1), Offset(kRecords - 1)}));
  EXPECT_EQ(fs.Read("d/out").value(), whole);
}

TEST(JsonlSinkTest, AFullDiskStopsForGood) {
  FaultyFileSystem fs;
  const auto file = JsonlFile::Open(fs, "d/out", {kStream});
  ASSERT_TRUE(file.ok());
  JsonlSink sink(*file, kStream, true);
  fs.FailNext(absl::ResourceExhaustedError("disk full"));
  const std::vector<ReadyRecord> records{MakeRecord(0)};
  EXPECT_EQ(sink.Write(records).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(sink.Write(records).code(), absl::StatusCode::kResourceExhausted)
      << "after a torn line nothing may follow it";
}

TEST(JsonlSinkTest, OnlyOneProcessHoldsTheFile) {
  FaultyFileSystem fs;
  const auto first = JsonlFile::Open(fs, "d/out", {kStream});
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(JsonlFile::Open(fs, "d/out", {kStream}).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST(JsonlSinkTest, AFileOfSomethingElseIsRefused) {
  FaultyFileSystem fs;
  ASSERT_TRUE(fs.Write("d/out", "hello\n").ok());
  const auto file = JsonlFile::Open(fs, "d/out", {kStream});
  EXPECT_THAT(std::string(file.status().message()), HasSubstr("not a file of records"));
}

TEST(JsonlSinkTest, AnotherGroupsFileIsNotTheOutside) {
  FaultyFileSystem fs;
  LedgerState state;
  MemoryLedger ledger(&state, kAllRules, "gate");
  ASSERT_EQ(Live(fs, ledger, 7, 1), absl::OkStatus());
  ASSERT_TRUE(fs.Remove("d/out").ok());
  EXPECT_THAT(std::string(Live(fs, ledger, 7, 1).message()), HasSubstr("sink-is-not-the-outside"));
}

// A pipe that is full takes a part of a batch; the other stream must not write into it.
TEST(JsonlStdoutSinkTest, LinesOfTwoStreamsDoNotMix) {
  int pipe_fds[2];
  ASSERT_EQ(pipe(pipe_fds), 0);
  constexpr int kLines = 20'000;
  const std::vector<ReadyRecord> records(kLines, MakeRecord(7));
  std::vector<std::thread> writers;
  for (const int partition : {0, 1}) {
    writers.emplace_back([&, partition] {
      JsonlStdoutSink sink({"orders", partition}, pipe_fds[1]);
      EXPECT_TRUE(sink.Write(records).ok());
    });
  }
  std::thread closer([&] {
    for (std::thread& writer : writers) writer.join();
    close(pipe_fds[1]);
  });
  std::string output;
  char part[4096];
  for (ssize_t count; (count = read(pipe_fds[0], part, sizeof(part))) > 0;) {
    output.append(part, static_cast<size_t>(count));
  }
  closer.join();
  close(pipe_fds[0]);
  std::vector<std::string> lines = absl::StrSplit(output, '\n', absl::SkipEmpty());
  EXPECT_EQ(lines.size(), 2U * kLines);
  std::sort(lines.begin(), lines.end());
  lines.erase(std::unique(lines.begin(), lines.end()), lines.end());
  EXPECT_EQ(lines.size(), 2U) << "one of each stream, over and over";
}

TEST(JsonlSinkTest, FindsEveryStreamsLastLine) {
  FaultyFileSystem fs;
  const std::vector<StreamName> streams{{"orders", 0}, {"orders", 1}, {"orders", 2}};
  {
    const auto file = JsonlFile::Open(fs, "d/out", streams);
    ASSERT_TRUE(file.ok());
    JsonlSink zero(*file, streams[0], true);
    JsonlSink one(*file, streams[1], true);
    ASSERT_TRUE(one.Write(std::vector<ReadyRecord>{MakeRecord(5), MakeRecord(6)}).ok());
    for (int64_t i = 0; i < 9000; ++i) {  // More than one chunk from the end.
      ASSERT_TRUE(zero.Write(std::vector<ReadyRecord>{MakeRecord(i)}).ok());
    }
  }
  const auto file = JsonlFile::Open(fs, "d/out", streams);
  ASSERT_TRUE(file.ok());
  EXPECT_EQ((*file)->Last(streams[0]), (Position{Epoch(1), Offset(8999)}));
  EXPECT_EQ((*file)->Last(streams[1]), (Position{Epoch(1), Offset(6)}));
  EXPECT_EQ((*file)->Last(streams[2]), std::nullopt);
}

}  // namespace
}  // namespace lockstep
