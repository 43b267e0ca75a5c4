// Durations and sizes as people type them.
#ifndef LOCKSTEP_COMMON_CONFIG_UNITS_H_
#define LOCKSTEP_COMMON_CONFIG_UNITS_H_

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace lockstep {

// `5ms`, `30s`, `10m`, `2h`, `7d`; `0` needs no unit. Whole numbers only, no sign.
absl::StatusOr<std::chrono::milliseconds> ParseDuration(std::string_view text);
// The largest unit that says it exactly.
std::string FormatDuration(std::chrono::milliseconds duration);

// An amount of memory, or a count of records.
struct Size {
  enum class Unit { kBytes, kRecords };
  Unit unit = Unit::kBytes;
  int64_t amount = 0;
  bool operator==(const Size&) const = default;
};

// `4096` or `4096B`, `64kB` (1000), `64KiB` (1024), `MB`, `MiB`, `GB`, `GiB`, `TB`, `TiB`;
// `20000records`. Whole numbers only, no sign.
absl::StatusOr<Size> ParseSize(std::string_view text);
std::string FormatSize(const Size& size);

}  // namespace lockstep

#endif  // LOCKSTEP_COMMON_CONFIG_UNITS_H_
