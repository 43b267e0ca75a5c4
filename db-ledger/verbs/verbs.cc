#include "db-ledger/verbs/verbs.h"

#include <unistd.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

#include "common/base/status_macros.h"
#include "common/config/terminal.h"
#include "db-ledger/requests.h"

namespace lockstep {

absl::StatusOr<std::unique_ptr<PostgresLedger>> ConnectLedger(const VerbContext& context,
                                                              bool read_only) {
  PostgresLedgerOptions options;
  options.ledger = context.common.ledger;
  options.standby_ledger = context.common.standby_ledger;
  options.application_name = "lockstep-ledger";
  options.read_only = read_only;
  return PostgresLedger::Connect(options);
}

absl::StatusOr<std::vector<StreamInfo>> NamedStreams(Ledger& ledger, const CommonOptions& common) {
  LOCKSTEP_ASSIGN_OR_RETURN(const std::vector<StreamInfo> all, ledger.ListStreams());
  if (common.topic.empty() && common.streams.empty()) return all;
  std::vector<StreamInfo> named;
  for (const StreamInfo& stream : all) {
    const auto& wanted = common.streams;
    if (stream.name.topic == common.topic ||
        std::find(wanted.begin(), wanted.end(), stream.name) != wanted.end()) {
      named.push_back(stream);
    }
  }
  if (named.empty()) {
    return absl::NotFoundError(
        "the ledger knows no such stream: " +
        (common.topic.empty() ? ToString(common.streams.front()) : common.topic));
  }
  return named;
}

absl::StatusOr<StreamInfo> NamedStream(Ledger& ledger, const CommonOptions& common) {
  if (common.streams.size() != 1 || !common.topic.empty()) {
    return absl::InvalidArgumentError("--stream TOPIC/PARTITION must name one stream");
  }
  LOCKSTEP_ASSIGN_OR_RETURN(const auto streams, NamedStreams(ledger, common));
  return streams.front();
}

absl::Status AskAtTerminal(const VerbContext& context, std::string_view question) {
  if (context.common.yes || context.arguments.yes || isatty(STDIN_FILENO) == 0) {
    return absl::OkStatus();
  }
  LOCKSTEP_ASSIGN_OR_RETURN(const Consent consent, AskConsent(true, false, question));
  return consent == Consent::kGo ? absl::OkStatus() : absl::CancelledError("declined");
}

absl::Status StatusOfChange(CommitOutcome outcome, Refusal refusal, const absl::Status& why) {
  const std::string message(why.message());
  if (outcome == CommitOutcome::kCommitted) return absl::OkStatus();
  if (outcome == CommitOutcome::kUnknown) {
    return absl::UnavailableError(message + "; run it again when the standby is back");
  }
  return absl::Status(CodeOf(refusal), message);
}

absl::StatusOr<std::map<ProducerId, std::string>> ProducerNames(Ledger& ledger) {
  LOCKSTEP_ASSIGN_OR_RETURN(const auto producers, ledger.ListProducers());
  std::map<ProducerId, std::string> names;
  for (const ProducerInfo& producer : producers) names[producer.id] = producer.name;
  return names;
}

bool InDoubt(const SeqCursor& cursor) {
  return std::any_of(cursor.marks.begin(), cursor.marks.end(),
                     [](const SeqMark& mark) { return InDoubt(mark); });
}

std::string JsonPosition(const std::optional<Position>& position) {
  return position ? "\"" + ToString(*position) + "\"" : "null";
}

std::string TextPosition(const std::optional<Position>& position) {
  return position ? ToString(*position) : "-";
}

std::string UtcTime(int64_t ms) {
  return std::string(
      absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", absl::FromUnixMillis(ms), absl::UTCTimeZone()));
}

}  // namespace lockstep
