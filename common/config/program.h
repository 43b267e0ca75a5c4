// Program is the command line, environment and configuration file of every program of ours.
//
//   Program program({.name = "lockstep-producer", .purpose = "…", .examples = {"…", "…", "…"}},
//                   kKafkaFlags | kLedgerFlags | kStreamFlags | kDrainFlags | kMetricsFlags);
//   Options options;
//   program.app().add_option("--name", options.name, "Who writes")->group("Producer")->required();
//   program.AddDuration("--ledger-linger", options.ledger_linger, "…", "Producer");
//   if (const auto exit = program.Parse(argc, argv, [&] { return options.Validate(); })) {
//     return ToInt(*exit);
//   }
//
// Three places, the later wins: the file named by --config (tables [common], [producer], [kafka];
// see config_file.h), the environment (LOCKSTEP_LEDGER_LINGER for --ledger-linger), the command
// line. --help, --version and --print-config are there, logging is set up, and secrets on the
// command line are refused. All complaints are printed, not only the first; nothing is adjusted.
#ifndef LOCKSTEP_COMMON_CONFIG_PROGRAM_H_
#define LOCKSTEP_COMMON_CONFIG_PROGRAM_H_

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include <CLI/CLI.hpp>

#include "common/config/exit_code.h"
#include "common/config/terminal.h"
#include "common/config/units.h"
#include "common/kafka/kafka_config.h"
#include "common/log/log.h"
#include "common/model/ids.h"

namespace lockstep {

// Which of the common flags a program has; --format, --log-… and --config always. --help shows no
// flag that the program would not heed.
enum CommonFlags : unsigned {
  kKafkaFlags = 1,     // --brokers, -X
  kLedgerFlags = 2,    // --ledger, --standby-ledger
  kStreamFlags = 4,    // --topic, --stream
  kChangeFlags = 8,    // --execute, --yes
  kDrainFlags = 16,    // --drain-timeout
  kMetricsFlags = 32,  // --metrics
  kMirrorFlags = 64,   // --mirror-topic
};

struct CommonOptions {
  std::string brokers = {};
  std::vector<KafkaProperty> kafka_properties = {};
  std::string ledger = {};               // libpq conninfo.
  std::string standby_ledger = {};       // libpq conninfo; empty: taken from `ledger`'s hosts.
  std::string topic = {};                // Either this, for all partitions, …
  std::vector<StreamName> streams = {};  // … or these.
  std::string mirror_topic = {};         // Empty: found by itself.
  OutputFormat format = OutputFormat::kText;
  LogOptions log = {};
  std::string metrics = {};  // HOST:PORT; empty: none.
  bool execute = false;
  bool yes = false;
  std::chrono::milliseconds drain_timeout{30'000};

  KafkaConfig Kafka() const { return {.brokers = brokers, .properties = kafka_properties}; }
  // The topic of `topic` or of the streams, which Validate has found to be one.
  std::string Topic() const { return topic.empty() && !streams.empty() ? streams[0].topic : topic; }
  // All complaints.
  std::vector<std::string> Validate() const;
};

struct ProgramDescription {
  std::string name;                   // `lockstep-producer`
  std::string purpose;                // One line: what it is for.
  std::vector<std::string> examples;  // The three most used calls.
};

class Program {
 public:
  Program(ProgramDescription description, unsigned common_flags);

  // For flags of one's own; give each a group().
  CLI::App& app() { return app_; }
  // A subcommand; the common flags may stand before or after its name. One is then required;
  // `app().require_subcommand(0, 1)` allows for none.
  CLI::App& AddCommand(const std::string& name, const std::string& purpose);

  // Flags with units, on `app()` or on a subcommand; the value's present content is the default.
  CLI::Option* AddDuration(CLI::App& app, const std::string& flag, std::chrono::milliseconds& value,
                           const std::string& help);
  CLI::Option* AddSize(CLI::App& app, const std::string& flag, Size& value,
                       const std::string& help);
  // The option can be given on the command line only: neither file nor environment should be able
  // to say it for every program (`--execute`, `--allow-data-loss`).
  void CommandLineOnly(CLI::Option* option);

  using Complaints = std::function<std::vector<std::string>()>;
  // Call once. nullopt: go on. Else main returns the code: --help, --version and --print-config
  // have printed what was asked for, or stderr says all that is wrong (kCouldNot).
  std::optional<ExitCode> Parse(int argc, const char* const* argv,
                                const Complaints& validate = nullptr);

  // Meaningful after Parse.
  const CommonOptions& options() const { return options_; }
  std::string command() const;  // The subcommand's name; empty: none.
  // Whether `--flag` stood on the command line itself, where it is a mistake if the command cannot
  // heed it; in the file or the environment it may be meant for another command.
  bool Typed(std::string_view flag) const;
  const std::string& name() const { return description_.name; }

  // The outcome as a configuration file that would lead to it; secrets masked.
  std::string PrintConfig() const;

 private:
  class FileReader;  // Feeds our file to CLI11.

  void AddCommonFlags(unsigned flags);
  absl::Status ReadFile(const std::string& text, std::vector<CLI::ConfigItem>& items);
  absl::Status CollectKafkaProperties();
  void NameEnvironment(CLI::App& app);
  bool TakesFrom(const std::string& section) const;

  const ProgramDescription description_;
  const std::string section_;  // `producer`
  CLI::App app_;
  CommonOptions options_;
  std::vector<std::string> arguments_;         // The command line.
  std::vector<std::string> typed_properties_;  // -X on the command line.
  std::vector<KafkaProperty> file_properties_;
  std::vector<const CLI::Option*> command_line_only_;
  std::string config_path_;
  bool print_config_ = false;
};

// `text` with the passwords of connection strings and URLs replaced by `***`.
std::string MaskSecrets(std::string_view text);

}  // namespace lockstep

#endif  // LOCKSTEP_COMMON_CONFIG_PROGRAM_H_
