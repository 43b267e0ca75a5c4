#include "producer/no_ledger.h"

#include "db-ledger/memory_ledger.h"

namespace lockstep {

std::unique_ptr<Ledger> OpenNoLedger() {
  auto state = std::make_shared<LedgerState>(/*solo=*/true);
  auto ledger = std::make_unique<MemoryLedger>(state.get(), kAllRules, "");
  // The heads are enough to go on with; runs would fill the memory.
  ledger->SetApplied([state](const LedgerState&) { state->runs.clear(); });
  return ledger;
}

}  // namespace lockstep
