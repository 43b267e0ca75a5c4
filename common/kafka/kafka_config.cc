#include "common/kafka/kafka_config.h"

#include <array>
#include <fstream>
#include <sstream>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"

#include "common/base/status_macros.h"
#include "common/log/log.h"

namespace lockstep {
namespace {

// syslog's numbers. Its errors (3) are connections that librdkafka will try again by itself.
LogLevel LevelOf(int syslog_level) {
  if (syslog_level <= 2) return LogLevel::kError;
  if (syslog_level <= 4) return LogLevel::kWarn;
  return syslog_level <= 6 ? LogLevel::kInfo : LogLevel::kDebug;
}

void LogFromKafka(const rd_kafka_t* handle, int level, const char* facility, const char* message) {
  // CONFWARN comments on settings, such as gapless guarantee, that are chosen on purpose.
  const bool comment = std::string_view(facility) == "CONFWARN";
  Log(comment ? LogLevel::kDebug : LevelOf(level), "kafka_client",
      {{"handle", handle != nullptr ? rd_kafka_name(handle) : ""},
       {"facility", facility},
       {"message", message}});
}

absl::Status SetProperty(rd_kafka_conf_t* conf, const std::string& name, const std::string& value) {
  std::array<char, 512> error{};
  switch (rd_kafka_conf_set(conf, name.c_str(), value.c_str(), error.data(), error.size())) {
    case RD_KAFKA_CONF_OK:
      return absl::OkStatus();
    case RD_KAFKA_CONF_UNKNOWN:
      return absl::InvalidArgumentError("Kafka property \"" + name +
                                        "\" is not known to librdkafka " + rd_kafka_version_str());
    case RD_KAFKA_CONF_INVALID:
      break;
  }
  if (IsSecretName(name)) {
    return absl::InvalidArgumentError("Kafka property \"" + name + "\" has an invalid value");
  }
  return absl::InvalidArgumentError("Kafka property \"" + name + "\" = \"" + value +
                                    "\": " + error.data());
}

// For every handle; a property may say otherwise. A broker that comes back is seen within a second,
// and small requests do not wait for others.
constexpr std::pair<const char*, const char*> kDefaults[] = {{"client.id", "lockstep"},
                                                             {"reconnect.backoff.max.ms", "1000"},
                                                             {"socket.keepalive.enable", "true"},
                                                             {"socket.nagle.disable", "true"}};

// Of several names for one property, the one that librdkafka documents.
std::string_view Canonical(std::string_view name) {
  if (name == "metadata.broker.list") return "bootstrap.servers";
  if (name == "request.required.acks") return "acks";
  if (name == "delivery.timeout.ms") return "message.timeout.ms";
  if (name == "max.in.flight") return "max.in.flight.requests.per.connection";
  return name;
}

absl::StatusOr<std::string> ReadSecretFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream content;
  content << file.rdbuf();
  if (!file.good() && !file.eof()) return absl::NotFoundError("cannot read \"" + path + "\"");
  std::string value = content.str();
  if (value.ends_with('\n')) value.pop_back();
  if (value.ends_with('\r')) value.pop_back();
  return value;
}

}  // namespace

bool IsSecretName(std::string_view name) {
  const std::string lower = absl::AsciiStrToLower({name.data(), name.size()});
  return absl::StrContains(lower, "password") || absl::StrContains(lower, "secret") ||
         absl::StrContains(lower, "jaas");
}

absl::StatusOr<KafkaProperty> ParseKafkaProperty(std::string_view text, PropertyOrigin origin) {
  const size_t equals = text.find('=');
  if (equals == 0 || equals == std::string_view::npos) {
    return absl::InvalidArgumentError("-X \"" + std::string(text.substr(0, equals)) +
                                      "\" is not of the form name=value or name=@FILE");
  }
  KafkaProperty property{std::string(text.substr(0, equals)), std::string(text.substr(equals + 1))};
  if (property.value.starts_with('@')) {
    auto content = ReadSecretFile(property.value.substr(1));
    if (!content.ok()) return Annotate(content.status(), "-X " + property.name + "=@FILE");
    property.value = *std::move(content);
  } else if (origin == PropertyOrigin::kCommandLine && IsSecretName(property.name)) {
    return absl::InvalidArgumentError(
        "-X " + property.name +
        "=… is a secret, which a command line shows to everybody; give it as " + property.name +
        "=@FILE, in the environment (LOCKSTEP_X) or in the configuration file");
  }
  return property;
}

absl::StatusOr<KafkaConf> BuildKafkaConf(const KafkaConfig& config,
                                         std::span<const RoleSetting> settings) {
  KafkaConf conf(rd_kafka_conf_new());
  rd_kafka_conf_set_log_cb(conf.get(), LogFromKafka);
  for (const auto& [name, value] : kDefaults) {
    LOCKSTEP_RETURN_IF_ERROR(SetProperty(conf.get(), name, value));
  }
  if (!config.brokers.empty()) {
    LOCKSTEP_RETURN_IF_ERROR(SetProperty(conf.get(), "bootstrap.servers", config.brokers));
  }
  for (const RoleSetting& setting : settings) {
    LOCKSTEP_RETURN_IF_ERROR(SetProperty(conf.get(), setting.name, setting.value));
  }
  for (const KafkaProperty& property : config.properties) {
    for (const RoleSetting& setting : settings) {
      if (setting.fixed && Canonical(property.name) == setting.name &&
          property.value != setting.value) {
        return absl::InvalidArgumentError(
            "Kafka property \"" + property.name + "\" is " + setting.value +
            " by the protocol and cannot be set to \"" + property.value + "\"");
      }
    }
    LOCKSTEP_RETURN_IF_ERROR(SetProperty(conf.get(), property.name, property.value));
  }
  return conf;
}

}  // namespace lockstep
