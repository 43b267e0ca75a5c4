// lockstep-bench: every figure that is claimed, measured beside what it is compared with.
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include <CLI/CLI.hpp>

#include "bench/suites.h"
#include "common/base/status_macros.h"
#include "common/config/program.h"
#include "common/log/log.h"

namespace lockstep::bench {
namespace {

struct Suite {
  const char* name;
  absl::Status (*run)(Site&, const Report&);
  bool needs_site;  // Kafka and PostgreSQL.
};

constexpr Suite kSuites[] = {
    {"micro", RunMicro, false},        {"producer", RunProducer, true},
    {"ledger", RunLedger, true},       {"reorder", RunReorder, true},
    {"reconcile", RunReconcile, true}, {"pika", RunPika, true},
    {"failover", RunFailover, false},
};

struct Options {
  std::vector<std::string> suites = {"all"};
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

std::string ProgramDirectory() {
  return std::filesystem::read_symlink("/proc/self/exe").parent_path().string();
}

void AddFlags(CLI::App& run, Options& options) {
  std::vector<std::string> names = {"all"};
  for (const Suite& suite : kSuites) names.emplace_back(suite.name);
  run.add_option("--suite", options.suites, "Which (repeatable)")
      ->check(CLI::IsMember(names))
      ->capture_default_str();
  CLI::Option* smoke = run.add_flag("--smoke", options.site.smoke,
                                    "Sizes of seconds, one run a figure, on a mock Kafka unless "
                                    "--brokers is given; the names stay, params tell the sizes");
  run.add_flag("--full", options.site.full, "The largest sizes")->excludes(smoke);
  run.add_option("--only", options.site.only,
                 "Of the suite reorder: only figures whose name begins so, also those that are not "
                 "taken otherwise (bench/README.md)");
  run.add_option("--pairs", options.site.pairs, "Runs of a figure and of its baseline, in turns")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  run.add_option("--brokers", options.site.brokers,
                 "Kafka, HOST:PORT,…; without it and --ledger a private stack is started");
  run.add_option("--ledger", options.site.ledger,
                 "PostgreSQL pair, libpq syntax with both hosts; a role that may create databases");
  run.add_option("--toxiproxy", options.site.toxiproxy,
                 "HOST:PORT of the toxiproxy with `via_replication` between the databases");
  run.add_option("--standby-proxy", options.site.standby_proxy,
                 "HOST:PORT at which its `via_pg_s` passes to the standby database");
}

// Starts this program again beside a private stack, which is in its environment then.
absl::Status StartAgainOnStack(const Options& options, int argc, char** argv) {
  if (!options.site.brokers.empty()) {
    return absl::InvalidArgumentError("--brokers without --ledger: give both or neither");
  }
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

absl::Status Run(const Options& options, OutputFormat format) {
  Site site(options.site);
  const Report report = [&](const Figure& figure) {
    format == OutputFormat::kJson ? PrintJson(figure, std::cout) : PrintText(figure, std::cout);
  };
  for (const Suite& suite : kSuites) {
    if (!options.Wants(suite)) continue;
    const Stopwatch watch;
    LOCKSTEP_RETURN_IF_ERROR(Annotate(suite.run(site, report), "suite " + std::string(suite.name)));
    Log(LogLevel::kInfo, "suite_ended", {{"suite", suite.name}, {"seconds", watch.Seconds()}});
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace lockstep::bench

int main(int argc, char** argv) {
  namespace bench = lockstep::bench;
  lockstep::Program program(
      {.name = "lockstep-bench",
       .purpose = "Measures what is claimed, each figure beside its baseline in the same run.",
       .examples = {"lockstep-bench run                        every suite, on a private stack",
                    "lockstep-bench run --suite reorder --format json",
                    "lockstep-bench run --smoke                does it run at all; seconds"}},
      0);
  bench::Options options;
  bench::AddFlags(program.AddCommand("run", "Run suites; medians of interleaved pairs"), options);
  if (const auto exit = program.Parse(argc, argv)) return lockstep::ToInt(*exit);

  options.site.source_dir = LOCKSTEP_SOURCE_DIR;
  options.site.program_dir = bench::ProgramDirectory();
  if (options.site.smoke) options.site.pairs = 1;
  if (options.WantsSite() && options.site.ledger.empty()) {
    return lockstep::ExitWith("lockstep-bench", bench::StartAgainOnStack(options, argc, argv));
  }
  return lockstep::ExitWith("lockstep-bench", bench::Run(options, program.options().format));
}
