// lockstep-sim: loses sites in virtual time and checks that nothing is lost, doubled or out of
// order.
//
//   1. parse and validate the command line
//   2. run the seeds
//   3. report: a failing seed's trace and replay command, then one line of JSON
#include <chrono>
#include <csignal>
#include <cstdio>
#include <string>

#include <CLI/CLI.hpp>

#include "sim/disaster.h"

namespace lockstep::sim {
namespace {

constexpr int kYes = 0;
constexpr int kNo = 1;
constexpr int kCouldNot = 2;

volatile std::sig_atomic_t g_stop = 0;

void PrintBreaks() {
  for (const Break& one : AllBreaks()) std::printf("%s\n", std::string(one.name).c_str());
}

std::string ScenarioHelp() {
  std::string help = "One scenario; without it seeds go round over all:";
  for (const Scenario& scenario : AllScenarios()) {
    help += "\n  " + std::string(scenario.name) + ": " + std::string(scenario.about);
  }
  return help;
}

void PrintTrace(const DisasterReport& report) {
  for (const std::string& line : report.first_trace) std::printf("%s\n", line.c_str());
  if (report.violations > 0) std::printf("replay: %s\n", report.replay.c_str());
}

int RunDisaster(const DisasterOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  const DisasterReport report = RunDisasters(options, [] { return g_stop == 0; });
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  PrintTrace(report);
  std::printf("%s\n", SummaryJson(options, report, took.count()).c_str());
  return report.violations > 0 ? kNo : kYes;
}

int Main(int argc, char** argv) {
  CLI::App app(
      "Loses sites in virtual time, with the shipped decision code, and checks that nothing is "
      "lost, doubled or out of order (I1-I7).\n\n"
      "  lockstep-sim disaster --seeds 2000                 the everyday check\n"
      "  lockstep-sim disaster --seeds 1 --from-seed 4711   one history again\n"
      "  lockstep-sim disaster --break fence                what one rule is there for\n",
      "lockstep-sim");
  app.set_version_flag("--version", LOCKSTEP_VERSION);
  app.require_subcommand(1);
  CLI::App* disaster = app.add_subcommand(
      "disaster", "Runs one random history of two sites a seed; exit 1 iff an invariant broke.");
  DisasterOptions options;
  std::string scenario;
  std::string broken;
  bool list_breaks = false;
  disaster->add_option("--seeds", options.seeds, "How many seeds")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  disaster->add_option("--from-seed", options.from_seed, "The first seed")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  disaster->add_option("--scenario", scenario, ScenarioHelp());
  disaster->add_option("--break", broken,
                       "Switch one rule of the protocol off or plant one bug, and stop at the "
                       "first violation");
  disaster->add_flag("--trace", options.trace, "Print the first seed's history also if it is fine");
  disaster->add_flag("--list-breaks", list_breaks, "Print the names for --break, one a line");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kYes : kCouldNot;
  }
  if (list_breaks) {
    PrintBreaks();
    return kYes;
  }
  if (!scenario.empty() && (options.scenario = FindScenario(scenario)) == nullptr) {
    std::fprintf(stderr, "lockstep-sim: no scenario %s; --help names them\n", scenario.c_str());
    return kCouldNot;
  }
  if (!broken.empty() && (options.broken = FindBreak(broken)) == nullptr) {
    std::fprintf(stderr, "lockstep-sim: nothing to break called %s; see --list-breaks\n",
                 broken.c_str());
    return kCouldNot;
  }
  std::signal(SIGTERM, [](int) { g_stop = 1; });
  std::signal(SIGINT, [](int) { g_stop = 1; });
  return RunDisaster(options);
}

}  // namespace
}  // namespace lockstep::sim

int main(int argc, char** argv) { return lockstep::sim::Main(argc, argv); }
