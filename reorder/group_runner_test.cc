// The runner with a scripted group and streams that do what a test tells them.
#include "reorder/group_runner.h"

#include <deque>
#include <map>
#include <mutex>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "reorder/budget_share.h"

namespace lockstep {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using testing::ElementsAre;
using testing::IsEmpty;
using Change = GroupMembership::Change;
using Kind = Change::Kind;

// Gives one change after the other, each after the one before was accepted.
class ScriptedGroup final : public GroupMembership {
 public:
  absl::StatusOr<std::optional<Change>> Poll() override {
    if (!error.ok()) return error;
    if (changes.empty() || pending) return std::nullopt;
    pending = true;
    return changes.front();
  }
  absl::Status Accept() override {
    pending = false;
    if (on_accept) on_accept(changes.front());
    changes.pop_front();
    return absl::OkStatus();
  }
  void Leave() override { left = true; }

  std::deque<Change> changes;
  bool pending = false;
  bool left = false;
  absl::Status error;
  std::function<void(const Change&)> on_accept;
};

class GroupRunnerTest : public testing::Test {
 protected:
  static constexpr int32_t kStreams = 3;

  void SetUp() override {
    for (int32_t i = 0; i < kStreams; ++i) {
      options_.streams.push_back({"orders", i});
      progress_.push_back(std::make_unique<StreamProgress>());
    }
    options_.group = "g";
    options_.reopen_pause = milliseconds(1);
  }

  // Runs until `done`, or 20 s.
  absl::Status Run(const std::function<bool()>& done) {
    GroupRunner runner(
        options_, group_,
        [this](const StreamName& stream, StreamProgress& progress,
               const GroupRunner::StopRequested& stop) { return Work(stream, progress, stop); },
        progress_);
    const auto deadline = steady_clock::now() + std::chrono::seconds(20);
    const absl::Status status = runner.Run([&] { return done() || steady_clock::now() > deadline; },
                                           [&] { ready_ = runner.Ready(), held_ = runner.held(); });
    EXPECT_LT(steady_clock::now(), deadline) << "what was waited for did not come";
    EXPECT_TRUE(group_.left);
    results_ = runner.TakeResults();
    return status;
  }

  // One engine: takes the next of `ends_` for its stream, or runs until it is stopped.
  StreamResult Work(const StreamName& stream, StreamProgress& progress,
                    const GroupRunner::StopRequested& stop) {
    {
      const std::lock_guard lock(mu_);
      ++opened_[stream.partition];
      running_.insert(stream.partition);
    }
    StreamResult result;
    if (auto& ends = ends_[static_cast<size_t>(stream.partition)]; !ends.empty()) {
      result = ends.front();
      ends.pop_front();
    } else {
      progress.ready = true;
      while (!stop()) std::this_thread::sleep_for(milliseconds(1));
      result.exit_code = ExitCode::kInterrupted;
      result.why = absl::CancelledError("stopped with work left");
    }
    result.emitted = 1;
    const std::lock_guard lock(mu_);
    running_.erase(stream.partition);
    return result;
  }
  std::set<int32_t> running() {
    const std::lock_guard lock(mu_);
    return running_;
  }
  int opened(int32_t partition) {
    const std::lock_guard lock(mu_);
    return opened_[partition];
  }
  static StreamResult Ended(ExitCode code, absl::Status why) {
    StreamResult result;
    result.exit_code = code;
    result.why = std::move(why);
    return result;
  }

  GroupRunnerOptions options_;
  ScriptedGroup group_;
  std::vector<std::unique_ptr<StreamProgress>> progress_;
  std::vector<StreamResult> results_;
  absl::Status ready_;
  int64_t held_ = -1;
  std::deque<StreamResult> ends_[kStreams];  // How the engines end by themselves, in turn.

  std::mutex mu_;
  std::set<int32_t> running_;
  std::map<int32_t, int> opened_;
};

TEST_F(GroupRunnerTest, AProcessWithoutAStreamIsReadyAndWaits) {
  int ticks = 0;
  EXPECT_TRUE(Run([&] { return ++ticks == 3; }).ok());
  EXPECT_TRUE(ready_.ok());
  EXPECT_EQ(held_, 0);
  for (const StreamResult& result : results_) EXPECT_EQ(result.exit_code, ExitCode::kYes);
}

TEST_F(GroupRunnerTest, AStreamIsGivenBackOnlyWhenItsEngineHasEnded) {
  group_.changes = {{Kind::kAssigned, {0, 2}}, {Kind::kRevoked, {2}}, {Kind::kLost, {0}}};
  std::vector<size_t> accepted;
  group_.on_accept = [&](const Change& change) {
    accepted.push_back(change.partitions.size());
    for (const int32_t partition : change.partitions) {
      EXPECT_FALSE(running().contains(partition)) << "still at work, or already";
    }
  };
  EXPECT_TRUE(Run([&] { return accepted.size() == 3; }).ok());
  EXPECT_THAT(accepted, ElementsAre(2, 1, 1));
  // What a stream had left when it went is the next one's.
  for (const StreamResult& result : results_) EXPECT_EQ(result.exit_code, ExitCode::kYes);
  EXPECT_EQ(results_[0].emitted + results_[1].emitted + results_[2].emitted, 2);
}

TEST_F(GroupRunnerTest, AStopDrainsEveryStreamAndThenLeaves) {
  group_.changes = {{Kind::kAssigned, {0, 1, 2}}};
  EXPECT_TRUE(Run([&] { return running().size() == 3 && ready_.ok() && held_ == 3; }).ok());
  EXPECT_THAT(running(), IsEmpty());
  for (const StreamResult& result : results_) EXPECT_EQ(result.exit_code, ExitCode::kInterrupted);
}

TEST_F(GroupRunnerTest, AFencedEngineEndsAloneAndIsOpenedAgainIfItsStreamIsStillOurs) {
  ends_[1] = {Ended(ExitCode::kRefused, absl::AbortedError("fenced"))};
  group_.changes = {{Kind::kAssigned, {0, 1}}};
  EXPECT_TRUE(Run([&] { return running().size() == 2 && opened(1) == 2; }).ok());
  EXPECT_EQ(opened(0), 1);
  EXPECT_EQ(results_[1].emitted, 2);
}

TEST_F(GroupRunnerTest, AFencedEngineIsNotOpenedAgainOnceItsStreamIsGone) {
  options_.reopen_pause = std::chrono::hours(1);
  ends_[1] = {Ended(ExitCode::kRefused, absl::AbortedError("fenced"))};
  group_.changes = {{Kind::kAssigned, {1}}};
  bool lost = false;
  EXPECT_TRUE(Run([&] {
                if (opened(1) == 1 && running().empty() && !lost) {
                  group_.changes.push_back({Kind::kLost, {1}});
                  lost = true;
                }
                return lost && group_.changes.empty();
              }).ok());
  EXPECT_EQ(opened(1), 1);
  EXPECT_EQ(results_[1].exit_code, ExitCode::kYes) << "it is another's now";
}

TEST_F(GroupRunnerTest, ANewEpochEndsTheProgram) {
  StreamResult fenced = Ended(ExitCode::kRefused, absl::AbortedError("fenced"));
  fenced.epoch_is_over = true;
  ends_[1] = {fenced};
  group_.changes = {{Kind::kAssigned, {0, 1}}};
  EXPECT_TRUE(Run([] { return false; }).ok());
  EXPECT_EQ(results_[1].exit_code, ExitCode::kRefused);
}

TEST_F(GroupRunnerTest, WhatIsInDoubtHoldsItsStreamOnly) {
  StreamResult held = Ended(ExitCode::kRefused, absl::FailedPreconditionError("in-doubt: …"));
  held.held_in_doubt = true;
  ends_[1] = {held, held};
  group_.changes = {{Kind::kAssigned, {0, 1}}};
  EXPECT_TRUE(Run([&] { return running().size() == 2; }).ok());  // Somebody moved the cursor.
  EXPECT_EQ(opened(1), 3);
}

TEST_F(GroupRunnerTest, WhatIsHeldInDoubtIsCountedOnceHoweverOftenItIsLookedAt) {
  StreamResult held = Ended(ExitCode::kRefused, absl::FailedPreconditionError("in-doubt: …"));
  held.held_in_doubt = true;
  held.in_doubt = held.held_records = 20;
  StreamResult as_before = held;
  as_before.held_before = true;
  as_before.in_doubt = as_before.held_records = 0;
  StreamResult less = held;  // Somebody said of one producer what became of it.
  less.in_doubt = less.held_records = 5;
  ends_[1] = {held, as_before, as_before, less, as_before};
  group_.changes = {{Kind::kAssigned, {0, 1}}};
  EXPECT_TRUE(Run([&] { return running().size() == 2; }).ok());
  EXPECT_EQ(results_[1].in_doubt, 5);
  EXPECT_EQ(opened(1), 6);
}

TEST_F(GroupRunnerTest, WhatCannotBeReachedWhenAStreamIsOpenedIsTriedAgain) {
  StreamResult away = Ended(ExitCode::kCouldNot, absl::UnavailableError("no ledger"));
  away.could_not_reach = true;
  ends_[1] = {away, away};
  group_.changes = {{Kind::kAssigned, {0, 1}}};
  EXPECT_TRUE(Run([&] { return running().size() == 2; }).ok());
  EXPECT_EQ(opened(1), 3);
}

TEST_F(GroupRunnerTest, AStreamThatFailsEndsTheProgramWithItsCode) {
  ends_[1] = {Ended(ExitCode::kCouldNot, absl::UnavailableError("sink: disk full"))};
  group_.changes = {{Kind::kAssigned, {0, 1}}};
  EXPECT_TRUE(Run([] { return false; }).ok());
  EXPECT_EQ(results_[1].exit_code, ExitCode::kCouldNot);
  EXPECT_THAT(running(), IsEmpty());
}

TEST_F(GroupRunnerTest, AGroupThatCannotBeHadEndsTheProgram) {
  group_.error = absl::PermissionDeniedError("group g: not authorised");
  EXPECT_EQ(Run([] { return false; }).code(), absl::StatusCode::kPermissionDenied);
}

TEST(BudgetShareTest, StreamsShareEvenlyWhateverTheirNumber) {
  BudgetShare share({.bytes = 1000});
  EXPECT_EQ(share.part(), (ParkingBudget{.bytes = 1000}));
  share.set_streams(3);
  EXPECT_EQ(share.part(), (ParkingBudget{.bytes = 333}));
  share.set_streams(0);
  EXPECT_EQ(share.part(), (ParkingBudget{.bytes = 1000}));
}

}  // namespace
}  // namespace lockstep
