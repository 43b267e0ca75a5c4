#include "mirror-reconcile/failover_plan.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

#include "common/base/status_macros.h"

namespace lockstep {

std::string_view ToString(FailoverStep step) {
  switch (step) {
    case FailoverStep::kPromote:
      return "promote";
    case FailoverStep::kBeginEpoch:
      return "begin_epoch";
    case FailoverStep::kTopics:
      return "topics";
    case FailoverStep::kGap:
      return "gap";
    case FailoverStep::kReinject:
      return "reinject";
    case FailoverStep::kVerify:
      return "verify";
    case FailoverStep::kHandOver:
      return "hand_over";
  }
  return "?";
}

StepText TextOf(FailoverStep step) {
  switch (step) {
    case FailoverStep::kPromote:
      return {"promote this site's database", "it has every ledger row that was ever acknowledged",
              "cannot be undone: the old database must be rewound or rebuilt as a standby"};
    case FailoverStep::kBeginEpoch:
      return {"begin a new epoch in the ledger",
              "new terms for every producer and gate: whoever survives at the old site is fenced",
              "cannot be undone and need not be: going back is another epoch"};
    case FailoverStep::kTopics:
      return {"create the topics that this site lacks",
              "re-injection and the new producers need them, with the ledger's partition count",
              "delete the created topics"};
    case FailoverStep::kGap:
      return {"find what this site's logs lack", "the mirror lost its tail; the ledger names it",
              "changes nothing"};
    case FailoverStep::kReinject:
      return {"write the gap's records with their original identity",
              "then the standby's log is complete and recover can go on",
              "cannot be undone and need not be: what is there twice is dropped by every reader"};
    case FailoverStep::kVerify:
      return {"look for a gap again", "nothing may be missing before others go on from here",
              "changes nothing"};
    case FailoverStep::kHandOver:
      return {"record that this failover is complete, list what is in doubt",
              "recover decides what is in doubt; producers may start", "nothing to undo"};
  }
  return {};
}

std::string HandOverStepName(std::string_view topic) { return "hand_over " + std::string(topic); }

absl::StatusOr<FailoverStanding> StandingOf(const FailoverFacts& facts, std::string_view site) {
  if (facts.in_recovery && facts.in_place) {
    return absl::FailedPreconditionError(
        "--in-place is for the primary, but this database is a standby");
  }
  if (facts.in_recovery) return FailoverStanding{FailoverStep::kPromote, facts.epoch + 1};
  if (facts.epoch_cluster_id == site) {
    if (!facts.handed_over) return FailoverStanding{FailoverStep::kTopics, facts.epoch};
    // Once producers have written here, to ask again means that this log lost records again.
    if (!(facts.in_place && facts.epoch_lives_here)) {
      return FailoverStanding{std::nullopt, facts.epoch};
    }
  }
  if (facts.epoch_lives_here && !facts.in_place) {
    return absl::FailedPreconditionError(absl::StrCat(
        "this site is the primary of epoch ", facts.epoch.value(),
        " already: its database takes writes and the epoch's log is on its Kafka cluster. Name the "
        "standby's with --brokers and --ledger; or, if this very log has lost records, add "
        "--in-place"));
  }
  return FailoverStanding{FailoverStep::kBeginEpoch, facts.epoch + 1};
}

absl::StatusOr<FailoverFacts> ReadFailoverFacts(Ledger& ledger,
                                                const std::vector<StreamInfo>& streams,
                                                const std::string& topic, std::string_view site) {
  FailoverFacts facts;
  LOCKSTEP_ASSIGN_OR_RETURN(const Ledger::Now now, ledger.ReadNow());
  facts.epoch = now.epoch;
  LOCKSTEP_ASSIGN_OR_RETURN(const std::vector<EpochInfo> epochs, ledger.ReadEpochs());
  for (const EpochInfo& epoch : epochs) {
    if (epoch.epoch == now.epoch) facts.epoch_cluster_id = epoch.cluster_id;
  }
  for (const StreamInfo& stream : streams) {
    LOCKSTEP_ASSIGN_OR_RETURN(const std::vector<LogInfo> logs, ledger.ReadLogs(stream.id));
    facts.epoch_lives_here =
        facts.epoch_lives_here || std::any_of(logs.begin(), logs.end(), [&](const LogInfo& log) {
          return log.epoch == now.epoch && log.cluster_id == site;
        });
  }
  LOCKSTEP_ASSIGN_OR_RETURN(const std::vector<StepInfo> steps, ledger.ReadSteps(now.epoch));
  for (const StepInfo& step : steps) {
    if (step.step == HandOverStepName(topic) && step.state == "done") facts.handed_over = true;
  }
  return facts;
}

absl::StatusOr<BegunEpoch> BeginFailoverEpoch(Ledger& ledger, Epoch target, bool solo,
                                              std::string_view site, int attempts_max) {
  const BeginEpochRequest request{target - 1, solo, std::string(site),
                                  "failover to Kafka cluster " + std::string(site)};
  absl::Status last = absl::UnknownError("begin_epoch was not tried");
  for (int attempt = 0; attempt < attempts_max; ++attempt) {
    const Commit<BegunEpoch> begun = ledger.BeginEpoch(request);
    if (begun.committed()) return begun.value;
    last = begun.why;
    // Unknown: it may have happened, or may yet. A repeat tells: the epoch then is not the
    // expected one.
    if (begun.outcome == CommitOutcome::kUnknown || begun.refusal == Refusal::kUnavailable) {
      continue;
    }
    if (begun.refusal != Refusal::kWrongEpoch) break;
    LOCKSTEP_ASSIGN_OR_RETURN(const Ledger::Now now, ledger.ReadNow());
    LOCKSTEP_ASSIGN_OR_RETURN(const std::vector<EpochInfo> epochs, ledger.ReadEpochs());
    for (const EpochInfo& epoch : epochs) {
      if (epoch.epoch == target && now.epoch == target && epoch.cluster_id == site) {
        return BegunEpoch{target, epoch.solo};
      }
    }
    return absl::FailedPreconditionError(
        absl::StrCat("somebody else began epoch ", now.epoch.value(),
                     " meanwhile; look at `lockstep-ledger epochs` and start over"));
  }
  return Annotate(last, absl::StrCat("begin epoch ", target.value()));
}

std::string_view ToString(NoGo reason) {
  switch (reason) {
    case NoGo::kUnfilled:
      return "unfilled";
    case NoGo::kSourceBehind:
      return "source-behind";
    case NoGo::kHole:
      return "hole";
    case NoGo::kRemoved:
      return "removed";
    case NoGo::kTopics:
      return "topics";
    case NoGo::kPreflight:
      return "preflight";
  }
  return "?";
}

}  // namespace lockstep
