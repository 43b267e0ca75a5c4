// lockstep-sim: loses sites in virtual time and checks that nothing is lost, doubled or out of
// order; and says how much waits while a log is put into the ledger's order.
//
//   1. parse and validate the command line
//   2. disaster: run the seeds; report a failing seed's trace and replay command, then one line of
//      JSON
//      cache: cache_command.h
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "common/config/program.h"
#include "common/config/stop_request.h"
#include "sim/cache_command.h"
#include "sim/disaster.h"

namespace lockstep::sim {
namespace {

// What was typed after `disaster`, names not yet looked up.
struct Arguments {
  DisasterOptions options;
  std::string scenario;
  std::string broken;
  bool list_breaks = false;
};

void PrintBreaks() {
  for (const Break& one : AllBreaks()) std::printf("%s\n", std::string(one.name).c_str());
}

std::string ScenarioHelp() {
  std::string help = "One scenario; without it seeds go round over all";
  for (const Scenario& scenario : AllScenarios()) {
    help += "; " + std::string(scenario.name) + ": " + std::string(scenario.about);
  }
  return help;
}

void PrintTrace(const DisasterReport& report) {
  for (const std::string& line : report.first_trace) std::printf("%s\n", line.c_str());
  if (report.violations > 0) std::printf("replay: %s\n", report.replay.c_str());
}

ExitCode RunDisaster(const DisasterOptions& options, const StopRequest& stop) {
  const auto start = std::chrono::steady_clock::now();
  const DisasterReport report = RunDisasters(options, [&stop] { return !stop.requested(); });
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  PrintTrace(report);
  std::printf("%s\n", SummaryJson(options, report, took.count()).c_str());
  if (report.violations > 0) return ExitCode::kNo;
  return report.seeds < options.seeds ? ExitCode::kInterrupted : ExitCode::kYes;
}

void AddFlags(CLI::App& disaster, Arguments& arguments) {
  disaster.add_option("--seeds", arguments.options.seeds, "How many seeds")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  disaster.add_option("--from-seed", arguments.options.from_seed, "The first seed")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  disaster.add_option("--scenario", arguments.scenario, ScenarioHelp());
  disaster.add_option("--break", arguments.broken,
                      "Switch one rule of the protocol off or plant one bug, and stop at the "
                      "first violation");
  disaster.add_flag("--trace", arguments.options.trace,
                    "Print the first seed's history also if it is fine");
  disaster.add_flag("--list-breaks", arguments.list_breaks,
                    "Print the names for --break, one a line");
}

// Looks the names up; all complaints.
std::vector<std::string> Resolve(Arguments& arguments) {
  std::vector<std::string> complaints;
  if (!arguments.scenario.empty()) {
    arguments.options.scenario = FindScenario(arguments.scenario);
    if (arguments.options.scenario == nullptr) {
      complaints.push_back("no scenario " + arguments.scenario + "; --help names them");
    }
  }
  if (!arguments.broken.empty()) {
    arguments.options.broken = FindBreak(arguments.broken);
    if (arguments.options.broken == nullptr) {
      complaints.push_back("nothing to break called " + arguments.broken + "; see --list-breaks");
    }
  }
  return complaints;
}

int Main(int argc, char** argv) {
  Program program(
      {.name = "lockstep-sim",
       .purpose = "Loses sites in virtual time, with the shipped decision code, and checks that "
                  "nothing is lost, doubled or out of order (I1-I7); counts what waits while a log "
                  "is put in order.",
       .examples = {"lockstep-sim disaster --seeds 2000                 the everyday check",
                    "lockstep-sim disaster --seeds 1 --from-seed 4711   one history again",
                    "lockstep-sim disaster --break fence                what one rule is there "
                    "for",
                    "lockstep-sim cache --reproduce                     how much memory it takes"}},
      0);
  Arguments arguments;
  AddFlags(program.AddCommand("disaster",
                              "Runs one random history of two sites a seed; exit 1 iff "
                              "an invariant broke"),
           arguments);
  CacheArguments cache;
  AddCacheFlags(program,
                program.AddCommand("cache",
                                   "Puts logs into a ledger's order with several caches, and "
                                   "counts what waits, is fetched again and is written to disk"),
                cache);
  const auto exit = program.Parse(argc, argv, [&] {
    return program.command() == "cache" ? cache.Resolve() : Resolve(arguments);
  });
  if (exit) return ToInt(*exit);
  if (program.command() == "cache") {
    return RunCache(cache, program.options().format, StopRequest::Install());
  }
  if (arguments.list_breaks) {
    PrintBreaks();
    return ToInt(ExitCode::kYes);
  }
  return ToInt(RunDisaster(arguments.options, StopRequest::Install()));
}

}  // namespace
}  // namespace lockstep::sim

int main(int argc, char** argv) { return lockstep::sim::Main(argc, argv); }
