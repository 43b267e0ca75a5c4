#include "mirror-reconcile/tail_scan.h"

#include <algorithm>
#include <set>
#include <utility>

#include "common/base/status_macros.h"

namespace lockstep {
namespace {

// A record of ours that may prove something, kept while its chunk is judged.
struct Candidate {
  const Head* head;
  Term term;
  Seq seq;
  Offset log_offset;
};

// One chunk's candidates in offset order, and which of them stand just before a rewind: where the
// next record goes back in its own producer's seqs.
struct Chunk {
  std::vector<Candidate> candidates;
  std::vector<size_t> before_rewinds;
};

// After one rewind each producer goes back once, within few records of another; the first few tell.
constexpr size_t kRewindsJudgedMax = 64;

struct FoundProof {
  SourceLog source;
  Offset through;
  Offset log_offset;
};

// What a walk may not go below, and where it begins.
struct Window {
  const SiteLog* log;
  Offset lo;
  Offset end;
};

// Of the same source log, and higher.
bool Improves(const std::optional<FoundProof>& found, const FoundProof& best) {
  return found && found->source == best.source && found->through > best.through;
}

class Scanner {
 public:
  Scanner(LedgerView& view, const std::string& cluster_id, const Rules& rules,
          const TailScanOptions& options)
      : view_(view), cluster_id_(cluster_id), rules_(rules), options_(options) {}

  absl::Status WalkBack(const Window& window);
  absl::Status ReadAll(const SiteLog& log);
  absl::Status FindFirstKept(const SiteLog& log, LogExtent extent);
  TailEvidence& evidence() { return evidence_; }

 private:
  absl::Status ReadChunk(const SiteLog& log, Offset from, Offset end, Chunk* chunk);
  absl::StatusOr<std::optional<FoundProof>> Judge(const SiteLog& log, const Candidate& candidate);
  absl::StatusOr<std::optional<FoundProof>> NewestProof(const SiteLog& log, const Chunk& chunk);
  absl::StatusOr<std::optional<FoundProof>> OldestProof(const SiteLog& log, const Chunk& chunk);
  absl::Status KeepProofsBeforeRewinds(const SiteLog& log, const Chunk& chunk);
  absl::Status SearchHigherProof(const Window& rest, const FoundProof& tail);
  absl::StatusOr<std::optional<FoundProof>> Probe(const Window& rest, Offset from);
  absl::StatusOr<bool> HangsInTheAir();
  absl::StatusOr<bool> HangsInTheAir(const Head& head, Term term, Seq seq);
  void Keep(const SiteLog& log, const FoundProof& proof);
  std::optional<SourceLog> SourceOf(Epoch epoch) const;

  LedgerView& view_;
  const std::string& cluster_id_;
  const Rules& rules_;
  const TailScanOptions& options_;
  TailEvidence evidence_;
  bool rewound_ = false;  // A rewind was seen.
};

std::optional<SourceLog> Scanner::SourceOf(Epoch epoch) const {
  for (const LogInfo& log : view_.logs()) {
    if (log.epoch == epoch) return SourceLog{log.cluster_id, log.topic};
  }
  return std::nullopt;
}

// Counts and keeps what [from, end) holds; what may prove something goes into `chunk` too (unless
// nullptr).
absl::Status Scanner::ReadChunk(const SiteLog& log, Offset from, Offset end, Chunk* chunk) {
  const Head* head = nullptr;
  std::map<ProducerId, Seq> newest;
  return log.reader->Read(from, end, [&](const LogRecord& record) {
    ++evidence_.records_read;
    if (record.kind != LogRecord::Kind::kOurs) {
      ++(record.kind == LogRecord::Kind::kForeign ? evidence_.foreign : evidence_.malformed);
      return;
    }
    const auto& [term, seq, at, name] = record.header;
    if (head == nullptr || head->name != name) head = view_.FindHead(name);
    if (head == nullptr) {
      ++evidence_.strangers;
      return;
    }
    evidence_.seen[head->producer][term].Add(seq);
    if (record.reinjected) {
      evidence_.reinjected[head->producer][term].Add(seq);
      if (rules_.gap_safe) return;  // Off: what lies highest is taken for a proof (C10).
    }
    if (chunk == nullptr) return;
    const auto [before, first] = newest.try_emplace(head->producer, seq);
    if (!first && seq <= before->second && !chunk->candidates.empty()) {
      rewound_ = true;
      chunk->before_rewinds.push_back(chunk->candidates.size() - 1);
    }
    before->second = seq;
    chunk->candidates.push_back({head, term, seq, record.offset});
  });
}

// A record proves its source log up to its position iff a run names it, and, where the source is
// this very log, iff it lies at the offset that the run names: else it is a copy that came back.
absl::StatusOr<std::optional<FoundProof>> Scanner::Judge(const SiteLog& log,
                                                         const Candidate& candidate) {
  LOCKSTEP_ASSIGN_OR_RETURN(std::optional<Run> run, view_.FindRun(*candidate.head, candidate.seq));
  if (!run || !IsLedgered(*run, candidate.term, rules_)) return std::optional<FoundProof>();
  std::optional<SourceLog> source = SourceOf(run->epoch);
  if (!source) return std::optional<FoundProof>();
  const Offset offset = PositionOf(*run, candidate.seq).offset;
  const bool own = source->cluster_id == cluster_id_ && source->topic == log.topic;
  if (own && offset != candidate.log_offset) return std::optional<FoundProof>();
  return std::optional<FoundProof>({std::move(*source), offset, candidate.log_offset});
}

absl::StatusOr<std::optional<FoundProof>> Scanner::NewestProof(const SiteLog& log,
                                                               const Chunk& chunk) {
  for (auto it = chunk.candidates.rbegin(); it != chunk.candidates.rend(); ++it) {
    LOCKSTEP_ASSIGN_OR_RETURN(std::optional<FoundProof> proof, Judge(log, *it));
    if (proof) return proof;
  }
  return std::optional<FoundProof>();
}

absl::StatusOr<std::optional<FoundProof>> Scanner::OldestProof(const SiteLog& log,
                                                               const Chunk& chunk) {
  for (const Candidate& candidate : chunk.candidates) {
    LOCKSTEP_ASSIGN_OR_RETURN(std::optional<FoundProof> proof, Judge(log, candidate));
    if (proof) return proof;
  }
  return std::optional<FoundProof>();
}

absl::Status Scanner::KeepProofsBeforeRewinds(const SiteLog& log, const Chunk& chunk) {
  const size_t count = std::min(chunk.before_rewinds.size(), kRewindsJudgedMax);
  for (size_t i = 0; i < count; ++i) {
    LOCKSTEP_ASSIGN_OR_RETURN(const std::optional<FoundProof> proof,
                              Judge(log, chunk.candidates[chunk.before_rewinds[i]]));
    if (proof) Keep(log, *proof);
  }
  return absl::OkStatus();
}

void Scanner::Keep(const SiteLog& log, const FoundProof& proof) {
  const auto [it, inserted] =
      evidence_.proofs.try_emplace(proof.source, Proof{proof.through, log.topic, proof.log_offset});
  if (!inserted && it->second.through < proof.through) {
    it->second = {proof.through, log.topic, proof.log_offset};
  }
}

// True iff a record was seen whose predecessor was neither seen nor is proven: the scan has not
// reached the beginning of the re-injection (or of the copy before a rewind) that it belongs to.
absl::StatusOr<bool> Scanner::HangsInTheAir() {
  for (const auto& [producer, terms] : rewound_ ? evidence_.seen : evidence_.reinjected) {
    const Head* head = view_.FindHead(producer);
    for (const auto& [term, seqs] : terms) {
      for (const SeqRange& range : seqs.ranges()) {
        LOCKSTEP_ASSIGN_OR_RETURN(const bool hangs, HangsInTheAir(*head, term, range.first));
        if (hangs) return true;
      }
    }
  }
  return false;
}

absl::StatusOr<bool> Scanner::HangsInTheAir(const Head& head, Term term, Seq seq) {
  LOCKSTEP_ASSIGN_OR_RETURN(const std::optional<Run> own, view_.FindRun(head, seq));
  if (!own || !IsLedgered(*own, term, rules_)) return false;
  LOCKSTEP_ASSIGN_OR_RETURN(const std::optional<Run> before, view_.FindRun(head, seq - 1));
  if (!before) return false;
  const auto& terms = evidence_.seen.at(head.producer);
  const auto seen = terms.find(before->term);
  if (seen != terms.end() && seen->second.Contains(seq - 1)) return false;
  const std::optional<SourceLog> source = SourceOf(before->epoch);
  if (!source) return false;
  const auto proof = evidence_.proofs.find(*source);
  return proof == evidence_.proofs.end() ||
         proof->second.through < PositionOf(*before, seq - 1).offset;
}

absl::Status Scanner::WalkBack(const Window& window) {
  const SiteLog& log = *window.log;
  std::optional<FoundProof> proof;
  int64_t size = options_.chunk_records;
  for (Offset end = window.end; end > window.lo;) {
    const Offset from = std::max(window.lo, end - size);
    Chunk chunk;
    LOCKSTEP_RETURN_IF_ERROR(ReadChunk(log, from, end, &chunk));
    LOCKSTEP_RETURN_IF_ERROR(KeepProofsBeforeRewinds(log, chunk));
    if (!proof) {
      LOCKSTEP_ASSIGN_OR_RETURN(proof, NewestProof(log, chunk));
      if (proof) Keep(log, *proof);
    }
    end = from;
    if (proof) {
      LOCKSTEP_ASSIGN_OR_RETURN(const bool hangs, HangsInTheAir());
      if (!hangs) {
        if (end > window.lo) return SearchHigherProof({window.log, window.lo, end}, *proof);
        return absl::OkStatus();
      }
    }
    size = std::min(size * 4, options_.chunk_records_max);
  }
  return absl::OkStatus();
}

// The unread rest of a mirror holds its source's records in order but for rewinds. Without a rewind
// they are no more than the offsets up to the proof at the tail; with one, positions rise to a peak
// somewhere in the rest, and fall back after it.
absl::Status Scanner::SearchHigherProof(const Window& rest, const FoundProof& tail) {
  const bool own = tail.source.cluster_id == cluster_id_ && tail.source.topic == rest.log->topic;
  const int64_t explained = tail.through.value() + 1;
  if (own || rest.end - rest.lo <= std::max(explained, options_.chunk_records)) {
    return absl::OkStatus();
  }
  // At doubling distances from the tail: the highest proof is the foot of the peak, the probe
  // before it is beyond the peak.
  FoundProof best = tail;
  Offset foot = rest.end;
  Offset beyond = rest.end;
  Offset nearer = rest.end;
  for (int64_t distance = options_.chunk_records;; distance *= 2) {
    const Offset from = std::max(rest.lo, rest.end - distance);
    LOCKSTEP_ASSIGN_OR_RETURN(const std::optional<FoundProof> found, Probe(rest, from));
    if (Improves(found, best)) {
      best = *found;
      foot = from;
      beyond = nearer;
    }
    nearer = from;
    if (from == rest.lo) break;
  }
  while (beyond - foot > options_.chunk_records) {
    const Offset middle = foot + (beyond - foot) / 2;
    LOCKSTEP_ASSIGN_OR_RETURN(const std::optional<FoundProof> found, Probe(rest, middle));
    if (Improves(found, best)) {
      best = *found;
      foot = middle;
    } else {
      beyond = middle;
    }
  }
  Keep(*rest.log, best);
  return ReadChunk(*rest.log, foot, beyond, nullptr);  // The peak itself is taken by identity.
}

absl::StatusOr<std::optional<FoundProof>> Scanner::Probe(const Window& rest, Offset from) {
  const Offset end = std::min(rest.end, from + std::max<int64_t>(options_.chunk_records / 10, 1));
  Chunk chunk;
  LOCKSTEP_RETURN_IF_ERROR(ReadChunk(*rest.log, from, end, &chunk));
  return NewestProof(*rest.log, chunk);
}

absl::Status Scanner::FindFirstKept(const SiteLog& log, LogExtent extent) {
  if (extent.lo == Offset(0)) return absl::OkStatus();
  const int64_t size = std::max<int64_t>(options_.chunk_records / 10, 1);
  for (Offset from = extent.lo; from < extent.hi; from = from + size) {
    Chunk chunk;
    LOCKSTEP_RETURN_IF_ERROR(ReadChunk(log, from, std::min(extent.hi, from + size), &chunk));
    LOCKSTEP_ASSIGN_OR_RETURN(const std::optional<FoundProof> first, OldestProof(log, chunk));
    if (first) {
      evidence_.first_kept.try_emplace(first->source, first->through);
      return absl::OkStatus();
    }
  }
  return absl::OkStatus();
}

absl::Status Scanner::ReadAll(const SiteLog& log) {
  LOCKSTEP_ASSIGN_OR_RETURN(const LogExtent extent, log.reader->Extent());
  return ReadChunk(log, extent.lo, extent.hi, nullptr);
}

}  // namespace

absl::StatusOr<TailEvidence> ScanTails(LedgerView& view, const std::vector<SiteLog>& logs,
                                       const std::string& cluster_id, const Rules& rules,
                                       const TailScanOptions& options) {
  Scanner scanner(view, cluster_id, rules, options);
  for (const SiteLog& log : logs) {
    LOCKSTEP_ASSIGN_OR_RETURN(const LogExtent extent, log.reader->Extent());
    // Walks begin at the log's end and, for each epoch that had its home here, at that epoch's end
    // and at its beginning; none goes below where the next one begins.
    std::set<Offset> ends = {extent.hi};
    for (const LogInfo& own : view.logs()) {
      if (own.cluster_id != cluster_id || own.topic != log.topic) continue;
      ends.insert(own.start);
      LOCKSTEP_ASSIGN_OR_RETURN(const std::vector<Run> last_runs, view.LastRunsOf(own.epoch));
      for (const Run& run : last_runs) ends.insert(run.offsets.end());
    }
    Offset lo = extent.lo;
    std::vector<Window> windows;
    for (const Offset end : ends) {
      const Offset bounded = std::min(end, extent.hi);
      if (bounded > lo) windows.push_back({&log, lo, bounded});
      lo = std::max(lo, bounded);
    }
    for (auto it = windows.rbegin(); it != windows.rend(); ++it) {
      LOCKSTEP_RETURN_IF_ERROR(scanner.WalkBack(*it));
    }
    LOCKSTEP_RETURN_IF_ERROR(scanner.FindFirstKept(log, extent));
  }
  return std::move(scanner.evidence());
}

absl::StatusOr<TailEvidence> ScanWhole(LedgerView& view, const std::vector<SiteLog>& logs,
                                       const Rules& rules) {
  const TailScanOptions options;
  Scanner scanner(view, "", rules, options);
  for (const SiteLog& log : logs) LOCKSTEP_RETURN_IF_ERROR(scanner.ReadAll(log));
  scanner.evidence().whole = true;
  return std::move(scanner.evidence());
}

}  // namespace lockstep
