// Races on the real thing: several connections, one of them stopped in the middle of its
// transaction. Each test is one of the stories that docs/decisions/0003 and model checking found.
#include <atomic>
#include <future>
#include <random>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "db-ledger/postgres_world_test.h"

namespace lockstep {
namespace {

// A session held open by hand, as a role.
class Session {
 public:
  Session(PostgresWorld& world, const std::string& role) {
    const auto hosts = ParsePgHosts(world.pair().Conninfo(world.database(), role), "by-hand");
    auto opened = PgConnection::Open(*hosts, PgRole::kPrimary, TestDeadline());
    EXPECT_TRUE(opened.ok()) << opened.status();
    connection_ = std::move(*opened);
  }
  std::string Run(const std::string& sql) {
    const auto out = connection_->ExecuteScript(sql, TestDeadline());
    EXPECT_TRUE(out.ok()) << out.status();
    return out.value_or("");
  }

 private:
  std::unique_ptr<PgConnection> connection_;
};

class LedgerRaceTest : public testing::Test {
 protected:
  LedgerRaceTest()
      : writer_(world_.Connect("writer")),
        admin_(world_.Connect("admin")),
        reader_(world_.Connect("reader")) {}

  // Waits until somebody of this database waits for a lock: the race is on.
  void AwaitLockWait() {
    const auto waiting = world_.pair().AwaitSql(
        PostgresPair::kPrimary, "postgres",
        absl::StrCat("select (count(*) > 0)::int from pg_stat_activity where datname = '",
                     world_.database(), "' and wait_event_type = 'Lock'"),
        "1");
    ASSERT_TRUE(waiting.ok()) << waiting;
  }

  // The call of append() for one run of one stream, as SQL.
  static std::string AppendSql(const OpenedProducer& opened, int64_t first, int64_t last,
                               int64_t at) {
    const OpenedStream& s = opened.streams.at(0);
    return absl::StrCat("select o_again from lockstep.append(", opened.producer.value(), ", '{",
                        s.stream.value(), "}', '{", s.term.value(), "}', '{", s.term.value(),
                        "}', '{", first, "}', '{", last, "}', array['{[", at, ",",
                        at + last - first + 1, ")}'::int8multirange], '{", 100 + first, "}', '{",
                        100 + last, "}', '{1}', array[null::bytea], null);");
  }

  PostgresWorld world_;
  std::unique_ptr<Ledger> writer_, admin_, reader_;
};

TEST_F(LedgerRaceTest, AnEpochWaitsForTheAppendUnderWayAndCountsIt) {
  const auto a = writer_->OpenProducer(OpenRequest("A")).value;
  Session session(world_, "writer");
  session.Run("begin;" + AppendSql(a, 1, 3, 10));
  auto begun = std::async([&] { return admin_->BeginEpoch({Epoch(1), true, "", "race"}); });
  AwaitLockWait();
  session.Run("commit");
  ASSERT_TRUE(begun.get().committed());
  EXPECT_EQ(world_.Sql("select last_seq from lockstep.tenure where term = 1"), "3");
  EXPECT_EQ(world_.Sql("select first_seq from lockstep.tenure where term = 2"), "4");
  EXPECT_REFUSED(Refusal::kFenced, writer_->Append(AppendOne(a, 0, 4, 4, 13)));
}

TEST_F(LedgerRaceTest, AnAppendThatStartsWhileAnEpochBeginsIsFenced) {
  const auto a = writer_->OpenProducer(OpenRequest("A")).value;
  Session session(world_, "admin");
  session.Run("begin; select lockstep.begin_epoch(1, true, '', 'race')");
  auto appended = std::async([&] { return writer_->Append(AppendOne(a, 0, 1, 1, 10)); });
  AwaitLockWait();
  session.Run("commit");
  EXPECT_REFUSED(Refusal::kFenced, appended.get());
  EXPECT_EQ(world_.Sql("select count(*) from lockstep.run"), "0");
}

TEST_F(LedgerRaceTest, AProducerThatOpensWhileAnEpochBeginsLandsInTheNewOne) {
  Session session(world_, "admin");
  session.Run("begin; select lockstep.begin_epoch(1, false, '', 'race')");
  auto opened = std::async([&] { return writer_->OpenProducer(OpenRequest("B")); });
  AwaitLockWait();
  session.Run("commit");
  EXPECT_EQ(opened.get().value.epoch, Epoch(2));
  EXPECT_EQ(world_.Sql("select epoch from lockstep.head"), "2");
  EXPECT_EQ(world_.Sql("select epoch from lockstep.log"), "2");
}

TEST_F(LedgerRaceTest, AGateThatMovesWhileAnEpochBeginsIsFenced) {
  const auto gate = world_.Connect("gate");
  const auto cursor = gate->OpenGate("g", {{"orders", 0}}, true).value.cursors.at(0);
  Session session(world_, "admin");
  session.Run("begin; select lockstep.begin_epoch(1, true, '', 'race')");
  auto moved = std::async([&] {
    return gate->MoveCursor({"g", cursor.stream, cursor.term, Position{Epoch(1), Offset(1)}, {}});
  });
  AwaitLockWait();
  session.Run("commit");
  EXPECT_REFUSED(Refusal::kFenced, moved.get());
}

TEST_F(LedgerRaceTest, NoTwoOpensGetOneTerm) {
  constexpr int kThreads = 4, kOpens = 8;
  std::vector<std::future<std::vector<Term>>> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.push_back(std::async(std::launch::async, [&] {
      const auto ledger = world_.Connect("writer");
      std::vector<Term> terms;
      for (int i = 0; i < kOpens; ++i) {
        // Also the very first opens race: of the producer, the streams and the log.
        const auto opened = ledger->OpenProducer(OpenRequest("A", {1, 0}));
        EXPECT_TRUE(opened.committed()) << opened.why;
        if (opened.committed()) terms.push_back(opened.value.streams[0].term);
      }
      return terms;
    }));
  }
  std::set<Term> all;
  for (auto& thread : threads) {
    for (const Term term : thread.get()) EXPECT_TRUE(all.insert(term).second) << term;
  }
  EXPECT_EQ(all.size(), size_t{kThreads * kOpens});
  EXPECT_EQ(*all.rbegin(), Term(kThreads * kOpens));
}

TEST_F(LedgerRaceTest, AReaderMissesNothingThatCommitsOutOfOrder) {
  const auto a = writer_->OpenProducer(OpenRequest("A")).value;
  const auto b = writer_->OpenProducer(OpenRequest("B")).value;
  const StreamId stream = a.streams[0].stream;
  Session session(world_, "writer");
  session.Run("begin;" + AppendSql(a, 1, 3, 10));  // Earlier id, earlier time, later commit.
  ASSERT_COMMITTED(writer_->Append(AppendOne(b, 0, 1, 2, 13)));
  RunMarks marks;
  const auto first = reader_->ReadStream({stream, marks, 100, false});
  ASSERT_TRUE(first.ok());
  ASSERT_EQ(first->runs.size(), 1u);
  EXPECT_EQ(first->runs[0].producer, b.producer);
  marks[b.producer] = {Epoch(1), Seq(1)};
  session.Run("commit");
  const auto second = reader_->ReadStream({stream, marks, 100, false});
  ASSERT_TRUE(second.ok());
  ASSERT_EQ(second->runs.size(), 1u);
  EXPECT_EQ(second->runs[0].producer, a.producer);
}

// Producers of several streams, each group naming them in another order, against each other's
// streams, a reader, and epochs that begin: no deadlock, no hole, nothing read twice or missed.
TEST_F(LedgerRaceTest, MultiStreamAppendsAndEpochsDoNotDeadlock) {
  constexpr int kProducers = 3, kEpochs = 4;
  const uint64_t seed = std::random_device{}();
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  std::atomic<bool> over{false};
  std::vector<std::thread> threads;
  for (int p = 0; p < kProducers; ++p) {
    threads.emplace_back([&, p] {
      std::mt19937_64 random(seed + static_cast<uint64_t>(p));
      const auto ledger = world_.Connect("writer");
      const std::string name(1, static_cast<char>('A' + p));
      OpenedProducer opened;
      std::vector<int64_t> next_offset(3, 1000 * p);
      while (!over) {
        if (opened.streams.empty()) {
          const auto open = ledger->OpenProducer(OpenRequest(name, {2, 0, 1}));
          ASSERT_TRUE(open.committed()) << ToString(open.refusal) << open.why;
          opened = open.value;
        }
        std::vector<size_t> order = {0, 1, 2};
        std::shuffle(order.begin(), order.end(), random);
        AppendRequest request{opened.producer, {}, {}};
        for (const size_t i : order) {
          const int64_t first = opened.streams[i].last_seq.value() + 1;
          request.runs.push_back(AppendOne(opened, i, first, first, next_offset[i]).runs[0]);
        }
        const auto appended = ledger->Append(request);
        if (appended.refusal == Refusal::kFenced) {
          opened = {};
          continue;
        }
        ASSERT_TRUE(appended.committed()) << ToString(appended.refusal) << appended.why;
        for (const size_t i : order) {
          ++opened.streams[i].last_seq;
          next_offset[i] += kProducers;
        }
      }
    });
  }
  std::map<ProducerId, std::vector<Seq>> read;
  threads.emplace_back([&] {
    RunMarks marks;
    while (!over) {
      const auto page = reader_->ReadStream({StreamId(1), marks, 5, false});
      for (const auto& run : page.ok() ? page->runs : std::vector<lockstep::Run>()) {
        read[run.producer].push_back(run.first_seq);
        marks[run.producer] = {run.epoch, run.first_seq};
      }
    }
  });
  for (int64_t epoch = 1; epoch <= kEpochs; ++epoch) {
    // Every epoch sees appends of every producer.
    const auto seen = world_.pair().AwaitSql(
        PostgresPair::kPrimary, world_.database(),
        absl::StrCat("select count(distinct producer) from lockstep.run where epoch = ", epoch),
        std::to_string(kProducers));
    EXPECT_TRUE(seen.ok()) << seen;
    const auto begun = admin_->BeginEpoch({Epoch(epoch), false, "", "race"});
    EXPECT_TRUE(begun.committed()) << ToString(begun.refusal) << begun.why;
  }
  over = true;
  for (auto& thread : threads) thread.join();

  // I1: dense seqs per producer and stream; every tenure's end is where its last run ended.
  EXPECT_EQ(world_.Sql("select count(*) from (select first_seq - lag(last_seq, 1, 0::bigint) over "
                       "(partition by stream, producer order by first_seq) as step from "
                       "lockstep.run) s where step <> 1"),
            "0");
  EXPECT_EQ(world_.Sql("select count(*) from lockstep.tenure t where last_seq <> coalesce((select "
                       "max(r.last_seq) from lockstep.run r where r.stream = t.stream and "
                       "r.producer = t.producer and r.epoch <= t.epoch), 0) and not exists (select "
                       "from lockstep.tenure n where n.stream = t.stream and n.producer = "
                       "t.producer and n.epoch = t.epoch and n.term > t.term)"),
            "0");
  for (const auto& [producer, seqs] : read) {
    for (size_t i = 0; i < seqs.size(); ++i) {
      ASSERT_EQ(seqs[i], Seq(static_cast<int64_t>(i) + 1)) << producer;
    }
  }
}

}  // namespace
}  // namespace lockstep
