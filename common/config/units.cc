#include "common/config/units.h"

#include <cctype>

#include "common/base/status_macros.h"
#include "common/model/ids.h"

namespace lockstep {
namespace {

struct Unit {
  std::string_view name;
  int64_t factor;
};

constexpr Unit kDurations[] = {
    {"d", 24LL * 60 * 60 * 1000}, {"h", 60LL * 60 * 1000}, {"m", 60'000}, {"s", 1000}, {"ms", 1}};

constexpr Unit kBinary[] = {
    {"TiB", 1LL << 40}, {"GiB", 1LL << 30}, {"MiB", 1LL << 20}, {"KiB", 1LL << 10}, {"B", 1}};
constexpr Unit kDecimal[] = {
    {"TB", 1'000'000'000'000}, {"GB", 1'000'000'000}, {"MB", 1'000'000}, {"kB", 1000}, {"", 1}};

struct Split {
  std::string_view digits;
  std::string_view unit;
};

// nullptr iff none of them has this name.
template <size_t kCount>
const Unit* Named(std::string_view name, const Unit (&units)[kCount]) {
  for (const Unit& unit : units) {
    if (unit.name == name) return &unit;
  }
  return nullptr;
}

Split SplitAtUnit(std::string_view text) {
  size_t end = 0;
  while (end < text.size() && text[end] >= '0' && text[end] <= '9') ++end;
  return {text.substr(0, end), text.substr(end)};
}

absl::StatusOr<int64_t> Scale(int64_t amount, int64_t factor, std::string_view text) {
  int64_t result = 0;
  if (__builtin_mul_overflow(amount, factor, &result)) {
    return absl::InvalidArgumentError("\"" + std::string(text) + "\" is too large");
  }
  return result;
}

}  // namespace

absl::StatusOr<std::chrono::milliseconds> ParseDuration(std::string_view text) {
  const auto [digits, unit] = SplitAtUnit(text);
  const auto bad = [&] {
    return absl::InvalidArgumentError("\"" + std::string(text) +
                                      "\" is not a duration such as 5ms, 30s, 10m, 2h or 7d");
  };
  const auto amount = ParseDecimal(digits);
  if (!amount.ok()) return bad();
  if (unit.empty() && *amount == 0) return std::chrono::milliseconds(0);
  const Unit* known = Named(unit, kDurations);
  if (known == nullptr) return bad();
  LOCKSTEP_ASSIGN_OR_RETURN(const int64_t ms, Scale(*amount, known->factor, text));
  return std::chrono::milliseconds(ms);
}

std::string FormatDuration(std::chrono::milliseconds duration) {
  const int64_t ms = duration.count();
  if (ms == 0) return "0s";
  for (const Unit& unit : kDurations) {
    if (ms % unit.factor == 0) return std::to_string(ms / unit.factor) + std::string(unit.name);
  }
  return std::to_string(ms) + "ms";
}

absl::StatusOr<Size> ParseSize(std::string_view text) {
  const auto [digits, unit] = SplitAtUnit(text);
  const auto bad = [&] {
    return absl::InvalidArgumentError("\"" + std::string(text) +
                                      "\" is not a size such as 256MiB, 64kB or 20000records");
  };
  const auto amount = ParseDecimal(digits);
  if (!amount.ok()) return bad();
  if (unit == "records") return Size{Size::Unit::kRecords, *amount};
  const Unit* known = Named(unit, kBinary);
  if (known == nullptr) known = Named(unit, kDecimal);
  if (known == nullptr) return bad();
  LOCKSTEP_ASSIGN_OR_RETURN(const int64_t bytes, Scale(*amount, known->factor, text));
  return Size{Size::Unit::kBytes, bytes};
}

std::string FormatSize(const Size& size) {
  if (size.unit == Size::Unit::kRecords) return std::to_string(size.amount) + "records";
  if (size.amount == 0) return "0B";
  for (const Unit& unit : kBinary) {
    if (size.amount % unit.factor == 0) {
      return std::to_string(size.amount / unit.factor) + std::string(unit.name);
    }
  }
  return std::to_string(size.amount) + "B";
}

}  // namespace lockstep
