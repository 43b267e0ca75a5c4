#include "mirror-reconcile/readiness.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

#include "common/base/status_macros.h"

namespace lockstep {
namespace {

class Judge {
 public:
  Judge(Session& session, int64_t fetch_records_max)
      : session_(session), router_(session.MakeRouter()), fetch_records_max_(fetch_records_max) {}

  absl::Status Take(OpenStream& stream);
  Readiness& readiness() { return readiness_; }

 private:
  void CheckHoles(const Gap& gap);
  absl::Status CheckRemoved(LedgerView& view, const Gap& gap);
  absl::Status CheckRemovedSeqs(LedgerView& view, const Gap& gap);
  void AddRemoved(const Gap& gap, const std::string& group, const std::string& sent);
  absl::Status CheckPayloads(const Gap& gap);
  absl::Status CheckSources(LedgerView& view);
  void Add(NoGo reason, const StreamInfo& stream, std::string message) {
    readiness_.reasons.push_back({reason, ToString(stream.name), std::move(message)});
  }

  Session& session_;
  PayloadRouter router_;
  int64_t fetch_records_max_;
  Readiness readiness_;
};

absl::Status Judge::Take(OpenStream& stream) {
  LOCKSTEP_ASSIGN_OR_RETURN(LedgerView view, LedgerView::Open(session_.ledger(), stream.info));
  LOCKSTEP_ASSIGN_OR_RETURN(Gap gap,
                            FindGap(view, stream.logs.logs(), session_.cluster_id(), kAllRules));
  readiness_.gap_records += gap.records;
  CheckHoles(gap);
  LOCKSTEP_RETURN_IF_ERROR(CheckRemoved(view, gap));
  LOCKSTEP_RETURN_IF_ERROR(CheckPayloads(gap));
  LOCKSTEP_RETURN_IF_ERROR(CheckSources(view));
  readiness_.gaps.push_back(std::move(gap));
  return absl::OkStatus();
}

void Judge::CheckHoles(const Gap& gap) {
  for (const ProducerGap& producer : gap.producers) {
    if (!producer.hole) continue;
    Add(NoGo::kHole, gap.stream,
        absl::StrCat("seq ", producer.hole->value(), " of producer '", producer.name,
                     "' is missing and later ones are there; re-inject into a fresh topic"));
  }
}

// Retention matters only for a group that has still to send what is gone.
absl::Status Judge::CheckRemoved(LedgerView& view, const Gap& gap) {
  if (!gap.removed_below) return absl::OkStatus();
  LOCKSTEP_ASSIGN_OR_RETURN(const std::vector<Cursor> cursors, session_.ledger().ReadCursors());
  for (const Cursor& cursor : cursors) {
    if (cursor.stream != gap.stream.id) continue;
    if (cursor.done && *cursor.done >= *gap.removed_below) continue;
    bool needed = false;
    LOCKSTEP_RETURN_IF_ERROR(view.ReadRuns(cursor.done, [&](const Run& run) {
      const Position first{run.epoch, run.offsets.first()};
      const Position last = LastPositionOf(run);
      needed = needed || (first < *gap.removed_below && (!cursor.done || last > *cursor.done));
    }));
    if (!needed) continue;
    AddRemoved(gap, cursor.group, cursor.done ? ToString(*cursor.done) : std::string("nothing"));
  }
  return CheckRemovedSeqs(view, gap);
}

absl::Status Judge::CheckRemovedSeqs(LedgerView& view, const Gap& gap) {
  LOCKSTEP_ASSIGN_OR_RETURN(const std::vector<SeqCursor> cursors,
                            session_.ledger().ReadSeqCursors());
  for (const SeqCursor& cursor : cursors) {
    if (cursor.stream != gap.stream.id) continue;
    std::map<ProducerId, Seq> done;
    for (const SeqMark& mark : cursor.marks) done[mark.producer] = mark.done;
    for (const Head& head : view.heads()) {
      const Seq next = done[head.producer] + 1;  // Of what was not sent the first that went.
      if (next > head.last_seq) continue;
      LOCKSTEP_ASSIGN_OR_RETURN(const std::optional<Run> run, view.FindRun(head, next));
      if (!run || PositionOf(*run, next) >= *gap.removed_below) continue;
      AddRemoved(
          gap, cursor.group,
          absl::StrCat("seq ", done[head.producer].value(), " of producer '", head.name, "'"));
    }
  }
  return absl::OkStatus();
}

void Judge::AddRemoved(const Gap& gap, const std::string& group, const std::string& sent) {
  Add(NoGo::kRemoved, gap.stream,
      absl::StrCat("retention removed what lies below ", ToString(*gap.removed_below),
                   ", and group '", group, "' has sent only up to ", sent,
                   "; lengthen retention.ms, re-inject into a fresh topic"));
}

absl::Status Judge::CheckPayloads(const Gap& gap) {
  // With a large gap: each producer's first and last runs.
  std::vector<const GapPiece*> pieces;
  std::map<ProducerId, const GapPiece*> last;
  for (const GapPiece& piece : gap.pieces) {
    if (gap.records <= fetch_records_max_ || !last.contains(piece.run.producer)) {
      pieces.push_back(&piece);
    }
    last[piece.run.producer] = &piece;
  }
  if (gap.records > fetch_records_max_) {
    for (const auto& [producer, piece] : last) pieces.push_back(piece);
  }
  std::map<ProducerId, std::string> names;
  for (const ProducerGap& producer : gap.producers) names[producer.producer] = producer.name;
  std::map<ProducerId, int64_t> told;
  for (const GapPiece* piece : pieces) {
    const auto events = router_.Fetch(gap.stream, names[piece->run.producer], piece->run);
    if (events.ok()) continue;
    readiness_.unfilled += piece->records();
    if (session_.options().allow_data_loss && absl::IsNotFound(events.status())) {
      readiness_.warnings.push_back("will be given up: " + std::string(events.status().message()));
    } else if (told[piece->run.producer]++ == 0) {
      Add(NoGo::kUnfilled, gap.stream, std::string(events.status().message()));
    }
  }
  return absl::OkStatus();
}

// Positions beyond the end of a source that fell behind will be given to other events.
absl::Status Judge::CheckSources(LedgerView& view) {
  for (const Head& head : view.heads()) {
    LOCKSTEP_ASSIGN_OR_RETURN(const std::optional<Run> run, view.FindRun(head, head.last_seq));
    if (!run) continue;
    const absl::Status reaches = router_.CheckSourceReaches(view.stream(), head.name, *run);
    if (reaches.ok()) continue;
    if (!absl::IsNotFound(reaches)) {
      readiness_.warnings.push_back(
          absl::StrCat("whether the source of producer '", head.name,
                       "' reaches the ledger's end is unknown: ", std::string(reaches.message())));
      continue;
    }
    const std::string message =
        absl::StrCat("the source of producer '", head.name,
                     "' here ends below the ledger's last position ", head.last_at, ": ",
                     std::string(reaches.message()), "; --accept-source-loss goes on all the same");
    if (session_.options().accept_source_loss) {
      readiness_.warnings.push_back(message);
    } else {
      Add(NoGo::kSourceBehind, view.stream(), message);
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Readiness> JudgeReadiness(Session& session, int64_t fetch_records_max) {
  Judge judge(session, fetch_records_max);
  for (OpenStream& stream : session.streams()) LOCKSTEP_RETURN_IF_ERROR(judge.Take(stream));
  return std::move(judge.readiness());
}

}  // namespace lockstep
