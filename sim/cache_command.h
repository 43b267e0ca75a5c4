// `lockstep-sim cache`: its flags, and the running of a plan's cells.
#ifndef LOCKSTEP_SIM_CACHE_COMMAND_H_
#define LOCKSTEP_SIM_CACHE_COMMAND_H_

#include <chrono>
#include <string>
#include <vector>

#include "common/config/program.h"
#include "common/config/stop_request.h"
#include "sim/cache_plan.h"

namespace lockstep::sim {

// What was typed; Resolve looks the names up.
struct CacheArguments {
  CacheGrid grid;
  CacheSettings settings;
  std::vector<std::string> interleavings = {"batches"};
  std::vector<std::string> algorithms = {"main1", "main2", "lockstep"};
  std::vector<std::string> buffers = {"memory", "spill", "bounded"};
  std::string steps = "auto";
  std::chrono::milliseconds main2_timeout{30'000};
  bool reproduce = false;
  std::string svg_directory;
  std::string ledger_order;  // Files; both or neither.
  std::string log_order;

  // All complaints.
  std::vector<std::string> Resolve();
};

void AddCacheFlags(Program& program, CLI::App& cache, CacheArguments& arguments);

// Prints what was found on stdout, also when it is stopped; the exit code.
int RunCache(const CacheArguments& arguments, OutputFormat format, const StopRequest& stop);

}  // namespace lockstep::sim

#endif  // LOCKSTEP_SIM_CACHE_COMMAND_H_
