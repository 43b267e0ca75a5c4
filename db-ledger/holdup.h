// Which record holds up a gate: the first one of the current epoch's log that is not settled (I3).
//
// Pure. It needs no runs: a seq at or below its producer's head is ledgered, here or elsewhere, so
// that this record is ledgered, a duplicate or void; above it, it is void iff its term is closed.
#ifndef LOCKSTEP_DB_LEDGER_HOLDUP_H_
#define LOCKSTEP_DB_LEDGER_HOLDUP_H_

#include <string>
#include <string_view>
#include <vector>

#include "db-ledger/ledger.h"

namespace lockstep {

struct HoldUp {
  bool settled = true;
  std::string what;     // Empty iff settled; else what is wrong with it, in a sentence.
  std::string command;  // What ends it; empty: nothing but waiting, or a person's decision.
};

// A record at or above LogInfo::start of the current epoch. `header` is its `lockstep` header;
// `foreign`: it has none.
HoldUp JudgeRecord(const std::vector<Head>& heads, std::string_view header, bool foreign);

}  // namespace lockstep

#endif  // LOCKSTEP_DB_LEDGER_HOLDUP_H_
