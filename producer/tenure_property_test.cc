// Random histories of one producer: processes that crash between any two steps, live on beside
// their successors, leave requests that land late, see deliveries fail and outcomes stay unknown.
// Whatever happens, the ledger and the log must agree (I1, I2), nothing acknowledged may be missing
// (I6), and a run's digest must be that of the records its offsets hold.
#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "db-ledger/memory_ledger.h"
#include "producer/partitioner.h"
#include "producer/tenure.h"

namespace lockstep {
namespace {

struct LogRecord {
  std::string producer;
  Term term;
  Seq seq;
  std::string at;
  Payload payload;
};

// One topic's logs. Offsets have holes where other writers are.
class Logs {
 public:
  explicit Logs(size_t streams) : logs_(streams), ends_(streams, 0) {}

  Offset Append(size_t stream, LogRecord record) {
    const Offset offset(ends_[stream]++);
    logs_[stream].emplace(offset, std::move(record));
    return offset;
  }
  void SkipOffset(size_t stream) { ++ends_[stream]; }
  Offset End(size_t stream) const { return Offset(ends_[stream]); }
  const std::map<Offset, LogRecord>& At(size_t stream) const { return logs_[stream]; }

 private:
  std::vector<std::map<Offset, LogRecord>> logs_;
  std::vector<int64_t> ends_;
};

constexpr int kEvents = 60;

SourceEvent EventAt(int at) {
  SourceEvent event;
  event.at = std::to_string(at);
  event.payload.value = "event " + event.at;
  return event;
}

// One process: a tenure, its requests under way in Kafka, and where it is in the source.
class Process {
 public:
  Process(LedgerState* state, Logs* logs, std::mt19937_64* random, bool adopt)
      : ledger_(state, kAllRules, "writer"),
        logs_(*logs),
        random_(*random),
        tenure_({.name = "A", .adopt = adopt, .in_flight_records_max = 12}) {
    ledger_.SetFate([this](const PendingCommit&) {
      switch (Random(8)) {
        case 0:
          return CommitFate::kUnknownApplied;
        case 1:
          return CommitFate::kUnknownNotApplied;
        case 2:
          return CommitFate::kRefused;
        default:
          return CommitFate::kDurable;
      }
    });
  }

  // One step of start-up or sending.
  void Step() {
    switch (tenure_.stage()) {
      case Tenure::Stage::kOpen:
        return Open();
      case Tenure::Stage::kScan:
        return Scan();
      case Tenure::Stage::kAdopt:
        return tenure_.OnAppended(ledger_.Append(tenure_.group()));
      case Tenure::Stage::kClose:
        return tenure_.OnClosed(
            ledger_.CloseEarlierTerms(tenure_.opened().producer, tenure_.terms()));
      case Tenure::Stage::kSend:
      case Tenure::Stage::kBroken:
        return Send();
      case Tenure::Stage::kEnded:
        return;
    }
  }

  // A request under way lands; of a dead process too.
  bool Land() {
    if (requests_.empty()) return false;
    const Request request = requests_.front();
    requests_.pop_front();
    const Offset offset = logs_.Append(request.stream, request.record);
    if (Random(4) == 0) logs_.SkipOffset(request.stream);
    if (alive_) landed_.push_back({request.number, offset});
    return true;
  }

  void Kill() {
    alive_ = false;
    // The broker takes some prefix of what was under way, later.
    while (!requests_.empty() && Random(2) == 0) requests_.pop_back();
  }
  bool ended() const { return tenure_.stage() == Tenure::Stage::kEnded; }
  bool alive() const { return alive_; }
  bool done() const {
    return tenure_.stage() == Tenure::Stage::kSend && started_ && next_at_ > kEvents &&
           tenure_.idle();
  }
  Tenure& tenure() { return tenure_; }

  static constexpr int kStreams = 2;

 private:
  struct Request {
    uint64_t number = 0;
    size_t stream = 0;
    LogRecord record;
  };

  uint64_t Random(uint64_t below) { return random_() % below; }

  void Open() {
    OpenProducerRequest request{.producer = "A",
                                .source = "test:",
                                .topic = "orders",
                                .partition_count = kStreams,
                                .partitions = {},
                                .cluster_id = "P",
                                .log_topic = "orders"};
    for (int i = 0; i < kStreams; ++i) {
      request.partitions.push_back({i, logs_.End(static_cast<size_t>(i))});
    }
    tenure_.OnOpened(ledger_.OpenProducer(request));
  }

  void Scan() {
    for (size_t i = 0; i < kStreams; ++i) {
      if (!tenure_.needs_tail(i)) continue;
      for (const auto& [offset, record] : logs_.At(i)) {
        tenure_.OnTail(i, {offset,
                           {record.term, record.seq, record.at, record.producer},
                           false,
                           &record.payload});
      }
    }
    tenure_.OnTailsEnd();
  }

  void Send() {
    if (!started_) {
      started_ = true;
      const std::string floor = tenure_.resume_point().floor;
      next_at_ = floor.empty() ? 1 : std::stoi(floor) + 1;
    }
    switch (Random(5)) {
      case 0:
      case 1:
        if (tenure_.CanTake() && next_at_ <= kEvents) Take();
        return;
      case 2:
        if (!landed_.empty()) {
          tenure_.OnDelivered(landed_.front().first, landed_.front().second);
          landed_.pop_front();
        }
        return;
      case 3:
        if (tenure_.group_in_flight() || tenure_.TakeGroup()) {
          tenure_.OnAppended(ledger_.Append(tenure_.group()));
        }
        return;
      default:
        MaybeFail();
    }
  }

  void Take() {
    SourceEvent event = EventAt(next_at_++);
    const auto stream = static_cast<size_t>(
        ChoosePartition(event.partition, event.payload.key, event.at, kStreams).value());
    const std::string at = event.at;
    const Payload payload = event.payload;
    if (const auto out = tenure_.Next(stream, std::move(event))) {
      requests_.push_back({out->number, stream, {"A", out->term, out->seq, at, payload}});
    }
  }

  // Now and then a delivery fails: possibly persisted, so it may land all the same.
  void MaybeFail() {
    if (tenure_.stage() == Tenure::Stage::kBroken) {
      for (const auto& [number, offset] : landed_) tenure_.OnDelivered(number, offset);
      landed_.clear();
      tenure_.AllReported();
      return;
    }
    if (Random(12) != 0 || requests_.empty()) return;
    tenure_.OnFailed(requests_.front().number, absl::UnavailableError("possibly persisted"));
    Kill();
    alive_ = true;
  }

  MemoryLedger ledger_;
  Logs& logs_;
  std::mt19937_64& random_;
  Tenure tenure_;
  bool alive_ = true;
  bool started_ = false;
  int next_at_ = 1;
  std::deque<Request> requests_;                    // Per stream in order; lands from the front.
  std::deque<std::pair<uint64_t, Offset>> landed_;  // Reports under way.
};

// Every run's offsets hold exactly its records, and each stream's seqs are 1, 2, 3…
void CheckTruth(const LedgerState& state, const Logs& logs) {
  std::map<StreamId, Seq> last;
  std::map<StreamId, Offset> last_offset;
  for (const auto& [key, run] : state.runs) {
    const StreamId stream = std::get<0>(key);
    const auto& log = logs.At(static_cast<size_t>(stream.value() - 1));
    ASSERT_EQ(run.first_seq, last[stream] + 1) << "I1";
    RunDigest digest;
    Seq seq = run.first_seq;
    for (const OffsetRange& range : run.offsets.ranges()) {
      for (Offset o = range.first; o < range.end; ++o) {
        const auto record = log.find(o);
        ASSERT_NE(record, log.end()) << "I2: nothing at offset " << o;
        ASSERT_EQ(record->second.seq, seq) << "I2";
        ASSERT_EQ(record->second.term, run.term) << "I2";
        ASSERT_TRUE(!last_offset.contains(stream) || o > last_offset[stream]) << "I1";
        last_offset[stream] = o;
        digest.Add("A", run.term, seq, record->second.payload);
        ++seq;
      }
    }
    ASSERT_EQ(seq, run.last_seq + 1);
    ASSERT_EQ(digest.Value(), run.digest);
    last[stream] = run.last_seq;
  }
}

// The positions ledgered, over both streams.
std::multiset<int> Ledgered(const LedgerState& state, const Logs& logs) {
  std::multiset<int> positions;
  for (const auto& [key, run] : state.runs) {
    const auto& log = logs.At(static_cast<size_t>(std::get<0>(key).value() - 1));
    for (const OffsetRange& range : run.offsets.ranges()) {
      for (Offset o = range.first; o < range.end; ++o) positions.insert(std::stoi(log.at(o).at));
    }
  }
  return positions;
}

void RunHistory(uint64_t seed, bool adopt, int64_t* adopted) {
  SCOPED_TRACE("seed " + std::to_string(seed) + (adopt ? "" : " without adoption"));
  std::mt19937_64 random(seed);
  LedgerState state;
  Logs logs(Process::kStreams);
  std::vector<std::unique_ptr<Process>> processes;
  int acknowledged = 0;
  const auto start = [&] {
    processes.push_back(std::make_unique<Process>(&state, &logs, &random, adopt));
  };
  start();
  for (int step = 0; step < 20'000; ++step) {
    Process& p = random() % 2 == 0 ? *processes.back() : *processes[random() % processes.size()];
    // Faults cease in the end, so that every history completes.
    const bool calm = step > 6'000;
    if (!calm && random() % 200 == 0) p.Kill();
    if (!calm && random() % 300 == 0) start();  // A second live process.
    if (random() % 3 == 0) {
      p.Land();
    } else if (p.alive()) {
      p.Step();
    }
    if (!p.tenure().acknowledged().empty()) {
      acknowledged = std::max(acknowledged, std::stoi(p.tenure().acknowledged()));
    }
    Process& newest = *processes.back();
    if (!newest.alive() || newest.ended()) start();
    if (step % 500 == 0) {
      ASSERT_NO_FATAL_FAILURE(CheckTruth(state, logs));
    }
    if (calm && processes.back()->done()) break;
  }
  ASSERT_NO_FATAL_FAILURE(CheckTruth(state, logs));
  ASSERT_TRUE(processes.back()->done()) << "stuck";
  std::multiset<int> expected;
  for (int at = 1; at <= kEvents; ++at) expected.insert(at);
  EXPECT_EQ(Ledgered(state, logs), expected) << "each event once, none missing (I6)";
  const OpenedProducer& opened = processes.back()->tenure().opened();
  for (const OpenedStream& stream : opened.streams) {
    EXPECT_GE(state.heads.at({stream.stream, opened.producer}).closed, stream.term)
        << "who sends has closed all earlier terms";
  }
  EXPECT_LE(acknowledged, kEvents);
  for (const auto& p : processes) *adopted += p->tenure().adopted();
}

TEST(TenureProperty, LedgerAndLogAgreeAfterAnyHistory) {
  int64_t adopted = 0;
  for (uint64_t seed = 1; seed <= 300 && !HasFatalFailure(); ++seed) {
    RunHistory(seed, true, &adopted);
  }
  EXPECT_GT(adopted, 0) << "the histories never reached adoption";
}

TEST(TenureProperty, NoGuaranteeRestsOnAdoption) {
  int64_t adopted = 0;
  for (uint64_t seed = 1; seed <= 300 && !HasFatalFailure(); ++seed) {
    RunHistory(seed, false, &adopted);
  }
  EXPECT_EQ(adopted, 0);
}

}  // namespace
}  // namespace lockstep
