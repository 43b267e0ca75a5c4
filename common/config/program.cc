#include "common/config/program.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <regex>
#include <sstream>

#include "absl/strings/ascii.h"
#include "absl/strings/str_split.h"

#include "common/base/status_macros.h"
#include "common/config/config_file.h"
#include "common/config/help_formatter.h"

namespace lockstep {
namespace {

constexpr char kKafkaSection[] = "kafka";
constexpr char kCommonSection[] = "common";

// [common] is for every program, so a common flag that this one lacks is no mistake there.
constexpr const char* kCommonNames[] = {"brokers",   "ledger",       "standby-ledger", "topic",
                                        "stream",    "mirror-topic", "format",         "metrics",
                                        "log-level", "log-format",   "drain-timeout",  "config"};

std::string Footer() {
  return "Values come from --config FILE (TOML), the environment (LOCKSTEP_<FLAG>) and the command "
         "line; the later wins.\n"
         "Exit codes: 0 done, yes; 1 done, no; 2 could not do it; 3 refused as unsafe; 130 "
         "interrupted.";
}

std::string Describe(const ProgramDescription& description) {
  std::string text = description.purpose + "\n\nMost used:";
  for (const std::string& example : description.examples) text += "\n  " + example;
  return text;
}

std::string SectionOf(const std::string& program) {
  constexpr std::string_view kPrefix = "lockstep-";
  return program.starts_with(kPrefix) ? program.substr(kPrefix.size()) : program;
}

std::string LongName(const CLI::Option& option) {
  return option.get_lnames().empty() ? std::string() : option.get_lnames()[0];
}

// A password in plain sight, as `ps` would show it.
bool ShowsSecret(const std::string& argument) {
  static const std::regex kSecret(R"((password|secret)\s*=\s*[^@\s]|://[^/@\s:]*:[^/@\s]+@)",
                                  std::regex::icase);
  return !argument.starts_with("exec:") && std::regex_search(argument, kSecret);
}

std::vector<std::string> SecretArguments(int argc, const char* const* argv) {
  std::vector<std::string> complaints;
  for (int i = 1; i < argc; ++i) {
    if (std::string_view(argv[i - 1]) == "-X" || std::string_view(argv[i]).starts_with("-X")) {
      continue;  // ParseKafkaProperty judges those.
    }
    if (ShowsSecret(argv[i])) {
      complaints.push_back("argument " + std::to_string(i) +
                           " has a password, which `ps` shows to everybody; use PGPASSFILE, the "
                           "environment or the configuration file");
    }
  }
  return complaints;
}

void Complain(const std::string& program, const std::vector<std::string>& complaints) {
  for (const std::string& complaint : complaints) {
    std::fprintf(stderr, "%s: %s\n", program.c_str(), complaint.c_str());
  }
  std::fprintf(stderr, "%s: try --help\n", program.c_str());
}

}  // namespace

std::string MaskSecrets(std::string_view text) {
  static const std::regex kWord(R"(((?:password|secret)\s*=\s*)('(?:[^'\\]|\\.)*'|[^\s'&]+))",
                                std::regex::icase);
  static const std::regex kUrl(R"((://[^/@\s:]*:)[^/@\s]+@)");
  return std::regex_replace(std::regex_replace(std::string(text), kWord, "$1***"), kUrl, "$1***@");
}

std::vector<std::string> CommonOptions::Validate() const {
  std::vector<std::string> complaints;
  if (!topic.empty() && !streams.empty()) {
    complaints.emplace_back("--topic (all partitions) and --stream contradict each other");
  }
  for (const StreamName& stream : streams) {
    if (stream.topic != streams[0].topic) {
      complaints.push_back("--stream " + ToString(stream) + " is of another topic than " +
                           ToString(streams[0]));
    }
    if (std::count(streams.begin(), streams.end(), stream) > 1 &&
        &stream != &*std::find(streams.begin(), streams.end(), stream)) {
      complaints.push_back("--stream " + ToString(stream) + " is given twice");
    }
  }
  if (!topic.empty() && !ParseStreamName(topic + "/0").ok()) {
    complaints.push_back("--topic \"" + topic + "\" is not a topic's name");
  }
  if (yes && !execute) complaints.emplace_back("--yes answers what only --execute asks");
  return complaints;
}

// CLI11 asks this for the file's values after the command line is read and before the environment
// is; what the environment says is left out here, so that it wins.
class Program::FileReader : public CLI::Config {
 public:
  explicit FileReader(Program& program) : program_(program) {}

  std::string to_config(const CLI::App* /*app*/, bool /*default_also*/, bool /*write_description*/,
                        std::string /*prefix*/) const override {
    return program_.PrintConfig();
  }

  std::vector<CLI::ConfigItem> from_config(std::istream& input) const override {
    std::ostringstream text;
    text << input.rdbuf();
    std::vector<CLI::ConfigItem> result;
    const absl::Status status = program_.ReadFile(text.str(), result);
    if (!status.ok()) {
      throw CLI::ConfigError(
          "--config " + program_.config_path_ + ": " + std::string(status.message()),
          CLI::ExitCodes::ConfigError);
    }
    return result;
  }

 private:
  Program& program_;
};

Program::Program(ProgramDescription description, unsigned common_flags)
    : description_(std::move(description)),
      section_(SectionOf(description_.name)),
      app_(Describe(description_), description_.name) {
  app_.footer("\n" + Footer());
  app_.formatter(std::make_shared<HelpFormatter>(std::vector<std::string>{
      "Kafka", "Ledger", "Streams", "Changes", "Stopping", "Output", "Configuration", "Options"}));
  app_.option_defaults()->always_capture_default();
  app_.set_help_flag("-h,--help", "Print this help and exit");
  app_.set_version_flag("--version", description_.name + " " + LOCKSTEP_VERSION,
                        "Print the version and exit");
  app_.set_config("--config", "",
                  "A configuration file: tables [common], [" + section_ + "], [kafka]")
      ->type_name("FILE")
      ->group("Configuration");
  app_.config_formatter(std::make_shared<FileReader>(*this));
  CommandLineOnly(app_.add_flag("--print-config", print_config_,
                                "Print the outcome as a file, secrets masked, and exit")
                      ->group("Configuration"));
  AddCommonFlags(common_flags);
}

void Program::AddCommonFlags(unsigned flags) {
  if ((flags & kKafkaFlags) != 0) {
    app_.add_option("--brokers", options_.brokers, "Where to ask for the Kafka cluster")
        ->type_name("HOST:PORT,...")
        ->group("Kafka");
    CommandLineOnly(
        app_.add_option("-X", typed_properties_,
                        "A librdkafka property, repeatable; @FILE reads it from a file (secrets "
                        "only so). Also LOCKSTEP_X=\"name=value …\" and the table [kafka]")
            ->type_name("NAME=VALUE|@FILE")
            ->expected(1)
            ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
            ->group("Kafka"));
  }
  if ((flags & kLedgerFlags) != 0) {
    app_.add_option("--ledger", options_.ledger,
                    "The ledger's database; of several hosts the read-write one is the ledger, the "
                    "standby one the witness. Passwords come from PGPASSFILE")
        ->type_name("CONNINFO")
        ->group("Ledger");
    app_.add_option("--standby-ledger", options_.standby_ledger,
                    "The witness, where --ledger does not name it")
        ->type_name("CONNINFO")
        ->group("Ledger");
  }
  if ((flags & kStreamFlags) != 0) {
    app_.add_option("--topic", options_.topic, "All partitions of this topic")
        ->type_name("TOPIC")
        ->group("Streams");
    app_.add_option_function<std::vector<std::string>>(
            "--stream",
            [this](const std::vector<std::string>& texts) {
              options_.streams.clear();
              for (const std::string& text : texts) {
                auto stream = ParseStreamName(text);
                if (!stream.ok()) {
                  throw CLI::ValidationError("--stream", std::string(stream.status().message()));
                }
                options_.streams.push_back(*std::move(stream));
              }
            },
            "One partition of a topic, repeatable")
        ->type_name("TOPIC/PARTITION")
        ->delimiter(',')
        ->group("Streams");
  }
  if ((flags & kMirrorFlags) != 0) {
    app_.add_option("--mirror-topic", options_.mirror_topic,
                    "The mirrored topic's name, where the mirror renames it (default: found by "
                    "itself)")
        ->type_name("TOPIC")
        ->group("Streams");
  }
  if ((flags & kChangeFlags) != 0) {
    CommandLineOnly(
        app_.add_flag("--execute", options_.execute, "Do it; without this only the plan is printed")
            ->group("Changes"));
    CommandLineOnly(
        app_.add_flag("--yes", options_.yes, "Answer yes; needed with --execute without a terminal")
            ->group("Changes"));
  }
  if ((flags & kDrainFlags) != 0) {
    AddDuration(app_, "--drain-timeout", options_.drain_timeout,
                "How long SIGTERM waits for what is in flight")
        ->group("Stopping");
  }
  app_.add_option_function<std::string>(
          "--format",
          [this](const std::string& text) {
            options_.format = text == "json" ? OutputFormat::kJson : OutputFormat::kText;
          },
          "How results are printed on stdout")
      ->check(CLI::IsMember({"text", "json"}).description(""))
      ->type_name("text|json")
      ->default_str("text")
      ->group("Output");
  app_.add_option_function<std::string>(
          "--log-level",
          [this](const std::string& text) { options_.log.level = ParseLogLevel(text).value(); },
          "What is logged on stderr")
      ->check(CLI::IsMember({"debug", "info", "warn", "error"}).description(""))
      ->type_name("debug|info|warn|error")
      ->default_str("info")
      ->group("Output");
  app_.add_option_function<std::string>(
          "--log-format",
          [this](const std::string& text) { options_.log.format = ParseLogFormat(text).value(); },
          "How it is logged")
      ->check(CLI::IsMember({"text", "json"}).description(""))
      ->type_name("text|json")
      ->default_str("text")
      ->group("Output");
  if ((flags & kMetricsFlags) != 0) {
    app_.add_option("--metrics", options_.metrics, "Serve /metrics, /healthz and /readyz here")
        ->type_name("HOST:PORT")
        ->group("Output");
  }
}

CLI::App& Program::AddCommand(const std::string& name, const std::string& purpose) {
  CLI::App* command = app_.add_subcommand(name, purpose);
  command->fallthrough();
  command->option_defaults()->always_capture_default();
  command->footer("\nCommon flags: " + description_.name + " --help");
  app_.require_subcommand(1);
  return *command;
}

CLI::Option* Program::AddDuration(CLI::App& app, const std::string& flag,
                                  std::chrono::milliseconds& value, const std::string& help) {
  return app
      .add_option_function<std::string>(
          flag,
          [&value, flag](const std::string& text) {
            const auto parsed = ParseDuration(text);
            if (!parsed.ok()) {
              throw CLI::ValidationError(flag, std::string(parsed.status().message()));
            }
            value = *parsed;
          },
          help)
      ->type_name("DURATION")
      ->default_str(FormatDuration(value));
}

CLI::Option* Program::AddSize(CLI::App& app, const std::string& flag, Size& value,
                              const std::string& help) {
  return app
      .add_option_function<std::string>(
          flag,
          [&value, flag](const std::string& text) {
            const auto parsed = ParseSize(text);
            if (!parsed.ok()) {
              throw CLI::ValidationError(flag, std::string(parsed.status().message()));
            }
            value = *parsed;
          },
          help)
      ->type_name("SIZE")
      ->default_str(FormatSize(value));
}

void Program::CommandLineOnly(CLI::Option* option) {
  option->configurable(false);
  command_line_only_.push_back(option);
}

void Program::NameEnvironment(CLI::App& app) {
  for (CLI::Option* option : app.get_options()) {
    const std::string name = LongName(*option);
    const bool only = std::count(command_line_only_.begin(), command_line_only_.end(), option) > 0;
    if (name.empty() || only || name == "help" || name == "version" || name == "config") continue;
    std::string variable = "LOCKSTEP_" + absl::AsciiStrToUpper(name);
    std::replace(variable.begin(), variable.end(), '-', '_');
    option->envname(variable);
  }
}

// Tables of this program and of the command that was given.
bool Program::TakesFrom(const std::string& section) const {
  if (section == section_ || section == kCommonSection) return true;
  const std::string chosen = command();
  return !chosen.empty() && section == section_ + "." + chosen;
}

absl::Status Program::ReadFile(const std::string& text, std::vector<CLI::ConfigItem>& items) {
  LOCKSTEP_ASSIGN_OR_RETURN(std::vector<ConfigEntry> entries, ParseConfigFile(text));
  const std::string chosen = command();
  // The more particular table wins: common, then the program's, then the command's.
  std::stable_sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) {
    const auto rank = [](const std::string& section) {
      return section == kCommonSection ? 0 : section.find('.') == std::string::npos ? 1 : 2;
    };
    return rank(a.section) < rank(b.section);
  });
  for (ConfigEntry& entry : entries) {
    const std::string where = "line " + std::to_string(entry.line) + ": ";
    if (entry.section.empty()) {
      return absl::InvalidArgumentError(where + "\"" + entry.key +
                                        "\" stands before the first table such as [common]");
    }
    if (entry.section == kKafkaSection) {
      if (entry.values.size() != 1) {
        return absl::InvalidArgumentError(where + "a Kafka property has one value");
      }
      auto property =
          ParseKafkaProperty(entry.key + "=" + entry.values[0], PropertyOrigin::kElsewhere);
      if (!property.ok()) return Annotate(property.status(), "line " + std::to_string(entry.line));
      file_properties_.push_back(*std::move(property));
      continue;
    }
    if (!TakesFrom(entry.section)) continue;  // Another program's.

    const std::string flag = "--" + entry.key;
    const CLI::App* command = chosen.empty() ? nullptr : app_.get_subcommand(chosen);
    const CLI::Option* option = command != nullptr ? command->get_option_no_throw(flag) : nullptr;
    const bool of_command = option != nullptr;
    if (option == nullptr) option = app_.get_option_no_throw(flag);
    if (option == nullptr) {
      const bool common = std::count(std::begin(kCommonNames), std::end(kCommonNames), entry.key);
      // In [ledger] a key may be another command's.
      const auto others = app_.get_subcommands([](const CLI::App*) { return true; });
      const bool other = std::any_of(others.begin(), others.end(), [&](const CLI::App* one) {
        return one->get_option_no_throw(flag) != nullptr;
      });
      if ((entry.section == kCommonSection && common) || (entry.section == section_ && other)) {
        continue;
      }
      return absl::InvalidArgumentError(where + description_.name + " has no flag --" + entry.key);
    }
    if (!option->get_configurable()) {
      return absl::InvalidArgumentError(where + "--" + entry.key +
                                        " can be given on the command line only");
    }
    const std::string& variable = option->get_envname();
    if (!variable.empty() && std::getenv(variable.c_str()) != nullptr) continue;  // NOLINT
    CLI::ConfigItem item;
    if (of_command) item.parents = {chosen};
    item.name = entry.key;
    item.inputs = std::move(entry.values);
    std::erase_if(items, [&](const CLI::ConfigItem& earlier) {
      return earlier.name == item.name && earlier.parents == item.parents;
    });
    items.push_back(std::move(item));
  }
  return absl::OkStatus();
}

// File, then environment, then command line; of equal names the last one counts.
absl::Status Program::CollectKafkaProperties() {
  options_.kafka_properties = file_properties_;
  if (const char* variable = std::getenv("LOCKSTEP_X"); variable != nullptr) {  // NOLINT
    for (const auto word : absl::StrSplit(variable, absl::ByAnyChar(" \t\n"), absl::SkipEmpty())) {
      LOCKSTEP_ASSIGN_OR_RETURN(
          KafkaProperty property,
          ParseKafkaProperty({word.data(), word.size()}, PropertyOrigin::kElsewhere));
      options_.kafka_properties.push_back(std::move(property));
    }
  }
  for (const std::string& typed : typed_properties_) {
    LOCKSTEP_ASSIGN_OR_RETURN(KafkaProperty property,
                              ParseKafkaProperty(typed, PropertyOrigin::kCommandLine));
    options_.kafka_properties.push_back(std::move(property));
  }
  return absl::OkStatus();
}

std::optional<ExitCode> Program::Parse(int argc, const char* const* argv,
                                       const Complaints& validate) {
  NameEnvironment(app_);
  for (CLI::App* command : app_.get_subcommands({})) NameEnvironment(*command);
  arguments_.assign(argv, argv + argc);
  std::vector<std::string> complaints = SecretArguments(argc, argv);
  std::vector<const char*> arguments(argv, argv + argc);
  for (size_t i = 1; i < arguments.size(); ++i) {
    const std::string_view argument = arguments[i];
    if (argument == "--config" && i + 1 < arguments.size()) config_path_ = arguments[i + 1];
    if (argument.starts_with("--config=")) config_path_ = argument.substr(9);
  }
  // CLI11 reads the file before the environment; so the environment's FILE becomes an argument.
  const char* file = std::getenv("LOCKSTEP_CONFIG");  // NOLINT
  if (file != nullptr && *file != '\0' && config_path_.empty()) {
    config_path_ = file;
    arguments.insert(arguments.begin() + 1, {"--config", file});
  }
  try {
    app_.parse(static_cast<int>(arguments.size()), arguments.data());
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) {  // --help, --version
      app_.exit(error);
      return ExitCode::kYes;
    }
    complaints.emplace_back(error.what());
    Complain(description_.name, complaints);
    return ExitCode::kCouldNot;
  }
  if (const absl::Status status = CollectKafkaProperties(); !status.ok()) {
    complaints.emplace_back(status.message());
  } else if (const auto conf = BuildKafkaConf(options_.Kafka(), {}); !conf.ok()) {
    complaints.emplace_back(conf.status().message());
  }
  for (std::string& complaint : options_.Validate()) complaints.push_back(std::move(complaint));
  if (validate) {
    for (std::string& complaint : validate()) complaints.push_back(std::move(complaint));
  }
  if (!complaints.empty()) {
    Complain(description_.name, complaints);
    return ExitCode::kCouldNot;
  }
  if (print_config_) {
    std::fputs(PrintConfig().c_str(), stdout);
    return ExitCode::kYes;
  }
  SetUpLogging(options_.log);
  return std::nullopt;
}

std::string Program::command() const {
  const auto chosen = app_.get_subcommands();
  return chosen.empty() ? std::string() : chosen[0]->get_name();
}

bool Program::Typed(std::string_view flag) const {
  return std::any_of(arguments_.begin(), arguments_.end(), [&](const std::string& argument) {
    return argument == flag || argument.starts_with(std::string(flag) + "=");
  });
}

std::string Program::PrintConfig() const {
  std::string out;
  const auto print = [&](const CLI::App& app, const std::string& section) {
    out += "[" + section + "]\n";
    for (const CLI::Option* option : app.get_options()) {
      const std::string name = LongName(*option);
      if (name.empty() || !option->get_configurable() || name == "help" || name == "version" ||
          name == "config") {
        continue;
      }
      const auto quote = [&](const std::string& text) {
        return IsSecretName(name) ? "\"***\"" : QuoteToml(MaskSecrets(text));
      };
      std::vector<std::string> values = option->results();
      if (values.empty() && !option->get_default_str().empty()) {
        values.push_back(option->get_default_str());
      }
      if (values.empty()) {
        out += "# " + name + " =\n";
        continue;
      }
      if (option->get_items_expected_max() > 1 || values.size() > 1) {
        out += name + " = [";
        for (size_t i = 0; i < values.size(); ++i) out += (i > 0 ? ", " : "") + quote(values[i]);
        out += "]\n";
      } else if (option->get_items_expected_max() == 0) {
        out += name + " = " + (values[0] == "true" ? "true" : "false") + "\n";
      } else {
        out += name + " = " + quote(values[0]) + "\n";
      }
    }
  };
  print(app_, section_);
  for (const CLI::App* command : app_.get_subcommands()) {
    print(*command, section_ + "." + command->get_name());
  }
  if (!options_.kafka_properties.empty()) {
    out += "[kafka]\n";
    for (const KafkaProperty& property : options_.kafka_properties) {
      out += property.name + " = " +
             (IsSecretName(property.name) ? "\"***\"" : QuoteToml(property.value)) + "\n";
    }
  }
  return out;
}

}  // namespace lockstep
