#include "common/log/log.h"

#include <array>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <memory>

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include "common/base/utf8.h"

namespace lockstep {
namespace {

std::atomic<LogFormat> g_format{LogFormat::kText};  // NOLINT: one process, one log.

constexpr char kTextPattern[] = "%Y-%m-%dT%H:%M:%S.%eZ %v";
constexpr char kJsonPattern[] = R"({"at":"%Y-%m-%dT%H:%M:%S.%eZ",%v)";

spdlog::level::level_enum SpdlogLevel(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarn:
      return spdlog::level::warn;
    case LogLevel::kError:
      break;
  }
  return spdlog::level::err;
}

std::string_view LevelName(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return "debug";
    case LogLevel::kInfo:
      return "info";
    case LogLevel::kWarn:
      return "warn";
    case LogLevel::kError:
      break;
  }
  return "error";
}

void Configure(spdlog::logger& logger, const LogOptions& options) {
  logger.set_level(SpdlogLevel(options.level));
  logger.set_pattern(options.format == LogFormat::kJson ? kJsonPattern : kTextPattern,
                     spdlog::pattern_time_type::utc);
  logger.flush_on(spdlog::level::debug);
}

// Never destroyed: threads of libraries may log until the very end.
spdlog::logger& Logger() {
  static spdlog::logger& logger = [&]() -> spdlog::logger& {
    auto* made = new spdlog::logger("lockstep", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    Configure(*made, LogOptions{});
    return *made;
  }();
  return logger;
}

// JSON's escapes; anything that is not UTF-8 stays as it is in text and becomes U+FFFD in JSON.
void AppendEscaped(std::string_view text, std::string& out) {
  static constexpr char kHex[] = "0123456789abcdef";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (byte < 0x20 || byte == 0x7f) {
      out += "\\u00";
      out += kHex[byte >> 4];
      out += kHex[byte & 15];
    } else {
      out += c;
    }
  }
}

// Replaces what is not UTF-8, so that a JSON line is always JSON.
std::string ValidUtf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const size_t length = Utf8CharacterLength(text);
    if (length == 0) out += "\xef\xbf\xbd";
    out.append(text.substr(0, length));
    text.remove_prefix(length == 0 ? 1 : length);
  }
  return out;
}

// Text needs quotes when a value is empty or has a blank, a quote, a backslash, '=' or a control
// character.
bool NeedsQuotes(std::string_view value) {
  if (value.empty()) return true;
  for (const char c : value) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte <= 0x20 || byte == 0x7f || c == '"' || c == '\\' || c == '=') return true;
  }
  return false;
}

void AppendQuoted(std::string_view value, std::string& out) {
  out += '"';
  AppendEscaped(value, out);
  out += '"';
}

}  // namespace

absl::StatusOr<LogLevel> ParseLogLevel(std::string_view text) {
  if (text == "debug") return LogLevel::kDebug;
  if (text == "info") return LogLevel::kInfo;
  if (text == "warn") return LogLevel::kWarn;
  if (text == "error") return LogLevel::kError;
  return absl::InvalidArgumentError("log level \"" + std::string(text) +
                                    "\" is not debug, info, warn or error");
}

absl::StatusOr<LogFormat> ParseLogFormat(std::string_view text) {
  if (text == "text") return LogFormat::kText;
  if (text == "json") return LogFormat::kJson;
  return absl::InvalidArgumentError("log format \"" + std::string(text) + "\" is not text or json");
}

LogField::LogField(std::string_view name, double value) : name_(name), bare_(std::isfinite(value)) {
  std::array<char, 32> text;
  const int length = std::snprintf(text.data(), text.size(), "%.6g", value);
  value_.assign(text.data(), static_cast<size_t>(length));
}

void SetUpLogging(const LogOptions& options) {
  g_format = options.format;
  Configure(Logger(), options);
}

bool LogEnabled(LogLevel level) { return Logger().should_log(SpdlogLevel(level)); }

std::string FormatEvent(LogFormat format, LogLevel level, std::string_view event,
                        std::span<const LogField> fields) {
  std::string out;
  if (format == LogFormat::kText) {
    out = LevelName(level);
    out += ' ';
    out += event;
    for (const LogField& field : fields) {
      out += ' ';
      out += field.name();
      out += '=';
      if (NeedsQuotes(field.value())) {
        AppendQuoted(field.value(), out);
      } else {
        out += field.value();
      }
    }
    return out;
  }
  out = "\"level\":\"";
  out += LevelName(level);
  out += "\",\"event\":";
  AppendQuoted(ValidUtf8(event), out);
  for (const LogField& field : fields) {
    out += ',';
    AppendQuoted(ValidUtf8(field.name()), out);
    out += ':';
    if (field.bare()) {
      out += field.value();
    } else {
      AppendQuoted(ValidUtf8(field.value()), out);
    }
  }
  return out + "}";
}

void Log(LogLevel level, std::string_view event, std::initializer_list<LogField> fields) {
  if (!LogEnabled(level)) return;
  const std::string line =
      FormatEvent(g_format, level, event, std::span(fields.begin(), fields.size()));
  Logger().log(SpdlogLevel(level), spdlog::string_view_t(line.data(), line.size()));
}

}  // namespace lockstep
