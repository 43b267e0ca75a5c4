// TailScan learns from the end of this site's logs how much of the ledger is here, at a cost that
// follows what is missing and not what is there.
//
// **Lemma.** If every copier writes in source order without skipping and starts at or below the
// first record not yet copied, the first occurrences in a mirror are a prefix of its source,
// whatever repeats, restarts or overlaps. So *one* mirrored record whose position the ledger knows
// proves everything of the same source log up to that position. (A log proves itself the same way:
// a record at the very offset that the ledger names shows that nothing below it was cut off.)
//
// Re-injected records prove nothing but themselves, since an unordered re-injection may have been
// killed half-way: they are collected by identity (rule gap_safe).
//
// The scan walks backwards from each log's end, in chunks that grow, until it meets such a proof
// and has no re-injected record in hand whose predecessor it has neither seen nor proven. Where
// this log was the primary's in an earlier epoch, the walk is repeated from where that epoch's
// offsets end and from where they begin, since mirrored records lie on both sides.
//
// A mirror that was rewound shows an old position at its end: an underestimate, which is harmless
// (what is re-injected once more is a duplicate) but may be dear. When the log holds visibly more
// records than its proof explains, the scan bisects for the highest proof.
//
// No clock, no threads; I/O only through LogReader and LedgerView.
#ifndef LOCKSTEP_MIRROR_RECONCILE_TAIL_SCAN_H_
#define LOCKSTEP_MIRROR_RECONCILE_TAIL_SCAN_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "common/model/ids.h"
#include "common/model/rules.h"
#include "mirror-reconcile/ledger_view.h"
#include "mirror-reconcile/log_reader.h"
#include "mirror-reconcile/seq_set.h"

namespace lockstep {

// A log that epochs were written to: Kafka's cluster id and the topic there.
struct SourceLog {
  std::string cluster_id;
  std::string topic;
  auto operator<=>(const SourceLog&) const = default;
};

// Everything of a source log at or below `through` is at this site, because a copy of `through`
// lies in `topic` at `log_offset`.
struct Proof {
  Offset through;
  std::string topic;
  Offset log_offset;
};

// Identities by producer and term.
using SeenRecords = std::map<ProducerId, std::map<Term, SeqSet>>;

struct TailEvidence {
  std::map<SourceLog, Proof> proofs;
  SeenRecords seen;        // What the scan read, whoever copied it.
  SeenRecords reinjected;  // The re-injected ones among them.
  int64_t records_read = 0;
  int64_t foreign = 0;    // Without our header.
  int64_t malformed = 0;  // With a header that we could not have written.
  int64_t strangers = 0;  // Of producers that the ledger does not know on this stream.
  bool whole = false;     // Every log was read from end to start: nothing rests on the Lemma.
  // Nothing at or above these positions was removed by retention; what lies below in the same log
  // was. Only for logs that no longer begin at offset 0.
  std::map<SourceLog, Offset> first_kept;
};

struct TailScanOptions {
  int64_t chunk_records = 10'000;  // The first chunk; each further one is four times as long …
  int64_t chunk_records_max = 1'000'000;  // … up to this.
};

// Reads the tails of `logs` (this site's topics of view.stream(), on the cluster of this id).
absl::StatusOr<TailEvidence> ScanTails(LedgerView& view, const std::vector<SiteLog>& logs,
                                       const std::string& cluster_id, const Rules& rules,
                                       const TailScanOptions& options = {});

// Reads all of `logs`: the exact difference, at the cost of the topic.
absl::StatusOr<TailEvidence> ScanWhole(LedgerView& view, const std::vector<SiteLog>& logs,
                                       const Rules& rules);

// Is the record of this producer, term and seq the one that the run names? (Rule term.)
inline bool IsLedgered(const Run& run, Term term, const Rules& rules) {
  return !rules.term || run.term == term;
}

}  // namespace lockstep

#endif  // LOCKSTEP_MIRROR_RECONCILE_TAIL_SCAN_H_
