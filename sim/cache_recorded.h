// Orders recorded from a real ledger: what `lockstep-ledger order --runs` prints, a run a line.
#ifndef LOCKSTEP_SIM_CACHE_RECORDED_H_
#define LOCKSTEP_SIM_CACHE_RECORDED_H_

#include <istream>
#include <string>

#include "absl/status/statusor.h"

#include "sim/cache_orders.h"

namespace lockstep::sim {

// Reads the ledger's order from `ledger` and the log's from `log`, both lines of
// {"epoch":…,"producer":…,"first_seq":…,"last_seq":…,"offsets":"{[0,3)}"} (other fields are passed
// over), in any order. Seqs of a producer count from its first one in `ledger`.
//
// What the log lacks lies at its end, in the ledger's order, where re-injection would put it; what
// only the log names is passed over. INVALID_ARGUMENT names the file (`ledger_name`, `log_name`)
// and the line that is not such a run, or whose seqs leave a gap.
absl::StatusOr<CacheOrders> ReadRecordedOrders(std::istream& ledger, const std::string& ledger_name,
                                               std::istream& log, const std::string& log_name);

}  // namespace lockstep::sim

#endif  // LOCKSTEP_SIM_CACHE_RECORDED_H_
