#include "common/model/ids.h"

#include <charconv>

#include "absl/strings/str_cat.h"

#include "common/base/status_macros.h"

namespace lockstep {

absl::StatusOr<int64_t> ParseDecimal(std::string_view text) {
  const auto bad = [&](const char* why) {
    return absl::InvalidArgumentError("\"" + std::string(text.substr(0, 40)) + "\" " + why);
  };
  if (text.empty()) return bad("is not a number: it is empty");
  if (text.size() > 1 && text[0] == '0') return bad("has a leading zero");
  for (const char c : text) {
    if (c < '0' || c > '9') return bad("is not a decimal number");
  }
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return bad("is too large");
  return value;
}

std::string ToString(const Position& position) {
  return std::to_string(position.epoch.value()) + ":" + std::to_string(position.offset.value());
}

absl::StatusOr<Position> ParsePosition(std::string_view text) {
  const size_t colon = text.find(':');
  if (colon == std::string_view::npos) {
    return absl::InvalidArgumentError("position \"" + std::string(text) + "\" is not EPOCH:OFFSET");
  }
  const auto epoch = ParseDecimal(text.substr(0, colon));
  const auto offset = ParseDecimal(text.substr(colon + 1));
  if (!epoch.ok() || !offset.ok()) {
    return absl::InvalidArgumentError("position \"" + std::string(text) + "\" is not EPOCH:OFFSET");
  }
  return Position{Epoch(*epoch), Offset(*offset)};
}

std::string ToString(const StreamName& stream) {
  return stream.topic + "/" + std::to_string(stream.partition);
}

absl::StatusOr<StreamName> ParseStreamName(std::string_view text) {
  const auto bad = [&](std::string_view why) {
    return absl::InvalidArgumentError("stream \"" + std::string(text) +
                                      "\" is not TOPIC/PARTITION: " + std::string(why));
  };
  const size_t slash = text.rfind('/');
  if (slash == std::string_view::npos) return bad("there is no slash");
  const std::string_view topic = text.substr(0, slash);
  if (topic.empty() || topic.size() > 249 || topic == "." || topic == "..")
    return bad("not a topic name");
  for (const char c : topic) {
    const bool legal = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '.' || c == '_' || c == '-';
    if (!legal) return bad("a topic has letters, digits, '.', '_' and '-' only");
  }
  const auto partition = ParseDecimal(text.substr(slash + 1));
  if (!partition.ok()) return bad(std::string(partition.status().message()));
  if (*partition > INT32_MAX) return bad("the partition is too large");
  return StreamName{std::string(topic), static_cast<int32_t>(*partition)};
}

}  // namespace lockstep
