// LedgerView answers the questions about one stream's ledger that gap and verify ask, out of
// Ledger's few reads.
//
// It looks at the stream as it was when the view was opened: runs appended later are cut off at the
// heads of that moment, so that a live ledger gives a consistent answer.
#ifndef LOCKSTEP_MIRROR_RECONCILE_LEDGER_VIEW_H_
#define LOCKSTEP_MIRROR_RECONCILE_LEDGER_VIEW_H_

#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "common/model/ids.h"
#include "db-ledger/ledger.h"
#include "db-ledger/run_position.h"

namespace lockstep {

// The run's last position. REQUIRES: a run has at least one offset (the ledger's promise).
inline Position LastPositionOf(const Run& run) { return {run.epoch, run.offsets.end() - 1}; }

// A mark that no run lies behind: ReadStream gives nothing of a producer that has it.
inline constexpr RunKey kAfterAllRuns{Epoch(std::numeric_limits<int64_t>::max()),
                                      Seq(std::numeric_limits<int64_t>::max())};

class LedgerView {
 public:
  // `ledger` must outlive the view.
  static absl::StatusOr<LedgerView> Open(Ledger& ledger, const StreamInfo& stream);

  const StreamInfo& stream() const { return stream_; }
  Epoch epoch() const { return epoch_; }
  bool solo() const { return solo_; }
  const std::vector<Head>& heads() const { return heads_; }
  const std::vector<LogInfo>& logs() const { return logs_; }

  // nullptr iff the stream has no such producer. O(1)
  const Head* FindHead(std::string_view producer) const;
  const Head* FindHead(ProducerId producer) const;

  // The run that holds `seq`; nullopt iff the ledger has none. A few small reads, however long the
  // ledger is; the last answer for each producer is kept.
  absl::StatusOr<std::optional<Run>> FindRun(const Head& head, Seq seq);

  // Each producer's last run of `epoch`; nothing for those that have none.
  absl::StatusOr<std::vector<Run>> LastRunsOf(Epoch epoch);

  // Every run that holds a position above `after`, and perhaps a few below, grouped in no
  // particular way but ascending per producer. nullopt: all. Runs come without payload.
  absl::Status ReadRuns(std::optional<Position> after, const std::function<void(Run)>& take);

 private:
  LedgerView(Ledger& ledger, StreamInfo stream) : ledger_(&ledger), stream_(std::move(stream)) {}
  absl::StatusOr<std::vector<Run>> RunsAfter(ProducerId producer, RunKey key, int64_t runs_max);
  absl::StatusOr<std::optional<Run>> FindRunIn(const Head& head, Epoch epoch, Seq seq);
  // Cuts off what was appended after the view was opened. False iff nothing is left.
  bool Cut(Run& run) const;

  Ledger* ledger_;
  StreamInfo stream_;
  Epoch epoch_;
  bool solo_ = false;
  std::vector<Head> heads_;
  std::vector<LogInfo> logs_;
  absl::flat_hash_map<std::string, size_t> head_of_;
  std::map<ProducerId, Run> last_found_;
};

}  // namespace lockstep

#endif  // LOCKSTEP_MIRROR_RECONCILE_LEDGER_VIEW_H_
