// The configuration file: TOML's tables, keys, strings, numbers, booleans and arrays of them.
//
//   [common]                       # for every program
//   brokers = "p1:9092,p2:9092"
//   [producer]                     # lockstep-producer's own; [ledger.order] for one command
//   ledger-linger = "5ms"
//   stream = ["orders/0", "orders/1"]
//   [kafka]                        # librdkafka's properties, secrets too
//   sasl.password = "…"
//
// CLI11's own reader cuts strings at `#` and `,`, which connection strings and passwords contain;
// so it is not used. Not read, and refused with the line's number: dates, inline tables, arrays of
// tables, multi-line strings.
#ifndef LOCKSTEP_COMMON_CONFIG_CONFIG_FILE_H_
#define LOCKSTEP_COMMON_CONFIG_CONFIG_FILE_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace lockstep {

struct ConfigEntry {
  std::string section;              // `producer`, `ledger.order`; empty before the first table.
  std::string key;                  // As written, dots included, without quotes.
  std::vector<std::string> values;  // Several iff an array.
  int line = 0;                     // From 1.
  bool operator==(const ConfigEntry&) const = default;
};

absl::StatusOr<std::vector<ConfigEntry>> ParseConfigFile(std::string_view text);

// `"…"` with TOML's escapes.
std::string QuoteToml(std::string_view text);

}  // namespace lockstep

#endif  // LOCKSTEP_COMMON_CONFIG_CONFIG_FILE_H_
