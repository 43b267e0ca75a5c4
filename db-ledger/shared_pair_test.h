// The one PostgreSQL pair of this test binary, started when first asked for, ended with the
// process.
#ifndef LOCKSTEP_DB_LEDGER_SHARED_PAIR_TEST_H_
#define LOCKSTEP_DB_LEDGER_SHARED_PAIR_TEST_H_

#include "common/base/check.h"
#include "tests/support/postgres_pair.h"

namespace lockstep {

inline PostgresPair& SharedPair() {
  static const std::unique_ptr<PostgresPair> pair = [] {
    auto started = PostgresPair::Start();
    if (!started.ok()) std::fprintf(stderr, "%s\n", started.status().ToString().c_str());
    LOCKSTEP_CHECK(started.ok(), "the tests need PostgreSQL's programs");
    return std::move(*started);
  }();
  return *pair;
}

}  // namespace lockstep

#endif  // LOCKSTEP_DB_LEDGER_SHARED_PAIR_TEST_H_
