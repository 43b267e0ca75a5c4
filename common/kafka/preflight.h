// Preflight judges a topic's settings before a promise is made that rests on them.
//
// A pure function over what KafkaAdmin described. What could not be learnt is kUnknown, never kOk.
#ifndef LOCKSTEP_COMMON_KAFKA_PREFLIGHT_H_
#define LOCKSTEP_COMMON_KAFKA_PREFLIGHT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/kafka/kafka_admin.h"

namespace lockstep {

enum class Verdict { kOk, kUnknown, kWarn, kFail };  // In order of gravity.

std::string_view VerdictName(Verdict verdict);  // `ok`, `unknown`, `warn`, `fail`.

struct Finding {
  std::string check = {};  // A fixed name: `cleanup_policy`, `retention_time`, …
  Verdict verdict = Verdict::kUnknown;
  std::string message = {};
  std::string remedy = {};  // What a person can do; empty iff kOk.
  bool operator==(const Finding&) const = default;
};

struct TopicPreflight {
  TopicInfo topic = {};
  std::optional<KafkaSettings> settings = {};            // nullopt: not permitted to ask.
  std::optional<int32_t> partition_count_expected = {};  // As the ledger stores it; nullopt: new.
  int64_t outage_wanted_ms = 7 * 24 * 60 * 60 * 1000;    // Longest outage to be survived.
};

// One finding per check, always the same checks in the same order.
std::vector<Finding> CheckTopic(const TopicPreflight& facts);

// What a stream's topic is created with: what CheckTopic asks for. `replication` -1: the broker's
// default. `retention_ms` -1: for ever.
NewTopic AdvisedTopic(const std::string& name, int32_t partition_count, int32_t replication,
                      int64_t retention_ms);

// The gravest verdict; kOk for none.
Verdict Worst(const std::vector<Finding>& findings);

}  // namespace lockstep

#endif  // LOCKSTEP_COMMON_KAFKA_PREFLIGHT_H_
