// What is in doubt: records between a group's done and its intent, positions or seqs. They may have
// left the primary site, or may yet leave while its gate lives.
#ifndef LOCKSTEP_MIRROR_RECONCILE_IN_DOUBT_H_
#define LOCKSTEP_MIRROR_RECONCILE_IN_DOUBT_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "common/model/ids.h"
#include "db-ledger/ledger.h"
#include "db-ledger/seq_cursor.h"
#include "mirror-reconcile/ledger_view.h"
#include "mirror-reconcile/log_reader.h"

namespace lockstep {

struct InDoubtRecord {
  std::string group;
  StreamName stream;
  Position position;
  std::string producer;
  Term term;
  Seq seq;
  // From the log, to ask the outside with; empty if it was not found there.
  std::string at;
  std::optional<std::string> key;
};

// By position, at most kInDoubtMax; a cursor of at most two batches has no more.
inline constexpr size_t kInDoubtMax = 100'000;
absl::StatusOr<std::vector<InDoubtRecord>> FindInDoubt(LedgerView& view,
                                                       const std::vector<Cursor>& cursors,
                                                       const std::vector<SeqCursor>& seq_cursors,
                                                       const std::vector<SiteLog>& logs);

}  // namespace lockstep

#endif  // LOCKSTEP_MIRROR_RECONCILE_IN_DOUBT_H_
