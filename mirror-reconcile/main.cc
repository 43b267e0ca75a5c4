// lockstep-mirror-reconcile: parse, open, run, report.
#include <cstdio>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/config/exit_code.h"
#include "common/config/program.h"
#include "common/config/stop_request.h"
#include "mirror-reconcile/commands.h"
#include "mirror-reconcile/session.h"

namespace lockstep {
namespace {

constexpr char kName[] = "lockstep-mirror-reconcile";

Program MakeProgram() {
  return Program(
      {.name = kName,
       .purpose = "Finds what a standby's Kafka lost, puts it back, and takes a site over.",
       .examples = {"lockstep-mirror-reconcile status   --topic orders --brokers S:9092 --ledger "
                    "'host=db2 dbname=lockstep'",
                    "lockstep-mirror-reconcile gap      --topic orders --brokers S:9092 --ledger "
                    "'host=db2 dbname=lockstep'",
                    "lockstep-mirror-reconcile failover --topic orders --brokers S:9092 --ledger "
                    "'host=db2 dbname=lockstep' --execute --yes"}},
      kKafkaFlags | kLedgerFlags | kStreamFlags | kMirrorFlags | kChangeFlags | kMetricsFlags);
}

void AddPayloadFlags(Program& program, CLI::App& command, ReconcileOptions& options) {
  command
      .add_option(
          "--payload", options.payloads,
          "[PRODUCER=]SPEC, repeatable: where missing records can be had: ledger, "
          "table:…, jsonl:FILE, pika://HOST:PORT[?db=NAME], wal:DIR, log:TOPIC@BROKERS. Default: "
          "the ledger row, then the source that the producer registered (not a Pika)")
      ->group("Re-injection");
  command
      .add_option("--source-db", options.source_db,
                  "Database of table: sources (libpq conninfo). Default: the ledger's")
      ->group("Re-injection");
  command
      .add_option("--source-password-file", options.source_password_file,
                  "A file with the requirepass of pika:// sources")
      ->type_name("FILE")
      ->group("Re-injection");
  command
      .add_option("--order", options.order,
                  "ledger: the primary's very order; none: each producer's part after another")
      ->capture_default_str()
      ->group("Re-injection");
  program.CommandLineOnly(
      command
          .add_flag("--allow-data-loss", options.allow_data_loss,
                    "Give up what no source has; each record is named and stands in the log as a "
                    "null marked lockstep-given-up")
          ->group("Re-injection"));
}

void AddCommands(Program& program, ReconcileOptions& options) {
  CLI::App& gap = program.AddCommand("gap", "What the standby's log lacks; changes nothing");
  gap.add_flag("--whole", options.whole, "Read the logs from end to start: exact after any rewind")
      ->group("Gap");
  program.AddCommand("verify",
                     "Every record of the logs against the ledger, anomalies by Jepsen's names");
  CLI::App& reinject = program.AddCommand("reinject", "Write the gap's records (--execute)");
  AddPayloadFlags(program, reinject, options);
  CLI::App& status = program.AddCommand("status", "Is it safe to fail over, and if not, why");
  AddPayloadFlags(program, status, options);
  status
      .add_flag("--watch", options.watch,
                "Again and again, until stopped; with --metrics the numbers are served, too")
      ->group("Status");
  program.AddDuration(status, "--interval", options.interval, "Pause between two looks")
      ->group("Status");
  CLI::App& failover = program.AddCommand(
      "failover", "Promote, begin an epoch, fill the gap, hand over (--execute)");
  AddPayloadFlags(program, failover, options);
  program.CommandLineOnly(
      failover
          .add_flag("--accept-source-loss", options.accept_source_loss,
                    "Go on although a producer's source here ends below the ledger")
          ->group("Failover"));
  program.CommandLineOnly(
      failover
          .add_flag("--in-place", options.in_place,
                    "This site is the primary and stays it: its log has lost records; begin a new "
                    "epoch here and put them back. Name the witness with --standby-ledger")
          ->group("Failover"));
  failover
      .add_option("--promote-with", options.promote_with,
                  "pg_promote, exec:COMMAND, or none (you promote)")
      ->capture_default_str()
      ->group("Failover");
  for (CLI::App* command : {&status, &failover}) {
    command
        ->add_option("--mm2-config", options.mm2_config,
                     "MirrorMaker 2's properties file; without it its settings are unknown")
        ->group("Preflight");
    command
        ->add_option("--source-brokers", options.source_brokers,
                     "The primary's brokers, to look at its topic too")
        ->group("Preflight");
  }
  program
      .AddDuration(program.app(), "--patience", options.patience,
                   "How long a broker may give or take nothing")
      ->group("Kafka");
}

// Commands of the manual that this version has not.
int RefuseLaterCommand(std::string_view command) {
  std::fprintf(stderr, "%s: %.*s is not in this version. %s\n", kName,
               static_cast<int>(command.size()), command.data(),
               command == "watch"
                   ? "`status --watch` shows the same number without a state directory."
                   : "By hand: stop the producers, wait until `gap` is 0, then `failover` at the "
                     "site that takes over.");
  return ToInt(ExitCode::kCouldNot);
}

std::vector<std::string> Validate(const Program& program, const ReconcileOptions& options) {
  const CommonOptions& common = program.options();
  std::vector<std::string> complaints;
  const auto need = [&](bool given, const char* what) {
    if (!given) complaints.push_back(std::string(what) + " is required");
  };
  need(!common.Topic().empty(), "--topic or --stream");
  need(!common.brokers.empty(), "--brokers");
  need(!common.ledger.empty(), "--ledger");
  for (std::string& complaint : options.Validate()) complaints.push_back(std::move(complaint));
  if (program.Typed("--metrics") && !options.watch) {
    complaints.emplace_back("--metrics is served by status --watch only");
  }
  return complaints;
}

absl::StatusOr<ExitCode> Run(const Program& program, const ReconcileOptions& options) {
  auto session = Session::Open(program.options(), options);
  if (!session.ok()) return session.status();
  const std::string command = program.command();
  if (command == "gap") return RunGap(**session);
  if (command == "verify") return RunVerify(**session);
  if (command == "reinject") return RunReinject(**session);
  if (command == "status") return RunStatus(**session);
  return RunFailover(**session);
}

int Main(int argc, char** argv) {
  for (const std::string_view later : {"watch", "switchover", "failback"}) {
    if (argc > 1 && argv[1] == later) return RefuseLaterCommand(later);
  }
  Program program = MakeProgram();
  ReconcileOptions options;
  AddCommands(program, options);
  if (const auto exit = program.Parse(argc, argv, [&] { return Validate(program, options); })) {
    return ToInt(*exit);
  }
  StopRequest::Install();
  const absl::StatusOr<ExitCode> code = Run(program, options);
  if (!code.ok()) return ExitWith(kName, code.status());
  return ToInt(*code);
}

}  // namespace
}  // namespace lockstep

int main(int argc, char** argv) { return lockstep::Main(argc, argv); }
