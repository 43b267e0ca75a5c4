#include "mirror-reconcile/gap.h"

#include <algorithm>
#include <limits>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"

#include "common/base/status_macros.h"

namespace lockstep {
namespace {

constexpr Offset kNothing(-1);

// Up to which offset each epoch's log is proven to be here.
class Proven {
 public:
  Proven(const LedgerView& view, const TailEvidence& evidence) {
    for (const LogInfo& log : view.logs()) {
      const auto proof = evidence.proofs.find(SourceLog{log.cluster_id, log.topic});
      if (proof != evidence.proofs.end()) through_[log.epoch] = proof->second.through;
    }
  }
  Offset Through(Epoch epoch) const {
    const auto it = through_.find(epoch);
    return it == through_.end() ? kNothing : it->second;
  }

 private:
  std::map<Epoch, Offset> through_;
};

struct LedgerEnd {
  std::optional<Position> end;
  // The lowest position that may be missing; everything below is proven. nullopt: nothing may.
  std::optional<Position> open_after;
};

// Epoch by epoch from the oldest: the first one that is not proven to its end bounds what must be
// read of the ledger.
absl::StatusOr<LedgerEnd> FindLedgerEnd(LedgerView& view, const Proven& proven, bool whole) {
  LedgerEnd result;
  for (const LogInfo& log : view.logs()) {
    LOCKSTEP_ASSIGN_OR_RETURN(const std::vector<Run> last_runs, view.LastRunsOf(log.epoch));
    if (last_runs.empty()) continue;
    Position end = LastPositionOf(last_runs.front());
    for (const Run& run : last_runs) end = std::max(end, LastPositionOf(run));
    result.end = std::max(result.end.value_or(end), end);
    const Offset through = whole ? kNothing : proven.Through(log.epoch);
    if (!result.open_after && through < end.offset) result.open_after = {log.epoch, through};
  }
  return result;
}

void AddPieces(const Run& run, SeqRange wanted, const TailEvidence& evidence, const Rules& rules,
               std::vector<GapPiece>& pieces) {
  std::vector<SeqRange> missing = {wanted};
  const auto producer = evidence.seen.find(run.producer);
  if (rules.gap_safe && producer != evidence.seen.end()) {
    for (const auto& [term, seqs] : producer->second) {
      if (!IsLedgered(run, term, rules)) continue;
      std::vector<SeqRange> still;
      for (const SeqRange& range : missing) {
        const std::vector<SeqRange> parts = seqs.Missing(range);
        still.insert(still.end(), parts.begin(), parts.end());
      }
      missing = std::move(still);
    }
  }
  for (const SeqRange& range : missing) {
    pieces.push_back({run, range.first, range.last, PositionOf(run, range.first)});
  }
}

// A later record of the producer than its first missing one, seen with the identity that the
// ledger names.
absl::StatusOr<bool> SeenBehind(LedgerView& view, const Head& head, Seq missing,
                                const TailEvidence& evidence, const Rules& rules) {
  const auto producer = evidence.seen.find(head.producer);
  if (producer == evidence.seen.end()) return false;
  for (const auto& [term, seqs] : producer->second) {
    for (auto range = seqs.ranges().rbegin(); range != seqs.ranges().rend(); ++range) {
      const Seq last = std::min(range->last, head.last_seq);
      if (last <= missing || last < range->first) continue;
      LOCKSTEP_ASSIGN_OR_RETURN(const std::optional<Run> run, view.FindRun(head, last));
      if (run && IsLedgered(*run, term, rules)) return true;
    }
  }
  return false;
}

int64_t CountBeyond(const Head& head, const SeenRecords& seen) {
  const auto producer = seen.find(head.producer);
  if (producer == seen.end()) return 0;
  int64_t count = 0;
  for (const auto& [term, seqs] : producer->second) {
    for (const SeqRange& range : seqs.ranges()) {
      if (range.last > head.last_seq) {
        count += range.last - std::max(range.first - 1, head.last_seq);
      }
    }
  }
  return count;
}

int64_t CountOf(const SeenRecords& seen, ProducerId producer) {
  const auto terms = seen.find(producer);
  if (terms == seen.end()) return 0;
  int64_t count = 0;
  for (const auto& [term, seqs] : terms->second) count += seqs.count();
  return count;
}

void AddTo(ProducerGap& producer, const GapPiece& piece) {
  if (producer.missing == 0 || piece.first_seq < producer.first_missing) {
    producer.first_missing = piece.first_seq;
    producer.at_first = piece.run.at_first;
  }
  if (producer.missing == 0 || piece.last_seq > producer.last_missing) {
    producer.last_missing = piece.last_seq;
    producer.at_last = piece.run.at_last;
  }
  producer.missing += piece.records();
}

absl::Status SummariseProducers(LedgerView& view, const Rules& rules, Gap& gap) {
  std::map<ProducerId, size_t> index;
  for (const Head& head : view.heads()) {
    index[head.producer] = gap.producers.size();
    ProducerGap& producer = gap.producers.emplace_back();
    producer.producer = head.producer;
    producer.name = head.name;
    producer.ledgered_through = head.last_seq;
    producer.reinjected_seen = CountOf(gap.evidence.reinjected, head.producer);
    gap.unledgered += CountBeyond(head, gap.evidence.seen);
  }
  for (const GapPiece& piece : gap.pieces)
    AddTo(gap.producers[index.at(piece.run.producer)], piece);
  for (size_t i = 0; i < gap.producers.size(); ++i) {
    ProducerGap& producer = gap.producers[i];
    if (producer.missing == 0) continue;
    LOCKSTEP_ASSIGN_OR_RETURN(
        const bool behind,
        SeenBehind(view, view.heads()[i], producer.first_missing, gap.evidence, rules));
    if (behind) producer.hole = producer.first_missing;
  }
  return absl::OkStatus();
}

void Explain(const LedgerView& view, const std::vector<SiteLog>& logs, Gap& gap) {
  if (!gap.ledger_end) {
    gap.how.push_back("the ledger names no record of this stream");
    return;
  }
  if (gap.proven) {
    gap.how.push_back(absl::StrCat("proven: every record of ", logs.size(), " log(s) was read, ",
                                   gap.evidence.records_read, " in all"));
    return;
  }
  for (const auto& [source, proof] : gap.evidence.proofs) {
    gap.how.push_back(absl::StrCat(
        "everything of ", source.topic, " on cluster ", source.cluster_id, " up to offset ",
        proof.through.value(), " is here: ", proof.topic, " holds that record", " at offset ",
        proof.log_offset.value(), ", and a mirror copies in order without skipping"));
  }
  if (gap.evidence.proofs.empty()) {
    gap.how.push_back("no mirrored record that the ledger names lies in any log of this site");
  }
  for (const LogInfo& log : view.logs()) {
    if (gap.evidence.proofs.contains(SourceLog{log.cluster_id, log.topic})) continue;
    gap.how.push_back(absl::StrCat("nothing proves anything of epoch ", log.epoch.value(), " (",
                                   log.topic, " on cluster ", log.cluster_id, ")"));
  }
  int64_t reinjected = 0;
  for (const ProducerGap& producer : gap.producers) reinjected += producer.reinjected_seen;
  if (reinjected > 0) {
    gap.how.push_back(absl::StrCat(reinjected, " re-injected record(s) were counted one by one"));
  }
  gap.how.push_back(absl::StrCat(gap.evidence.records_read, " record(s) were read"));
}

}  // namespace

bool Gap::has_hole() const {
  return std::any_of(producers.begin(), producers.end(),
                     [](const ProducerGap& producer) { return producer.hole.has_value(); });
}

absl::StatusOr<Gap> FindGap(LedgerView& view, const std::vector<SiteLog>& logs,
                            const std::string& cluster_id, const Rules& rules, bool whole,
                            const TailScanOptions& options) {
  Gap gap;
  gap.stream = view.stream();
  gap.proven = whole;
  LOCKSTEP_ASSIGN_OR_RETURN(gap.evidence, whole
                                              ? ScanWhole(view, logs, rules)
                                              : ScanTails(view, logs, cluster_id, rules, options));
  const Proven proven(view, gap.evidence);
  LOCKSTEP_ASSIGN_OR_RETURN(const LedgerEnd ledger, FindLedgerEnd(view, proven, whole));
  gap.ledger_end = ledger.end;
  if (ledger.open_after) {
    LOCKSTEP_RETURN_IF_ERROR(view.ReadRuns(ledger.open_after, [&](Run run) {
      SeqRange wanted{run.first_seq, run.last_seq};
      if (!whole) {
        const Offset through = proven.Through(run.epoch);
        wanted.first = wanted.first + run.offsets.CountBelow(through + 1);
      }
      if (wanted.first <= wanted.last) AddPieces(run, wanted, gap.evidence, rules, gap.pieces);
    }));
  }
  std::sort(gap.pieces.begin(), gap.pieces.end(), [](const GapPiece& a, const GapPiece& b) {
    return a.first_position < b.first_position;
  });
  for (const GapPiece& piece : gap.pieces) gap.records += piece.records();
  for (const LogInfo& log : view.logs()) {
    const auto kept = gap.evidence.first_kept.find(SourceLog{log.cluster_id, log.topic});
    if (kept == gap.evidence.first_kept.end() || kept->second == Offset(0)) continue;
    if (kept->second > log.start) gap.removed_below = Position{log.epoch, kept->second};
  }
  LOCKSTEP_RETURN_IF_ERROR(SummariseProducers(view, rules, gap));
  if (gap.has_hole() && !whole) {
    // After several rewinds the tail may show a later record and not the earlier ones. Whether that
    // is a hole only the whole log can tell.
    return FindGap(view, logs, cluster_id, rules, true, options);
  }
  Explain(view, logs, gap);
  return gap;
}

}  // namespace lockstep
