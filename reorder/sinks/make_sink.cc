#include "reorder/sinks/make_sink.h"

#include <unistd.h>

#include <utility>

#include "absl/strings/str_cat.h"

#include "common/base/status_macros.h"
#include "common/log/log.h"
#include "reorder/sinks/exec_sink.h"
#include "reorder/sinks/jsonl_sink.h"
#include "reorder/sinks/null_sink.h"
#include "reorder/sinks/table_sink.h"

namespace lockstep {

absl::StatusOr<SinkSpec> ParseSinkSpec(std::string_view text) {
  if (text == "null") return SinkSpec{};
  const size_t colon = text.find(':');
  const std::string_view kind = text.substr(0, colon);
  const std::string target(colon == std::string_view::npos ? "" : text.substr(colon + 1));
  if (kind == "jsonl" && !target.empty())
    return SinkSpec{.kind = SinkSpec::Kind::kJsonl, .target = target};
  if (kind == "exec" && !target.empty())
    return SinkSpec{.kind = SinkSpec::Kind::kExec, .target = target};
  if (kind == "table" && !target.empty()) {
    LOCKSTEP_ASSIGN_OR_RETURN(std::string table, QuoteTableName(target));
    return SinkSpec{.kind = SinkSpec::Kind::kTable, .target = std::move(table)};
  }
  if (kind == "kafka" && !target.empty()) {
    const size_t at = target.find('@');
    const std::string topic = target.substr(0, at);
    const std::string brokers = at == std::string::npos ? "" : target.substr(at + 1);
    if (topic.empty() || (at != std::string::npos && brokers.empty())) {
      return absl::InvalidArgumentError(absl::StrCat("\"", std::string(text),
                                                     "\" is not like kafka:TOPIC or "
                                                     "kafka:TOPIC@HOST:PORT,…"));
    }
    return SinkSpec{.kind = SinkSpec::Kind::kKafka, .target = topic, .brokers = brokers};
  }
  if (kind == "http" || kind == "https") {
    auto http = ParseHttpTarget(text);
    // Not repeated: it may hold what nobody should read.
    LOCKSTEP_RETURN_IF_ERROR(Annotate(http.status(), absl::StrCat(std::string(kind), "://…")));
    return SinkSpec{.kind = SinkSpec::Kind::kHttp, .http = *std::move(http)};
  }
  return absl::InvalidArgumentError(
      absl::StrCat("\"", std::string(text),
                   "\" is not like jsonl:FILE, jsonl:-, table:schema.table, exec:COMMAND, "
                   "http://…, kafka:TOPIC or "
                   "null"));
}

bool TakesStdout(const SinkSpec& spec) {
  return spec.kind == SinkSpec::Kind::kJsonl && spec.target == "-";
}

size_t BatchRecordsMax(const SinkSpec& spec) {
  switch (spec.kind) {
    case SinkSpec::Kind::kHttp:
    case SinkSpec::Kind::kKafka:
      return 1'000;
    case SinkSpec::Kind::kTable:
    case SinkSpec::Kind::kExec:
      return 10'000;
    case SinkSpec::Kind::kJsonl:
      return TakesStdout(spec) ? 10'000 : 100'000;
    case SinkSpec::Kind::kNull:
      break;
  }
  return 100'000;
}

const char* WhyNotReplayed(const SinkSpec& spec) {
  switch (spec.kind) {
    case SinkSpec::Kind::kJsonl:
      if (TakesStdout(spec)) return nullptr;
      return "the file is the outside and holds what was sent; a copy of it is the replay, or use "
             "jsonl:- and write another file";
    case SinkSpec::Kind::kTable:
      return "the table is the outside and holds what was sent; rebuild from its rows, or use exec "
             "or jsonl:-";
    case SinkSpec::Kind::kKafka:
      return "the topic holds what was sent, and what reads it would get it again as new; use exec "
             "or jsonl:-";
    case SinkSpec::Kind::kNull:
    case SinkSpec::Kind::kExec:
    case SinkSpec::Kind::kHttp:
      return nullptr;
  }
  return nullptr;
}

absl::StatusOr<std::vector<std::unique_ptr<Sink>>> MakeSinks(const SinkSpec& spec,
                                                             const std::vector<StreamName>& streams,
                                                             const SinkSettings& settings) {
  std::vector<std::unique_ptr<Sink>> sinks;
  std::shared_ptr<JsonlFile> file;
  bool fences = false;
  if (spec.kind == SinkSpec::Kind::kJsonl && !TakesStdout(spec)) {
    LOCKSTEP_ASSIGN_OR_RETURN(file, JsonlFile::Open(RealFileSystem(), spec.target, streams));
    fences = LocksFence(spec.target);
    if (!fences) Log(LogLevel::kWarn, "sink_does_not_fence", {{"file", spec.target}});
  }
  for (const StreamName& stream : streams) {
    switch (spec.kind) {
      case SinkSpec::Kind::kNull:
        sinks.push_back(std::make_unique<NullSink>());
        break;
      case SinkSpec::Kind::kJsonl:
        if (file == nullptr) {
          sinks.push_back(std::make_unique<JsonlStdoutSink>(stream, STDOUT_FILENO));
        } else {
          sinks.push_back(std::make_unique<JsonlSink>(file, stream, fences));
        }
        break;
      case SinkSpec::Kind::kExec: {
        LOCKSTEP_ASSIGN_OR_RETURN(auto sink,
                                  ExecSink::Start({.command = spec.target, .stream = stream}));
        sinks.push_back(std::move(sink));
        break;
      }
      case SinkSpec::Kind::kKafka:
        sinks.push_back(nullptr);
        break;
      case SinkSpec::Kind::kHttp:
        sinks.push_back(std::make_unique<HttpSink>(
            HttpSinkOptions{.target = spec.http,
                            .stream = stream,
                            .records_per_request = settings.http_records_per_request,
                            .by_producer = settings.http_by_producer,
                            .headers = settings.http_headers,
                            .ca_file = settings.http_ca_file,
                            .answer_max = settings.http_answer_max}));
        break;
      case SinkSpec::Kind::kTable: {
        const bool with_cursor = settings.sink_db.empty() || settings.sink_db == settings.ledger;
        LOCKSTEP_ASSIGN_OR_RETURN(
            auto sink,
            TableSink::Open({.conninfo = with_cursor ? settings.ledger : settings.sink_db,
                             .table = spec.target,
                             .stream = stream,
                             .with_cursor = with_cursor,
                             .standby_ledger = settings.standby_ledger}));
        sinks.push_back(std::move(sink));
        break;
      }
    }
  }
  return sinks;
}

}  // namespace lockstep
