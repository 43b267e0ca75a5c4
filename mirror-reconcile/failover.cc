// `failover`: the runbook as a program. failover_plan.h decides what is next; this does it.
#include <chrono>
#include <cstdio>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

#include "common/base/status_macros.h"
#include "common/config/terminal.h"
#include "common/log/log.h"
#include "mirror-reconcile/commands.h"
#include "mirror-reconcile/failover_plan.h"
#include "mirror-reconcile/in_doubt.h"
#include "mirror-reconcile/readiness.h"
#include "mirror-reconcile/report.h"
#include "mirror-reconcile/site_database.h"
#include "mirror-reconcile/site_preflight.h"

namespace lockstep {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kDatabaseTimeout{30'000};
constexpr std::chrono::milliseconds kPromoteTimeout{120'000};
// Before anything is done: enough to see that sources answer and reach the end; every run is
// proved again before it is written.
constexpr int64_t kFetchBeforehandMax = 10'000;
constexpr int kRecordAttemptsMax = 10;

struct StepReport {
  FailoverStep step;
  bool done = false;
  double seconds = 0;
  std::string detail;
};

class Failover {
 public:
  explicit Failover(Session& session)
      : session_(session), json_(session.common().format == OutputFormat::kJson) {}

  absl::StatusOr<ExitCode> Run();

 private:
  absl::StatusOr<FailoverStanding> Standing();
  absl::Status Plan(const FailoverStanding& standing);
  void WarnOfSettings();
  absl::StatusOr<ExitCode> Execute(FailoverStanding standing);
  absl::StatusOr<std::string> Do(FailoverStep step, Epoch target);
  absl::StatusOr<std::string> Promote();
  absl::StatusOr<std::string> BeginEpoch(Epoch target);
  absl::StatusOr<std::string> CreateTopics();
  absl::StatusOr<std::string> FindGaps(bool whole);
  absl::StatusOr<std::string> ReinjectGaps(Epoch target);
  absl::StatusOr<std::string> Verify();
  absl::StatusOr<std::string> HandOver(Epoch target);
  absl::Status ListInDoubt();
  bool WillBeSolo(const SiteDatabase::State& state) const;
  void Tell(const StepReport& report);
  double SecondsSoFar() const {
    return std::chrono::duration<double>(Clock::now() - start_).count();
  }
  ExitCode Finish(Epoch epoch, bool go);

  Session& session_;
  const bool json_;
  const Clock::time_point start_ = Clock::now();
  std::unique_ptr<SiteDatabase> database_;
  Readiness readiness_;
  std::vector<Gap> gaps_;
  ReinjectOutcome reinjected_;
  int64_t unfilled_ = 0;
  std::vector<InDoubtRecord> in_doubt_;
  std::vector<StepReport> reports_;
};

bool Failover::WillBeSolo(const SiteDatabase::State& state) const {
  return !(state.sync_standby_here && !session_.common().standby_ledger.empty());
}

absl::StatusOr<FailoverStanding> Failover::Standing() {
  LOCKSTEP_ASSIGN_OR_RETURN(const SiteDatabase::State state, database_->Read());
  LOCKSTEP_ASSIGN_OR_RETURN(FailoverFacts facts,
                            ReadFailoverFacts(session_.ledger(), session_.all_streams(),
                                              session_.topic(), session_.cluster_id()));
  facts.in_recovery = state.in_recovery;
  facts.in_place = session_.options().in_place;
  return StandingOf(facts, session_.cluster_id());
}

// Says what would be done, and judges whether it should.
absl::Status Failover::Plan(const FailoverStanding& standing) {
  LOCKSTEP_ASSIGN_OR_RETURN(const SiteDatabase::State state, database_->Read());
  LOCKSTEP_ASSIGN_OR_RETURN(readiness_, JudgeReadiness(session_, kFetchBeforehandMax));
  unfilled_ = readiness_.unfilled;
  if (state.streaming) {
    readiness_.warnings.push_back(
        "the primary's database still answers this standby: if the primary lives, drain it first "
        "(stop the producers, wait until `gap` is 0)");
  }
  const bool names_in_the_way = !state.sync_standby_names.empty() && WillBeSolo(state);
  for (const FailoverStep step : kFailoverSteps) {
    StepReport report{step, standing.next ? step < *standing.next : true, 0, ""};
    if (step == FailoverStep::kPromote && !report.done) {
      report.detail = "with " + session_.options().promote_with;
    } else if (step == FailoverStep::kBeginEpoch && !report.done) {
      report.detail = absl::StrCat("epoch ", standing.target.value(),
                                   WillBeSolo(state) ? ", solo: no witness is named" : "");
      if (names_in_the_way) {
        absl::StrAppend(&report.detail, "; first synchronous_standby_names, which is '",
                        state.sync_standby_names,
                        "' and would hang every commit, is emptied (ALTER SYSTEM, reload)");
      }
    } else if (step == FailoverStep::kTopics) {
      for (const std::string& topic : session_.topics().missing) {
        absl::StrAppend(&report.detail, report.detail.empty() ? "create " : ", ", topic, " with ",
                        session_.partition_count(), " partition(s)");
      }
    } else if (step == FailoverStep::kGap || step == FailoverStep::kReinject) {
      report.detail = absl::StrCat(readiness_.gap_records, " record(s) now");
    }
    Tell(report);
  }
  if (!json_) {
    for (const Gap& gap : readiness_.gaps) std::fputs(GapText(gap).c_str(), stdout);
    std::fputs(NoGoText(readiness_.reasons).c_str(), stdout);
  }
  WarnOfSettings();
  for (const std::string& warning : readiness_.warnings) {
    Log(LogLevel::kWarn, "failover_warning", {{"message", warning}});
  }
  return absl::OkStatus();
}

// Looks at the sites' settings if it was told of the mirror or the primary, and only before
// anything is done: a site that is gone would cost its timeouts.
void Failover::WarnOfSettings() {
  const ReconcileOptions& options = session_.options();
  if (session_.common().execute) return;
  if (options.mm2_config.empty() && options.source_brokers.empty()) return;
  for (const SiteFinding& entry : PreflightSites(session_)) {
    const Verdict verdict = entry.finding.verdict;
    if (verdict == Verdict::kOk || verdict == Verdict::kUnknown) continue;
    readiness_.warnings.push_back(
        absl::StrCat(entry.site, entry.topic.empty() ? "" : " " + entry.topic, " ",
                     entry.finding.check, ": ", entry.finding.message, "; ", entry.finding.remedy));
  }
}

absl::StatusOr<std::string> Failover::Promote() {
  LOCKSTEP_RETURN_IF_ERROR(database_->Promote(session_.options().promote_with, kPromoteTimeout));
  return absl::StrCat(database_->host_name(), " takes writes");
}

absl::StatusOr<std::string> Failover::BeginEpoch(Epoch target) {
  LOCKSTEP_ASSIGN_OR_RETURN(const SiteDatabase::State state, database_->Read());
  std::string detail;
  if (state.commits_would_hang() && WillBeSolo(state)) {
    LOCKSTEP_RETURN_IF_ERROR(database_->ClearSyncStandbyNames(kDatabaseTimeout));
    detail = absl::StrCat("; synchronous_standby_names was '", state.sync_standby_names,
                          "', is empty now: set it when a standby is there, then lockstep-ledger "
                          "solo off");
  }
  LOCKSTEP_RETURN_IF_ERROR(session_.ConnectForChanges());
  LOCKSTEP_ASSIGN_OR_RETURN(
      const BegunEpoch begun,
      BeginFailoverEpoch(session_.ledger(), target, WillBeSolo(state), session_.cluster_id()));
  Log(LogLevel::kInfo, "epoch_begun", {{"epoch", begun.epoch}, {"solo", begun.solo}});
  return absl::StrCat("epoch ", begun.epoch.value(), begun.solo ? ", solo" : "", detail);
}

absl::StatusOr<std::string> Failover::CreateTopics() {
  const size_t missing = session_.topics().missing.size();
  LOCKSTEP_RETURN_IF_ERROR(session_.CreateMissingTopics());
  return absl::StrCat(missing, " created");
}

absl::StatusOr<std::string> Failover::FindGaps(bool whole) {
  gaps_.clear();
  int64_t records = 0;
  for (OpenStream& stream : session_.streams()) {
    LOCKSTEP_ASSIGN_OR_RETURN(Gap gap, session_.FindGapOf(stream, whole));
    records += gap.records;
    gaps_.push_back(std::move(gap));
  }
  return absl::StrCat(records, " record(s)");
}

absl::StatusOr<std::string> Failover::ReinjectGaps(Epoch target) {
  readiness_.gap_records = 0;
  for (const Gap& gap : gaps_) readiness_.gap_records += gap.records;
  LOCKSTEP_ASSIGN_OR_RETURN(reinjected_, ReinjectAll(session_, gaps_, target));
  unfilled_ = static_cast<int64_t>(reinjected_.given_up.size());
  return absl::StrCat(reinjected_.reinjected, " record(s)",
                      unfilled_ == 0 ? "" : absl::StrCat(", ", unfilled_, " given up"));
}

// The tail tells; only if it says no is the whole log asked (a rewound mirror makes the tail's
// answer too large).
absl::StatusOr<std::string> Failover::Verify() {
  for (const bool whole : {false, true}) {
    LOCKSTEP_RETURN_IF_ERROR(FindGaps(whole).status());
    int64_t records = 0;
    for (const Gap& gap : gaps_) records += gap.records;
    if (records == 0) return std::string("nothing is missing");
    if (whole) {
      return absl::AbortedError(
          absl::StrCat(records,
                       " record(s) are still missing after re-injection; run `gap --whole`, then "
                       "failover again"));
    }
  }
  return std::string();
}

absl::Status Failover::ListInDoubt() {
  in_doubt_.clear();
  LOCKSTEP_ASSIGN_OR_RETURN(const std::vector<Cursor> cursors, session_.ledger().ReadCursors());
  LOCKSTEP_ASSIGN_OR_RETURN(const std::vector<SeqCursor> seq_cursors,
                            session_.ledger().ReadSeqCursors());
  for (OpenStream& stream : session_.streams()) {
    LOCKSTEP_ASSIGN_OR_RETURN(LedgerView view, LedgerView::Open(session_.ledger(), stream.info));
    LOCKSTEP_ASSIGN_OR_RETURN(std::vector<InDoubtRecord> records,
                              FindInDoubt(view, cursors, seq_cursors, stream.logs.logs()));
    in_doubt_.insert(in_doubt_.end(), records.begin(), records.end());
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> Failover::HandOver(Epoch target) {
  LOCKSTEP_RETURN_IF_ERROR(ListInDoubt());
  const std::string detail = absl::StrCat(
      "{\"gap_records\":", readiness_.gap_records, ",\"reinjected\":", reinjected_.reinjected,
      ",\"given_up\":", reinjected_.given_up.size(), ",\"in_doubt\":", in_doubt_.size(),
      ",\"seconds\":", absl::StrFormat("%.3f", SecondsSoFar()), "}");
  absl::Status last;
  for (int attempt = 0; attempt < kRecordAttemptsMax; ++attempt) {
    const Commit<Moved> recorded = session_.ledger().RecordStep(
        {target, HandOverStepName(session_.topic()), "done", detail, 0});
    if (recorded.committed()) return absl::StrCat(in_doubt_.size(), " record(s) in doubt");
    last = recorded.why;
    if (recorded.outcome == CommitOutcome::kNotCommitted &&
        recorded.refusal != Refusal::kUnavailable) {
      break;
    }
  }
  return Annotate(last, "record the hand-over");
}

absl::StatusOr<std::string> Failover::Do(FailoverStep step, Epoch target) {
  switch (step) {
    case FailoverStep::kPromote:
      return Promote();
    case FailoverStep::kBeginEpoch:
      return BeginEpoch(target);
    case FailoverStep::kTopics:
      return CreateTopics();
    case FailoverStep::kGap:
      return FindGaps(false);
    case FailoverStep::kReinject:
      return ReinjectGaps(target);
    case FailoverStep::kVerify:
      return Verify();
    case FailoverStep::kHandOver:
      return HandOver(target);
  }
  return absl::InternalError("no such step");
}

absl::StatusOr<ExitCode> Failover::Execute(FailoverStanding standing) {
  reports_.clear();
  // A run that found the epoch begun has only read so far.
  if (standing.next && *standing.next > FailoverStep::kBeginEpoch) {
    LOCKSTEP_RETURN_IF_ERROR(session_.ConnectForChanges());
  }
  std::optional<FailoverStep> step = standing.next;
  while (step) {
    const Clock::time_point began = Clock::now();
    absl::StatusOr<std::string> detail = Do(*step, standing.target);
    const double seconds = std::chrono::duration<double>(Clock::now() - began).count();
    Tell({*step, detail.ok(), seconds,
          detail.ok() ? *detail : std::string(detail.status().message())});
    if (!detail.ok()) {
      Finish(standing.target, false);
      if (*step == FailoverStep::kVerify || *step == FailoverStep::kReinject) {
        Log(LogLevel::kError, "failover_stopped",
            {{"step", ToString(*step)}, {"why", detail.status()}});
        if (absl::IsNotFound(detail.status())) return ExitCode::kNo;
      }
      return detail.status();
    }
    if (*step == FailoverStep::kHandOver) break;
    step = static_cast<FailoverStep>(static_cast<int>(*step) + 1);
  }
  if (!json_) std::fputs(InDoubtText(in_doubt_).c_str(), stdout);
  return Finish(standing.target, true);
}

void Failover::Tell(const StepReport& report) {
  const StepText text = TextOf(report.step);
  if (json_) {
    std::printf(
        "{\"step\":%s,\"done\":%s,\"seconds\":%.3f,\"detail\":%s,\"what\":%s,\"why\":%s,"
        "\"undo\":%s}\n",
        JsonString(ToString(report.step)).c_str(), report.done ? "true" : "false", report.seconds,
        JsonString(report.detail).c_str(), JsonString(text.what).c_str(),
        JsonString(text.why).c_str(), JsonString(text.undo).c_str());
  } else {
    std::printf("%s %-12s %s%s%s\n", report.done ? "[x]" : "[ ]",
                std::string(ToString(report.step)).c_str(), std::string(text.what).c_str(),
                report.detail.empty() ? "" : (": " + report.detail).c_str(),
                report.seconds > 0 ? absl::StrFormat(" (%.2f s)", report.seconds).c_str() : "");
    if (!report.done && report.seconds <= 0) {
      std::printf("      why: %s; undo: %s\n", std::string(text.why).c_str(),
                  std::string(text.undo).c_str());
    }
  }
  std::fflush(stdout);
  reports_.push_back(report);
}

ExitCode Failover::Finish(Epoch epoch, bool go) {
  std::vector<std::string> steps;
  for (const StepReport& report : reports_) {
    steps.push_back(absl::StrFormat("{\"step\":%s,\"done\":%s,\"seconds\":%.3f}",
                                    JsonString(ToString(report.step)),
                                    report.done ? "true" : "false", report.seconds));
  }
  Summary summary;
  summary.Add("epoch", epoch.value())
      .Add("go", go)
      .Add("gap_records", readiness_.gap_records)
      .Add("reinjected", reinjected_.reinjected)
      .Add("unfilled", unfilled_);
  if (json_) {
    summary.AddJson("reasons", NoGoJson(readiness_.reasons))
        .AddJson("given_up", GivenUpJson(reinjected_.given_up))
        .AddJson("in_doubt", InDoubtJson(in_doubt_))
        .AddJson("steps", JsonArray(steps));
  } else {
    summary.Add("in_doubt", in_doubt_.size());
  }
  summary.Add("seconds", SecondsSoFar()).Print(session_.common().format);
  return go ? ExitCode::kYes : ExitCode::kNo;
}

// With several hosts a primary that still lives could be taken for the site that takes over.
absl::Status RefuseSeveralHosts(const std::string& conninfo) {
  LOCKSTEP_ASSIGN_OR_RETURN(const std::vector<PgHost> hosts,
                            ParsePgHosts(conninfo, "lockstep-mirror-reconcile"));
  if (hosts.size() == 1) return absl::OkStatus();
  return absl::InvalidArgumentError(
      "failover: --ledger lists several servers; name the standby's alone (a witness for the new "
      "epoch goes into --standby-ledger)");
}

absl::StatusOr<ExitCode> Failover::Run() {
  LOCKSTEP_RETURN_IF_ERROR(RefuseSeveralHosts(session_.common().ledger));
  LOCKSTEP_ASSIGN_OR_RETURN(database_,
                            SiteDatabase::Connect(session_.common().ledger, kDatabaseTimeout));
  LOCKSTEP_ASSIGN_OR_RETURN(const FailoverStanding standing, Standing());
  if (!standing.next) {
    for (const FailoverStep step : kFailoverSteps) Tell({step, true, 0, "done before"});
    LOCKSTEP_RETURN_IF_ERROR(ListInDoubt());
    if (!json_) std::fputs(InDoubtText(in_doubt_).c_str(), stdout);
    return Finish(standing.target, true);
  }
  LOCKSTEP_RETURN_IF_ERROR(Plan(standing));
  if (!session_.common().execute) {
    LOCKSTEP_RETURN_IF_ERROR(ListInDoubt());
    SayThatNothingWasDone();
    return Finish(standing.target, readiness_.go());
  }
  if (!readiness_.go()) {
    Finish(standing.target, false);
    for (const NoGoReason& reason : readiness_.reasons) {
      if (reason.reason == NoGo::kSourceBehind)
        return absl::FailedPreconditionError(reason.message);
    }
    return ExitCode::kNo;
  }
  LOCKSTEP_ASSIGN_OR_RETURN(const Consent consent,
                            AskConsent(session_.common().execute, session_.common().yes,
                                       "take this site over, as planned above?"));
  if (consent != Consent::kGo) return Finish(standing.target, false);
  return Execute(standing);
}

}  // namespace

absl::StatusOr<ExitCode> RunFailover(Session& session) { return Failover(session).Run(); }

}  // namespace lockstep
