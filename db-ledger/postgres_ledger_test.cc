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

}  // namespace
}  // namespace lockstep
