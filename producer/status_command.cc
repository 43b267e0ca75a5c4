#include "producer/status_command.h"

#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

#include "common/base/status_macros.h"
#include "common/config/json_text.h"
#include "common/config/stop_request.h"
#include "common/config/terminal.h"
#include "common/metrics/metrics.h"
#include "db-ledger/postgres_ledger.h"
#include "producer/pika/pika_checkpoint.h"
#include "producer/sources/source_spec.h"
#include "producer/sources/source_status.h"

namespace lockstep {
namespace {

constexpr std::chrono::milliseconds kRateOver{1'000};

struct Ledgered {
  Ledger::Now now;
  ProducerInfo producer;
  std::vector<std::pair<StreamName, Head>> heads;
};

absl::StatusOr<Ledgered> ReadLedger(Ledger& ledger, const std::string& name) {
  Ledgered found;
  LOCKSTEP_ASSIGN_OR_RETURN(found.now, ledger.ReadNow());
  LOCKSTEP_ASSIGN_OR_RETURN(const std::vector<ProducerInfo> producers, ledger.ListProducers());
  std::string known;
  for (const ProducerInfo& producer : producers) {
    if (producer.name == name) found.producer = producer;
    absl::StrAppend(&known, known.empty() ? "" : ", ", producer.name);
  }
  if (found.producer.name != name) {
    return absl::NotFoundError(absl::StrCat("the ledger knows no producer '", name, "'; ",
                                            known.empty() ? "it knows none" : "it knows " + known));
  }
  LOCKSTEP_ASSIGN_OR_RETURN(const std::vector<StreamInfo> streams, ledger.ListStreams());
  for (const StreamInfo& stream : streams) {
    LOCKSTEP_ASSIGN_OR_RETURN(const StreamPage page, ledger.ReadStream({stream.id, {}, 0, false}));
    for (const Head& head : page.heads) {
      if (head.name == name) found.heads.emplace_back(stream.name, head);
    }
  }
  return found;
}

// A Pika's checkpoint in words; other sources' is its own word.
std::string InWords(const ProducerInfo& producer) {
  if (!producer.checkpoint) return "none";
  if (!IsRegisteredPika(producer.source)) return *producer.checkpoint;
  const auto checkpoint = pika::ParsePikaCheckpoint(*producer.checkpoint);
  if (!checkpoint.ok()) return *producer.checkpoint;
  const pika::PikaPosition& at = checkpoint->position;
  const std::string binlog = ToString(at.binlog);
  if (at.snapshot_id != 0) {
    return absl::StrCat("full copy ", at.snapshot_id, ", event ", at.number,
                        "; the binlog follows from ", binlog);
  }
  return absl::StrCat("binlog ", binlog,
                      at.number > 0 ? absl::StrCat(", command ", at.number) : "");
}

// All digits of a count, milliseconds of a time.
std::string JsonNumber(double value) {
  if (!std::isfinite(value)) return "null";
  return value == std::round(value) ? absl::StrCat(static_cast<int64_t>(value))
                                    : absl::StrFormat("%.3f", value);
}

// The running producer, by two looks at its numbers.
class Running {
 public:
  static absl::StatusOr<Running> Look(const std::string& address) {
    Running running;
    LOCKSTEP_ASSIGN_OR_RETURN(running.before_, FetchMetrics(address));
    const auto begun = std::chrono::steady_clock::now();
    std::this_thread::sleep_for(kRateOver);
    LOCKSTEP_ASSIGN_OR_RETURN(running.now_, FetchMetrics(address));
    running.seconds_ =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
    if (!running.now_.contains("lockstep_in_flight_records")) {
      return absl::NotFoundError(
          absl::StrCat("--metrics ", address, ": these are no producer's metrics"));
    }
    return running;
  }

  bool pika() const { return now_.contains("lockstep_pika_connected"); }
  // The metric as a JSON number; `null`: it is not shown.
  std::string Number(const std::string& metric) const {
    const auto found = now_.find(metric);
    return found == now_.end() ? "null" : JsonNumber(found->second);
  }
  std::string Rate(const std::string& metric) const {
    const auto before = before_.find(metric);
    const auto now = now_.find(metric);
    const double was = before == before_.end() ? 0 : before->second;
    return now == now_.end() ? "null" : JsonNumber(std::round((now->second - was) / seconds_));
  }
  std::string EventRate() const {
    double rate = 0;
    for (const char* type : {"binlog", "snapshot"}) {
      const std::string metric = absl::StrCat("lockstep_pika_events_total{type=\"", type, "\"}");
      const auto before = before_.find(metric);
      const auto now = now_.find(metric);
      if (now != now_.end()) rate += now->second - (before == before_.end() ? 0 : before->second);
    }
    return JsonNumber(std::round(rate / seconds_));
  }
  std::string Position(const char* point) const {
    const std::string label = absl::StrCat("{point=\"", point, "\"}");
    const auto file = now_.find("lockstep_pika_position_filenum" + label);
    const auto offset = now_.find("lockstep_pika_position_offset_bytes" + label);
    if (file == now_.end() || offset == now_.end()) return "";
    return absl::StrCat(static_cast<uint64_t>(file->second), ":",
                        static_cast<uint64_t>(offset->second));
  }
  // The value of `label` whose gauge is 1.
  std::string Chosen(const std::string& metric, const std::string& label,
                     const std::vector<std::string>& values) const {
    for (const std::string& value : values) {
      if (Number(absl::StrCat(metric, "{", label, "=\"", value, "\"}")) == "1") return value;
    }
    return "";
  }
  std::string State() const {
    std::vector<std::string> states;
    for (const SourceState state : kSourceStates) states.emplace_back(ToString(state));
    return Chosen("lockstep_pika_state", "state", states);
  }
  std::string Protocol() const {
    return Chosen("lockstep_pika_protocol", "protocol", {"pb", "legacy"});
  }

 private:
  MetricValues before_;
  MetricValues now_;
  double seconds_ = 0;
};

std::string RunningJson(const Running& running) {
  Summary json;
  json.AddJson("records_per_second", running.Rate("lockstep_records_total"));
  json.AddJson("in_flight_records", running.Number("lockstep_in_flight_records"));
  if (!running.pika()) return json.Json();
  const std::string state = running.State();
  json.Add("connected", running.Number("lockstep_pika_connected") == "1")
      .Add("state", state)
      .Add("protocol", running.Protocol())
      .Add("received", running.Position("received"))
      .Add("master_end", running.Position("master_end"))
      .AddJson("lag_bytes", running.Number("lockstep_pika_lag_bytes"))
      .AddJson("lag_files", running.Number("lockstep_pika_lag_files"))
      .AddJson("lag_seconds", running.Number("lockstep_pika_lag_seconds"))
      .AddJson("checkpoint_age_seconds", running.Number("lockstep_pika_checkpoint_age_seconds"))
      .AddJson("events_per_second", running.EventRate());
  return json.Json();
}

void PrintJson(const Ledgered& ledgered, const std::optional<Running>& running) {
  std::vector<std::string> streams;
  for (const auto& [stream, head] : ledgered.heads) {
    streams.push_back(Summary()
                          .Add("stream", ToString(stream))
                          .Add("epoch", head.epoch.value())
                          .Add("term", head.term.value())
                          .Add("closed", head.closed.value())
                          .Add("last_seq", head.last_seq.value())
                          .Add("last_at", head.last_at)
                          .Json());
  }
  const auto& checkpoint = ledgered.producer.checkpoint;
  Summary()
      .Add("producer", ledgered.producer.name)
      .Add("epoch", ledgered.now.epoch.value())
      .Add("solo", ledgered.now.solo)
      .Add("source", MaskSecrets(ledgered.producer.source))
      .AddJson("checkpoint", checkpoint ? JsonString(*checkpoint) : "null")
      .Add("checkpoint_in_words", InWords(ledgered.producer))
      .AddJson("streams", JsonArray(streams))
      .AddJson("running", running ? RunningJson(*running) : "null")
      .Print(OutputFormat::kJson);
}

std::string OrUnknown(const std::string& text, const char* unit) {
  return text.empty() || text == "null" ? "unknown" : absl::StrCat(text, unit);
}

void PrintScreen(const Ledgered& ledgered, const std::optional<Running>& running) {
  Summary screen;
  screen.Add("producer", ledgered.producer.name)
      .Add("epoch", absl::StrCat(ledgered.now.epoch.value(),
                                 ledgered.now.solo ? " (SOLO: no standby has a copy)" : ""))
      .Add("source", MaskSecrets(ledgered.producer.source))
      .Add("checkpoint", InWords(ledgered.producer));
  for (const auto& [stream, head] : ledgered.heads) {
    const bool starting = head.term > Term(1) && head.closed < head.term;
    screen.Add(ToString(stream),
               absl::StrCat("seq ", head.last_seq.value(), ", term ", head.term.value(),
                            starting ? " (starting: earlier terms are open)" : "",
                            head.last_at.empty() ? "" : ", at " + head.last_at));
  }
  if (running && running->pika()) {
    const std::string files = running->Number("lockstep_pika_lag_files");
    const bool across = files != "null" && files != "0";
    screen
        .Add("connection", absl::StrCat(running->State(), ", ", OrUnknown(running->Protocol(), "")))
        .Add("received", absl::StrCat(OrUnknown(running->Position("received"), ""), " of ",
                                      OrUnknown(running->Position("master_end"), "")))
        .Add("lag", absl::StrCat(OrUnknown(running->Number("lockstep_pika_lag_seconds"), " s"),
                                 across ? ", at least " : ", ",
                                 OrUnknown(running->Number("lockstep_pika_lag_bytes"), " bytes"),
                                 across ? absl::StrCat(" and ", files, " files") : ""))
        .Add("checkpoint age", running->Number("lockstep_pika_checkpoint_age_seconds") + " s")
        .Add("events", running->EventRate() + "/s");
  }
  if (running) {
    screen.Add("records", running->Rate("lockstep_records_total") + "/s")
        .Add("in flight", running->Number("lockstep_in_flight_records") + " records");
  }
  screen.Print(OutputFormat::kText);
}

absl::Status Show(Ledger& ledger, const CommonOptions& common, const StatusOptions& options) {
  // The ledger last, so that it is no older than what the running producer says.
  std::optional<Running> running;
  absl::Status reached;
  if (!common.metrics.empty()) {
    absl::StatusOr<Running> looked = Running::Look(common.metrics);
    reached = looked.status();
    if (looked.ok()) running = *std::move(looked);
  }
  LOCKSTEP_ASSIGN_OR_RETURN(const Ledgered ledgered, ReadLedger(ledger, options.name));
  if (options.watch && isatty(STDOUT_FILENO) != 0) std::printf("\033[H\033[2J");
  if (common.format == OutputFormat::kJson) {
    PrintJson(ledgered, running);
  } else {
    PrintScreen(ledgered, running);
  }
  return reached;
}

}  // namespace

absl::Status RunStatus(const CommonOptions& common, const StatusOptions& options) {
  PostgresLedgerOptions ledger_options;
  ledger_options.ledger = common.ledger;
  ledger_options.standby_ledger = common.standby_ledger;
  ledger_options.application_name = "lockstep-producer status";
  ledger_options.read_only = true;
  LOCKSTEP_ASSIGN_OR_RETURN(const std::unique_ptr<PostgresLedger> ledger,
                            PostgresLedger::Connect(ledger_options));
  if (!options.watch) return Show(*ledger, common, options);
  StopRequest& stop = StopRequest::Install();
  do {
    const absl::Status shown = Show(*ledger, common, options);
    if (!shown.ok() && !absl::IsUnavailable(shown)) return shown;
    if (!shown.ok()) std::fprintf(stderr, "lockstep-producer: %s\n", shown.ToString().c_str());
  } while (!stop.WaitFor(options.interval));
  return absl::OkStatus();
}

}  // namespace lockstep
