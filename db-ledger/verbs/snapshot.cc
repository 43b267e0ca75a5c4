#include "db-ledger/verbs/snapshot.h"

#include <map>
#include <string>

#include "common/base/status_macros.h"
#include "db-ledger/verbs/verbs.h"

namespace lockstep {

absl::StatusOr<Snapshot> ReadSnapshot(PostgresLedger& ledger, const CommonOptions& common) {
  Snapshot snapshot;
  LOCKSTEP_ASSIGN_OR_RETURN(snapshot.now, ledger.ReadNow());
  LOCKSTEP_ASSIGN_OR_RETURN(snapshot.health, ledger.ReadHealth());
  LOCKSTEP_ASSIGN_OR_RETURN(const auto streams, NamedStreams(ledger, common));
  for (const StreamInfo& info : streams) {
    LOCKSTEP_ASSIGN_OR_RETURN(const StreamPage page, ledger.ReadStream({info.id, {}, 0, false}));
    LOCKSTEP_ASSIGN_OR_RETURN(const auto logs, ledger.ReadLogs(info.id));
    snapshot.streams.push_back({info, page.heads, logs});
  }
  LOCKSTEP_ASSIGN_OR_RETURN(snapshot.cursors, ledger.ReadCursors());
  LOCKSTEP_ASSIGN_OR_RETURN(snapshot.seq_cursors, ledger.ReadSeqCursors());
  LOCKSTEP_ASSIGN_OR_RETURN(snapshot.producers, ProducerNames(ledger));
  return snapshot;
}

void Export(const Snapshot& snapshot, LookMetrics& metrics) {
  metrics.Set("lockstep_epoch_number", "The epoch now", snapshot.now.epoch.value());
  metrics.Set("lockstep_solo_state", "1 while the epoch is solo: no standby confirms",
              snapshot.now.solo ? 1 : 0);
  metrics.Set("lockstep_witness_durable_state",
              "1 if the witness has flushed all that the ledger has", snapshot.durable() ? 1 : 0);
  for (const auto& standby : snapshot.health.standbys) {
    if (!standby.lag_bytes) continue;
    metrics.Set("lockstep_standby_lag_bytes", "WAL that the standby has not flushed",
                *standby.lag_bytes, {{"standby", standby.name}});
  }
  std::map<StreamId, std::string> names;
  for (const Snapshot::Stream& stream : snapshot.streams) {
    const std::string name = ToString(stream.info.name);
    names[stream.info.id] = name;
    for (const Head& head : stream.heads) {
      metrics.Set("lockstep_head_seq", "The producer's last ledgered seq", head.last_seq.value(),
                  {{"stream", name}, {"producer", head.name}});
    }
  }
  for (const Cursor& cursor : snapshot.cursors) {
    const auto name = names.find(cursor.stream);
    if (name == names.end()) continue;
    const MetricLabels labels = {{"stream", name->second}, {"group", cursor.group}};
    if (cursor.done) {
      metrics.Set("lockstep_cursor_epoch", "Epoch of the group's last sent record",
                  cursor.done->epoch.value(), labels);
      metrics.Set("lockstep_cursor_offset", "Offset of the group's last sent record",
                  cursor.done->offset.value(), labels);
    }
    metrics.Set("lockstep_in_doubt_state",
                "1 while what the group intended is not known to be sent",
                cursor.intent != cursor.done ? 1 : 0, labels);
  }
  for (const SeqCursor& cursor : snapshot.seq_cursors) {
    const auto name = names.find(cursor.stream);
    if (name == names.end()) continue;
    MetricLabels labels = {{"stream", name->second}, {"group", cursor.group}};
    metrics.Set("lockstep_in_doubt_state",
                "1 while what the group intended is not known to be sent", InDoubt(cursor) ? 1 : 0,
                labels);
    for (const SeqMark& mark : cursor.marks) {
      labels["producer"] = snapshot.producers.at(mark.producer);
      metrics.Set("lockstep_cursor_seq", "The producer's seq that the group sent last",
                  mark.done.value(), labels);
    }
  }
}

}  // namespace lockstep
