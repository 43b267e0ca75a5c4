// `lockstep-producer status`: what the ledger says of a producer and, with --metrics, what the
// running one says of itself. Changes nothing.
#ifndef LOCKSTEP_PRODUCER_STATUS_COMMAND_H_
#define LOCKSTEP_PRODUCER_STATUS_COMMAND_H_

#include <chrono>
#include <string>

#include "absl/status/status.h"

#include "common/config/program.h"

namespace lockstep {

struct StatusOptions {
  std::string name;
  bool watch = false;
  std::chrono::milliseconds interval{2'000};
};

// Prints to stdout. NOT_FOUND names the producers that the ledger knows. If the running producer
// does not answer, what the ledger says is printed all the same, and the error returned.
absl::Status RunStatus(const CommonOptions& common, const StatusOptions& options);

}  // namespace lockstep

#endif  // LOCKSTEP_PRODUCER_STATUS_COMMAND_H_
