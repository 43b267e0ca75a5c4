// FindGap: which records the ledger names and this site's logs lack.
//
// gap = ledger − (proven by a prefix ∪ seen by identity), per producer; never what lies above the
// highest position found (rule gap_safe: an unordered re-injection that was killed leaves A's last
// record in the log and none of B's). See tail_scan.h for how the evidence is gathered.
//
// The answer is never too small while the Lemma's premises hold; it may be too large after a mirror
// was rewound, and then some records are re-injected that were there: duplicates, which every
// reader drops.
#ifndef LOCKSTEP_MIRROR_RECONCILE_GAP_H_
#define LOCKSTEP_MIRROR_RECONCILE_GAP_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "common/model/ids.h"
#include "common/model/rules.h"
#include "mirror-reconcile/ledger_view.h"
#include "mirror-reconcile/tail_scan.h"

namespace lockstep {

// Consecutive missing seqs of one run.
struct GapPiece {
  Run run;  // The whole run, without its payload.
  Seq first_seq;
  Seq last_seq;
  Position first_position;  // Of first_seq.
  int64_t records() const { return last_seq - first_seq + 1; }
};

struct ProducerGap {
  ProducerId producer;
  std::string name;
  Seq ledgered_through;
  int64_t missing = 0;
  Seq first_missing;  // Meaningful iff missing > 0; so are the next ones.
  Seq last_missing;
  std::string at_first;  // Source positions of the runs that hold them.
  std::string at_last;
  int64_t reinjected_seen = 0;  // Records of an earlier re-injection that were found.
  // A seq that is missing although a later one of the producer is in the log: appending cannot mend
  // that log's order (I1).
  std::optional<Seq> hole;
};

struct Gap {
  StreamInfo stream;
  std::vector<GapPiece> pieces;  // By first position. Pieces of different producers interleave.
  int64_t records = 0;
  std::vector<ProducerGap> producers;  // Every producer of the stream, by id.
  std::optional<Position> ledger_end;  // The ledger's highest position; nullopt: it names nothing.
  int64_t unledgered = 0;  // Seen records beyond what the ledger names of their producer: void or,
                           // while the epoch lives, not yet named.
  bool proven = false;     // The whole of every log was read.
  // A position below which retention has removed what the ledger names; the highest such.
  std::optional<Position> removed_below;
  TailEvidence evidence;
  std::vector<std::string> how;  // Sentences: what the answer rests on.

  bool empty() const { return records == 0; }
  bool has_hole() const;
};

// `cluster_id` is that of the Kafka cluster whose logs these are. `whole` reads the logs from end
// to start.
absl::StatusOr<Gap> FindGap(LedgerView& view, const std::vector<SiteLog>& logs,
                            const std::string& cluster_id, const Rules& rules, bool whole = false,
                            const TailScanOptions& options = {});

}  // namespace lockstep

#endif  // LOCKSTEP_MIRROR_RECONCILE_GAP_H_
