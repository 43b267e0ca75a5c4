// Snapshot: what `lockstep-ledger status` shows, and its numbers for --metrics.
#ifndef LOCKSTEP_DB_LEDGER_VERBS_SNAPSHOT_H_
#define LOCKSTEP_DB_LEDGER_VERBS_SNAPSHOT_H_

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "common/config/program.h"
#include "common/metrics/look_metrics.h"
#include "db-ledger/postgres_ledger.h"

namespace lockstep {

struct Snapshot {
  struct Stream {
    StreamInfo info;
    std::vector<Head> heads;
    std::vector<LogInfo> logs;
  };
  Ledger::Now now;
  PostgresLedger::Health health;
  std::vector<Stream> streams;         // Those that --topic or --stream name, or all.
  std::vector<Cursor> cursors;         // Of every stream.
  std::vector<SeqCursor> seq_cursors;  // The same in per-producer mode.
  std::map<ProducerId, std::string> producers;

  bool durable() const { return health.judgement.testimony == Testimony::kDurable; }
};

absl::StatusOr<Snapshot> ReadSnapshot(PostgresLedger& ledger, const CommonOptions& common);

// Sets the numbers that --metrics serves.
void Export(const Snapshot& snapshot, LookMetrics& metrics);

}  // namespace lockstep

#endif  // LOCKSTEP_DB_LEDGER_VERBS_SNAPSHOT_H_
