// A fresh ledger in a database of its own on a PostgreSQL pair, with the roles that tests use.
#ifndef LOCKSTEP_DB_LEDGER_POSTGRES_WORLD_TEST_H_
#define LOCKSTEP_DB_LEDGER_POSTGRES_WORLD_TEST_H_

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"

#include "db-ledger/ledger_test_support.h"
#include "db-ledger/postgres_ledger.h"
#include "db-ledger/schema.h"
#include "db-ledger/shared_pair_test.h"

namespace lockstep {

inline PgDeadline TestDeadline() {
  return std::chrono::steady_clock::now() + std::chrono::seconds(30);
}

class PostgresWorld final : public LedgerWorld {
 public:
  explicit PostgresWorld(PostgresPair& pair = SharedPair()) : pair_(pair) {
    static int count = 0;
    database_ = absl::StrCat("ledger_", ++count);
    Check(pair_.CreateDatabase(database_));
    const auto hosts = ParsePgHosts(pair_.Conninfo(database_), "test");
    const auto connection = PgConnection::Open(*hosts, PgRole::kPrimary, TestDeadline());
    Check(connection.status());
    Check(InstallSchema(**connection, false, TestDeadline()).status());
    Check((*connection)->ExecuteScript(kUsers, TestDeadline()).status());
    // The witness is asked in this database: the standby must have replayed it, not only flushed.
    const auto lsn =
        (*connection)->ExecuteScript("select pg_current_wal_flush_lsn()", TestDeadline());
    Check(lsn.status());
    Check(pair_.AwaitSql(PostgresPair::kStandby, "postgres",
                         absl::StrCat("select (pg_last_wal_replay_lsn() >= '", *lsn, "')::int"),
                         "1"));
  }

  std::unique_ptr<Ledger> Connect(const std::string& role) override { return ConnectAs(role, {}); }

  std::unique_ptr<PostgresLedger> ConnectAs(const std::string& role,
                                            PostgresLedgerOptions options) {
    options.ledger = pair_.Conninfo(database_, role);
    options.application_name = "test-" + role;
    auto ledger = PostgresLedger::Connect(options);
    Check(ledger.status());
    return std::move(*ledger);
  }

  PostgresPair& pair() { return pair_; }
  const std::string& database() const { return database_; }
  void Configure(const std::string& setting, const std::string& value) {
    const auto configured = pair_.Configure(PostgresPair::kPrimary, setting, value);
    EXPECT_TRUE(configured.ok()) << configured;
  }
  void Await(const std::string& sql, const std::string& expected) {
    const auto awaited = pair_.AwaitSql(PostgresPair::kPrimary, "postgres", sql, expected);
    ASSERT_TRUE(awaited.ok()) << awaited;
  }
  // Waits until as many commits of ours wait for the standby.
  void AwaitSyncWaits(const std::string& count) {
    Await(absl::StrCat("select count(*) from pg_stat_activity where datname = '", database_,
                       "' and wait_event = 'SyncRep'"),
          count);
  }
  std::string Sql(const std::string& sql, PostgresPair::Site site = PostgresPair::kPrimary) {
    const auto out = pair_.Sql(site, database_, sql);
    EXPECT_TRUE(out.ok()) << out.status();
    return out.value_or("");
  }

 private:
  static constexpr char kUsers[] = R"sql(
do $$
declare u record;
begin
  for u in select * from (values ('writer', 'lockstep_writer'), ('other_writer', 'lockstep_writer'), ('gate', 'lockstep_gate'),
                                 ('other_gate', 'lockstep_gate'), ('admin', 'lockstep_admin'), ('reader', 'lockstep_reader')) v(name, grp) loop
    if not exists (select from pg_roles where rolname = u.name) then
      execute format('create role %I login in role %I', u.name, u.grp);
    end if;
  end loop;
end $$)sql";

  static void Check(const absl::Status& status) {
    if (!status.ok()) std::fprintf(stderr, "%s\n", status.ToString().c_str());
    LOCKSTEP_CHECK(status.ok(), "the test's database can be made");
  }

  PostgresPair& pair_;
  std::string database_;
};

}  // namespace lockstep

#endif  // LOCKSTEP_DB_LEDGER_POSTGRES_WORLD_TEST_H_
