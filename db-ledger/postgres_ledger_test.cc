#include "db-ledger/postgres_ledger.h"

#include <atomic>

#include "absl/strings/str_cat.h"

#include "db-ledger/ledger_contract_test.h"
#include "db-ledger/postgres_world_test.h"

namespace lockstep {
namespace {

INSTANTIATE_TEST_SUITE_P(Postgres, LedgerContractTest, testing::Values([] {
                           return std::unique_ptr<LedgerWorld>(std::make_unique<PostgresWorld>());
                         }));

TEST(SchemaTest, AnEarlierVersionIsBroughtToThisOneWithWhatItHolds) {
  PostgresPair& pair = SharedPair();
  ASSERT_TRUE(pair.CreateDatabase("upgraded").ok());
  const auto hosts = ParsePgHosts(pair.Conninfo("upgraded"), "test");
  const auto connection = PgConnection::Open(*hosts, PgRole::kPrimary, TestDeadline());
  ASSERT_TRUE(connection.ok()) << connection.status();
  const std::string version_1 = absl::StrCat(
      "begin;", kRolesSql, kLedger001Sql,
      "insert into lockstep.now (epoch) values (1);"
      "insert into lockstep.epoch (epoch, solo, reason, role) values (1, false, 'init', 'x');"
      "insert into lockstep.stream values (1, 'orders', 0, 1);"
      "insert into lockstep.gate_group values ('g', session_user);"
      "insert into lockstep.cursor values (1, 'g', 7, 1, 9, 1, 5);",
      "commit");
  ASSERT_TRUE((*connection)->ExecuteScript(version_1, TestDeadline()).ok());
  EXPECT_EQ(ReadSchemaVersion(**connection, TestDeadline()).value(), 1);
  for (int i = 0; i < 2; ++i) {  // The second finds nothing to do.
    const auto installed = InstallSchema(**connection, false, TestDeadline());
    ASSERT_TRUE(installed.ok()) << installed.status();
    EXPECT_EQ(installed->version, kSchemaVersion);
  }
  PostgresLedgerOptions options;
  options.ledger = pair.Conninfo("upgraded");
  auto ledger = PostgresLedger::Connect(options);
  ASSERT_TRUE(ledger.ok()) << ledger.status();
  const auto opened = (*ledger)->OpenGate("g", {{"orders", 0}}, false);
  ASSERT_TRUE(opened.committed()) << opened.why;
  EXPECT_EQ(opened.value.cursors[0],
            (Cursor{"g", StreamId(1), Term(8), Position{Epoch(1), Offset(9)},
                    Position{Epoch(1), Offset(5)}}));
}

}  // namespace
}  // namespace lockstep
