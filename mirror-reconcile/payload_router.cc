#include "mirror-reconcile/payload_router.h"

#include <utility>

#include "absl/strings/str_cat.h"

#include "common/base/status_macros.h"
#include "db-ledger/kafka_sinks.h"
#include "mirror-reconcile/kafka_log_reader.h"
#include "mirror-reconcile/payload_sources.h"
#include "producer/wal/wal_payload_source.h"

namespace lockstep {

absl::Status ProveRun(const std::string& producer, const Run& run,
                      const std::vector<SourceEvent>& events) {
  const std::string what = absl::StrCat(
      "seqs ", run.first_seq.value(), " to ", run.last_seq.value(), " of producer '", producer,
      "', term ", run.term.value(), " (source positions ", run.at_first, " to ", run.at_last, ")");
  if (static_cast<int64_t>(events.size()) != run.last_seq - run.first_seq + 1) {
    return absl::NotFoundError(absl::StrCat(events.size(), " record(s) instead of ", what));
  }
  RunDigest digest;
  for (size_t i = 0; i < events.size(); ++i) {
    digest.Add(producer, run.term, run.first_seq + static_cast<int64_t>(i), events[i].payload);
  }
  if (digest.Value() == run.digest) return absl::OkStatus();
  return absl::NotFoundError(absl::StrCat("its bytes are not what was written: the digest of ",
                                          what, " differs from the ledger's"));
}

namespace {

bool IsPika(const PayloadSpec& spec) {
  const auto* const source = std::get_if<SourceSpec>(&spec.kind);
  return source != nullptr && std::holds_alternative<PikaSpec>(source->kind);
}

}  // namespace

PayloadRouter::PayloadRouter(PayloadRouterOptions options, Ledger& ledger,
                             std::vector<ProducerInfo> producers)
    : options_(std::move(options)), ledger_(ledger), producers_(std::move(producers)) {}

void PayloadRouter::SetFilter(const std::string& producer, SourceSpec& source) const {
  auto* const pika = std::get_if<PikaSpec>(&source.kind);
  if (pika == nullptr || !pika->filter_text.empty()) return;
  for (const ProducerInfo& info : producers_) {
    if (info.name != producer || !IsRegisteredPika(info.source)) continue;
    const absl::StatusOr<PikaSpec> registered = ParseRegisteredPika(info.source);
    if (registered.ok()) pika->filter = registered->filter;
  }
}

PayloadRouter::Candidate PayloadRouter::Open(const PayloadSpec& spec, const std::string& producer) {
  Candidate candidate{spec.text, nullptr, absl::OkStatus()};
  if (std::holds_alternative<LedgerPayloadSpec>(spec.kind)) {
    candidate.source = std::make_unique<LedgerPayloadSource>(ledger_);
  } else if (const auto* log = std::get_if<LogPayloadSpec>(&spec.kind)) {
    KafkaConfig kafka = options_.kafka;
    kafka.brokers = log->brokers;
    candidate.source = std::make_unique<LogPayloadSource>(
        spec.text,
        [kafka, topic = log->topic, patience = options_.patience](
            int32_t partition) -> absl::StatusOr<std::unique_ptr<LogReader>> {
          LOCKSTEP_ASSIGN_OR_RETURN(std::unique_ptr<KafkaLogReader> reader,
                                    KafkaLogReader::Open(kafka, {topic, partition}, patience));
          return std::unique_ptr<LogReader>(std::move(reader));
        });
  } else {
    const auto* wal = std::get_if<WalPayloadSpec>(&spec.kind);
    SourceSpec source;
    if (wal == nullptr) source = std::get<SourceSpec>(spec.kind);
    SetFilter(producer, source);
    auto opened = wal != nullptr
                      ? OpenWalPayloadSource(wal->directory)
                      : OpenPayloadSource(source, {.source_db = options_.source_db,
                                                   .source_password = options_.source_password,
                                                   .patience = options_.patience});
    candidate.why = opened.status();
    if (opened.ok()) candidate.source = std::move(opened).value();
    if (candidate.source != nullptr && IsPika(spec)) {
      candidate.source = std::make_unique<WithRunPayload>(ledger_, std::move(candidate.source));
    }
  }
  return candidate;
}

PayloadRouter::Candidate PayloadRouter::OpenRegistered(const std::string& producer) {
  for (const ProducerInfo& info : producers_) {
    if (info.name != producer) continue;
    if (IsRegisteredPika(info.source)) {
      for (const PayloadSpec& spec : options_.specs) {
        if (IsPika(spec) && (spec.producer.empty() || spec.producer == producer)) {
          return Open(spec, producer);
        }
      }
      return {info.source, nullptr,
              absl::NotFoundError("the ledger has the Pika's id, not a server that still is there; "
                                  "name one with --payload [PRODUCER=]pika://HOST:PORT")};
    }
    if (const auto sink = ParseKafkaSinkSource(info.source); sink.has_value()) {
      return {info.source,
              std::make_unique<StreamPayloadSource>(ledger_, sink->input, options_.open_logs),
              absl::OkStatus()};
    }
    absl::StatusOr<SourceSpec> source = ParseSourceSpec(info.source);
    if (!source.ok()) return {info.source, nullptr, source.status()};
    return Open({"", info.source, std::move(source).value()}, producer);
  }
  return {"", nullptr, absl::NotFoundError("the ledger does not know this producer")};
}

std::vector<PayloadRouter::Candidate>& PayloadRouter::CandidatesOf(const std::string& producer) {
  const auto [it, inserted] = candidates_.try_emplace(producer);
  std::vector<Candidate>& candidates = it->second;
  if (!inserted) return candidates;
  for (const bool named : {true, false}) {
    for (const PayloadSpec& spec : options_.specs) {
      if (named ? spec.producer == producer : spec.producer.empty()) {
        candidates.push_back(Open(spec, producer));
      }
    }
  }
  if (candidates.empty()) {
    candidates.push_back(Open({"", "ledger", LedgerPayloadSpec{}}, producer));
    candidates.push_back(OpenRegistered(producer));
  }
  return candidates;
}

absl::StatusOr<std::vector<SourceEvent>> PayloadRouter::Fetch(const StreamInfo& stream,
                                                              const std::string& producer,
                                                              const Run& run) {
  std::string reasons;
  bool away = false;
  for (Candidate& candidate : CandidatesOf(producer)) {
    absl::Status why = candidate.why;
    if (candidate.source != nullptr) {
      auto events = candidate.source->Read({stream, producer, run});
      why = events.ok() ? ProveRun(producer, run, *events) : events.status();
      if (why.ok()) return std::move(events).value();
    }
    away = away || absl::IsUnavailable(why);
    absl::StrAppend(&reasons, reasons.empty() ? "" : "; ", candidate.text, ": ",
                    std::string(why.message()));
  }
  const std::string message =
      absl::StrCat("seqs ", run.first_seq.value(), " to ", run.last_seq.value(), " of producer '",
                   producer, "' on ", ToString(stream.name), " cannot be had: ", reasons);
  return away ? absl::UnavailableError(message) : absl::NotFoundError(message);
}

absl::Status PayloadRouter::CheckSourceReaches(const StreamInfo& stream,
                                               const std::string& producer, const Run& run) {
  for (const ProducerInfo& info : producers_) {
    if (info.name == producer && ParseKafkaSinkSource(info.source)) return absl::OkStatus();
  }
  auto it = registered_.find(producer);
  if (it == registered_.end()) it = registered_.emplace(producer, OpenRegistered(producer)).first;
  const Candidate& registered = it->second;
  if (registered.source == nullptr) {
    // That it cannot be opened here is no proof that it lacks anything.
    return absl::UnknownError(
        absl::StrCat(registered.text, ": ", std::string(registered.why.message())));
  }
  auto events = registered.source->Read({stream, producer, run});
  if (!events.ok()) return Annotate(events.status(), registered.text);
  return Annotate(ProveRun(producer, run, *events), registered.text);
}

}  // namespace lockstep
