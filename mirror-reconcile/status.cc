// `status`: one screen and one number a stream.
#include <chrono>
#include <cstdio>
#include <string>

#include "absl/strings/str_cat.h"

#include "common/base/status_macros.h"
#include "common/config/stop_request.h"
#include "common/config/terminal.h"
#include "common/metrics/look_metrics.h"
#include "mirror-reconcile/commands.h"
#include "mirror-reconcile/readiness.h"
#include "mirror-reconcile/report.h"
#include "mirror-reconcile/site_preflight.h"

namespace lockstep {
namespace {

using Clock = std::chrono::steady_clock;

// A look at the state must stay cheap; failover proves every run anyway.
constexpr int64_t kFetchBeforehandMax = 1'000;

std::string FindingsJson(const std::vector<SiteFinding>& findings) {
  std::vector<std::string> values;
  for (const SiteFinding& entry : findings) {
    values.push_back(absl::StrCat("{\"site\":", JsonString(entry.site),
                                  ",\"topic\":", JsonString(entry.topic),
                                  ",\"check\":", JsonString(entry.finding.check),
                                  ",\"verdict\":", JsonString(VerdictName(entry.finding.verdict)),
                                  ",\"message\":", JsonString(entry.finding.message),
                                  ",\"remedy\":", JsonString(entry.finding.remedy), "}"));
  }
  return JsonArray(values);
}

std::string FindingsText(const std::vector<SiteFinding>& findings) {
  std::string text;
  for (const SiteFinding& entry : findings) {
    if (entry.finding.verdict == Verdict::kOk) continue;
    absl::StrAppend(&text, "  ", std::string(VerdictName(entry.finding.verdict)), "  ", entry.site,
                    entry.topic.empty() ? "" : " " + entry.topic, " ", entry.finding.check, ": ",
                    entry.finding.message,
                    entry.finding.remedy.empty() ? "" : "; " + entry.finding.remedy, "\n");
  }
  return text.empty() ? "  preflight: everything that was asked is ok\n" : text;
}

std::string StreamsJson(const std::vector<Gap>& gaps) {
  std::vector<std::string> values;
  for (const Gap& gap : gaps) {
    values.push_back(absl::StrCat("{\"stream\":", JsonString(ToString(gap.stream.name)),
                                  ",\"remaining\":", gap.records, ",\"gap\":", GapJson(gap), "}"));
  }
  return JsonArray(values);
}

std::string WarningsJson(const std::vector<std::string>& warnings) {
  std::vector<std::string> values;
  for (const std::string& warning : warnings) values.push_back(JsonString(warning));
  return JsonArray(values);
}

void Export(const Readiness& readiness, const Ledger::Now& now, LookMetrics& metrics) {
  metrics.Set("lockstep_epoch_number", "The epoch now", now.epoch.value());
  metrics.Set("lockstep_solo_state", "1 while the epoch is solo: no standby confirms",
              now.solo ? 1 : 0);
  metrics.Set("lockstep_go_state", "1 if a failover to this site would lose nothing",
              readiness.go() ? 1 : 0);
  for (const Gap& gap : readiness.gaps) {
    metrics.Set("lockstep_remaining_records", "In the ledger, not in this site's log", gap.records,
                {{"stream", ToString(gap.stream.name)}});
  }
}

absl::StatusOr<ExitCode> Look(Session& session, LookMetrics& metrics) {
  const Clock::time_point start = Clock::now();
  LOCKSTEP_ASSIGN_OR_RETURN(Readiness readiness, JudgeReadiness(session, kFetchBeforehandMax));
  const std::vector<SiteFinding> findings = PreflightSites(session);
  for (const SiteFinding& entry : findings) {
    if (entry.site != "here" || entry.finding.verdict != Verdict::kFail) continue;
    readiness.reasons.push_back({NoGo::kPreflight, "",
                                 absl::StrCat(entry.topic, " ", entry.finding.check, ": ",
                                              entry.finding.message, "; ", entry.finding.remedy)});
  }
  LOCKSTEP_ASSIGN_OR_RETURN(const Ledger::Now now, session.ledger().ReadNow());
  Export(readiness, now, metrics);
  if (session.common().format == OutputFormat::kText) {
    std::printf("epoch %s%s, Kafka cluster %s, topic %s (mirrored: %s)\n",
                ToString(now.epoch).c_str(), now.solo ? " (solo)" : "",
                session.cluster_id().c_str(), session.topic().c_str(),
                session.topics().mirrored.c_str());
    for (const Gap& gap : readiness.gaps) {
      std::printf("%-24s remaining %lld\n", ToString(gap.stream.name).c_str(),
                  static_cast<long long>(gap.records));
    }
    std::fputs(NoGoText(readiness.reasons).c_str(), stdout);
    for (const std::string& warning : readiness.warnings) {
      std::printf("  unknown or accepted: %s\n", warning.c_str());
    }
    std::fputs(FindingsText(findings).c_str(), stdout);
  }
  Summary summary;
  summary.Add("remaining", readiness.gap_records).Add("go", readiness.go());
  if (session.common().format == OutputFormat::kJson) {
    summary.Add("epoch", now.epoch.value())
        .Add("solo", now.solo)
        .Add("unfilled", readiness.unfilled)
        .AddJson("reasons", NoGoJson(readiness.reasons))
        .AddJson("warnings", WarningsJson(readiness.warnings))
        .AddJson("streams", StreamsJson(readiness.gaps))
        .AddJson("preflight", FindingsJson(findings));
  }
  summary.Add("seconds", std::chrono::duration<double>(Clock::now() - start).count())
      .Print(session.common().format);
  return readiness.go() ? ExitCode::kYes : ExitCode::kNo;
}

// A site that does not answer may do so at the next look.
bool MayPass(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status);
}

}  // namespace

absl::StatusOr<ExitCode> RunStatus(Session& session) {
  const bool watch = session.options().watch;
  LOCKSTEP_ASSIGN_OR_RETURN(const auto metrics,
                            LookMetrics::Serve(watch ? session.common().metrics : ""));
  absl::StatusOr<ExitCode> code = Look(session, *metrics);
  metrics->Looked(code.status());
  while (watch && (code.ok() || MayPass(code.status())) &&
         !StopRequest::Install().WaitFor(session.options().interval)) {
    const absl::Status logs = session.OpenLogs();
    code = logs.ok() ? Look(session, *metrics) : logs;
    metrics->Looked(code.status());
    if (!code.ok()) {
      std::fprintf(stderr, "lockstep-mirror-reconcile: %s\n", code.status().ToString().c_str());
    }
  }
  return code;
}

}  // namespace lockstep
