#include "producer/wal/wal_source.h"

#include <thread>

#include "common/base/mutex.h"
#include "db-ledger/ledger.h"
#include "producer/pika/pika_checkpoint.h"
#include "producer/wal/wal_payload_source.h"
#include "producer/wal/wal_world_test.h"

namespace lockstep {
namespace {

using std::chrono::milliseconds;
using testing::ElementsAreArray;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr milliseconds kPatience{20'000};

// Events 1 to `last`, whose end may move. Thread-safe.
struct Outside {
  Mutex mu;
  int last ABSL_GUARDED_BY(mu) = 0;
  int given ABSL_GUARDED_BY(mu) = 0;
  size_t bytes = 10;
  absl::Status trouble ABSL_GUARDED_BY(mu);
  absl::Status start_trouble ABSL_GUARDED_BY(mu);
  std::vector<ResumePoint> started;
  std::vector<std::string> told;

  void Have(int events) {
    MutexLock lock(mu);
    last = events;
  }
  void SetStartTrouble(absl::Status status) {
    MutexLock lock(mu);
    start_trouble = std::move(status);
  }
  void SetTrouble(absl::Status status) {
    MutexLock lock(mu);
    trouble = std::move(status);
  }
  int Given() {
    MutexLock lock(mu);
    return given;
  }
};

class WalSourceTest : public WalWorld {
 protected:
  class Inner final : public Source {
   public:
    explicit Inner(Outside& outside) : outside_(outside) {}
    absl::Status Start(const ResumePoint& point) override {
      MutexLock lock(outside_.mu);
      if (!outside_.start_trouble.ok()) return outside_.start_trouble;
      outside_.started.push_back(point);
      outside_.given = static_cast<int>(pika::ResumePosition(point).value().binlog.offset);
      return absl::OkStatus();
    }
    absl::Status Poll(size_t max, milliseconds, std::vector<SourceEvent>& events) override {
      MutexLock lock(outside_.mu);
      for (; max > 0 && outside_.given < outside_.last; --max) {
        events.push_back(Event(++outside_.given, outside_.bytes));
      }
      if (events.empty()) std::this_thread::sleep_for(milliseconds(1));
      return outside_.trouble;
    }
    bool ended() const override { return false; }
    void Acknowledge(std::string_view at, std::string_view) override {
      outside_.told.emplace_back(at);
    }
    std::function<std::string(const SourceEvent&)> FormatCheckpoint() const override {
      return pika::FormatPikaCheckpoint;
    }
    std::optional<SourceStatus> Status() const override {
      SourceStatus status;
      status.binlog_events = 17;
      status.ledgered.binlog = {9, 9};  // It goes on behind the WAL.
      return status;
    }

   private:
    Outside& outside_;
  };

  // As the ledger would start it, having everything up to event `ledgered`.
  absl::Status Start(int ledgered, const WalLimits& limits = {}) {
    source_.reset();
    source_ = ReadThroughWal(std::make_unique<Inner>(outside_), Open(), limits);
    ResumePoint point;
    if (ledgered > 0) {
      point.checkpoint = pika::FormatPikaCheckpoint(Event(ledgered));
      point.seen = Event(ledgered).at;
    }
    return source_->Start(point);
  }
  // Polls until there are `count` events, or an error comes that is none of the source's being
  // away.
  absl::Status PollUntil(size_t count, std::vector<SourceEvent>& events) {
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    while (events.size() < count && std::chrono::steady_clock::now() < deadline) {
      const absl::Status status = source_->Poll(100, milliseconds(20), events);
      if (!status.ok() && !absl::IsUnavailable(status)) return status;
    }
    return absl::OkStatus();
  }
  std::vector<std::string> Polled(size_t count) {
    std::vector<SourceEvent> events;
    const absl::Status status = PollUntil(count, events);
    EXPECT_TRUE(status.ok()) << status;
    return Positions(events);
  }
  template <class Condition>
  static bool Await(Condition condition) {
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    while (!condition()) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      std::this_thread::sleep_for(milliseconds(2));
    }
    return true;
  }
  void Ledgered(int n) { source_->Acknowledge(Event(n).at, pika::FormatPikaCheckpoint(Event(n))); }

  Outside outside_;
  std::unique_ptr<Source> source_;
};

TEST_F(WalSourceTest, WhatItHasIsReplayedThoughTheSourceIsAway) {
  outside_.Have(100);
  ASSERT_TRUE(Start(0).ok());
  ASSERT_EQ(Polled(100).size(), 100U);
  outside_.SetStartTrouble(absl::UnavailableError("the master is away"));
  ASSERT_TRUE(Start(40).ok());
  EXPECT_THAT(Polled(60), ElementsAreArray(Positions(41, 100)));
  std::vector<SourceEvent> events;
  ASSERT_TRUE(
      Await([&] { return absl::IsUnavailable(source_->Poll(100, milliseconds(20), events)); }));
  EXPECT_FALSE(source_->ended());
  EXPECT_THAT(events, IsEmpty());
  outside_.SetStartTrouble(absl::OkStatus());
  outside_.Have(110);
  EXPECT_THAT(Polled(10), ElementsAreArray(Positions(101, 110)));
  // With nothing to replay the caller is told.
  outside_.SetStartTrouble(absl::UnavailableError("the master is away"));
  EXPECT_TRUE(absl::IsUnavailable(Start(110)));
  outside_.SetStartTrouble(absl::FailedPreconditionError("it has another history"));
  EXPECT_TRUE(absl::IsFailedPrecondition(Start(40)));
}

TEST_F(WalSourceTest, TheSourceIsReadOnWhileNobodyPolls) {
  outside_.Have(5'000);
  ASSERT_TRUE(Start(0).ok());
  EXPECT_TRUE(Await([&] { return outside_.Given() == 5'000; }));
  EXPECT_THAT(Polled(5'000), ElementsAreArray(Positions(1, 5'000)));
  outside_.Have(5'010);
  EXPECT_THAT(Polled(10), ElementsAreArray(Positions(5'001, 5'010)));
}

TEST_F(WalSourceTest, WhatTheLedgerHasNotGotIsReplayed) {
  outside_.Have(100);
  ASSERT_TRUE(Start(0).ok());
  EXPECT_THAT(Polled(100), ElementsAreArray(Positions(1, 100)));
  // The process dies; the source has forgotten all of it since.
  ASSERT_TRUE(Start(40).ok());
  EXPECT_EQ(outside_.started.back().checkpoint, pika::FormatPikaCheckpoint(Event(100)));
  EXPECT_EQ(outside_.started.back().seen, "0:40");
  outside_.Have(103);
  EXPECT_THAT(Polled(63), ElementsAreArray(Positions(41, 103)));
  // One stream: its head is ahead of the checkpoint.
  source_.reset();
  source_ = ReadThroughWal(std::make_unique<Inner>(outside_), Open(), {});
  ASSERT_TRUE(source_->Start({pika::FormatPikaCheckpoint(Event(40)), "0:60", "0:60"}).ok());
  EXPECT_EQ(outside_.started.back().floor, "");
  EXPECT_THAT(Polled(43), ElementsAreArray(Positions(61, 103)));
}

TEST_F(WalSourceTest, TellsWhatTheLedgerHasAndWhatItHasNot) {
  outside_.Have(100);
  ASSERT_TRUE(Start(0).ok());
  ASSERT_EQ(Polled(100).size(), 100U);
  Ledgered(40);
  const auto at = [&] { return ToString(source_->Status()->ledgered); };
  EXPECT_EQ(at(), "0:40");
  EXPECT_EQ(source_->Status()->binlog_events, 17);
  ASSERT_TRUE(Start(40).ok());
  EXPECT_EQ(at(), "0:40");
  const uint64_t bytes = source_->Status()->wal_unledgered_bytes.value();
  EXPECT_GT(bytes, 60U * 10);
  ASSERT_EQ(Polled(60).size(), 60U);
  Ledgered(100);
  EXPECT_EQ(at(), "0:100");
  EXPECT_EQ(source_->Status()->wal_unledgered_bytes, 0U);
}

TEST_F(WalSourceTest, AReplayedEventIsTheSameBytes) {
  outside_.Have(10);
  ASSERT_TRUE(Start(0).ok());
  std::vector<SourceEvent> first;
  ASSERT_TRUE(PollUntil(10, first).ok());
  ASSERT_TRUE(Start(0).ok());
  std::vector<SourceEvent> again;
  ASSERT_TRUE(PollUntil(10, again).ok());
  for (size_t i = 0; i < 10; ++i) {
    EXPECT_EQ(again[i].payload, first[i].payload);
    EXPECT_EQ(pika::FormatPikaCheckpoint(again[i]), pika::FormatPikaCheckpoint(first[i]));
  }
}

TEST_F(WalSourceTest, AtTheBoundTheSourceWaitsUntilTheLedgerHasSome) {
  outside_.bytes = 1'000;  // Two batches of 1,000 reach the bound.
  outside_.Have(100'000);
  ASSERT_TRUE(Start(0, {.max_bytes = 2'000'000, .keep_bytes = 0}).ok());
  EXPECT_TRUE(Await([&] { return outside_.Given() >= 2'000; }));
  EXPECT_EQ(Polled(1'000).size(), 1'000U) << "to be polled is not to be ledgered";
  std::this_thread::sleep_for(milliseconds(100));  // Too short at worst: it would see nothing.
  EXPECT_EQ(outside_.Given(), 2'000);
  Ledgered(1'000);
  EXPECT_TRUE(Await([&] { return outside_.Given() >= 3'000; }));
}

TEST_F(WalSourceTest, WhatIsLedgeredStaysWithinItsBoundAndNoLonger) {
  outside_.bytes = 10'000;
  outside_.Have(3'000);
  constexpr uint64_t kKeep = 10'000'000;
  ASSERT_TRUE(Start(0, {.max_bytes = uint64_t{1} << 30, .keep_bytes = kKeep}).ok());
  EXPECT_EQ(Polled(3'000).size(), 3'000U);
  for (int n = 100; n <= 2'900; n += 100) Ledgered(n);
  source_.reset();
  EXPECT_EQ(outside_.told.back(), "0:2900") << "the source hears of it, at the latest at the end";
  const auto wal = Open();
  const uint64_t ledgered = wal->PlaceBehind("0:2900").value();
  EXPECT_GE(ledgered - wal->begin(), kKeep);
  EXPECT_LE(ledgered - wal->begin(), kKeep + (size_t{6} << 20));
  EXPECT_THAT(Contents(*wal, ledgered), ElementsAreArray(Positions(2'901, 3'000)));
}

TEST_F(WalSourceTest, AnOlderLedgerIsRefusedWithTheWayOut) {
  outside_.Have(200);
  ASSERT_TRUE(Start(100).ok());
  EXPECT_EQ(Polled(100).size(), 100U);
  const absl::Status status = Start(99);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("goes on behind 0:100"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("the ledger is only at 0:99"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("Move the WAL's directory"));
}

TEST_F(WalSourceTest, ALedgerThatWentOnWithoutTheWalDecides) {
  outside_.Have(50);
  ASSERT_TRUE(Start(0).ok());
  EXPECT_EQ(Polled(50).size(), 50U);
  source_.reset();
  outside_.Have(120);
  ASSERT_TRUE(Start(110).ok());
  EXPECT_EQ(outside_.started.back().checkpoint, pika::FormatPikaCheckpoint(Event(110)));
  EXPECT_THAT(Polled(10), ElementsAreArray(Positions(111, 120)));
}

TEST_F(WalSourceTest, AFullDiskEndsItAfterAllThatItHasAndLosesNothing) {
  outside_.bytes = 1'000;
  disk_->room = 160'000;
  outside_.Have(100);
  ASSERT_TRUE(Start(0).ok());
  EXPECT_TRUE(Await([&] { return outside_.Given() == 100; }));
  outside_.Have(200);
  EXPECT_TRUE(Await([&] { return outside_.Given() == 200; }));
  std::vector<SourceEvent> events;
  const absl::Status full = PollUntil(1'000, events);
  EXPECT_EQ(full.code(), absl::StatusCode::kResourceExhausted) << full;
  EXPECT_THAT(Positions(events), ElementsAreArray(Positions(1, 100)));
  disk_->room = INT64_MAX / 2;
  ASSERT_TRUE(Start(30).ok());
  EXPECT_THAT(Polled(170), ElementsAreArray(Positions(31, 200)));
}

TEST_F(WalSourceTest, ASourceThatIsAwayIsToldAndComesBack) {
  outside_.Have(10);
  ASSERT_TRUE(Start(0).ok());
  EXPECT_EQ(Polled(10).size(), 10U);
  outside_.SetTrouble(absl::UnavailableError("broken pipe"));
  std::vector<SourceEvent> events;
  EXPECT_TRUE(
      Await([&] { return absl::IsUnavailable(source_->Poll(100, milliseconds(20), events)); }));
  outside_.SetTrouble(absl::OkStatus());
  outside_.Have(20);
  EXPECT_THAT(Polled(10), ElementsAreArray(Positions(11, 20)));
  outside_.SetTrouble(absl::FailedPreconditionError("binlog hole"));
  EXPECT_EQ(PollUntil(1, events).code(), absl::StatusCode::kFailedPrecondition);
}

// ---------------------------------------------------------------- payloads

class WalPayloadTest : public WalWorld {
 protected:
  static PayloadRequest Request(int first, int last, const std::string& producer = "A") {
    PayloadRequest request;
    request.stream.name = {"orders", 0};
    request.stream.partition_count = 1;
    request.producer = producer;
    request.run.first_seq = Seq(1000 + first);
    request.run.last_seq = Seq(1000 + last);
    request.run.at_first = Event(first).at;
    request.run.at_last = Event(last).at;
    return request;
  }
};

TEST_F(WalPayloadTest, ARunsEventsComeBackFromAnyPlace) {
  ASSERT_TRUE(Open()->Append(Events(1, 5'000)).ok());
  const auto source = OpenWalPayloadSource(Directory()).value();
  for (const auto& [first, last] : std::vector<std::pair<int, int>>{
           {1, 1}, {1, 5'000}, {2'000, 4'500}, {7, 9}, {5'000, 5'000}}) {
    const auto events = source->Read(Request(first, last));
    ASSERT_TRUE(events.ok()) << events.status();
    ASSERT_THAT(Positions(*events), ElementsAreArray(Positions(first, last)));
    EXPECT_EQ(events->front().payload, Event(first).payload);
  }
}

TEST_F(WalPayloadTest, WhatItHasNotGotIsNotFound) {
  {
    auto wal = Open();
    ASSERT_TRUE(wal->Append(Events(1, 100)).ok());
    ASSERT_TRUE(wal->RemoveBelow(wal->PlaceBehind("0:10").value()).ok());
  }
  const auto source = OpenWalPayloadSource(Directory()).value();
  for (const auto& request : {Request(10, 12), Request(99, 101), Request(1, 5)}) {
    const absl::Status status = source->Read(request).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kNotFound) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("wal:" + Directory()));
  }
  EXPECT_THAT(std::string(source->Read(Request(20, 30, "B")).status().message()),
              HasSubstr("has the events of producer 'A'"));
  EXPECT_TRUE(source->Read(Request(11, 100)).ok());
  EXPECT_EQ(OpenWalPayloadSource(parent_ + "/none").status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace lockstep
