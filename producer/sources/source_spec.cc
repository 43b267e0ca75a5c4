#include "producer/sources/source_spec.h"

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"

#include "common/base/status_macros.h"
#include "common/model/ids.h"

namespace lockstep {
namespace {

constexpr char kTableExample[] = "table:public.outbox?id=id&value=payload&key=customer";

absl::Status Invalid(std::string_view text, const std::string& what) {
  return absl::InvalidArgumentError("source '" + std::string(text) + "': " + what);
}

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// `%XX` becomes a byte; nullopt iff a '%' is not followed by two hex digits.
std::optional<std::string> PercentDecode(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    if (i + 2 >= text.size()) return std::nullopt;
    const int high = HexDigit(text[i + 1]);
    const int low = HexDigit(text[i + 2]);
    if (high < 0 || low < 0) return std::nullopt;
    out += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return out;
}

absl::Status BadEscape(std::string_view text, const std::string& option) {
  return Invalid(text, "a '%' in '" + option +
                           "' is not followed by two hex digits; write %25 for '%' itself");
}

absl::Status SetOption(std::string_view text, TableSpec& spec, std::string_view option) {
  const size_t equals = option.find('=');
  const std::string_view name = option.substr(0, equals);
  if (equals == std::string_view::npos || equals + 1 == option.size()) {
    return Invalid(text, "option '" + std::string(option) + "' has no value; write NAME=VALUE");
  }
  const std::optional<std::string> value = PercentDecode(option.substr(equals + 1));
  if (!value) return BadEscape(text, std::string(name));
  std::string previous;
  if (name == "id") {
    previous = std::exchange(spec.id, *value);
  } else if (name == "value") {
    previous = std::exchange(spec.value, *value);
  } else if (name == "key") {
    previous = std::exchange(spec.key, *value).value_or("");
  } else if (name == "xid") {
    previous = std::exchange(spec.xid, *value).value_or("");
  } else if (name == "where") {
    previous = std::exchange(spec.where, *value).value_or("");
  } else {
    return Invalid(
        text, "unknown option '" + std::string(name) + "'; known are id, value, key, xid, where");
  }
  if (!previous.empty()) return Invalid(text, "option '" + std::string(name) + "' is given twice");
  return absl::OkStatus();
}

absl::StatusOr<TableSpec> ParseTable(std::string_view text, std::string_view rest) {
  TableSpec spec;
  const size_t question = rest.find('?');
  const std::string_view name = rest.substr(0, question);
  const size_t dot = name.find('.');
  if (dot == std::string_view::npos) {
    spec.table = name;
  } else {
    spec.schema = name.substr(0, dot);
    spec.table = name.substr(dot + 1);
  }
  if (spec.table.empty() || spec.schema.empty() || absl::StrContains(spec.table, ".")) {
    return Invalid(text, std::string("name a table as schema.table, e.g. ") + kTableExample);
  }
  std::string_view options = question == std::string_view::npos ? "" : rest.substr(question + 1);
  while (!options.empty()) {
    const size_t ampersand = options.find('&');
    LOCKSTEP_RETURN_IF_ERROR(SetOption(text, spec, options.substr(0, ampersand)));
    options = ampersand == std::string_view::npos ? "" : options.substr(ampersand + 1);
  }
  if (spec.id.empty() || spec.value.empty()) {
    return Invalid(text, std::string("both id= and value= are needed, e.g. ") + kTableExample);
  }
  return spec;
}

// `values` of a filter, with the commas and escapes of the text.
absl::Status SetPikaFilter(std::string_view text, PikaSpec& spec, const std::string& name,
                           std::string_view values, std::set<std::string>& given) {
  std::vector<std::string> decoded;
  for (const auto value : absl::StrSplit(absl::string_view(values.data(), values.size()), ',')) {
    std::optional<std::string> one = PercentDecode({value.data(), value.size()});
    if (!one) return BadEscape(text, name);
    decoded.push_back(*std::move(one));
  }
  const absl::Status status = spec.filter.Set(name, std::move(decoded));
  if (absl::IsNotFound(status)) {
    return Invalid(text, "unknown option '" + name +
                             "'; known are db, protocol, commands, exclude-commands, types, keys, "
                             "exclude-keys");
  }
  if (!status.ok()) return Invalid(text, name + "=: " + std::string(status.message()));
  if (!given.insert(name).second) {
    return Invalid(text, "option '" + name + "' is given twice; separate its values by commas");
  }
  spec.filter_text += (spec.filter_text.empty() ? "" : "&") + name + "=" + std::string(values);
  return absl::OkStatus();
}

constexpr char kPikaScheme[] = "pika://";
constexpr char kPikaExample[] = "pika://10.0.0.1:9221?db=db0";

absl::Status SetPikaOption(std::string_view text, PikaSpec& spec, std::string_view option,
                           std::set<std::string>& filters) {
  const size_t equals = option.find('=');
  const std::string name(option.substr(0, equals));
  const std::string value(equals == std::string_view::npos ? "" : option.substr(equals + 1));
  if (name == "db") {
    if (value.empty() ||
        value.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_-.") != std::string::npos) {
      return Invalid(text, "db= is a database's name as Pika has it: db0, db1, …");
    }
    if (!spec.database.empty()) return Invalid(text, "option 'db' is given twice");
    spec.database = value;
    return absl::OkStatus();
  }
  if (name != "protocol") return SetPikaFilter(text, spec, name, value, filters);
  if (value == "auto") {
    spec.protocol = PikaProtocol::kAuto;
  } else if (value == "pb") {
    spec.protocol = PikaProtocol::kPb;
  } else if (value == "legacy") {
    spec.protocol = PikaProtocol::kLegacy;
  } else {
    return Invalid(text, "protocol= is auto, pb or legacy");
  }
  return absl::OkStatus();
}

absl::StatusOr<PikaSpec> ParsePika(std::string_view text, std::string_view rest) {
  PikaSpec spec;
  const size_t question = rest.find('?');
  const std::string_view address = rest.substr(0, question);
  const size_t colon = address.rfind(':');
  const std::string host(address.substr(0, colon));
  const absl::StatusOr<int64_t> port =
      ParseDecimal(colon == std::string_view::npos ? "" : address.substr(colon + 1));
  constexpr int64_t kPortMax = 65'535 - 2'000;  // The replication port is 2000 above it.
  const bool host_fits = !host.empty() && host.find_first_not_of(
                                              "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                              "0123456789.-_:[]") == std::string::npos;
  if (!host_fits || !port.ok() || *port < 1 || *port > kPortMax) {
    return Invalid(text,
                   std::string("write pika://HOST:PORT with the port of Pika's clients, e.g. ") +
                       kPikaExample);
  }
  spec.host = host.front() == '[' && host.back() == ']' ? host.substr(1, host.size() - 2) : host;
  spec.port = static_cast<int32_t>(*port);
  std::set<std::string> filters;  // That are given.
  std::string_view options = question == std::string_view::npos ? "" : rest.substr(question + 1);
  while (!options.empty()) {
    const size_t ampersand = options.find('&');
    LOCKSTEP_RETURN_IF_ERROR(SetPikaOption(text, spec, options.substr(0, ampersand), filters));
    options = ampersand == std::string_view::npos ? "" : options.substr(ampersand + 1);
  }
  return spec;
}

}  // namespace

std::string PikaSpec::Address() const {
  const bool bracket = host.find(':') != std::string::npos;
  return (bracket ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

std::string RegisteredSource(const SourceSpec& spec, const std::string& source_id) {
  const auto* const pika = std::get_if<PikaSpec>(&spec.kind);
  if (pika == nullptr) return spec.text;
  std::string options = pika->database.empty() ? "" : "db=" + pika->database;
  if (!options.empty() && !pika->filter_text.empty()) options += '&';
  options += pika->filter_text;
  return kPikaScheme + (source_id.empty() ? pika->Address() : source_id) +
         (options.empty() ? "" : "?" + options);
}

bool IsRegisteredPika(std::string_view text) {
  return absl::StartsWith(std::string(text), kPikaScheme);
}

absl::StatusOr<PikaSpec> ParseRegisteredPika(std::string_view text) {
  const size_t question = text.find('?');
  const std::string options(question == std::string_view::npos ? "" : text.substr(question));
  LOCKSTEP_ASSIGN_OR_RETURN(PikaSpec spec, ParsePika(text, "id:1" + options));
  spec.host.clear();
  spec.port = 0;
  return spec;
}

absl::StatusOr<SourceSpec> ParseSourceSpec(std::string_view text) {
  if (absl::StartsWith(std::string(text), "jsonl:")) {
    const std::string path(text.substr(6));
    if (path.empty()) {
      return Invalid(text, "name a file, e.g. jsonl:/data/orders.jsonl, or - for standard input");
    }
    return SourceSpec{std::string(text), JsonlSpec{path}};
  }
  if (absl::StartsWith(std::string(text), "table:")) {
    LOCKSTEP_ASSIGN_OR_RETURN(TableSpec table, ParseTable(text, text.substr(6)));
    return SourceSpec{std::string(text), std::move(table)};
  }
  if (absl::StartsWith(std::string(text), kPikaScheme)) {
    LOCKSTEP_ASSIGN_OR_RETURN(PikaSpec pika, ParsePika(text, text.substr(sizeof(kPikaScheme) - 1)));
    return SourceSpec{std::string(text), std::move(pika)};
  }
  for (const char* later : {"postgres://", "postgresql://"}) {
    if (absl::StartsWith(std::string(text), later)) {
      return absl::UnimplementedError("source '" + std::string(text) + "': this version does not " +
                                      "read " + later +
                                      " sources; use table: over an outbox table, or jsonl:");
    }
  }
  return Invalid(
      text, std::string("write jsonl:FILE, jsonl:-, ") + kTableExample + " or " + kPikaExample);
}

}  // namespace lockstep
