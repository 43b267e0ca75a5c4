// Checkpoint exports: what is written when, and what happens to them on bad days.
#include "producer/checkpointed_source.h"

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/kafka/mock_cluster.h"
#include "producer/checkpoint_export.h"
#include "tests/support/faulty_file_system.h"

namespace lockstep {
namespace {

using std::chrono::milliseconds;
using testing::AnyOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using Place = CheckpointExport::Place;

// ---------------------------------------------------------------- what is written when

TEST(CheckpointExportTest, OnceAnIntervalTheNewest) {
  CheckpointExport exports(true, false, 1000);
  EXPECT_EQ(exports.Begin(Place::kFile, 0), std::nullopt) << "the ledger has nothing yet";
  exports.OnDurable("1");
  EXPECT_EQ(exports.Begin(Place::kFile, 0), "1");
  EXPECT_EQ(exports.Begin(Place::kFile, 0), std::nullopt) << "one write at a time";
  exports.End(Place::kFile, true, 10);
  exports.OnDurable("2");
  exports.OnDurable("3");
  EXPECT_EQ(exports.Begin(Place::kFile, 1009), std::nullopt);
  EXPECT_EQ(exports.Begin(Place::kFile, 1010), "3");
  exports.End(Place::kFile, true, 1010);
  EXPECT_EQ(exports.Begin(Place::kFile, 9999), std::nullopt) << "nothing new";
  EXPECT_EQ(exports.Begin(Place::kTopic, 9999), std::nullopt) << "there is none";
  exports.OnDurable("4");
  EXPECT_EQ(exports.Begin(Place::kFile, 1011, true), "4") << "there is no later";
}

TEST(CheckpointExportTest, AFailedWriteIsRepeatedWithTheNewest) {
  CheckpointExport exports(true, false, 1000);
  exports.OnDurable("1");
  EXPECT_EQ(exports.Begin(Place::kFile, 0), "1");
  exports.End(Place::kFile, false, 0);
  EXPECT_EQ(exports.Begin(Place::kFile, 999), std::nullopt);
  EXPECT_EQ(exports.Begin(Place::kFile, 1000), "1");
  exports.End(Place::kFile, false, 1000);
  exports.OnDurable("2");
  EXPECT_EQ(exports.Begin(Place::kFile, 2000), "2");
}

TEST(CheckpointExportTest, TheTopicGetsOnlyWhatTheFileHas) {
  CheckpointExport exports(true, true, 1000);
  exports.OnDurable("1");
  EXPECT_EQ(exports.Begin(Place::kTopic, 0), std::nullopt);
  EXPECT_EQ(exports.Begin(Place::kFile, 0), "1");
  EXPECT_EQ(exports.Begin(Place::kTopic, 0), std::nullopt) << "the file is not written yet";
  exports.End(Place::kFile, true, 0);
  EXPECT_EQ(exports.Begin(Place::kTopic, 0), "1");
  // Kafka is away: the file goes on.
  exports.OnDurable("2");
  EXPECT_EQ(exports.Begin(Place::kFile, 1000), "2");
  exports.End(Place::kFile, true, 1000);
  exports.OnDurable("3");
  EXPECT_EQ(exports.Begin(Place::kTopic, 1000), std::nullopt) << "one write at a time";
  exports.End(Place::kTopic, true, 1500);
  EXPECT_EQ(exports.Begin(Place::kTopic, 2500), "2");
}

TEST(CheckpointExportTest, WithoutAFileTheTopicGetsTheLedgers) {
  CheckpointExport exports(false, true, 1000);
  exports.OnDurable("1");
  EXPECT_EQ(exports.Begin(Place::kFile, 0), std::nullopt);
  EXPECT_EQ(exports.Begin(Place::kTopic, 0), "1");
}

// ---------------------------------------------------------------- the source around it

// Remembers how it was started and what it was told.
class InnerSource final : public Source {
 public:
  struct Seen {
    std::vector<ResumePoint> started;
    std::vector<std::string> told;
  };
  explicit InnerSource(Seen* seen) : seen_(seen) {}
  absl::Status Start(const ResumePoint& point) override {
    seen_->started.push_back(point);
    return absl::OkStatus();
  }
  absl::Status Poll(size_t, milliseconds, std::vector<SourceEvent>&) override {
    return absl::OkStatus();
  }
  bool ended() const override { return false; }
  void Acknowledge(std::string_view at, std::string_view) override { seen_->told.emplace_back(at); }

 private:
  Seen* const seen_;
};

// A topic whose writes succeed or fail when the test says so.
class FakeTopic final : public CheckpointTopic {
 public:
  struct State {
    std::map<std::string, std::string> values;
    std::optional<absl::Status> next_result = absl::OkStatus();
    std::vector<std::string> file_at_write;  // What the file said when a write began.
    FileSystem* fs = nullptr;
  };
  explicit FakeTopic(State* state) : state_(state) {}
  const std::string& name() const override { return name_; }
  absl::StatusOr<std::optional<std::string>> ReadLast(const std::string& key) override {
    const auto found = state_->values.find(key);
    if (found == state_->values.end()) return std::nullopt;
    return found->second;
  }
  void Write(const std::string& key, const std::string& value) override {
    pending_ = {key, value};
    if (state_->fs != nullptr) state_->file_at_write.push_back(state_->fs->Read("cp").value());
  }
  std::optional<absl::Status> Result(milliseconds) override {
    if (!pending_ || !state_->next_result) return std::nullopt;
    if (state_->next_result->ok()) state_->values[pending_->first] = pending_->second;
    pending_.reset();
    return state_->next_result;
  }

 private:
  State* const state_;
  const std::string name_ = "offsets";
  std::optional<std::pair<std::string, std::string>> pending_;
};

const pika::CheckpointOwner kOwner{"10.0.0.1:9221", "", "A"};

class CheckpointedSourceTest : public testing::Test {
 protected:
  std::unique_ptr<Source> Open(bool with_topic = false, bool decide = false) {
    CheckpointOptions options;
    options.owner = kOwner;
    options.file = "cp";
    options.decide = decide;
    if (with_topic) options.topic = std::make_unique<FakeTopic>(&topic_);
    return ExportCheckpoints(std::make_unique<InnerSource>(&inner_), std::move(options), fs_,
                             clock_);
  }
  static std::string Checkpoint(int offset) { return absl::StrCat("0:", offset, ":7:0:1:9"); }
  static std::string At(int offset) { return absl::StrCat("0:", offset); }
  static std::string Json(int offset) {
    return pika::CheckpointJson(kOwner, pika::ParsePikaCheckpoint(Checkpoint(offset)).value(), 1);
  }
  // The offset that an export names; -1: there is none.
  static int OffsetIn(const absl::StatusOr<std::string>& json) {
    if (!json.ok()) return -1;
    const auto checkpoint = pika::ParseCheckpointJson(*json, kOwner);
    EXPECT_TRUE(checkpoint.ok()) << checkpoint.status() << " " << *json;
    return checkpoint.ok() ? static_cast<int>(checkpoint->position.binlog.offset) : -2;
  }
  int InFile() { return OffsetIn(fs_.Read("cp")); }
  int InTopic() {
    const auto found = topic_.values.find("10.0.0.1:9221");
    return found == topic_.values.end() ? -1 : OffsetIn(found->second);
  }
  // What the engine does after a durable commit, and then again and again.
  void Durable(Source& source, int offset) { source.Acknowledge(At(offset), Checkpoint(offset)); }
  void PassTime(Source& source, int64_t ms) {
    clock_.Advance(ms);
    std::vector<SourceEvent> events;
    EXPECT_TRUE(source.Poll(1, milliseconds(0), events).ok());
  }

  FaultyFileSystem fs_;
  ManualClock clock_;
  InnerSource::Seen inner_;
  FakeTopic::State topic_;
};

TEST_F(CheckpointedSourceTest, FileFirstThenTopicNotOftenerThanTheInterval) {
  topic_.fs = &fs_;
  auto source = Open(true);
  ASSERT_TRUE(source->Start({}).ok());
  source->Acknowledge("0:5", "");  // What was there at the start.
  EXPECT_EQ(InFile(), -1);
  Durable(*source, 10);
  Durable(*source, 20);
  EXPECT_EQ(InFile(), 10);
  PassTime(*source, 999);
  EXPECT_EQ(InFile(), 10);
  EXPECT_EQ(InTopic(), 10);
  PassTime(*source, 1);
  EXPECT_EQ(InFile(), 20);
  PassTime(*source, 1000);
  PassTime(*source, 0);
  EXPECT_EQ(InTopic(), 20);
  Durable(*source, 30);
  Durable(*source, 40);
  source.reset();  // The end does not wait for the interval.
  EXPECT_EQ(InFile(), 40);
  EXPECT_EQ(InTopic(), 40);
  for (size_t i = 0; i < topic_.file_at_write.size(); ++i) {
    EXPECT_GE(OffsetIn(topic_.file_at_write[i]), static_cast<int>(i + 1) * 10) << "file first";
  }
  EXPECT_THAT(inner_.told, ElementsAre("0:5", "0:10", "0:20", "0:30", "0:40"));
}

TEST_F(CheckpointedSourceTest, TheLedgerDecidesWhateverTheExportsSay) {
  for (const int offset : {50, 100, 150}) {
    ASSERT_TRUE(ReplaceFile(fs_, "cp", Json(offset)).ok());
    topic_.values["10.0.0.1:9221"] = Json(offset);
    inner_.started.clear();
    testing::internal::CaptureStderr();
    auto source = Open(true);
    const ResumePoint ledger{Checkpoint(100), "", At(100)};
    ASSERT_TRUE(source->Start(ledger).ok());
    ASSERT_EQ(inner_.started.size(), 1U);
    EXPECT_EQ(inner_.started[0].checkpoint, ledger.checkpoint);
    const std::string said = testing::internal::GetCapturedStderr();
    source.reset();
    EXPECT_EQ(InFile(), 100) << "the ledger's is exported at the start, too";
    EXPECT_EQ(InTopic(), 100);
    for (const char* place : {"file", "topic"}) {
      const std::string positions =
          absl::StrCat("place=", place, " position=0:", offset, " ledger=0:100");
      if (offset < 100) {
        EXPECT_THAT(said, HasSubstr("info checkpoint_behind_ledger " + positions));
      } else if (offset > 100) {
        EXPECT_THAT(said, HasSubstr("error checkpoint_ahead_of_ledger " + positions));
      } else {
        EXPECT_EQ(said, "");
      }
    }
  }
}

TEST_F(CheckpointedSourceTest, WithoutALedgerTheFileDecidesElseTheTopic) {
  const auto resumed_behind = [&] {
    EXPECT_TRUE(Open(true, true)->Start({}).ok());
    EXPECT_EQ(inner_.started.back().floor, "");
    return inner_.started.back().checkpoint.value_or("the beginning");
  };
  EXPECT_EQ(resumed_behind(), "the beginning");
  topic_.values["10.0.0.1:9221"] = Json(50);
  EXPECT_EQ(resumed_behind(), Checkpoint(50));
  ASSERT_TRUE(ReplaceFile(fs_, "cp", Json(40)).ok());
  EXPECT_EQ(resumed_behind(), Checkpoint(40));
  ASSERT_TRUE(ReplaceFile(fs_, "cp", Json(40).substr(0, 50)).ok());
  const absl::Status status = Open(true, true)->Start({});
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("resumes by the file, else by the topic, else from its beginning: remove "
                        "the file"));
}

TEST_F(CheckpointedSourceTest, ADamagedOrForeignOneIsRefusedAndStays) {
  const std::string foreign =
      pika::CheckpointJson({"10.0.0.9:9221", "", "A"}, {{{0, 5}}, 1, 0, 0}, 1);
  for (const std::string& bad : {std::string(), Json(50).substr(0, 40), foreign}) {
    ASSERT_TRUE(ReplaceFile(fs_, "cp", bad).ok());
    const absl::Status status = Open()->Start({Checkpoint(100), "", At(100)});
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(status.message()), HasSubstr("checkpoint file cp: "));
    EXPECT_THAT(std::string(status.message()), HasSubstr("remove the file, or name another"));
    EXPECT_EQ(fs_.Read("cp").value(), bad);
    ASSERT_TRUE(fs_.Remove("cp").ok());

    topic_.values["10.0.0.1:9221"] = bad;
    const absl::Status topic = Open(true)->Start({Checkpoint(100), "", At(100)});
    EXPECT_EQ(topic.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(topic.message()), HasSubstr("topic offsets, key 10.0.0.1:9221: "));
    EXPECT_THAT(std::string(topic.message()), HasSubstr("with this key and no value"));
    topic_.values.clear();
  }
  EXPECT_THAT(inner_.started, IsEmpty());
}

TEST_F(CheckpointedSourceTest, ADiskThatIsFullIsReportedAndTriedAgain) {
  auto source = Open(true);
  ASSERT_TRUE(source->Start({}).ok());
  Durable(*source, 10);
  PassTime(*source, 0);
  EXPECT_EQ(InTopic(), 10);
  testing::internal::CaptureStderr();
  for (int i = 0; i < 3; ++i) {
    fs_.FailNext(absl::ResourceExhaustedError("write cp.tmp: no space left on device"));
    Durable(*source, 20 + i);
    PassTime(*source, 1000);
    PassTime(*source, 0);
    EXPECT_EQ(InFile(), 10) << "the old one stays";
    EXPECT_EQ(InTopic(), 10) << "file first";
  }
  PassTime(*source, 1000);
  PassTime(*source, 0);
  EXPECT_EQ(InFile(), 22);
  EXPECT_EQ(InTopic(), 22);
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_THAT(said, HasSubstr("warn checkpoint_not_written place=file why="));
  EXPECT_THAT(said, HasSubstr("no space left on device"));
  EXPECT_EQ(said.find("checkpoint_not_written"), said.rfind("checkpoint_not_written"))
      << "once in a while is enough: " << said;
  EXPECT_THAT(said, HasSubstr("checkpoint_written_again place=file"));
}

TEST_F(CheckpointedSourceTest, ATopicThatIsAwayDoesNotHoldUpTheFile) {
  auto source = Open(true);
  ASSERT_TRUE(source->Start({}).ok());
  topic_.next_result.reset();  // Nothing is known of the write.
  Durable(*source, 10);
  Durable(*source, 20);
  PassTime(*source, 1000);
  EXPECT_EQ(InFile(), 20);
  EXPECT_EQ(InTopic(), -1);
  topic_.next_result = absl::UnavailableError("broker away");
  PassTime(*source, 0);
  topic_.next_result = absl::OkStatus();
  PassTime(*source, 1000);
  PassTime(*source, 0);
  EXPECT_EQ(InTopic(), 20);
}

TEST_F(CheckpointedSourceTest, APowerCutLeavesOneOfTheLedgersCheckpointsWhole) {
  for (uint64_t seed = 0; seed < 8; ++seed) {
    for (int cut = 0;; ++cut) {
      SCOPED_TRACE(absl::StrCat("seed ", seed, " cut ", cut));
      FaultyFileSystem fs(seed);
      ASSERT_TRUE(ReplaceFile(fs, "cp", Json(10)).ok());
      fs.PowerOffAfter(cut);
      {
        CheckpointOptions options{.owner = kOwner, .file = "cp"};
        auto source = ExportCheckpoints(std::make_unique<InnerSource>(&inner_), std::move(options),
                                        fs, clock_);
        if (source->Start({Checkpoint(10), "", At(10)}).ok()) {
          Durable(*source, 20);
          clock_.Advance(1000);
          Durable(*source, 30);
        }
      }
      const bool finished = !fs.powered_off();
      fs.Crash();
      EXPECT_THAT(OffsetIn(fs.Read("cp")), AnyOf(10, 20, 30));
      if (finished) {
        EXPECT_EQ(OffsetIn(fs.Read("cp")), 30);
        break;
      }
    }
  }
}

// ---------------------------------------------------------------- the topic

class CheckpointTopicTest : public testing::Test {
 protected:
  std::unique_ptr<CheckpointTopic> Open(const std::string& topic) {
    return OpenCheckpointTopic({.brokers = cluster_->brokers(), .properties = {}}, topic,
                               milliseconds(10'000));
  }
  static absl::Status Write(CheckpointTopic& topic, const std::string& key,
                            const std::string& value) {
    topic.Write(key, value);
    const auto deadline = std::chrono::steady_clock::now() + milliseconds(10'000);
    while (std::chrono::steady_clock::now() < deadline) {
      if (const auto result = topic.Result(milliseconds(100))) return *result;
    }
    return absl::DeadlineExceededError("no report");
  }
  std::unique_ptr<MockCluster> cluster_ = MockCluster::Start().value();
};

TEST_F(CheckpointTopicTest, TheLastValueOfAKeyIsRead) {
  ASSERT_TRUE(cluster_->CreateTopic("offsets", 1).ok());
  auto topic = Open("offsets");
  EXPECT_EQ(topic->ReadLast("a").value(), std::nullopt);
  for (int i = 1; i <= 3; ++i) {
    ASSERT_TRUE(Write(*topic, "a", absl::StrCat("a", i)).ok());
    ASSERT_TRUE(Write(*topic, "b", absl::StrCat("b", i)).ok());
  }
  EXPECT_EQ(topic->ReadLast("a").value(), "a3");
  EXPECT_EQ(Open("offsets")->ReadLast("b").value(), "b3");
  EXPECT_EQ(topic->ReadLast("c").value(), std::nullopt);
}

TEST_F(CheckpointTopicTest, AFailedWriteIsToldAndTheNextOneWorks) {
  ASSERT_TRUE(cluster_->CreateTopic("offsets", 1).ok());
  auto topic = Open("offsets");
  cluster_->FailProduce({RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED});
  EXPECT_FALSE(Write(*topic, "a", "a1").ok());
  EXPECT_TRUE(Write(*topic, "a", "a2").ok());
  EXPECT_EQ(topic->ReadLast("a").value(), "a2");
}

TEST_F(CheckpointTopicTest, ATopicThatCannotKeepAKeyIsRefused) {
  ASSERT_TRUE(cluster_->CreateTopic("wide", 2).ok());
  const absl::Status wide = Open("wide")->ReadLast("a").status();
  EXPECT_EQ(wide.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(wide.message()), HasSubstr("has 2 partitions; it needs one"));
}

}  // namespace
}  // namespace lockstep
