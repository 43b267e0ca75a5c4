#include "mirror-reconcile/commands.h"

#include <chrono>
#include <cstdio>
#include <string>
#include <utility>

#include "common/base/status_macros.h"
#include "common/config/terminal.h"
#include "common/log/log.h"
#include "mirror-reconcile/kafka_record_sink.h"
#include "mirror-reconcile/readiness.h"
#include "mirror-reconcile/report.h"

namespace lockstep {
namespace {

using Clock = std::chrono::steady_clock;

// A larger gap is not fetched twice only to know beforehand that it can be had.
constexpr int64_t kFetchBeforehandMax = 200'000;

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

bool AsJson(const Session& session) { return session.common().format == OutputFormat::kJson; }

void PrintText(const Session& session, const std::string& text) {
  if (!AsJson(session)) std::fputs(text.c_str(), stdout);
}

std::string GapsJson(const std::vector<Gap>& gaps) {
  std::vector<std::string> values;
  for (const Gap& gap : gaps) values.push_back(GapJson(gap));
  return JsonArray(values);
}

void LogGap(const Gap& gap) {
  if (gap.empty()) return;
  const Position first = gap.pieces.front().first_position;
  Log(LogLevel::kInfo, "gap_found",
      {{"stream", gap.stream.name},
       {"epoch", first.epoch},
       {"first_offset", first.offset},
       {"records", gap.records},
       {"pieces", gap.pieces.size()}});
}

}  // namespace

absl::StatusOr<ExitCode> RunGap(Session& session) {
  const Clock::time_point start = Clock::now();
  std::vector<Gap> gaps;
  int64_t records = 0;
  for (OpenStream& stream : session.streams()) {
    LOCKSTEP_ASSIGN_OR_RETURN(Gap gap, session.FindGapOf(stream, session.options().whole));
    LogGap(gap);
    PrintText(session, GapText(gap));
    records += gap.records;
    gaps.push_back(std::move(gap));
  }
  Summary summary;
  summary.Add("gap_records", records);
  if (AsJson(session)) summary.AddJson("streams", GapsJson(gaps));
  summary.Add("seconds", SecondsSince(start)).Print(session.common().format);
  return records == 0 ? ExitCode::kYes : ExitCode::kNo;
}

absl::StatusOr<ExitCode> RunVerify(Session& session) {
  const Clock::time_point start = Clock::now();
  std::vector<std::string> streams;
  bool good = true;
  std::map<Anomaly, int64_t> totals;
  int64_t ledgered = 0;
  int64_t found = 0;
  int64_t read = 0;
  for (OpenStream& stream : session.streams()) {
    LOCKSTEP_ASSIGN_OR_RETURN(LedgerView view, LedgerView::Open(session.ledger(), stream.info));
    LOCKSTEP_ASSIGN_OR_RETURN(const Verdicts verdicts, VerifyLogs(view, stream.logs.logs(),
                                                                  session.cluster_id(), kAllRules));
    PrintText(session, VerdictsText(stream.info.name, verdicts));
    streams.push_back(VerdictsJson(stream.info.name, verdicts));
    good = good && verdicts.good();
    ledgered += verdicts.ledgered;
    found += verdicts.found;
    read += verdicts.records_read;
    for (const auto& [anomaly, count] : verdicts.anomalies) totals[anomaly] += count.records;
  }
  Summary summary;
  summary.Add("good", good).Add("ledgered", ledgered).Add("found", found).Add("records_read", read);
  for (const auto& [anomaly, count] : totals) summary.Add(ToString(anomaly), count);
  if (AsJson(session)) summary.AddJson("streams", JsonArray(streams));
  summary.Add("seconds", SecondsSince(start)).Print(session.common().format);
  return good ? ExitCode::kYes : ExitCode::kNo;
}

absl::StatusOr<ReinjectOutcome> ReinjectAll(Session& session, const std::vector<Gap>& gaps,
                                            Epoch label) {
  ReinjectOutcome outcome;
  int64_t total = 0;
  for (const Gap& gap : gaps) total += gap.records;
  ProgressBar progress("re-inject", total);
  PayloadRouter router = session.MakeRouter();
  LOCKSTEP_ASSIGN_OR_RETURN(const ReinjectOrder order, ParseReinjectOrder(session.options().order));
  int64_t done = 0;
  for (const Gap& gap : gaps) {
    if (gap.empty()) continue;
    const StreamName target{session.topics().mirrored, gap.stream.name.partition};
    LOCKSTEP_ASSIGN_OR_RETURN(
        const std::unique_ptr<KafkaRecordSink> sink,
        KafkaRecordSink::Open(session.common().Kafka(), target, session.options().patience));
    ReinjectOptions options;
    options.order = order;
    options.label = label;
    options.allow_data_loss = session.options().allow_data_loss;
    options.on_progress = [&](int64_t written) { progress.Update(done + written); };
    LOCKSTEP_ASSIGN_OR_RETURN(ReinjectResult result,
                              Reinject(
                                  gap,
                                  [&](const std::string& producer, const Run& run) {
                                    return router.Fetch(gap.stream, producer, run);
                                  },
                                  *sink, options));
    done += gap.records;
    outcome.reinjected += result.written;
    for (GivenUpRecord& record : result.given_up) {
      Log(LogLevel::kError, "record_given_up",
          {{"stream", gap.stream.name},
           {"producer", record.producer},
           {"term", record.term},
           {"seq", record.seq},
           {"position", ToString(record.position)}});
      outcome.given_up.push_back(std::move(record));
    }
    Log(LogLevel::kInfo, "gap_reinjected",
        {{"stream", gap.stream.name}, {"topic", target.topic}, {"records", result.written}});
  }
  return outcome;
}

absl::StatusOr<ExitCode> RunReinject(Session& session) {
  const Clock::time_point start = Clock::now();
  LOCKSTEP_ASSIGN_OR_RETURN(const Readiness readiness,
                            JudgeReadiness(session, kFetchBeforehandMax));
  for (const Gap& gap : readiness.gaps) PrintText(session, GapText(gap));
  PrintText(session, NoGoText(readiness.reasons));
  for (const std::string& warning : readiness.warnings) {
    Log(LogLevel::kWarn, "reinject_warning", {{"message", warning}});
  }
  bool fillable = true;  // A source that fell behind matters to a failover, not to this.
  for (const NoGoReason& reason : readiness.reasons) {
    fillable = fillable && reason.reason != NoGo::kUnfilled && reason.reason != NoGo::kHole;
  }
  Summary summary;
  summary.Add("gap_records", readiness.gap_records);
  const auto finish = [&](int64_t reinjected, const std::vector<GivenUpRecord>& given_up) {
    summary.Add("reinjected", reinjected)
        .Add("unfilled", readiness.unfilled)
        .AddJson("given_up", GivenUpJson(given_up))
        .AddJson("reasons", NoGoJson(readiness.reasons))
        .Add("seconds", SecondsSince(start))
        .Print(session.common().format);
  };
  if (!fillable) {
    finish(0, {});
    return ExitCode::kNo;
  }
  LOCKSTEP_ASSIGN_OR_RETURN(const Consent consent,
                            AskConsent(session.common().execute, session.common().yes,
                                       "write " + std::to_string(readiness.gap_records) +
                                           " record(s) to " + session.topics().mirrored + "?"));
  if (consent != Consent::kGo) {
    if (consent == Consent::kPlanOnly && readiness.gap_records > 0) SayThatNothingWasDone();
    finish(0, {});
    return readiness.gap_records == 0 ? ExitCode::kYes : ExitCode::kNo;
  }
  LOCKSTEP_RETURN_IF_ERROR(session.CreateMissingTopics());
  LOCKSTEP_ASSIGN_OR_RETURN(const Ledger::Now now, session.ledger().ReadNow());
  LOCKSTEP_ASSIGN_OR_RETURN(const ReinjectOutcome outcome,
                            ReinjectAll(session, readiness.gaps, now.epoch));
  finish(outcome.reinjected, outcome.given_up);
  return outcome.given_up.empty() ? ExitCode::kYes : ExitCode::kNo;
}

}  // namespace lockstep
