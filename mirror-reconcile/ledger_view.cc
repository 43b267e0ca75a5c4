#include "mirror-reconcile/ledger_view.h"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "common/base/status_macros.h"

namespace lockstep {
namespace {

constexpr int64_t kRunsPerPage = 1000;

}  // namespace

absl::StatusOr<LedgerView> LedgerView::Open(Ledger& ledger, const StreamInfo& stream) {
  LedgerView view(ledger, stream);
  LOCKSTEP_ASSIGN_OR_RETURN(view.logs_, ledger.ReadLogs(stream.id));
  ReadStreamRequest request{stream.id, {}, 1, false};
  LOCKSTEP_ASSIGN_OR_RETURN(StreamPage page, ledger.ReadStream(request));
  view.epoch_ = page.epoch;
  view.solo_ = page.solo;
  view.heads_ = std::move(page.heads);
  for (size_t i = 0; i < view.heads_.size(); ++i) view.head_of_[view.heads_[i].name] = i;
  std::sort(view.logs_.begin(), view.logs_.end(),
            [](const LogInfo& a, const LogInfo& b) { return a.epoch < b.epoch; });
  return view;
}

const Head* LedgerView::FindHead(std::string_view producer) const {
  const auto it = head_of_.find(std::string(producer));
  return it == head_of_.end() ? nullptr : &heads_[it->second];
}

const Head* LedgerView::FindHead(ProducerId producer) const {
  for (const Head& head : heads_) {
    if (head.producer == producer) return &head;
  }
  return nullptr;
}

absl::StatusOr<std::vector<Run>> LedgerView::RunsAfter(ProducerId producer, RunKey key,
                                                       int64_t runs_max) {
  ReadStreamRequest request{stream_.id, {}, runs_max, false};
  for (const Head& head : heads_) request.after[head.producer] = kAfterAllRuns;
  request.after[producer] = key;
  LOCKSTEP_ASSIGN_OR_RETURN(StreamPage page, ledger_->ReadStream(request));
  std::erase_if(page.runs, [producer](const Run& run) { return run.producer != producer; });
  return std::move(page.runs);
}

// Runs are keyed by (epoch, first_seq) and can be read upwards only, so the run below `seq` is
// found by reading from a growing distance below it.
absl::StatusOr<std::optional<Run>> LedgerView::FindRunIn(const Head& head, Epoch epoch, Seq seq) {
  for (int64_t distance = 1;; distance *= 8) {
    RunKey key{epoch, std::max(seq - distance, Seq(0))};
    LOCKSTEP_ASSIGN_OR_RETURN(std::vector<Run> runs, RunsAfter(head.producer, key, 64));
    if (!runs.empty() && runs.front().first_seq <= seq) {
      for (;;) {  // The run is here or on the next pages.
        for (Run& run : runs) {
          if (run.first_seq > seq) return std::optional<Run>();
          if (run.last_seq >= seq) return std::optional<Run>(std::move(run));
        }
        key = {runs.back().epoch, runs.back().first_seq};
        LOCKSTEP_ASSIGN_OR_RETURN(runs, RunsAfter(head.producer, key, kRunsPerPage));
        if (runs.empty()) return std::optional<Run>();
      }
    }
    if (key.first_seq == Seq(0)) return std::optional<Run>();
  }
}

absl::StatusOr<std::optional<Run>> LedgerView::FindRun(const Head& head, Seq seq) {
  if (seq < Seq(1) || seq > head.last_seq) return std::optional<Run>();
  const auto kept = last_found_.find(head.producer);
  if (kept != last_found_.end() && kept->second.first_seq <= seq && seq <= kept->second.last_seq) {
    return std::optional<Run>(kept->second);
  }
  // Newest epoch first: the seqs that are asked for lie near the end.
  for (Epoch epoch = epoch_; epoch >= Epoch(1); epoch = epoch - 1) {
    LOCKSTEP_ASSIGN_OR_RETURN(std::optional<Run> run, FindRunIn(head, epoch, seq));
    if (!run) continue;
    if (!Cut(*run)) return std::optional<Run>();
    last_found_[head.producer] = *run;
    return run;
  }
  return std::optional<Run>();
}

absl::StatusOr<std::vector<Run>> LedgerView::LastRunsOf(Epoch epoch) {
  ReadStreamRequest request{stream_.id, {}, 1, false};
  for (const Head& head : heads_) {
    request.after[head.producer] = {epoch, Seq(std::numeric_limits<int64_t>::max())};
  }
  LOCKSTEP_ASSIGN_OR_RETURN(StreamPage next, ledger_->ReadStream(request));
  std::vector<Run> last_runs;
  for (const Head& head : heads_) {
    Seq last = head.last_seq;  // Unless a later epoch has runs of it.
    for (const Run& run : next.runs) {
      if (run.producer == head.producer) last = run.first_seq - 1;
    }
    LOCKSTEP_ASSIGN_OR_RETURN(std::optional<Run> run, FindRun(head, last));
    if (run && run->epoch == epoch) last_runs.push_back(std::move(*run));
  }
  return last_runs;
}

bool LedgerView::Cut(Run& run) const {
  const Head* head = FindHead(run.producer);
  return head != nullptr && run.last_seq <= head->last_seq;
}

absl::Status LedgerView::ReadRuns(std::optional<Position> after,
                                  const std::function<void(Run)>& take) {
  ReadStreamRequest request{stream_.id, {}, kRunsPerPage, false};
  LOCKSTEP_ASSIGN_OR_RETURN(request.after, ledger_->MarksAfter(stream_.id, after));
  for (;;) {
    LOCKSTEP_ASSIGN_OR_RETURN(StreamPage page, ledger_->ReadStream(request));
    for (Run& run : page.runs) {
      request.after[run.producer] = {run.epoch, run.first_seq};
      if (Cut(run)) take(std::move(run));
    }
    if (page.more.empty()) return absl::OkStatus();
  }
}

}  // namespace lockstep
