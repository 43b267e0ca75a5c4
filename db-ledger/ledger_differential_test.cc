// The same random calls to the ledger in memory and to the one in PostgreSQL must give the same
// answers: outcome, refusal, value, and everything that can be read afterwards.
//
// LOCKSTEP_SEED=N repeats a run; LOCKSTEP_CALLS=N makes it longer.
#include <cstdlib>
#include <random>

#include "absl/strings/str_join.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "db-ledger/memory_ledger.h"
#include "db-ledger/postgres_world_test.h"

namespace lockstep {
namespace {

// ---------------------------------------------------------------- answers as text

std::string Show(const std::optional<Position>& p) { return p ? ToString(*p) : "-"; }

std::string Show(const OpenedProducer& o) {
  std::string out = absl::StrCat("producer ", o.producer.value(), " epoch ", o.epoch.value(),
                                 " solo ", o.solo, " checkpoint ", o.checkpoint.value_or("-"));
  for (const auto& s : o.streams) {
    absl::StrAppend(&out, " [", s.stream.value(), " p", s.partition, " t", s.term.value(), " c",
                    s.closed.value(), " seq ", s.last_seq.value(), " at ", s.last_at, " from ",
                    s.adopt_from.value(), "]");
  }
  return out;
}
std::string Show(const Cursor& c) {
  return absl::StrCat(c.group, " ", c.stream.value(), " t", c.term.value(), " ", Show(c.intent),
                      " ", Show(c.done));
}
std::string Show(const OpenedGate& o) {
  std::string out = absl::StrCat("epoch ", o.epoch.value(), " solo ", o.solo);
  for (const Cursor& cursor : o.cursors) absl::StrAppend(&out, " [", Show(cursor), "]");
  return out;
}
std::string Show(const SeqCursor& c) {
  std::string out = absl::StrCat(c.group, " ", c.stream.value(), " t", c.term.value());
  for (const SeqMark& mark : c.marks) {
    absl::StrAppend(&out, " ", mark.producer.value(), "=", mark.done.value(), "/",
                    mark.intent.value());
  }
  return out;
}
std::string Show(const OpenedSeqGate& o) {
  return absl::StrCat("epoch ", o.epoch.value(), " solo ", o.solo, " ", Show(o.cursor));
}
std::string Show(const Moved& m) { return absl::StrCat("solo ", m.solo); }
std::string Show(const Appended& a) {
  return absl::StrCat("epoch ", a.epoch.value(), " solo ", a.solo, " again ", a.again);
}
std::string Show(const BegunEpoch& b) {
  return absl::StrCat("epoch ", b.epoch.value(), " solo ", b.solo);
}
std::string Show(const std::vector<StreamId>& ids) {
  std::string out = "streams";
  for (const StreamId id : ids) absl::StrAppend(&out, " ", id.value());
  return out;
}
std::string Show(const RunMarks& marks) {
  std::string out;
  for (const auto& [producer, key] : marks) {
    absl::StrAppend(&out, producer.value(), "=", key.epoch.value(), "/", key.first_seq.value(),
                    " ");
  }
  return out;
}
std::string Show(const StreamPage& page) {
  std::string out = absl::StrCat("epoch ", page.epoch.value(), " solo ", page.solo);
  for (const Head& h : page.heads) {
    absl::StrAppend(&out, "\n head ", h.producer.value(), " ", h.name, " t", h.term.value(), " c",
                    h.closed.value(), " e", h.epoch.value(), " ", h.last_seq.value(), " ",
                    h.last_at);
  }
  for (const auto& r : page.runs) {
    absl::StrAppend(&out, "\n run ", r.producer.value(), " e", r.epoch.value(), " t",
                    r.term.value(), " ", r.first_seq.value(), "-", r.last_seq.value());
    absl::StrAppend(&out, " ", r.offsets.ToString(), " ", r.at_first, " ", r.at_last, " ", r.digest,
                    " ", r.payload);
  }
  for (const ProducerId more : page.more) absl::StrAppend(&out, "\n more ", more.value());
  return out;
}
template <class T>
std::string Show(const Commit<T>& commit) {
  std::string out = absl::StrCat(std::string(ToString(commit.outcome)), " ",
                                 std::string(ToString(commit.refusal)));
  if (commit.committed()) absl::StrAppend(&out, " ", Show(commit.value));
  return out;
}

// ---------------------------------------------------------------- the calls

class DifferentialTest : public testing::Test {
 protected:
  using Call = std::function<std::string(Ledger&)>;

  DifferentialTest() {
    for (const char* role : {"writer", "other_writer", "gate", "other_gate", "admin"}) {
      postgres_[role] = world_.Connect(role);
      memory_[role] = std::make_unique<MemoryLedger>(&state_, kAllRules, role);
    }
  }

  // Makes the call to both; returns what they agree on.
  std::string Both(const std::string& role, const Call& call) {
    const std::string memory = call(*memory_[role]);
    const std::string postgres = call(*postgres_[role]);
    EXPECT_EQ(memory, postgres) << "call " << calls_ << " as " << role;
    ++calls_;
    ++seen_[memory.substr(0, memory.find(' ', memory.find(' ') + 1))];
    return memory;
  }

  int Pick(int count) { return static_cast<int>(random_() % static_cast<uint64_t>(count)); }
  bool OneIn(int n) { return Pick(n) == 0; }
  std::string Writer() { return OneIn(12) ? "other_writer" : "writer"; }
  std::string Gate() { return OneIn(12) ? "other_gate" : "gate"; }
  std::string Name() { return std::string(1, static_cast<char>('A' + Pick(3))); }

  void Open() {
    std::vector<int32_t> partitions = {0, 1, 2};
    std::shuffle(partitions.begin(), partitions.end(), random_);
    partitions.resize(static_cast<size_t>(1 + Pick(3)));
    auto request = OpenRequest(Name(), partitions, Pick(30));
    if (OneIn(15)) request.source = "jsonl:other";
    if (OneIn(15)) request.partition_count = 3;
    if (OneIn(15)) request.cluster_id = "cluster-s";
    if (OneIn(20)) request.partitions.push_back(request.partitions.front());
    const std::string role = Writer();
    Both(role, [&](Ledger& ledger) { return Show(ledger.OpenProducer(request)); });
    const auto again = memory_[role]->OpenProducer(request);
    const auto other = postgres_[role]->OpenProducer(request);
    EXPECT_EQ(Show(again), Show(other));
    if (again.committed()) opened_.push_back(again.value);
  }

  const OpenedProducer* AnyOpened() {
    if (opened_.empty()) return nullptr;
    // Mostly a recent one; an old one is a zombie.
    const size_t back = OneIn(4) ? static_cast<size_t>(Pick(static_cast<int>(opened_.size()))) : 0;
    return &opened_[opened_.size() - 1 - back];
  }

  // A run that mostly follows the head, and sometimes does not.
  RunToAppend AnyRun(const OpenedProducer& opened, const OpenedStream& stream) {
    const auto head = state_.heads.find({stream.stream, opened.producer});
    int64_t first = head == state_.heads.end() ? 1 : head->second.last_seq.value() + 1;
    int64_t at = head == state_.heads.end() ? 0 : head->second.next_offset.value();
    if (OneIn(8)) first = std::max<int64_t>(1, first + Pick(5) - 3);
    at = OneIn(10) ? std::max<int64_t>(0, at - 2) : at + Pick(4);
    auto run = MakeRun(opened.producer, stream.term, first, first + Pick(4), at);
    if (OneIn(3) && run.last_seq > run.first_seq) {  // A hole after the first.
      const int64_t rest = run.last_seq - run.first_seq;
      run.offsets = Offsets({{at, at + 1}, {at + 2, at + 2 + rest}});
    }
    if (OneIn(5)) run.payload = "payload";
    if (OneIn(6) && stream.term > Term(1)) run.term = stream.term - 1;  // Adopted.
    return {stream.stream, stream.term, run};
  }

  void Append() {
    const OpenedProducer* opened = AnyOpened();
    if (opened == nullptr) return Open();
    AppendRequest request{opened->producer, {}, {}};
    for (const OpenedStream& stream : opened->streams) {
      if (OneIn(4)) continue;
      request.runs.push_back(AnyRun(*opened, stream));
      if (OneIn(4)) {
        const auto& before = request.runs.back().run;
        auto next = MakeRun(opened->producer, stream.term, before.last_seq.value() + 1,
                            before.last_seq.value() + 2, before.offsets.end().value() + Pick(2));
        request.runs.push_back({stream.stream, stream.term, next});
      }
    }
    if (OneIn(3)) request.checkpoint = absl::StrCat("c", calls_);
    if (OneIn(6) && !requests_.empty()) {
      request = requests_[static_cast<size_t>(Pick(static_cast<int>(requests_.size())))];
    }
    requests_.push_back(request);
    Both(Writer(), [&](Ledger& ledger) { return Show(ledger.Append(request)); });
  }

  void Close() {
    const OpenedProducer* opened = AnyOpened();
    if (opened == nullptr) return Open();
    std::vector<TermOnStream> terms;
    for (const OpenedStream& stream : opened->streams)
      terms.push_back({stream.stream, stream.term});
    Both(Writer(),
         [&](Ledger& ledger) { return Show(ledger.CloseEarlierTerms(opened->producer, terms)); });
  }

  void OpenGate() {
    std::vector<StreamName> streams = {{"orders", Pick(3)}};
    if (OneIn(2)) streams.push_back({"orders", 3});
    const bool create = OneIn(2);
    const std::string group = OneIn(2) ? "g" : "h";
    const std::string role = Gate();
    Both(role, [&](Ledger& l) { return Show(l.OpenGate(group, streams, create)); });
  }

  void Move() {
    if (state_.cursors.empty()) return OpenGate();
    auto it = state_.cursors.begin();
    std::advance(it, Pick(static_cast<int>(state_.cursors.size())));
    const Cursor cursor = it->second;
    const auto near = [&](const std::optional<Position>& p) -> std::optional<Position> {
      if (OneIn(3)) return std::nullopt;
      const Position at = p.value_or(Position{Epoch(1), Offset(0)});
      if (OneIn(8)) return Position{at.epoch + 1, Offset(0)};
      return Position{at.epoch, Offset(std::max<int64_t>(0, at.offset.value() + Pick(6) - 1))};
    };
    const MoveCursorRequest request{cursor.group, cursor.stream,
                                    OneIn(6) ? cursor.term - 1 : cursor.term, near(cursor.intent),
                                    near(cursor.done)};
    Both(Gate(), [&](Ledger& ledger) { return Show(ledger.MoveCursor(request)); });
  }

  void OpenSeqs() {
    const StreamName stream{"orders", Pick(3)};
    const bool create = OneIn(2);
    const std::string group = OneIn(3) ? "g" : "q";
    Both(Gate(), [&](Ledger& l) { return Show(SeqsOf(l).OpenSeqGate(group, stream, create)); });
  }

  void MoveSeqs() {
    if (state_.seq_cursors.empty()) return OpenSeqs();
    auto it = state_.seq_cursors.begin();
    std::advance(it, Pick(static_cast<int>(state_.seq_cursors.size())));
    const SeqCursor cursor = it->second;
    MoveSeqCursorRequest request{OneIn(10) ? "h" : cursor.group,
                                 cursor.stream,
                                 OneIn(6) ? cursor.term - 1 : cursor.term,
                                 {}};
    for (int32_t id = 1; id <= 3; ++id) {
      if (OneIn(3)) continue;
      SeqMark mark{ProducerId(id), Seq(0), Seq(0)};
      for (const SeqMark& stored : cursor.marks) {
        if (stored.producer == mark.producer) mark = stored;
      }
      mark.intent = mark.intent + Pick(5) - (OneIn(6) ? 2 : 0);
      mark.done = mark.done + Pick(4) - (OneIn(6) ? 2 : 0);
      request.marks.push_back(mark);
    }
    Both(Gate(), [&](Ledger& l) { return Show(SeqsOf(l).MoveSeqCursor(request)); });
  }

  void Admin() {
    switch (Pick(7)) {
      case 0: {
        const Epoch expected = OneIn(3) ? state_.epoch + 1 : state_.epoch;
        const bool solo = OneIn(2);
        const BeginEpochRequest request{expected, solo, OneIn(8) ? "cluster-s" : "", "random"};
        Both("admin", [&](Ledger& l) { return Show(l.BeginEpoch(request)); });
        break;
      }
      case 1: {
        const std::string name = OneIn(5) ? "nobody" : Name();
        Both("admin", [&](Ledger& l) { return Show(l.Seal(name)); });
        break;
      }
      case 2:
        Both("admin", [&](Ledger& l) { return Show(l.SoloOff()); });
        break;
      case 3: {
        const StreamId stream(1 + Pick(5));
        std::optional<Position> at;
        if (OneIn(2)) at = Position{Epoch(1), Offset(Pick(40))};
        const std::string group = OneIn(4) ? "q" : "s";
        Both("admin", [&](Ledger& l) { return Show(l.SetCursor(group, stream, at)); });
        break;
      }
      case 4: {
        const StreamId stream(1 + Pick(5));
        const ProducerId producer(1 + Pick(4));
        const Seq at(Pick(20));
        const std::string group = OneIn(4) ? "s" : "q";
        Both("admin",
             [&](Ledger& l) { return Show(SeqsOf(l).SetSeqCursor(group, stream, producer, at)); });
        break;
      }
      default: {
        const StepInfo step{Epoch(1 + Pick(2)), absl::StrCat("s", Pick(3)), "done", "{}", 0};
        Both("admin", [&](Ledger& l) { return Show(l.RecordStep(step)); });
      }
    }
  }

  void ReadAll() {
    for (int64_t id = 1; id <= 5; ++id) {
      ReadStreamRequest request{StreamId(id), {}, 1 + Pick(4), OneIn(2)};
      if (OneIn(2)) {
        request.after[ProducerId(1)] = {Epoch(1), Seq(1 + Pick(20))};
        request.after[ProducerId(2)] = {state_.epoch, Seq(1 + Pick(20))};
      }
      Both("gate", [&](Ledger& ledger) {
        const auto page = ledger.ReadStream(request);
        return page.ok() ? "page " + Show(*page) : "none";
      });
      const Position after{Epoch(1 + Pick(static_cast<int>(state_.epoch.value()))),
                           Offset(Pick(60))};
      Both("gate", [&](Ledger& ledger) {
        return "marks " + Show(ledger.MarksAfter(StreamId(id), after).value());
      });
      const std::map<ProducerId, Seq> seqs = {{ProducerId(1), Seq(Pick(30))},
                                              {ProducerId(3), Seq(Pick(30))}};
      Both("gate", [&](Ledger& ledger) {
        return "marks " + Show(SeqsOf(ledger).MarksAfterSeqs(StreamId(id), seqs).value());
      });
      Both("gate", [&](Ledger& ledger) {
        std::string out = "logs";
        const auto logs = ledger.ReadLogs(StreamId(id));
        for (const LogInfo& log : *logs) {
          absl::StrAppend(&out, " ", log.epoch.value(), log.cluster_id, log.topic,
                          log.start.value());
        }
        return out;
      });
    }
    Both("gate", [&](Ledger& ledger) {
      std::string out = "cursors";
      const auto cursors = ledger.ReadCursors();
      const auto producers = ledger.ListProducers();
      const auto streams = ledger.ListStreams();
      const auto epochs = ledger.ReadEpochs();
      const auto steps = ledger.ReadSteps(Epoch(1));
      for (const Cursor& cursor : *cursors) absl::StrAppend(&out, "\n", Show(cursor));
      const auto by_seq = SeqsOf(ledger).ReadSeqCursors();
      for (const SeqCursor& cursor : *by_seq) absl::StrAppend(&out, "\n", Show(cursor));
      for (const auto& p : *producers) {
        absl::StrAppend(&out, "\n", p.id.value(), p.name, p.source, p.checkpoint.value_or("-"));
      }
      for (const auto& s : *streams) {
        absl::StrAppend(&out, "\n", s.id.value(), ToString(s.name), s.partition_count);
      }
      for (const auto& e : *epochs) {
        absl::StrAppend(&out, "\n", e.epoch.value(), e.solo, e.cluster_id);
      }
      for (const auto& s : *steps) absl::StrAppend(&out, "\n", s.step, s.state);
      return out;
    });
  }

  PostgresWorld world_;
  LedgerState state_;
  std::map<std::string, std::unique_ptr<Ledger>> postgres_;
  std::map<std::string, std::unique_ptr<MemoryLedger>> memory_;
  std::mt19937_64 random_;
  std::vector<OpenedProducer> opened_;
  std::vector<AppendRequest> requests_;
  int calls_ = 0;
  std::map<std::string, int> seen_;
};

TEST_F(DifferentialTest, SameCallsSameAnswers) {
  const char* given = std::getenv("LOCKSTEP_SEED");
  const char* length = std::getenv("LOCKSTEP_CALLS");
  const uint64_t seed =
      given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device{}();
  const int calls = length != nullptr ? std::atoi(length) : 600;
  SCOPED_TRACE(absl::StrCat("repeat with LOCKSTEP_SEED=", seed));
  random_.seed(seed);
  while (calls_ < calls && !HasFailure()) {
    const int what = Pick(100);
    if (what < 12)
      Open();
    else if (what < 54)
      Append();
    else if (what < 60)
      Close();
    else if (what < 66)
      OpenGate();
    else if (what < 78)
      Move();
    else if (what < 82)
      OpenSeqs();
    else if (what < 90)
      MoveSeqs();
    else if (what < 98)
      Admin();
    else
      ReadAll();
  }
  ReadAll();
  for (const char* answer : {"committed none", "not-committed fenced", "not-committed invalid"}) {
    EXPECT_GT(seen_[answer], 0) << "the calls are not random enough: no " << answer;
  }
}

}  // namespace
}  // namespace lockstep
