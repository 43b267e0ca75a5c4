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
      "insert into lockstep.cursor values (1, 'g', 7, 1, 9, 1, 5);"
      "create role old_gate login in role lockstep_gate; create role old_admin login in role "
      "lockstep_admin;",
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
  const auto other = (*ledger)->OpenSeqGate("g", {"orders", 0}, true);
  EXPECT_EQ(other.refusal, Refusal::kWrongKind);
  EXPECT_EQ((*ledger)->ReadCursors()->at(0).term, Term(8)) << "a refusal fenced the gate";

  // Whoever had the right to the old functions has it to what stands before them, and no more.
  const auto may = [&](const char* role, const char* function) {
    return (*connection)
        ->ExecuteScript(absl::StrCat("select bool_or(has_function_privilege('", role,
                                     "', p.oid, 'execute')) from pg_proc p where pronamespace = "
                                     "'lockstep'::regnamespace and proname = '",
                                     function, "'"),
                        TestDeadline())
        .value();
  };
  for (const char* name : {"open_gate", "move_cursor"}) {
    EXPECT_EQ(may("old_gate", name), "t") << name;
    EXPECT_EQ(may("old_gate", absl::StrCat(name, "_seq").c_str()), "t") << name;
    EXPECT_EQ(may("old_gate", absl::StrCat(name, "_any").c_str()), "f") << name;
  }
  EXPECT_EQ(may("old_admin", "set_cursor"), "t");
  EXPECT_EQ(may("old_admin", "set_cursor_seq"), "t");
  EXPECT_EQ(may("old_admin", "set_cursor_any"), "f");
  EXPECT_EQ(may("old_admin", "make_by_seq"), "f");
}

TEST(SchemaTest, NothingIsPrunedThatAGroupOfSeqsHasStillToSend) {
  PostgresWorld world;
  const auto connected = world.Connect("writer");
  const auto admin = world.ConnectAs("admin", {});
  const auto a = connected->OpenProducer(OpenRequest("A"));
  const auto b = connected->OpenProducer(OpenRequest("B"));
  ASSERT_TRUE(a.committed() && b.committed()) << a.why << b.why;
  const StreamId stream = a.value.streams[0].stream;
  const auto append = [&](const OpenedProducer& producer, int64_t first, int64_t last, int64_t at) {
    EXPECT_TRUE(connected->Append(AppendOne(producer, 0, first, last, at)).committed());
  };
  append(a.value, 1, 2, 0);
  append(a.value, 3, 4, 4);
  append(a.value, 5, 5, 8);
  append(b.value, 1, 2, 2);
  append(b.value, 3, 4, 6);
  const auto set = [&](const OpenedProducer& producer, int64_t seq) {
    EXPECT_TRUE(admin->SetSeqCursor("audit", stream, producer.producer, Seq(seq)).committed());
  };
  const auto prune = [&](int64_t below) { return admin->Prune(stream, {Epoch(1), Offset(below)}); };
  set(a.value, 3);
  Commit<int64_t> pruned = prune(4);
  EXPECT_EQ(pruned.refusal, Refusal::kInvalid);
  EXPECT_THAT(std::string(pruned.why.message()),
              testing::HasSubstr("group audit has sent only up to seq 0 of producer B"));
  pruned = prune(2);  // A's first run alone.
  ASSERT_TRUE(pruned.committed()) << pruned.why;
  EXPECT_EQ(pruned.value, 1);
  set(b.value, 4);
  pruned = prune(6);  // A's second run holds seq 4.
  EXPECT_EQ(pruned.refusal, Refusal::kInvalid);
  EXPECT_EQ(connected->ReadStream({.stream = stream, .after = {}})->runs.size(), 4U)
      << "a refusal pruned";
  set(a.value, 4);
  pruned = prune(100);  // All but each producer's newest.
  ASSERT_TRUE(pruned.committed()) << pruned.why;
  EXPECT_EQ(pruned.value, 2);
}

}  // namespace
}  // namespace lockstep
