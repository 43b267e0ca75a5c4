#include "producer/pika/pika_filter.h"

#include <algorithm>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"

namespace lockstep::pika {
namespace {

constexpr DataType kDataTypes[] = {DataType::kString, DataType::kHash,     DataType::kList,
                                   DataType::kSet,    DataType::kZset,     DataType::kStream,
                                   DataType::kKey,    DataType::kDatabase, DataType::kUnknown};

bool Has(const std::vector<std::string>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

bool MatchesAny(const std::vector<std::string>& patterns, std::string_view key) {
  return std::any_of(patterns.begin(), patterns.end(),
                     [&](const std::string& pattern) { return MatchesGlob(pattern, key); });
}

absl::Status CheckPattern(const std::string& pattern) {
  if (pattern.empty()) return absl::InvalidArgumentError("an empty pattern matches no key");
  size_t slashes = 0;
  while (slashes < pattern.size() && pattern[pattern.size() - 1 - slashes] == '\\') ++slashes;
  if (slashes % 2 == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("the pattern '", pattern, "' ends in a '\\' that takes nothing; write '\\\\'"));
}

absl::Status CheckCommand(const std::string& command) {
  const CommandInfo info = FindCommand(command);
  if (info.changes_data && info.type != DataType::kUnknown) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("'", command,
                   "' is no command of which Pika logs that it changes data, e.g. set, hset, del"));
}

absl::StatusOr<DataType> ParseDataType(const std::string& name) {
  std::string known;
  for (const DataType type : kDataTypes) {
    if (ToString(type) == name) return type;
    absl::StrAppend(&known, known.empty() ? "" : ", ", std::string(ToString(type)));
  }
  return absl::InvalidArgumentError(
      absl::StrCat("'", name, "' is no data type; known are ", known));
}

}  // namespace

bool MatchesGlob(std::string_view pattern, std::string_view text) {
  size_t at = 0;
  size_t in = 0;
  // Behind the last `*`, and where what follows it is tried in the text.
  size_t star = std::string_view::npos;
  size_t tried = 0;
  while (in < text.size() || at < pattern.size()) {
    if (at < pattern.size() && pattern[at] == '*') {
      star = ++at;
      tried = in;
      continue;
    }
    const bool literal = at < pattern.size() && pattern[at] == '\\';
    const size_t byte = at + (literal ? 1 : 0);
    if (in < text.size() && byte < pattern.size() &&
        ((!literal && pattern[byte] == '?') || pattern[byte] == text[in])) {
      at = byte + 1;
      ++in;
      continue;
    }
    // The `*` takes one byte more.
    if (star == std::string_view::npos || tried == text.size()) return false;
    at = star;
    in = ++tried;
  }
  return true;
}

absl::Status PikaFilter::Set(std::string_view name, std::vector<std::string> values) {
  if (name == "types") {
    for (const std::string& value : values) {
      const absl::StatusOr<DataType> type = ParseDataType(value);
      if (!type.ok()) return type.status();
      types_.push_back(*type);
    }
    return absl::OkStatus();
  }
  const bool commands = name == "commands" || name == "exclude-commands";
  if (!commands && name != "keys" && name != "exclude-keys") {
    return absl::NotFoundError(absl::StrCat("no rule '", std::string(name), "'"));
  }
  for (std::string& value : values) {
    if (commands) value = ToLower(value);
    const absl::Status status = commands ? CheckCommand(value) : CheckPattern(value);
    if (!status.ok()) return status;
  }
  auto& rule = name == "commands"           ? commands_
               : name == "exclude-commands" ? exclude_commands_
               : name == "keys"             ? keys_
                                            : exclude_keys_;
  rule = std::move(values);
  return absl::OkStatus();
}

bool PikaFilter::Passes(std::string_view lower_command, DataType type,
                        std::optional<std::string_view> key) const {
  if (!commands_.empty() && !Has(commands_, lower_command)) return false;
  if (Has(exclude_commands_, lower_command)) return false;
  if (!types_.empty() && std::find(types_.begin(), types_.end(), type) == types_.end()) {
    return false;
  }
  if (!key) return true;
  return (keys_.empty() || MatchesAny(keys_, *key)) && !MatchesAny(exclude_keys_, *key);
}

}  // namespace lockstep::pika
