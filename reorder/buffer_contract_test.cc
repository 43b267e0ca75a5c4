// One contract for every buffer, as the resequencer uses them: whatever the producers, the mirror
// and the re-injection did, what comes out is the ledger's order, once, and whole: with the value,
// the headers, the timestamp and the source position that were written.
#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <ostream>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/base/status_macros.h"
#include "reorder/history_fixture.h"
#include "reorder/parking/chunk_parking.h"
#include "reorder/parking/fifo_parking.h"
#include "reorder/parking/test_chunk_store.h"
#include "reorder/resequencer.h"

namespace lockstep {
namespace {

// A buffer that cannot give a record back just now is asked again.
absl::Status NotNow(const absl::Status& status) {
  return absl::IsUnavailable(status) ? absl::OkStatus() : status;
}

// All that the outside sees of a record.
struct Sent {
  Position position;
  std::string producer;
  Term term;
  Seq seq;
  std::string at;
  std::optional<std::string> key;
  std::optional<std::string> value;
  int64_t timestamp_ms = 0;
  std::vector<std::pair<std::string, std::optional<std::string>>> headers = {};

  bool operator==(const Sent&) const = default;
};
Sent Copy(const ReadyRecord& ready) {
  Sent sent{.position = ready.position,
            .producer = std::string(ready.producer),
            .term = ready.term,
            .seq = ready.seq,
            .at = std::string(ready.view.at),
            .key = std::optional<std::string>(ready.view.key),
            .value = std::optional<std::string>(ready.view.value),
            .timestamp_ms = ready.view.timestamp_ms};
  std::vector<HeaderView> headers;
  ready.view.ReadHeaders(headers);
  for (const auto& [name, value] : headers) sent.headers.emplace_back(name, value);
  return sent;
}
Sent Copy(const Written& written) {
  return {.position = written.position,
          .producer = written.producer,
          .term = written.term,
          .seq = written.seq,
          .at = written.at,
          .key = written.key,
          .value = written.value,
          .timestamp_ms = written.timestamp_ms,
          .headers = written.headers};
}

// What is not the same, for people.
std::string Different(const Sent& got, const Sent& want) {
  std::string text = absl::StrCat(want.producer, want.seq.value(), " at ", ToString(want.position));
  if (got.position != want.position || got.producer != want.producer || got.seq != want.seq) {
    return absl::StrCat(text, " is ", got.producer, got.seq.value(), " at ",
                        ToString(got.position));
  }
  if (got.term != want.term) text += ": another term";
  if (got.at != want.at) text += ": another source position";
  if (got.key != want.key) text += ": another key";
  if (got.value != want.value) {
    const auto size = [](const Sent& sent) {
      return sent.value.has_value() ? absl::StrCat(sent.value->size(), " bytes") : "null";
    };
    absl::StrAppend(&text, ": another value: ", size(got), ", not ", size(want));
  }
  if (got.timestamp_ms != want.timestamp_ms) text += ": another timestamp";
  if (got.headers != want.headers) text += ": other headers";
  return text;
}

void ExpectSame(const std::vector<Sent>& seen, const std::vector<Sent>& expected) {
  EXPECT_EQ(seen.size(), expected.size());
  for (size_t i = 0; i < std::min(seen.size(), expected.size()); ++i) {
    ASSERT_TRUE(seen[i] == expected[i])
        << "record " << i << ", " << Different(seen[i], expected[i]);
  }
}

// Reads parts of a history's topics again; one record in `fails_one_in` finds no broker. What a
// record's views point into is overwritten when the next one is given, as a message's bytes are.
class HistoryFetcher final : public LogFetcher {
 public:
  HistoryFetcher(History& history, int64_t fails_one_in)
      : history_(history), fails_one_in_(fails_one_in) {}
  absl::Status Fetch(int topic, Offset first, Offset end, const Take& take) override {
    for (const Stored& stored : history_.topic(topic)) {
      if (stored.written == nullptr || stored.offset < first || stored.offset >= end) continue;
      if (fails_one_in_ > 0 && history_.Pick(fails_one_in_) == 0) {
        return absl::UnavailableError("no broker");
      }
      message_ = *stored.written;
      LOCKSTEP_RETURN_IF_ERROR(take(History::Record({&message_, stored.offset})));
    }
    return absl::OkStatus();
  }

 private:
  History& history_;
  const int64_t fails_one_in_;
  Written message_;
};

// Reads the whole history as the program does, with pages of few runs, topics in a random
// interleaving and the current epoch's ledger always a little behind the log.
absl::StatusOr<std::vector<Sent>> ReadAll(History& history, ParkingBuffer& parking,
                                          std::optional<Position> after, bool with_marks,
                                          const std::function<void()>& released) {
  ResequencerOptions options;
  options.epoch = history.epoch();
  options.after = after;
  options.topics = history.topics();
  options.ready_max = 4;
  Resequencer resequencer(options, parking);
  if (with_marks && after.has_value()) {
    RunMarks marks;
    for (const Run& run : history.runs()) {
      if (Position{run.epoch, run.offsets.end() - 1} <= *after) {
        marks[run.producer] = RunKey{run.epoch, run.first_seq};
      }
    }
    resequencer.set_marks(marks);
  }

  std::vector<Sent> seen;
  std::vector<ReadyRecord> out;
  size_t visible = static_cast<size_t>(history.Pick(3));
  const auto take_out = [&] {
    for (const ReadyRecord& ready : out) seen.push_back(Copy(ready));
    out.clear();
    resequencer.Release();
    released();
  };
  const auto read_page = [&]() -> absl::Status {
    const auto runs_max = static_cast<size_t>(1 + history.Pick(3));
    return NotNow(resequencer.AddPage(history.Page(resequencer.marks(), runs_max, visible), out));
  };
  const auto drain = [&]() -> absl::Status {
    const absl::Status status = NotNow(resequencer.DrainParked(out));
    take_out();
    return status;
  };

  std::vector<size_t> at(static_cast<size_t>(history.topics()), 0);
  std::set<int> unread;
  for (int topic = 0; topic < history.topics(); ++topic) unread.insert(topic);
  while (resequencer.needs_page()) LOCKSTEP_RETURN_IF_ERROR(read_page());
  take_out();
  while (resequencer.phase() == Resequencer::Phase::kFrozen) {
    if (resequencer.needs_page()) {
      LOCKSTEP_RETURN_IF_ERROR(read_page());
      take_out();
      continue;
    }
    if (resequencer.drain_pending()) {
      LOCKSTEP_RETURN_IF_ERROR(drain());
      continue;
    }
    if (unread.empty()) return absl::OutOfRangeError("the topics end before the frozen epochs do");
    const int topic = *std::next(unread.begin(), history.Pick(static_cast<int64_t>(unread.size())));
    size_t& place = at[static_cast<size_t>(topic)];
    if (place == history.topic(topic).size()) {
      unread.erase(topic);
      continue;
    }
    const Stored& stored = history.topic(topic)[place];
    if (stored.written != nullptr) {
      const auto taken = resequencer.TakeFrozen(topic, History::Record(stored), out);
      LOCKSTEP_RETURN_IF_ERROR(taken.status());
      if (*taken == Resequencer::Taken::kBlocked) {
        take_out();
        LOCKSTEP_RETURN_IF_ERROR(resequencer.drain_pending() ? drain() : read_page());
        take_out();
        continue;
      }
    }
    ++place;
    if (history.Chance(50)) take_out();
  }
  take_out();

  const std::vector<Stored>& own = history.topic(history.own_topic());
  auto offset = resequencer.current_start(history.current_start());
  int tries = 0;
  while (offset < Offset(static_cast<int64_t>(own.size()))) {
    const Stored& stored = own[static_cast<size_t>(offset.value())];
    if (stored.written != nullptr) {
      const auto taken = resequencer.TakeCurrent(History::Record(stored), out);
      LOCKSTEP_RETURN_IF_ERROR(taken.status());
      if (*taken == Resequencer::Taken::kBlocked) {
        if (!resequencer.needs_page()) visible += static_cast<size_t>(history.Pick(2));
        if (++tries > 10'000) return absl::DeadlineExceededError("blocked for good");
        LOCKSTEP_RETURN_IF_ERROR(read_page());
        take_out();
        continue;
      }
    }
    ++offset;
    if (history.Chance(50)) take_out();
  }
  take_out();
  if (parking.stats().records != 0 && history.topics() == 1) {
    return absl::InternalError("records are parked after the end");
  }
  return seen;
}

enum class Kind { kMemory, kSpill, kBounded };

struct BufferCase {
  const char* name;
  Kind kind = Kind::kMemory;
  ParkingBudget budget = {};
  int64_t away_one_in = 0;  // kBounded: one in so many fetched records finds no broker.
};
std::ostream& operator<<(std::ostream& out, const BufferCase& buffer) { return out << buffer.name; }

// A buffer with what it needs behind it.
struct BufferUnderTest {
  BufferUnderTest(const BufferCase& which, History& history) : fetcher(history, which.away_one_in) {
    switch (which.kind) {
      case Kind::kMemory:
        parking = std::make_unique<FifoParking>();
        break;
      case Kind::kSpill:
        parking = std::make_unique<FifoParking>(which.budget, store);
        break;
      case Kind::kBounded:
        parking = std::make_unique<ChunkParking>(which.budget, history.topics(), &fetcher);
        break;
    }
  }

  TestChunkStore store;
  HistoryFetcher fetcher;
  std::unique_ptr<ParkingBuffer> parking;
};

// What the theorem of chunk_parking.h speaks of.
struct Theorem {
  bool premise_holds = false;
  int64_t log_offsets = 0;  // Of the epochs whose records may be parked.
};

// Reads a history from its start or from a random cursor and compares.
ParkingStats OutsideIsTheLedgerOnceInOrder(uint64_t seed, const HistoryShape& shape,
                                           bool from_start, const BufferCase& which,
                                           size_t allocated_max = SIZE_MAX,
                                           Theorem* theorem = nullptr) {
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  History history(seed, shape);
  BufferUnderTest buffer(which, history);
  const std::vector<const Written*> ledgered = history.Ledgered();
  size_t skip = 0;
  std::optional<Position> after;
  if (!from_start && !ledgered.empty()) {
    skip = static_cast<size_t>(history.Pick(static_cast<int64_t>(ledgered.size()))) + 1;
    after = ledgered[skip - 1]->position;
  }
  std::vector<Sent> expected;
  for (size_t i = skip; i < ledgered.size(); ++i) expected.push_back(Copy(*ledgered[i]));
  const auto released = [&] {
    if (allocated_max == SIZE_MAX) return;
    const auto& parking = dynamic_cast<const ChunkParking&>(*buffer.parking);
    EXPECT_LE(parking.allocated_bytes(), allocated_max);
  };
  const auto seen = ReadAll(history, *buffer.parking, after, history.Chance(50), released);
  EXPECT_TRUE(seen.ok()) << seen.status();
  if (seen.ok()) ExpectSame(*seen, expected);
  if (theorem != nullptr) {
    *theorem = {dynamic_cast<const ChunkParking&>(*buffer.parking).premise_holds(),
                history.current_start().value()};
  }
  return buffer.parking->stats();
}

class BufferContractTest : public testing::TestWithParam<BufferCase> {};

TEST_P(BufferContractTest, OutsideIsTheLedgerOnceInOrder) {
  ParkingStats all;
  for (uint64_t seed = 1; seed <= 1200 && !HasFailure(); ++seed) {
    HistoryShape shape;
    shape.epochs = static_cast<int>(1 + seed % 4);
    shape.producers = static_cast<int>(1 + seed / 7 % 6);
    shape.records_per_epoch = static_cast<int>(seed % 60);
    shape.two_topics = seed % 3 == 0;
    shape.unordered_reinjection = seed % 2 == 0;
    const ParkingStats stats =
        OutsideIsTheLedgerOnceInOrder(seed, shape, seed % 5 != 0, GetParam());
    all.records_peak += stats.records_peak;
    all.bytes_reread += stats.bytes_reread;
  }
  EXPECT_GT(all.records_peak, 1000) << "hardly anything was parked";
  EXPECT_EQ(all.bytes_reread > 0, GetParam().kind != Kind::kMemory);
}

INSTANTIATE_TEST_SUITE_P(
    All, BufferContractTest,
    testing::Values(BufferCase{"Memory"}, BufferCase{"Spill", Kind::kSpill, {.bytes = 3'000}},
                    BufferCase{"SpillRecords", Kind::kSpill, {.records = 5}},
                    BufferCase{"SpillLessThanARecord", Kind::kSpill, {.bytes = 1}},
                    BufferCase{"Bounded", Kind::kBounded, {.bytes = 20'000}},
                    BufferCase{"BoundedRecords", Kind::kBounded, {.records = 24}},
                    BufferCase{"BoundedLessThanARecord", Kind::kBounded, {.bytes = 1}},
                    BufferCase{"BoundedOneRecord", Kind::kBounded, {.records = 1}},
                    BufferCase{
                        "BoundedBrokersAway", Kind::kBounded, {.records = 10}, /*away_one_in=*/20}),
    [](const testing::TestParamInfo<BufferCase>& buffer) {
      return std::string(buffer.param.name);
    });

// k·⌈N/c⌉, of the theorem's own terms: c is the budget's part for half a producer.
int64_t TheoremsNumber(int64_t producers, int64_t log_offsets, int64_t budget_records) {
  const int64_t chunk =
      std::clamp<int64_t>(budget_records / (2 * producers), 1, ChunkParking::kChunkRecordsMax);
  return producers * ((log_offsets + chunk - 1) / chunk);
}

// The theorem of chunk_parking.h: with a budget of a chunk for each producer, in records and in
// bytes. Budgets in bytes close chunks before they span c offsets, so there k·⌈N/c⌉ says nothing.
TEST(BoundedBufferTest, FetchesNoMoreThanTheTheoremSays) {
  int64_t fetches = 0;
  int64_t held = 0;
  int64_t numbers = 0;
  for (uint64_t seed = 1; seed <= 400 && !testing::Test::HasFailure(); ++seed) {
    HistoryShape shape;
    shape.producers = static_cast<int>(2 + seed % 63);
    shape.records_per_epoch = 400;
    shape.unordered_reinjection = seed % 4 != 0;
    const auto each = static_cast<int64_t>(1 + seed % 40);
    const bool in_records = seed % 2 != 0;
    BufferCase which{"", Kind::kBounded, {.records = shape.producers * each}};
    if (!in_records) which.budget = {.bytes = shape.producers * each * 3'000};
    Theorem theorem;
    const ParkingStats stats =
        OutsideIsTheLedgerOnceInOrder(seed, shape, true, which, SIZE_MAX, &theorem);
    fetches += stats.fetches;
    if (!theorem.premise_holds) continue;
    ++held;
    EXPECT_LE(stats.fetches, stats.fetches_bound) << "seed " << seed;
    if (!in_records) continue;
    ++numbers;
    const int64_t number =
        TheoremsNumber(shape.producers, theorem.log_offsets, which.budget.records);
    EXPECT_LE(stats.fetches, number) << "seed " << seed;
  }
  EXPECT_GT(fetches, 1000);
  EXPECT_GT(held, 200) << "the premise hardly ever held";
  EXPECT_LT(held, 400) << "records of 20 kB in chunks of 3 kB";
  EXPECT_GT(numbers, 150) << "k·⌈N/c⌉ was hardly ever computed";
}

// Also when records are left over that went out from the other topic.
TEST(BoundedBufferTest, MemoryStaysInTheBudget) {
  constexpr int64_t kBudget = 64'000;
  constexpr size_t kAllocatedMax = 52'000;  // Records are charged a quarter more than they take.
  int64_t fetches = 0;
  for (uint64_t seed = 1; seed <= 200 && !testing::Test::HasFailure(); ++seed) {
    HistoryShape shape;
    shape.producers = static_cast<int>(2 + seed % 4);
    shape.records_per_epoch = 600;
    shape.epochs = 3;
    shape.two_topics = seed % 2 == 0;
    shape.unordered_reinjection = true;
    fetches += OutsideIsTheLedgerOnceInOrder(
                   seed, shape, true, {"", Kind::kBounded, {.bytes = kBudget}}, kAllocatedMax)
                   .fetches;
  }
  EXPECT_GT(fetches, 1000);
}

TEST(BoundedBufferTest, ASmallerBudgetHoldsAtOnce) {
  HistoryShape shape;
  shape.records_per_epoch = 600;
  shape.unordered_reinjection = true;
  History history(1, shape);
  HistoryFetcher fetcher(history, 0);
  ChunkParking parking({.bytes = 64'000}, 1, &fetcher);
  bool smaller = false;
  const auto released = [&] {
    if (!smaller && parking.allocated_bytes() > 40'000) {
      parking.SetBudget({.bytes = 32'000});
      smaller = true;
    }
    if (smaller) {
      EXPECT_LE(parking.allocated_bytes(), 32'000U);
    }
  };
  const auto seen = ReadAll(history, parking, std::nullopt, true, released);
  ASSERT_TRUE(seen.ok()) << seen.status();
  EXPECT_EQ(seen->size(), history.Ledgered().size());
  EXPECT_TRUE(smaller);
  EXPECT_GT(parking.stats().fetches, 0);
}

// One queue whose seq s lies at offset s and is due there.
class PlainOrder final : public ParkedOrder {
 public:
  Position TurnOf(size_t /*queue*/, Seq seq) const override {
    return {Epoch(1), Offset(seq.value())};
  }
  Seq NextSeq(size_t /*queue*/) const override { return Seq(1); }
  Position NextTurn(size_t /*queue*/) const override { return {Epoch(1), Offset(1)}; }
  std::optional<size_t> QueueOf(int /*topic*/, const RecordHeader& /*header*/) const override {
    return 0;
  }
  int64_t producers() const override { return 1; }
};

TEST(BoundedBufferTest, ARecordAboveTheBudgetIsParked) {
  const std::string value(10 << 20, 'v');
  const auto record = [&](int64_t seq) {
    FetchedRecord fetched;
    fetched.header.seq = Seq(seq);
    fetched.view.log_offset = Offset(seq);
    fetched.view.value = value;
    return fetched;
  };
  class Fetcher final : public LogFetcher {
   public:
    explicit Fetcher(std::function<FetchedRecord(int64_t)> record) : record_(std::move(record)) {}
    absl::Status Fetch(int /*topic*/, Offset first, Offset end, const Take& take) override {
      for (Offset at = first; at < end; ++at) {
        LOCKSTEP_RETURN_IF_ERROR(take(record_(at.value())));
      }
      return absl::OkStatus();
    }

   private:
    const std::function<FetchedRecord(int64_t)> record_;
  };
  Fetcher fetcher(record);
  const PlainOrder order;
  ChunkParking parking({.bytes = 1 << 20}, 1, &fetcher);
  parking.Bind(order);
  for (int64_t seq = 1; seq <= 5; ++seq) {
    ASSERT_TRUE(parking.Park(0, Seq(seq), record(seq).view).ok());
    EXPECT_LE(parking.allocated_bytes(), size_t{11} << 20);
  }
  for (int64_t seq = 1; seq <= 5; ++seq) {
    const absl::StatusOr<RecordView> view = parking.Unpark(0);
    ASSERT_TRUE(view.ok()) << view.status();
    EXPECT_EQ(view->log_offset, Offset(seq));
    EXPECT_EQ(view->value, value);
    EXPECT_LE(parking.allocated_bytes(), size_t{11} << 20);
    parking.ReleaseUnparked();
  }
  EXPECT_EQ(parking.stats().records, 0);
}

// Two topics hold A1. It goes out from the first; the second's, left over in a dropped chunk, must
// not stand in the way of what comes behind it there.
//   ledger: C1 A1 B1 A2   topic 0: A1 C1   topic 1: A1 A2 B1
TEST(BoundedBufferTest, WhatWentOutFromTheOtherTopicIsPassedOver) {
  const std::vector<std::vector<std::string>> logs = {{"A1", "C1"}, {"A1", "A2", "B1"}};
  const auto record = [&](size_t topic, size_t at) {
    const std::string& word = logs[topic][at];
    FetchedRecord fetched;
    fetched.header = {Term(1), Seq(word[1] - '0'), "7", std::string_view(word).substr(0, 1)};
    fetched.view.log_offset = Offset(static_cast<int64_t>(at));
    fetched.view.value = word;
    return fetched;
  };
  class Fetcher final : public LogFetcher {
   public:
    explicit Fetcher(std::function<FetchedRecord(size_t, size_t)> record)
        : record_(std::move(record)) {}
    absl::Status Fetch(int topic, Offset first, Offset end, const Take& take) override {
      for (Offset at = first; at < end; ++at) {
        LOCKSTEP_RETURN_IF_ERROR(
            take(record_(static_cast<size_t>(topic), static_cast<size_t>(at.value()))));
      }
      return absl::OkStatus();
    }

   private:
    const std::function<FetchedRecord(size_t, size_t)> record_;
  };
  StreamPage page;
  page.epoch = Epoch(2);
  const auto add = [&](const std::string& name, const std::string& offsets) {
    Head head;
    head.producer = ProducerId(static_cast<int32_t>(page.heads.size()) + 1);
    head.name = name;
    lockstep::Run run;
    run.producer = head.producer;
    run.epoch = Epoch(1);
    run.term = Term(1);
    run.first_seq = Seq(1);
    run.offsets = OffsetRanges::Parse(offsets).value();
    run.last_seq = head.last_seq = Seq(run.offsets.count());
    page.heads.push_back(head);
    page.runs.push_back(run);
  };
  add("A", "{[1,2),[3,4)}");
  add("B", "{[2,3)}");
  add("C", "{[0,1)}");

  Fetcher fetcher(record);
  ChunkParking parking({.records = 18}, 2, &fetcher);
  ResequencerOptions options;
  options.epoch = Epoch(2);
  options.topics = 2;
  Resequencer resequencer(options, parking);
  std::vector<ReadyRecord> out;
  ASSERT_TRUE(resequencer.AddPage(page, out).ok());
  for (size_t at = 0; at < 3; ++at) ASSERT_TRUE(resequencer.TakeFrozen(1, record(1, at), out).ok());
  parking.SetBudget({.records = 1});
  for (size_t at = 0; at < 2; ++at) {
    const auto taken = resequencer.TakeFrozen(0, record(0, at), out);
    ASSERT_TRUE(taken.ok()) << taken.status();
  }
  std::string seen;
  for (int round = 0; round < 4; ++round) {
    for (const ReadyRecord& ready : out) seen += std::string(*ready.view.value) + " ";
    out.clear();
    resequencer.Release();
    if (resequencer.drain_pending()) {
      ASSERT_TRUE(resequencer.DrainParked(out).ok());
    }
  }
  EXPECT_EQ(seen, "C1 A1 B1 A2 ");
  EXPECT_GT(parking.stats().fetches, 0);
  EXPECT_EQ(parking.stats().records, 0);
}

// What was read once and is not there any more is named, not stepped over.
TEST(BoundedBufferTest, ARecordThatIsGoneIsAnError) {
  class Empty final : public LogFetcher {
   public:
    absl::Status Fetch(int /*topic*/, Offset /*first*/, Offset /*end*/,
                       const Take& /*take*/) override {
      return absl::OkStatus();
    }
  };
  HistoryShape shape;
  shape.records_per_epoch = 200;
  shape.unordered_reinjection = true;
  History history(3, shape);
  Empty fetcher;
  ChunkParking parking({.records = 10}, 1, &fetcher);
  const auto seen = ReadAll(history, parking, std::nullopt, true, [] {});
  EXPECT_TRUE(absl::IsDataLoss(seen.status())) << seen.status();
  EXPECT_THAT(std::string(seen.status().message()), testing::HasSubstr("seq "));
}

// Whole chunks are what the bound is about: above what is parked at the peak nothing is dropped.
TEST(BoundedBufferTest, WhatFitsIsNotFetchedAgain) {
  for (uint64_t seed = 1; seed <= 100 && !testing::Test::HasFailure(); ++seed) {
    HistoryShape shape;
    shape.records_per_epoch = 200;
    shape.unordered_reinjection = true;
    const int64_t peak =
        OutsideIsTheLedgerOnceInOrder(seed, shape, true, {"", Kind::kMemory}).records_peak;
    const ParkingStats stats = OutsideIsTheLedgerOnceInOrder(
        seed, shape, true, {"", Kind::kBounded, {.records = peak + 1}});
    EXPECT_EQ(stats.fetches, 0) << "seed " << seed;
  }
}

}  // namespace
}  // namespace lockstep
