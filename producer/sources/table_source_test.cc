// The outbox rule against a real PostgreSQL: rows that commit late, holes, prepared transactions,
// and the tables that are refused.
#include "producer/sources/table_source.h"

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "db-ledger/shared_pair_test.h"
#include "producer/sources/table_reader.h"

#include <libpq-fe.h>

namespace lockstep {
namespace {

using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

constexpr char kOutbox[] =
    "create table outbox (id bigserial primary key, key text, value text not null)";
constexpr char kWithXid[] =
    "create table outbox (id bigint primary key, key text, value text not null, "
    "xid xid8 not null default pg_current_xact_id()); create unique index on outbox (xid, id)";

// A session of its own, for transactions that stay open.
class Session {
 public:
  explicit Session(const std::string& conninfo) : connection_(PQconnectdb(conninfo.c_str())) {
    LOCKSTEP_CHECK(PQstatus(connection_) == CONNECTION_OK, "the test's database answers");
  }
  ~Session() { PQfinish(connection_); }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  void Do(const std::string& sql) {
    PGresult* result = PQexec(connection_, sql.c_str());
    const ExecStatusType status = PQresultStatus(result);
    EXPECT_TRUE(status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK)
        << sql << ": " << PQerrorMessage(connection_);
    PQclear(result);
  }

 private:
  PGconn* const connection_;
};

class TableTest : public testing::Test {
 protected:
  TableTest() {
    static int count = 0;
    database_ = absl::StrCat("table_", ++count);
    LOCKSTEP_CHECK(SharedPair().CreateDatabase(database_).ok(), "a test makes its database");
    conninfo_ = SharedPair().ConninfoOf(PostgresPair::kPrimary, database_);
  }

  std::string Sql(const std::string& sql) {
    const auto out =
        SharedPair().Sql(PostgresPair::kPrimary, database_, "set search_path to public; " + sql);
    EXPECT_TRUE(out.ok()) << sql << ": " << out.status();
    return out.value_or("");
  }

  static TableSpec Spec(bool with_xid = false) {
    TableSpec spec;
    spec.table = "outbox";
    spec.id = "id";
    spec.value = "value";
    spec.key = "key";
    if (with_xid) spec.xid = "xid";
    return spec;
  }

  std::unique_ptr<Source> Open(SourceOptions options = {}, TableSpec spec = Spec()) {
    options.source_db = conninfo_;
    return OpenTableSource(spec, options).value();
  }
  absl::Status StartOf(TableSpec spec = Spec()) { return Open({}, spec)->Start({}); }

  // Values that come within `timeout` of the last one.
  static std::vector<std::string> Take(Source& source, milliseconds timeout = milliseconds(150),
                                       absl::Status* status = nullptr) {
    std::vector<std::string> values;
    auto deadline = std::chrono::steady_clock::now() + timeout;
    while (!source.ended() && std::chrono::steady_clock::now() < deadline) {
      std::vector<SourceEvent> events;
      const absl::Status polled = source.Poll(100, milliseconds(20), events);
      if (status != nullptr) {
        *status = polled;
      } else {
        EXPECT_EQ(polled, absl::OkStatus());
      }
      if (!polled.ok()) break;
      for (const SourceEvent& event : events)
        values.push_back(event.at + "=" + *event.payload.value);
      if (!events.empty()) deadline = std::chrono::steady_clock::now() + timeout;
    }
    return values;
  }

  std::string database_;
  std::string conninfo_;
};

// ---------------------------------------------------------------- the rule

TEST_F(TableTest, HolesInTheSerialAreFine) {
  Sql(kOutbox);
  Sql("insert into outbox (value) values ('a')");
  Sql("begin; insert into outbox (value) values ('rolled back'); rollback");
  Sql("insert into outbox (value) values ('c')");
  auto source = Open();
  ASSERT_EQ(source->Start({}), absl::OkStatus());
  EXPECT_THAT(Take(*source), ElementsAre("1=a", "3=c"));
}

TEST_F(TableTest, ARowThatCommitsLateIsWaitedForAndComesInItsPlace) {
  Sql(kOutbox);
  Session late(conninfo_);
  late.Do("begin; insert into outbox (value) values ('late')");
  Sql("insert into outbox (value) values ('early')");
  auto source = Open();
  ASSERT_EQ(source->Start({}), absl::OkStatus());
  EXPECT_THAT(Take(*source), IsEmpty()) << "id 1 is not there yet, so id 2 waits";
  late.Do("commit");
  EXPECT_THAT(Take(*source), ElementsAre("1=late", "2=early"));
}

TEST_F(TableTest, WritersThatComeLaterDoNotHoldItUp) {
  Sql(kOutbox);
  Session first(conninfo_);
  Session second(conninfo_);
  first.Do("begin; insert into outbox (value) values ('a')");
  Sql("insert into outbox (value) values ('b')");
  auto source = Open();
  ASSERT_EQ(source->Start({}), absl::OkStatus());
  EXPECT_THAT(Take(*source), IsEmpty());
  second.Do("begin; insert into outbox (value) values ('c')");  // Not on the list.
  first.Do("commit");
  EXPECT_THAT(Take(*source), ElementsAre("1=a", "2=b"));
  second.Do("commit");
  EXPECT_THAT(Take(*source), ElementsAre("3=c"));
}

TEST_F(TableTest, APreparedTransactionIsWaitedFor) {
  Sql(kOutbox);
  Session session(conninfo_);
  session.Do("begin; insert into outbox (value) values ('prepared')");
  session.Do("prepare transaction 'orphan'");
  Sql("insert into outbox (value) values ('b')");
  auto source = Open({.long_writer_after = milliseconds(50)});
  ASSERT_EQ(source->Start({}), absl::OkStatus());
  testing::internal::CaptureStderr();
  EXPECT_THAT(Take(*source, milliseconds(400)), IsEmpty());
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("prepared_transaction=orphan"));
  ASSERT_TRUE(SharedPair().Sql(PostgresPair::kPrimary, database_, "commit prepared 'orphan'").ok());
  EXPECT_THAT(Take(*source), ElementsAre("1=prepared", "2=b"));
}

TEST_F(TableTest, ALongWriterIsNamed) {
  Sql(kOutbox);
  Session session(absl::StrCat(conninfo_, " application_name=nightly-delete"));
  session.Do("begin; delete from outbox where id < 0");
  Sql("insert into outbox (value) values ('a')");
  auto source = Open({.long_writer_after = milliseconds(50)});
  ASSERT_EQ(source->Start({}), absl::OkStatus());
  testing::internal::CaptureStderr();
  EXPECT_THAT(Take(*source, milliseconds(400)), IsEmpty());
  const std::string log = testing::internal::GetCapturedStderr();
  EXPECT_THAT(log, HasSubstr("long_writer"));
  EXPECT_THAT(log, HasSubstr("application=nightly-delete"));
  EXPECT_THAT(log, HasSubstr("idle in transaction"));
}

TEST_F(TableTest, IdsThatNoSequenceGivesAreWarnedOf) {
  Sql("create table outbox (id bigint primary key, key text, value text)");
  auto source = Open();
  testing::internal::CaptureStderr();
  ASSERT_EQ(source->Start({}), absl::OkStatus());
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("ids_without_sequence"));

  Sql("drop table outbox");
  Sql(kOutbox);
  source = Open();
  testing::internal::CaptureStderr();
  ASSERT_EQ(source->Start({}), absl::OkStatus());
  EXPECT_THAT(testing::internal::GetCapturedStderr(), Not(HasSubstr("ids_without_sequence")));
}

TEST_F(TableTest, PartitionsAreLockedAndReadToo) {
  Sql("create table outbox (id bigserial primary key, key text, value text not null) partition by "
      "range (id); create table outbox_1 partition of outbox for values from (1) to (100); create "
      "table outbox_2 partition of outbox for values from (100) to (200)");
  Session late(conninfo_);
  late.Do("begin; insert into outbox_1 (id, value) values (nextval('outbox_id_seq'), 'late')");
  Sql("insert into outbox (value) values ('b')");
  auto source = Open();
  ASSERT_EQ(source->Start({}), absl::OkStatus());
  EXPECT_THAT(Take(*source), IsEmpty()) << "the writer locked the partition only";
  late.Do("commit");
  EXPECT_THAT(Take(*source), ElementsAre("1=late", "2=b"));
}

// Writers that take their ids and commit in any order; each event comes once, in id order.
TEST_F(TableTest, NothingIsSkippedWhateverTheOrderOfCommits) {
  Sql(kOutbox);
  auto source = Open();
  ASSERT_EQ(source->Start({}), absl::OkStatus());
  constexpr int kWriters = 4;
  constexpr int kTransactions = 40;
  std::vector<std::thread> writers;
  for (int w = 0; w < kWriters; ++w) {
    writers.emplace_back([this, w] {
      std::mt19937 random(static_cast<unsigned>(w));
      Session session(conninfo_ + " options='-c synchronous_commit=off'");
      for (int t = 0; t < kTransactions; ++t) {
        session.Do("begin");
        for (unsigned i = 0; i < 1 + random() % 3; ++i) {
          session.Do("insert into outbox (value) values ('x')");
          // Time itself: transactions overlap, and end in another order than they began.
          std::this_thread::sleep_for(milliseconds(random() % 4));
        }
        session.Do(random() % 5 == 0 ? "rollback" : "commit");
      }
    });
  }
  std::vector<std::string> values;
  std::atomic<size_t> wanted{SIZE_MAX};
  std::thread reader([&] {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (values.size() < wanted && std::chrono::steady_clock::now() < deadline) {
      for (std::string& value : Take(*source, milliseconds(1))) values.push_back(std::move(value));
    }
  });
  for (std::thread& writer : writers) writer.join();
  wanted = std::stoul(Sql("select count(*) from outbox"));
  reader.join();
  std::string expected = Sql("select string_agg(id || '=' || value, ',' order by id) from outbox");
  std::string got;
  for (const std::string& value : values) got += (got.empty() ? "" : ",") + value;
  EXPECT_EQ(got, expected);
}

TEST_F(TableTest, UntilEndStopsAtWhatWasThereAtTheStart) {
  Sql(kOutbox);
  Sql("insert into outbox (value) select 'v' || g from generate_series(1, 250) g");
  auto source = Open({.until_end = true});
  ASSERT_EQ(source->Start({}), absl::OkStatus());
  EXPECT_EQ(Take(*source).size(), 250u);
  EXPECT_TRUE(source->ended());
}

TEST_F(TableTest, AnEmptyTableEndsAtOnce) {
  Sql(kOutbox);
  auto source = Open({.until_end = true});
  ASSERT_EQ(source->Start({}), absl::OkStatus());
  EXPECT_THAT(Take(*source), IsEmpty());
  EXPECT_TRUE(source->ended());
}

TEST_F(TableTest, ResumesBehindThePosition) {
  Sql(kOutbox);
  Sql("insert into outbox (value) values ('a'), ('b'), ('c')");
  auto source = Open();
  ASSERT_EQ(source->Start({std::nullopt, "2", "2"}), absl::OkStatus());
  EXPECT_THAT(Take(*source), ElementsAre("3=c"));
}

TEST_F(TableTest, WhereFiltersAndByteaComesAsItIs) {
  Sql("create table outbox (id bigserial primary key, key bytea, value bytea)");
  Sql("insert into outbox (key, value) values ('\\x00ff', '\\x0a00'), (null, null), ('k', 'v')");
  auto source = Open();
  ASSERT_EQ(source->Start({}), absl::OkStatus());
  std::vector<SourceEvent> events;
  while (events.empty()) ASSERT_TRUE(source->Poll(10, milliseconds(100), events).ok());
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(events[0].payload.key, std::string("\0\xff", 2));
  EXPECT_EQ(events[0].payload.value, std::string("\n\0", 2));
  EXPECT_EQ(events[1].payload.value, std::nullopt);
  TableSpec some = Spec();
  some.where = "value is not null -- a comment";
  auto filtered = Open({}, some);
  ASSERT_EQ(filtered->Start({}), absl::OkStatus());
  events.clear();
  while (events.empty()) ASSERT_TRUE(filtered->Poll(10, milliseconds(100), events).ok());
  EXPECT_EQ(events.size(), 2u);
}

// ---------------------------------------------------------------- xid

TEST_F(TableTest, IdsOfTheApplicationGoByTransaction) {
  Sql(kWithXid);
  Session late(conninfo_);
  late.Do("begin; insert into outbox (id, value) values (50, 'late')");
  Sql("insert into outbox (id, value) values (70, 'b')");
  auto source = Open({.long_writer_after = milliseconds(50)}, Spec(true));
  ASSERT_EQ(source->Start({}), absl::OkStatus());
  testing::internal::CaptureStderr();
  EXPECT_THAT(Take(*source, milliseconds(400)), IsEmpty());
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("long_writer"));
  late.Do("commit");
  Sql("insert into outbox (id, value) values (3, 'c')");
  const std::string x =
      Sql("select string_agg(xid || ':' || id || '=' || value, ' ' order by xid, "
          "id) from outbox");
  std::string got;
  for (const std::string& value : Take(*source)) got += (got.empty() ? "" : " ") + value;
  EXPECT_EQ(got, x);
  EXPECT_THAT(got, HasSubstr(":50=late"));
}

TEST_F(TableTest, UntilEndWorksByTransactionToo) {
  Sql(kWithXid);
  Sql("insert into outbox (id, value) values (9, 'a')");
  Sql("insert into outbox (id, value) values (4, 'b')");
  auto source = Open({.until_end = true}, Spec(true));
  ASSERT_EQ(source->Start({}), absl::OkStatus());
  EXPECT_EQ(Take(*source).size(), 2u);
  EXPECT_TRUE(source->ended());
}

// ---------------------------------------------------------------- what stops it

TEST_F(TableTest, ARowThatCameLateAllTheSameStops) {
  Sql(kOutbox);
  Sql("insert into outbox (id, value) values (10, 'a'), (20, 'b')");
  auto source = Open();
  ASSERT_EQ(source->Start({}), absl::OkStatus());
  EXPECT_THAT(Take(*source), ElementsAre("10=a", "20=b"));
  Sql("insert into outbox (id, value) values (15, 'late')");  // An id of the application's.
  absl::Status status;
  Take(*source, milliseconds(3000), &status);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("row 15 came late"));
}

TEST_F(TableTest, DeletedRowsAreNoLateRows) {
  Sql(kOutbox);
  Sql("insert into outbox (value) select 'v' from generate_series(1, 10)");
  auto source = Open();
  ASSERT_EQ(source->Start({}), absl::OkStatus());
  EXPECT_EQ(Take(*source).size(), 10u);
  Sql("delete from outbox where id <= 5");
  absl::Status status;
  EXPECT_THAT(Take(*source, milliseconds(1500), &status), IsEmpty());
  EXPECT_EQ(status, absl::OkStatus());
}

TEST_F(TableTest, RefusesTablesWhoseOrderCannotBeTold) {
  const struct {
    const char* sql;
    const char* says;
  } kRows[] = {
      {"create table outbox (id bigserial, key text, value text)", "is not unique"},
      {"create table outbox (id bigint unique, key text, value text)", "is nullable"},
      {"create table outbox (id bigserial primary key, key text, value text); alter sequence "
       "outbox_id_seq cache 20",
       "has CACHE 20"},
      {"create table outbox (id bigint generated always as identity (increment -1 minvalue -9 "
       "maxvalue 9) primary key, key text, value text)",
       "counts down"},
      {"create table outbox (id bigserial primary key, key text, value text); alter sequence "
       "outbox_id_seq maxvalue 100 cycle",
       "CYCLE"},
      {"create table outbox (id text primary key, key text, value text)", "whole number"},
      {"create table outbox (id bigserial, key text, value text); create unique index on outbox "
       "(id) where id > 5",
       "is not unique"},
      {"create view outbox as select 1::bigint as id, 'k' as key, 'v' as value",
       "not a table of its own"},
      {"create table outbox (id bigint primary key, key text, value text); insert into outbox "
       "values (0)",
       "below 1"},
      {"create sequence shared cache 5; create table outbox (id bigint primary key default "
       "nextval('shared'), key text, value text)",
       "has CACHE 5"},
  };
  for (const auto& row : kRows) {
    Sql(row.sql);
    const absl::Status status = StartOf();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << row.sql << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(row.says));
    Sql("drop view if exists outbox_v");
    Sql(std::string(row.sql).starts_with("create view") ? "drop view outbox" : "drop table outbox");
  }
}

TEST_F(TableTest, RefusesAnXidColumnThatCannotOrder) {
  Sql("create table outbox (id bigint primary key, key text, value text, xid xid8)");
  const absl::Status status = StartOf(Spec(true));
  EXPECT_THAT(std::string(status.message()), HasSubstr("xid is nullable"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("no index on (xid, id)"));
}

TEST_F(TableTest, NamesWhatIsNotThere) {
  EXPECT_EQ(StartOf().code(), absl::StatusCode::kNotFound);
  Sql("create table outbox (id bigserial primary key, body text)");
  const absl::Status status = StartOf();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("no column value, key"));
}

TEST_F(TableTest, ATableThatEndsBelowTheLedgerIsBehind) {
  Sql(kOutbox);
  Sql("insert into outbox (value) values ('a'), ('b')");
  EXPECT_EQ(Open()->Start({std::nullopt, "2", "2"}), absl::OkStatus());
  const absl::Status status = Open()->Start({std::nullopt, "3", "3"});
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("source behind ledger"));
  Sql("delete from outbox");
  EXPECT_EQ(Open()->Start({std::nullopt, "2", "2"}), absl::OkStatus())
      << "deleted, but the sequence has been there";
}

TEST_F(TableTest, AStandbyIsNoSource) {
  Sql(kOutbox);
  ASSERT_TRUE(SharedPair()
                  .AwaitSql(PostgresPair::kStandby, "postgres",
                            "select count(*) from pg_database where datname = '" + database_ + "'",
                            "1")
                  .ok());
  auto source = OpenTableSource(
      Spec(), {.until_end = false,
               .bad_lines = BadLines::kStop,
               .source_db = SharedPair().ConninfoOf(PostgresPair::kStandby, database_)});
  EXPECT_EQ((*source)->Start({}).code(), absl::StatusCode::kUnavailable);
}

// ---------------------------------------------------------------- payloads

TEST_F(TableTest, PayloadsOfARunAreReadAgainOnTheStandbyToo) {
  Sql(kOutbox);
  Sql("insert into outbox (key, value) select 'k' || g, 'v' || g from generate_series(1, 100) g");
  ASSERT_TRUE(
      SharedPair()
          .AwaitSql(PostgresPair::kStandby, database_, "select count(*) from public.outbox", "100")
          .ok());
  auto payloads =
      OpenTablePayloadSource(Spec(), SharedPair().ConninfoOf(PostgresPair::kStandby, database_))
          .value();
  PayloadRequest request;
  request.stream = {StreamId(1), {"orders", 0}, 1};
  request.producer = "A";
  request.run.first_seq = Seq(11);
  request.run.last_seq = Seq(13);
  request.run.at_first = "11";
  request.run.at_last = "13";
  const auto events = payloads->Read(request);
  ASSERT_TRUE(events.ok()) << events.status();
  ASSERT_EQ(events->size(), 3u);
  EXPECT_EQ(events->at(2).payload.value, "v13");
  EXPECT_EQ(events->at(2).payload.key, "k13");
  request.run.at_last = "120";
  request.run.last_seq = Seq(120);
  EXPECT_EQ(payloads->Read(request).status().code(), absl::StatusCode::kNotFound);
}

// Small runs of two streams, a run larger than what is read ahead, and one that was not there yet.
TEST_F(TableTest, PayloadsReadAheadAreThoseOfEachRun) {
  Sql("create table outbox (id bigserial primary key, key text, value text)");
  Sql("insert into outbox (key, value) select 'k' || g % 7, 'v' || g from generate_series(1, 9000) "
      "g");
  auto payloads = OpenTablePayloadSource(Spec(), conninfo_).value();
  const auto read = [&](int64_t first, int64_t last) {
    PayloadRequest request;
    request.stream = {StreamId(1), {"orders", 0}, 1};
    request.producer = "A";
    request.run.first_seq = Seq(first);
    request.run.last_seq = Seq(last);
    request.run.at_first = std::to_string(first);
    request.run.at_last = std::to_string(last);
    return payloads->Read(request);
  };
  const std::vector<std::pair<int64_t, int64_t>> runs = {
      {1, 3}, {4, 4}, {990, 1010}, {1011, 6000}, {6001, 6002}, {5, 9}, {8999, 9000}, {1, 9000}};
  for (const auto& [first, last] : runs) {
    const auto events = read(first, last);
    ASSERT_TRUE(events.ok()) << events.status();
    ASSERT_EQ(static_cast<int64_t>(events->size()), last - first + 1);
    for (int64_t id = first; id <= last; ++id) {
      const SourceEvent& event = events->at(static_cast<size_t>(id - first));
      ASSERT_EQ(event.at, std::to_string(id));
      ASSERT_EQ(event.payload.value, "v" + std::to_string(id));
    }
  }
  EXPECT_EQ(read(9001, 9002).status().code(), absl::StatusCode::kNotFound);
  Sql("insert into outbox (key, value) values ('k', 'v9001'), ('k', 'v9002')");
  EXPECT_EQ(read(9001, 9002).value().back().payload.value, "v9002");
}

}  // namespace
}  // namespace lockstep
