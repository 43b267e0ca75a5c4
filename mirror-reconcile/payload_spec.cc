#include "mirror-reconcile/payload_spec.h"

#include <charconv>
#include <utility>

#include "absl/strings/match.h"

#include "common/base/status_macros.h"
#include "common/model/record_header.h"

namespace lockstep {
namespace {

absl::Status Invalid(std::string_view text, const std::string& what) {
  return absl::InvalidArgumentError("--payload '" + std::string(text) + "': " + what);
}

absl::StatusOr<std::string> DecodeName(std::string_view text, std::string_view encoded) {
  std::string name;
  for (size_t i = 0; i < encoded.size(); ++i) {
    if (encoded[i] != '%') {
      name += encoded[i];
      continue;
    }
    unsigned value = 0;
    const std::string_view digits = encoded.substr(i + 1, 2);
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
    if (digits.size() != 2 || error != std::errc() || end != digits.data() + 2) {
      return Invalid(text, "a '%' in the producer's name is not followed by two hex digits");
    }
    name += static_cast<char>(value);
    i += 2;
  }
  if (!ValidProducerName(name)) return Invalid(text, "the producer's name before '=' is empty");
  return name;
}

absl::StatusOr<LogPayloadSpec> ParseLog(std::string_view text, std::string_view rest) {
  const size_t at = rest.find('@');
  if (at == std::string_view::npos || at == 0 || at + 1 == rest.size()) {
    return Invalid(text, "write log:TOPIC@HOST:PORT[,HOST:PORT…]");
  }
  return LogPayloadSpec{std::string(rest.substr(0, at)), std::string(rest.substr(at + 1))};
}

}  // namespace

absl::StatusOr<PayloadSpec> ParsePayloadSpec(std::string_view text) {
  PayloadSpec spec;
  std::string_view rest = text;
  const size_t equals = text.find('=');
  if (equals != std::string_view::npos && equals < text.find(':')) {
    LOCKSTEP_ASSIGN_OR_RETURN(spec.producer, DecodeName(text, text.substr(0, equals)));
    rest = text.substr(equals + 1);
  }
  spec.text = std::string(rest);
  if (rest == "ledger") {
    spec.kind = LedgerPayloadSpec{};
  } else if (absl::StartsWith(std::string(rest), "log:")) {
    LOCKSTEP_ASSIGN_OR_RETURN(spec.kind, ParseLog(text, rest.substr(4)));
  } else if (absl::StartsWith(std::string(rest), "wal:")) {
    if (rest == "wal:") return Invalid(text, "write wal:DIR, the producer's --wal directory");
    spec.kind = WalPayloadSpec{std::string(rest.substr(4))};
  } else if (rest.find(':') == std::string_view::npos) {
    return Invalid(text,
                   "expected [PRODUCER=]SPEC with SPEC one of ledger, table:…, jsonl:FILE, "
                   "pika://HOST:PORT, wal:DIR, log:TOPIC@BROKERS");
  } else {
    LOCKSTEP_ASSIGN_OR_RETURN(SourceSpec source, ParseSourceSpec(rest));
    spec.kind = std::move(source);
  }
  return spec;
}

}  // namespace lockstep
