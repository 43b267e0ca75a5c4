// KafkaConfig: brokers and librdkafka properties, checked before a handle is made of them.
//
// Any librdkafka property passes through (`-X name=value`). A role (producer, reader, admin) has
// settings of its own; those that the protocol rests on can not be overridden, and trying to is an
// error, not a silent adjustment.
#ifndef LOCKSTEP_COMMON_KAFKA_KAFKA_CONFIG_H_
#define LOCKSTEP_COMMON_KAFKA_KAFKA_CONFIG_H_

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include <librdkafka/rdkafka.h>

namespace lockstep {

struct KafkaProperty {
  std::string name = {};
  std::string value = {};
  bool operator==(const KafkaProperty&) const = default;
};

struct KafkaConfig {
  std::string brokers = {};                    // `HOST:PORT,…`
  std::vector<KafkaProperty> properties = {};  // In order; of equal names the last one counts.
};

// True iff a property of this name holds a secret: `*password*`, `*secret*`, `*jaas*`, any case.
bool IsSecretName(std::string_view name);

enum class PropertyOrigin { kCommandLine, kElsewhere };

// One `name=value`, or `name=@FILE`, which reads the value from FILE (a final newline is dropped).
// A literal secret on the command line is refused: `ps` would show it.
absl::StatusOr<KafkaProperty> ParseKafkaProperty(std::string_view text, PropertyOrigin origin);

// What a role needs of a property.
struct RoleSetting {
  const char* name;
  const char* value;
  bool fixed;  // Part of the protocol: no property may say otherwise.
};

struct KafkaConfDeleter {
  void operator()(rd_kafka_conf_t* conf) const { rd_kafka_conf_destroy(conf); }
};
using KafkaConf = std::unique_ptr<rd_kafka_conf_t, KafkaConfDeleter>;

// A librdkafka configuration of the role's settings and the user's, logging through Log. Errors
// name the property and what librdkafka says of it, never the value of a secret.
absl::StatusOr<KafkaConf> BuildKafkaConf(const KafkaConfig& config,
                                         std::span<const RoleSetting> settings);

}  // namespace lockstep

#endif  // LOCKSTEP_COMMON_KAFKA_KAFKA_CONFIG_H_
