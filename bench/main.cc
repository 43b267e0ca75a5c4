// lockstep-bench: every figure that is claimed, measured beside what it is compared with.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include <CLI/CLI.hpp>

#include "bench/suites.h"

namespace lockstep::bench {
namespace {

struct Suite {
  const char* name;
  absl::Status (*run)(Site&, const Report&);
  bool needs_site;  // Kafka and PostgreSQL.
};

constexpr Suite kSuites[] = {
    {"micro", RunMicro, false},
};

struct Options {
  std::vector<std::string> suites = {"all"};
  std::string format = "text";
  SiteOptions site;

  bool Wants(const Suite& suite) const {
    return std::any_of(suites.begin(), suites.end(), [&](const std::string& name) {
      return name == "all" || name == suite.name;
    });
  }
  bool WantsSite() const {
    return std::any_of(std::begin(kSuites), std::end(kSuites),
                       [&](const Suite& suite) { return suite.needs_site && Wants(suite); });
  }
};

Options ParseOptions(int argc, char** argv) {
  Options options;
  options.site.source_dir = LOCKSTEP_SOURCE_DIR;
  const std::string self = std::filesystem::read_symlink("/proc/self/exe").string();
  options.site.program_dir = std::filesystem::path(self).parent_path().string();

  CLI::App app{
      "Measures what is claimed, each figure beside its baseline in the same run.\n\n"
      "  lockstep-bench run                               every suite, on a private stack\n"
      "  lockstep-bench run --suite reorder --format json one suite, a line of JSON a figure\n"
      "  lockstep-bench run --smoke                       does it run at all; seconds",
      "lockstep-bench"};
  app.set_version_flag("--version", LOCKSTEP_VERSION);
  app.require_subcommand(1);
  CLI::App* run = app.add_subcommand("run", "Run suites; medians of interleaved pairs");

  std::vector<std::string> names = {"all"};
  for (const Suite& suite : kSuites) names.emplace_back(suite.name);
  run->add_option("--suite", options.suites, "Which (repeatable)")
      ->check(CLI::IsMember(names))
      ->capture_default_str();
  CLI::Option* smoke = run->add_flag(
      "--smoke", options.site.smoke,
      "Sizes of seconds, on a mock Kafka unless --brokers is given; the names stay, params tell");
  run->add_flag("--full", options.site.full, "The largest sizes")->excludes(smoke);
  run->add_option("--pairs", options.site.pairs, "Runs of each side of a figure")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  run->add_option("--format", options.format, "text, or json: one line a figure on stdout")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
  run->add_option("--brokers", options.site.brokers, "Kafka, HOST:PORT,…; else a private stack")
      ->envname("LOCKSTEP_BROKERS")
      ->group("Where");
  run->add_option("--ledger", options.site.ledger,
                  "PostgreSQL pair, libpq syntax with both hosts; may create databases")
      ->envname("LOCKSTEP_LEDGER")
      ->group("Where");
  run->add_option("--toxiproxy", options.site.toxiproxy,
                  "API of the toxiproxy with `via_replication` between the databases")
      ->envname("TOXIPROXY")
      ->group("Where");
  run->add_option("--standby-proxy", options.site.standby_proxy,
                  "Where its `via_pg_s` passes to the standby database, HOST:PORT")
      ->envname("VIA_PG_S")
      ->group("Where");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    std::exit(app.exit(error) == 0 ? 0 : 2);
  }
  if (options.site.smoke && run->count("--pairs") == 0) options.site.pairs = 1;
  return options;
}

// Starts this program again beside a private stack, which is in its environment then.
absl::Status StartAgainOnStack(const Options& options, int argc, char** argv) {
  const std::string stack = options.site.source_dir + "/tests/support/stack_command.py";
  const std::string self = options.site.program_dir + "/lockstep-bench";
  std::vector<const char*> arguments = {"/usr/bin/python3", stack.c_str(), "run",
                                        "--toxiproxy",      "--policy",    "none"};
  if (options.site.smoke) arguments.push_back("--no-kafka");
  arguments.push_back("--");
  arguments.push_back(self.c_str());
  for (int i = 1; i < argc; ++i) arguments.push_back(argv[i]);
  arguments.push_back(nullptr);
  execv(arguments[0], const_cast<char**>(arguments.data()));
  return absl::NotFoundError("cannot start " + stack + "; give --brokers and --ledger");
}

absl::Status Run(const Options& options, int argc, char** argv) {
  if (options.WantsSite() && options.site.ledger.empty()) {
    if (!options.site.brokers.empty()) {
      return absl::InvalidArgumentError("--brokers without --ledger: give both or neither");
    }
    return StartAgainOnStack(options, argc, argv);
  }
  Site site(options.site);
  const Report report = [&](const Figure& figure) {
    options.format == "json" ? PrintJson(figure, std::cout) : PrintText(figure, std::cout);
  };
  for (const Suite& suite : kSuites) {
    if (!options.Wants(suite)) continue;
    const Stopwatch watch;
    const absl::Status status = suite.run(site, report);
    if (!status.ok()) {
      return absl::Status(
          status.code(), "suite " + std::string(suite.name) + ": " + std::string(status.message()));
    }
    std::fprintf(stderr, "suite %s: %.1f s\n", suite.name, watch.Seconds());
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace lockstep::bench

int main(int argc, char** argv) {
  const lockstep::bench::Options options = lockstep::bench::ParseOptions(argc, argv);
  const absl::Status status = lockstep::bench::Run(options, argc, argv);
  if (!status.ok()) {
    std::fprintf(stderr, "lockstep-bench: %s\n", std::string(status.message()).c_str());
    return 2;
  }
  return 0;
}
