// lockstep-ledger: the ledger's own tool. Each verb is a function of db-ledger/verbs/.
#include <string>
#include <utility>
#include <vector>

#include "common/config/program.h"
#include "db-ledger/verbs/verbs.h"

namespace lockstep {
namespace {

// A verb's parser and what it runs.
struct Command {
  CLI::App* app;
  Verb run;
};

void AddYes(Program& program, CLI::App& command, LedgerArguments& a) {
  program.CommandLineOnly(command.add_flag("--yes", a.yes, "Do not ask at a terminal"));
}

std::vector<Command> AddCommands(Program& program, LedgerArguments& a) {
  CLI::App& init = program.AddCommand("init", "Create schema and roles, begin epoch 1; repeatable");
  program.CommandLineOnly(init.add_flag(
      "--solo", a.solo, "Begin without a standby: nothing survives the loss of this site"));

  CLI::App& check = program.AddCommand("check", "Is everything there that durability rests on?");

  CLI::App& status = program.AddCommand("status", "One screen: epoch, standby, heads, cursors");
  status.add_flag("--watch", a.watch,
                  "Again and again, until Ctrl-C; with --metrics the numbers are served, too");
  program.AddDuration(status, "--interval", a.interval, "Between two screens");

  CLI::App& order =
      program.AddCommand("order", "The primary's order, one JSON line a record (--stream)");
  order.add_option("--from", a.from, "EPOCH:OFFSET of the first record; default: the start");
  order.add_option("--to", a.to, "EPOCH:OFFSET of the last record; default: the end");
  order.add_flag("--runs", a.runs, "One line a run instead");

  CLI::App& epochs = program.AddCommand("epochs", "When which epoch began, who began it and why");

  CLI::App& cursor = program.AddCommand("cursor", "How far the groups have sent");
  cursor.require_subcommand(1);
  CLI::App* list = cursor.add_subcommand("list", "One line a cursor")->fallthrough();
  list->add_option("--group", a.group, "Only this group");
  CLI::App* set = cursor.add_subcommand(
      "set", "Put a group's cursor somewhere (--stream, --execute); fences its gate");
  set->fallthrough();
  set->add_option("--group", a.group, "The group")->required();
  set->add_option("--producer", a.producer,
                  "Of a group in per-producer mode: whose seq; the other producers' stay");
  set->add_option(
         "--to", a.at,
         "EPOCH:OFFSET of the last record that was sent (with --producer its seq), or none")
      ->required();

  CLI::App& seal =
      program.AddCommand("seal", "Open and close for a producer that will not come back");
  seal.add_option("PRODUCER", a.producer, "Its name")->required();
  program.CommandLineOnly(seal.add_flag(
      "--retired", a.retired,
      "It is a Kafka sink (GROUP@TOPIC/PARTITION) that is given up for ever: nobody "
      "may start under its name again, and prune waits for it no longer (--execute)"));
  AddYes(program, seal, a);

  CLI::App& why = program.AddCommand(
      "why", "What holds up the gate, whose it is, since when, what ends it (--stream)");
  why.add_option("--group", a.group, "The gate's group; default: the one furthest behind");
  why.add_option("--producer", a.producer, "Of one record, with --seq: where it is, was it sent?");
  why.add_option("--seq", a.seq, "Its number")->check(CLI::PositiveNumber);
  program.AddDuration(why, "--look-timeout", a.look_timeout, "For a look at the log (--brokers)");

  CLI::App& solo = program.AddCommand("solo", "A solo epoch has a standby again");
  solo.require_subcommand(1);
  CLI::App* off =
      solo.add_subcommand("off", "Prove the standby, then acknowledge nothing without it");
  off->fallthrough();
  AddYes(program, *off, a);

  CLI::App& prune = program.AddCommand("prune", "Forget old runs, below every cursor (--execute)");
  prune
      .add_option("--below", a.at,
                  "EPOCH:OFFSET up to where mirrors are proven and logs are cut off")
      ->required();

  CLI::App& begin = program.AddCommand("begin-epoch", "Fence every producer and gate");
  begin.add_option("--reason", a.reason, "Why, for the history")->required();
  program.CommandLineOnly(
      begin.add_flag("--solo", a.solo, "Without a standby: commits count alone"));
  begin.add_option("--cluster", a.cluster_id,
                   "Id of the Kafka cluster that takes over: producers at another one are refused "
                   "(default: the first to open decides)");
  begin.add_option("--expected", a.expected_epoch, "Refuse unless this is the current epoch");
  AddYes(program, begin, a);

  return {{&init, RunInit},    {&check, RunCheck},   {&status, RunStatus},
          {&order, RunOrder},  {&epochs, RunEpochs}, {list, RunCursorList},
          {set, RunCursorSet}, {&seal, RunSeal},     {&why, RunWhy},
          {off, RunSoloOff},   {&prune, RunPrune},   {&begin, RunBeginEpoch}};
}

std::vector<std::string> Validate(const Program& program, const LedgerArguments& arguments) {
  std::vector<std::string> complaints;
  if (program.options().ledger.empty()) complaints.emplace_back("--ledger is required");
  if (program.Typed("--metrics") && !arguments.watch) {
    complaints.emplace_back("--metrics is served by status --watch only");
  }
  if (program.command() == "why" && arguments.producer.empty() != (arguments.seq == 0)) {
    complaints.emplace_back("--producer and --seq name one record together");
  }
  // A stream named in vain could be taken for a bound to what the verb does.
  const std::string verb = program.command();
  const bool whole = verb == "init" || verb == "check" || verb == "epochs" || verb == "seal" ||
                     verb == "solo" || verb == "begin-epoch";
  if (whole && (program.Typed("--topic") || program.Typed("--stream"))) {
    complaints.push_back(verb + " is about every stream; --topic and --stream bound nothing here");
  }
  return complaints;
}

int Main(int argc, char** argv) {
  Program program(
      {.name = "lockstep-ledger",
       .purpose =
           "Creates the ledger, says what is in it, and changes what an operator may change.",
       .examples = {"lockstep-ledger init --ledger 'host=db1,db2 dbname=lockstep'",
                    "lockstep-ledger status --watch --ledger 'host=db1,db2 dbname=lockstep'",
                    "lockstep-ledger order --stream orders/0 --ledger 'host=db1,db2 …'"}},
      kKafkaFlags | kLedgerFlags | kStreamFlags | kChangeFlags | kMetricsFlags);
  LedgerArguments arguments;
  const std::vector<Command> commands = AddCommands(program, arguments);
  const auto exit = program.Parse(argc, argv, [&] { return Validate(program, arguments); });
  if (exit) return ToInt(*exit);
  for (const Command& command : commands) {
    if (!command.app->parsed()) continue;
    const auto done = command.run({program.options(), arguments});
    if (!done.ok()) return ExitWith(program.name().c_str(), done.status());
    return ToInt(*done);
  }
  return ToInt(ExitCode::kCouldNot);
}

}  // namespace
}  // namespace lockstep

int main(int argc, char** argv) { return lockstep::Main(argc, argv); }
