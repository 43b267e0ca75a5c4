// Log writes one event a line to stderr: a fixed greppable name, then facts.
//
//   Log(LogLevel::kInfo, "gap_found", {{"stream", stream}, {"epoch", epoch}, {"records", 88}});
//   text: 2026-01-31T12:00:00.123Z info gap_found stream=orders/0 epoch=3 records=88
//   json:
//   {"at":"2026-01-31T12:00:00.123Z","level":"info","event":"gap_found","stream":"orders/0",…}
//
// Levels: *error* someone must act; *warn* someone should look; *info* rare, wanted in an incident
// report; *debug* the rest. No payloads, no secrets. Values are escaped: a value can neither end
// its field nor its line. Fields carry the words of the project's dictionary.
//
// Thread-safe. Before SetUpLogging: level info, text.
#ifndef LOCKSTEP_COMMON_LOG_LOG_H_
#define LOCKSTEP_COMMON_LOG_LOG_H_

#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "common/base/strong_int.h"

namespace lockstep {

enum class LogLevel { kDebug, kInfo, kWarn, kError };
enum class LogFormat { kText, kJson };

struct LogOptions {
  LogLevel level = LogLevel::kInfo;
  LogFormat format = LogFormat::kText;
};

// `debug`, `info`, `warn`, `error`; `text`, `json`.
absl::StatusOr<LogLevel> ParseLogLevel(std::string_view text);
absl::StatusOr<LogFormat> ParseLogFormat(std::string_view text);

void SetUpLogging(const LogOptions& options);

// One fact. Takes text, whole numbers, doubles, booleans, a Status (`code: message`) and whatever
// has a ToString.
class LogField {
 public:
  LogField(std::string_view name, std::string_view value) : name_(name), value_(value) {}
  LogField(std::string_view name, const char* value) : name_(name), value_(value) {}
  LogField(std::string_view name, const std::string& value) : name_(name), value_(value) {}
  LogField(std::string_view name, double value);
  LogField(std::string_view name, const absl::Status& value)
      : name_(name), value_(value.ToString()) {}
  template <std::integral Int>
  LogField(std::string_view name, Int value) : name_(name), bare_(true) {
    if constexpr (std::is_same_v<Int, bool>) {
      value_ = value ? "true" : "false";
    } else {
      value_ = std::to_string(value);
    }
  }
  template <class Tag, class Int>
  LogField(std::string_view name, StrongInt<Tag, Int> value) : LogField(name, value.value()) {}
  template <class T>
  requires requires(const T& t) {
    { ToString(t) } -> std::same_as<std::string>;
  }
  LogField(std::string_view name, const T& value) : name_(name), value_(ToString(value)) {}

  std::string_view name() const { return name_; }
  const std::string& value() const { return value_; }
  // True iff JSON writes the value without quotes.
  bool bare() const { return bare_; }

 private:
  std::string_view name_;
  std::string value_;
  bool bare_ = false;
};

void Log(LogLevel level, std::string_view event, std::initializer_list<LogField> fields = {});

// True iff an event of this level is written; for fields that are dear to compute.
bool LogEnabled(LogLevel level);

// The line's part from the level on; JSON's without the opening brace. For tests and for Log.
std::string FormatEvent(LogFormat format, LogLevel level, std::string_view event,
                        std::span<const LogField> fields);

}  // namespace lockstep

#endif  // LOCKSTEP_COMMON_LOG_LOG_H_
