// One contract for every parking buffer, held against a plain queue of copies.
#include <rapidcheck.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "reorder/parking/fifo_parking.h"
#include "reorder/parking/rocks_chunk_store.h"
#include "reorder/parking/size_chunk_store.h"
#include "reorder/parking/test_chunk_store.h"

namespace lockstep {
namespace {

using testing::HasSubstr;

// A record that owns its bytes.
struct Copy {
  Seq seq;
  std::string at;
  std::optional<std::string> key;
  std::optional<std::string> value;
  std::vector<std::pair<std::string, std::optional<std::string>>> headers;
};

class CopyHeaders final : public HeaderSource {
 public:
  void Read(const void* handle, std::vector<HeaderView>& out) const override {
    out.clear();
    for (const auto& [name, value] : static_cast<const Copy*>(handle)->headers) {
      out.emplace_back(name, value);
    }
  }
};
const CopyHeaders kCopyHeaders;

RecordView View(const Copy& copy) {
  RecordView view;
  view.log_offset = Offset(copy.seq.value() * 3);
  view.timestamp_ms = copy.seq.value() * 5;
  view.at = copy.at;
  view.key = copy.key;
  view.value = copy.value;
  view.header_source = &kCopyHeaders;
  view.header_handle = &copy;
  return view;
}

std::string Different(const RecordView& got, const Copy& want) {
  if (got.log_offset != Offset(want.seq.value() * 3)) return "offset";
  if (got.timestamp_ms != want.seq.value() * 5) return "timestamp";
  if (got.at != want.at) return "at";
  if (got.key != want.key) return "key";
  if (got.value != want.value) return "value";
  std::vector<HeaderView> headers;
  std::vector<HeaderView> wanted;
  got.ReadHeaders(headers);
  kCopyHeaders.Read(&want, wanted);
  return headers == wanted ? "" : "headers";
}

// Parks and takes out at random, as a resequencer may; the same records must come back.
struct History {
  explicit History(uint64_t seed) : random(seed) {}

  Copy MakeCopy(Seq seq) {
    Copy copy;
    copy.seq = seq;
    copy.at = std::to_string(seq.value());
    if (Chance(3)) copy.key = std::string(Below(20), 'k');
    if (!Chance(10)) copy.value = Text();
    for (size_t i = Below(8); i > 5; --i) {
      copy.headers.emplace_back("h" + std::to_string(i),
                                Chance(2) ? std::optional(Text()) : std::nullopt);
    }
    return copy;
  }
  std::string Text() {
    const size_t size = Chance(200) ? Below(200'000) : Below(300);
    return std::string(size, static_cast<char>('a' + Below(26)));
  }
  size_t Below(size_t n) { return random() % n; }
  bool Chance(size_t one_in) { return Below(one_in) == 0; }

  // True iff nothing was found.
  bool Run(FifoParking& parking, size_t queues, size_t steps, bool clears) {
    std::vector<std::deque<Copy>> model(queues);
    std::vector<Seq> next(queues, Seq(1));
    std::vector<std::pair<RecordView, Copy>> out;
    const auto check_out = [&] {
      for (const auto& [view, copy] : out) {
        const std::string different = Different(view, copy);
        if (!different.empty()) {
          ADD_FAILURE() << "seq " << copy.seq.value() << ": another " << different;
          return false;
        }
      }
      out.clear();
      parking.ReleaseUnparked();
      return true;
    };
    bool grow = true;
    for (size_t step = 0; step < steps; ++step) {
      if (Chance(300)) grow = !grow;
      const size_t queue = Below(queues);
      if (Chance(grow ? 4 : 2)) {
        const std::optional<Seq> front = parking.Front(queue);
        const bool empty = model[queue].empty();
        if (front.has_value() == empty || (front && *front != model[queue].front().seq)) {
          ADD_FAILURE() << "another front in queue " << queue;
          return false;
        }
        if (empty) continue;
        std::vector<ReadyRecord> found;
        if (!TakeOut(parking, queue, found)) {
          ++errors;
          continue;  // The same call again, some time.
        }
        for (const ReadyRecord& record : found) {
          if (model[queue].empty()) return false;
          out.emplace_back(record.view, std::move(model[queue].front()));
          model[queue].pop_front();
        }
      } else if (grow || Chance(3)) {
        Copy copy = MakeCopy(next[queue]);
        if (!parking.Park(queue, copy.seq, View(copy)).ok()) {
          ++errors;
          continue;
        }
        next[queue] = copy.seq + static_cast<int64_t>(1 + Below(3));
        model[queue].push_back(std::move(copy));
      }
      if (Chance(50) && !check_out()) return false;
      if (clears && Chance(2000)) {
        if (!check_out()) return false;
        parking.Clear();
        for (size_t i = 0; i < queues; ++i) model[i].clear();
        next.assign(queues, Seq(1));
      }
    }
    return check_out() && Drain(parking, model);
  }

  // One record, or as many as follow each other.
  bool TakeOut(FifoParking& parking, size_t queue, std::vector<ReadyRecord>& found) {
    if (Chance(2)) return parking.UnparkRun(queue, 1 + Below(20), 1 + Below(5'000), found).ok();
    const absl::StatusOr<RecordView> view = parking.Unpark(queue);
    if (view.ok()) found.emplace_back().view = *view;
    return view.ok();
  }

  static bool Drain(FifoParking& parking, std::vector<std::deque<Copy>>& model) {
    for (size_t queue = 0; queue < model.size(); ++queue) {
      while (!model[queue].empty()) {
        const absl::StatusOr<RecordView> view = parking.Unpark(queue);
        if (!view.ok()) continue;
        const std::string different = Different(*view, model[queue].front());
        if (!different.empty()) {
          ADD_FAILURE() << "queue " << queue << ": another " << different;
          return false;
        }
        model[queue].pop_front();
        parking.ReleaseUnparked();
      }
      if (parking.Front(queue)) {
        ADD_FAILURE() << "queue " << queue << " holds what was not parked";
        return false;
      }
    }
    return true;
  }

  std::mt19937_64 random;
  int64_t errors = 0;
};

TEST(ParkingTest, MemoryGivesBackWhatWasParked) {
  ASSERT_TRUE(rc::check([](uint64_t seed) {
    FifoParking parking;
    RC_ASSERT(History(seed).Run(parking, 1 + seed % 5, 3000, true));
    RC_ASSERT(parking.stats().records == 0);
    RC_ASSERT(parking.stats().bytes == 0);
  }));
}

TEST(ParkingTest, ABudgetGivesBackTheSameAndLeavesNoFile) {
  int64_t written = 0;
  ASSERT_TRUE(rc::check([&](uint64_t seed) {
    TestChunkStore store;
    FifoParking parking({.bytes = static_cast<int64_t>(1 + seed % 50'000)}, store);
    RC_ASSERT(History(seed).Run(parking, 1 + seed % 5, 3000, true));
    RC_ASSERT(parking.stats().records == 0);
    RC_ASSERT(store.files() == 0U);
    written += parking.stats().bytes_written;
  }));
  EXPECT_GT(written, 1'000'000);
}

TEST(ParkingTest, AStoreThatFailsLosesNothing) {
  int64_t errors = 0;
  ASSERT_TRUE(rc::check([&](uint64_t seed) {
    TestChunkStore store;
    store.FailOneIn(3);
    FifoParking parking({.bytes = 20'000}, store);
    History history(seed);
    RC_ASSERT(history.Run(parking, 1 + seed % 5, 3000, false));
    errors += history.errors;
  }));
  EXPECT_GT(errors, 100);
}

// The budget, and 64 KiB for each of the queues that are read, whatever is parked.
TEST(ParkingTest, MemoryStaysInTheBudget) {
  constexpr size_t kBudget = 1 << 20;
  constexpr size_t kQueues = 8;
  TestChunkStore store;
  FifoParking parking({.bytes = kBudget}, store);
  const Copy copy{Seq(1), "1", "key", std::string(100, 'v'), {}};
  size_t peak = 0;
  const auto note = [&] { peak = std::max(peak, parking.allocated_bytes()); };
  constexpr int64_t kRecords = 20'000;
  for (int64_t seq = 1; seq <= kRecords; ++seq) {
    for (size_t queue = 0; queue < kQueues; ++queue) {
      ASSERT_TRUE(parking.Park(queue, Seq(seq), View(copy)).ok());
      note();
    }
  }
  for (int64_t seq = 1; seq <= kRecords; ++seq) {
    for (size_t queue = 0; queue < kQueues; ++queue) {
      ASSERT_TRUE(parking.Unpark(queue).ok());
      note();
      parking.ReleaseUnparked();
    }
  }
  EXPECT_LE(peak, kBudget + kQueues * ChunkPool::kChunkBytesMax);
  EXPECT_GT(parking.stats().bytes_peak, 20 * static_cast<int64_t>(kBudget));
  // (2), and nothing is written or read twice.
  EXPECT_LE(parking.stats().bytes_written, parking.stats().bytes_peak);
  EXPECT_EQ(parking.stats().bytes_reread, parking.stats().bytes_written);
  EXPECT_EQ(store.files(), 0U);
}

// An order in which queue 0 goes out whole, then queue 1, and so on.
class QueueAfterQueue final : public ParkedOrder {
 public:
  Position TurnOf(size_t queue, Seq seq) const override {
    return {Epoch(1), Offset(static_cast<int64_t>(queue) * 1'000'000 + seq.value())};
  }
  Seq NextSeq(size_t /*queue*/) const override { return Seq(1); }
  Position NextTurn(size_t queue) const override { return TurnOf(queue, Seq(1)); }
  std::optional<size_t> QueueOf(int /*topic*/, const RecordHeader& /*header*/) const override {
    return std::nullopt;
  }
  int64_t producers() const override { return 4; }
};

// The stream stands still for a piece, never for the budget; and what is next stays in memory.
TEST(ParkingTest, ABudgetIsWrittenPieceByPieceFromWhatIsNeededFurthestAhead) {
  constexpr int64_t kBudget = 4 << 20;
  constexpr size_t kQueues = 4;
  TestChunkStore store;
  FifoParking parking({.bytes = kBudget}, store);
  const QueueAfterQueue order;
  parking.Bind(order);
  const Copy copy{Seq(1), "1", "key", std::string(100, 'v'), {}};
  constexpr int64_t kRecords = 20'000;  // 3.2 MB a queue: all are thrice the budget.
  for (int64_t seq = 1; seq <= kRecords; ++seq) {
    for (size_t queue = 0; queue < kQueues; ++queue) {
      ASSERT_TRUE(parking.Park(queue, Seq(seq), View(copy)).ok());
    }
  }
  EXPECT_GT(store.files(), 10U);
  EXPECT_LE(store.largest_write_bytes(),
            kBudget / 8 + static_cast<int64_t>(ChunkPool::kChunkBytesMax));
  // What the budget holds is what was not written, but for a piece and chunks that are not full.
  const ParkingStats& stats = parking.stats();
  EXPECT_LE(stats.bytes_written, stats.bytes_peak - kBudget * 3 / 4);
  for (int64_t seq = 1; seq <= kRecords; ++seq) ASSERT_TRUE(parking.Unpark(0).ok());
  EXPECT_EQ(parking.stats().bytes_reread, 0);
}

TEST(ParkingTest, ADiskThatKeepsSizesTellsWhatARunWrites) {
  int64_t written = 0;
  ASSERT_TRUE(rc::check([&](uint64_t seed) {
    TestChunkStore disk;
    SizeChunkStore sizes;
    const ParkingBudget budget{.bytes = static_cast<int64_t>(1 + seed % 100'000)};
    FifoParking run(budget, disk);
    FifoParking plan(budget, sizes);
    History random(seed);
    std::vector<Seq> last(3);
    for (int step = 0; step < 5'000; ++step) {
      const size_t queue = random.Below(last.size());
      if (random.Chance(3) && run.Front(queue)) {
        RC_ASSERT(plan.Front(queue) == run.Front(queue));
        RC_ASSERT(run.Unpark(queue).ok() && plan.Unpark(queue).ok());
      } else {
        const Copy copy = random.MakeCopy(++last[queue]);
        RC_ASSERT(run.Park(queue, copy.seq, View(copy)).ok());
        RC_ASSERT(plan.Park(queue, copy.seq, View(copy)).ok());
      }
      if (!random.Chance(20)) continue;
      run.ReleaseUnparked();
      plan.ReleaseUnparked();
    }
    RC_ASSERT(plan.stats() == run.stats());
    written += run.stats().bytes_written;
  }));
  EXPECT_GT(written, 1'000'000);
}

// What is dropped is read from disk, too: whoever drops a lot is told when to release.
TEST(ParkingTest, MemoryStaysInTheBudgetWhenALotIsDropped) {
  TestChunkStore store;
  FifoParking parking({.bytes = 1 << 20}, store);
  const Copy copy{Seq(1), "1", std::nullopt, std::string(1'000, 'v'), {}};
  for (int64_t seq = 1; seq <= 100'000; ++seq) {
    ASSERT_TRUE(parking.Park(0, Seq(seq), View(copy)).ok());
  }
  size_t peak = 0;
  while (parking.Front(0).has_value()) {
    ASSERT_TRUE(parking.Skip(0).ok());
    peak = std::max(peak, parking.allocated_bytes());
    if (parking.ReleaseFirst()) parking.ReleaseUnparked();
    ASSERT_FALSE(parking.ReleaseFirst());
  }
  EXPECT_LE(peak, size_t{18} << 20);
}

TEST(ParkingTest, ARunEndsWithItsSeqsItsCountItsBytesOrTheStore) {
  TestChunkStore store;
  FifoParking parking({.bytes = 1 << 20}, store);
  const Copy copy{Seq(1), "1", std::nullopt, std::string(1'000, 'v'), {}};
  for (const int64_t seq : {1, 2, 3, 4, 5, 6, 7, 9}) {
    ASSERT_TRUE(parking.Park(0, Seq(seq), View(copy)).ok());
  }
  const auto take = [&](size_t count, size_t bytes_max) {
    std::vector<ReadyRecord> out;
    EXPECT_TRUE(parking.UnparkRun(0, count, bytes_max, out).ok());
    return out.size();
  };
  EXPECT_EQ(take(2, SIZE_MAX), 2U);
  EXPECT_EQ(take(100, 2'001), 3U);
  EXPECT_EQ(take(100, SIZE_MAX), 2U);
  EXPECT_EQ(parking.Front(0), Seq(9));
  for (int64_t seq = 10; seq <= 200; ++seq) {
    ASSERT_TRUE(parking.Park(0, Seq(seq), View(copy)).ok());
  }
  // All on disk but the chunk that is being read from, which is not at its end.
  ASSERT_TRUE(parking.SetBudget({.bytes = 1}).ok());
  EXPECT_EQ(take(60, SIZE_MAX), 60U);
  store.FailOneIn(1);
  const size_t in_memory = take(1'000, SIZE_MAX);
  EXPECT_GT(in_memory, 0U);
  EXPECT_LT(in_memory, 132U);
  std::vector<ReadyRecord> out;
  EXPECT_FALSE(parking.UnparkRun(0, 1'000, SIZE_MAX, out).ok());
  EXPECT_TRUE(out.empty());
  store.FailOneIn(0);
  EXPECT_EQ(take(1'000, SIZE_MAX), 132U - in_memory);
}

// Another stream comes to the process, or goes.
TEST(ParkingTest, ASmallerBudgetHoldsAtOnceAndABiggerOneFromThen) {
  TestChunkStore store;
  FifoParking parking({.bytes = 1 << 20}, store);
  const Copy copy{Seq(1), "1", "key", std::string(100, 'v'), {}};
  Seq seq(0);
  const auto park = [&](int records) {
    for (int i = 0; i < records; ++i) ASSERT_TRUE(parking.Park(0, ++seq, View(copy)).ok());
  };
  park(4'000);
  EXPECT_EQ(store.files(), 0U);
  ASSERT_TRUE(parking.SetBudget({.bytes = 1 << 18}).ok());
  EXPECT_EQ(store.files(), 1U);
  EXPECT_LE(parking.allocated_bytes(), size_t{1} << 18);
  ASSERT_TRUE(parking.SetBudget({.bytes = 1 << 21}).ok());
  park(10'000);
  EXPECT_EQ(store.files(), 1U);
  for (Seq out(1); out <= seq; ++out) {
    ASSERT_EQ(parking.Front(0), out);
    ASSERT_TRUE(parking.Unpark(0).ok());
    parking.ReleaseUnparked();
  }
  EXPECT_EQ(store.files(), 0U);
}

TEST(ParkingTest, ARecordAboveTheBudgetIsParked) {
  TestChunkStore store;
  FifoParking parking({.bytes = 1 << 20}, store);
  const Copy copy{Seq(1), "1", std::nullopt, std::string(10 << 20, 'v'), {}};
  for (int64_t seq = 1; seq <= 5; ++seq) ASSERT_TRUE(parking.Park(0, Seq(seq), View(copy)).ok());
  EXPECT_LE(parking.allocated_bytes(), size_t{11} << 20);
  for (int64_t seq = 1; seq <= 5; ++seq) {
    const absl::StatusOr<RecordView> view = parking.Unpark(0);
    ASSERT_TRUE(view.ok());
    EXPECT_EQ(view->value, *copy.value);
    parking.ReleaseUnparked();
    EXPECT_LE(parking.allocated_bytes(), size_t{11} << 20);
  }
}

// ---------------------------------------------------------------- on disk

class RocksChunkStoreTest : public testing::Test {
 protected:
  RocksChunkStoreTest() {
    std::filesystem::remove_all(directory_);
    std::filesystem::create_directories(directory_);
  }
  ~RocksChunkStoreTest() override { std::filesystem::remove_all(directory_); }

  const std::string directory_ = testing::TempDir() + "parking_test." + std::to_string(getpid());
};

TEST_F(RocksChunkStoreTest, GivesBackTheSameAndLeavesNoFile) {
  for (const uint64_t seed : {1U, 2U, 3U}) {
    RocksChunkStore store(directory_ + "/t-0");
    FifoParking parking({.bytes = 100'000}, store);
    EXPECT_TRUE(History(seed).Run(parking, 5, 20'000, true));
    EXPECT_GT(parking.stats().bytes_written, 200'000);
    EXPECT_EQ(store.bytes(), 0);
    EXPECT_GT(parking.stats().store_bytes_peak, 0);
  }
  EXPECT_FALSE(std::filesystem::exists(directory_ + "/t-0/records"));
}

TEST_F(RocksChunkStoreTest, LeftoversOfADeadProcessAreRemoved) {
  const std::vector<ChunkStore::Chunk> chunks = {{0, Seq(1), "left over"}};
  {
    RocksChunkStore store(directory_ + "/left");
    ASSERT_TRUE(store.Write(1, chunks).ok());
    std::filesystem::copy(directory_ + "/left", directory_ + "/dead",
                          std::filesystem::copy_options::recursive);
  }
  RocksChunkStore store(directory_ + "/dead");
  ASSERT_TRUE(store.Open().ok());
  EXPECT_EQ(store.bytes(), 0);
  std::byte bytes[9];
  EXPECT_TRUE(absl::IsInternal(store.Read(1, 0, Seq(1), bytes, sizeof(bytes))));
}

TEST_F(RocksChunkStoreTest, ADirectoryInUseIsRefusedByName) {
  RocksChunkStore first(directory_ + "/t-0");
  ASSERT_TRUE(first.Open().ok());
  RocksChunkStore second(directory_ + "/t-0");
  const absl::Status status = second.Open();
  EXPECT_TRUE(absl::IsInternal(status)) << "exit 2, which may be started again: " << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(directory_ + "/t-0"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("nothing is lost"));
}

TEST(LiesInMemoryTest, KnowsMemoryFromDisk) {
  EXPECT_TRUE(LiesInMemory("/dev/shm"));
  EXPECT_FALSE(LiesInMemory("/proc/self"));
  EXPECT_FALSE(LiesInMemory("/nowhere"));
}

TEST_F(RocksChunkStoreTest, ADirectoryThatCannotBeMadeIsNamed) {
  RocksChunkStore store("/proc/nowhere/t-0");
  const absl::Status status = store.Write(1, {{0, Seq(1), "bytes"}});
  EXPECT_FALSE(status.ok());
  EXPECT_THAT(std::string(status.message()), HasSubstr("/proc/nowhere/t-0"));
}

TEST_F(RocksChunkStoreTest, BrokenBytesAreAnError) {
  RocksChunkStore store(directory_ + "/t-0");
  std::string bytes(50'000, 'x');
  std::mt19937 random(1);
  for (char& byte : bytes) byte = static_cast<char>(random());
  ASSERT_TRUE(store.Write(1, {{0, Seq(1), bytes}}).ok());
  int broken = 0;
  for (const auto& entry : std::filesystem::directory_iterator(directory_ + "/t-0/records")) {
    if (entry.path().extension() != ".sst") continue;
    std::fstream file(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(20'000);
    file.write("broken", 6);
    ++broken;
  }
  ASSERT_EQ(broken, 1);
  std::vector<std::byte> read(bytes.size());
  EXPECT_TRUE(absl::IsInternal(store.Read(1, 0, Seq(1), read.data(), read.size())));
}

}  // namespace
}  // namespace lockstep
