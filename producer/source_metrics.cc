#include "producer/source_metrics.h"

namespace lockstep {

void SourceMetrics::Positions(const SourceStatus& now) {
  const auto show = [&](const char* point, const pika::BinlogPosition& at) {
    metrics_
        .Gauge("lockstep_pika_position_filenum", "Binlog file of a position", {{"point", point}})
        .Set(at.filenum);
    metrics_
        .Gauge("lockstep_pika_position_offset_bytes", "Its byte within the file",
               {{"point", point}})
        .Set(static_cast<double>(at.offset));
  };
  show("received", now.received);
  show("ledgered", now.ledgered.binlog);
  if (now.master_end) show("master_end", *now.master_end);
}

void SourceMetrics::Export(const SourceStatus& now, int64_t now_ms, int64_t steady_ms) {
  const auto gauge = [&](const char* name, const char* help, auto value,
                         const MetricLabels& labels = {}) {
    metrics_.Gauge(name, help, labels).Set(static_cast<double>(value));
  };
  const auto count = [&](const char* name, const char* help, int64_t before, int64_t after,
                         const MetricLabels& labels = {}) {
    metrics_.Counter(name, help, labels).Increment(static_cast<double>(after - before));
  };
  gauge("lockstep_pika_connected", "0 while no master is reached",
        now.state == SourceState::kConnecting ? 0 : 1);
  for (const SourceState state : kSourceStates) {
    gauge("lockstep_pika_state", "1 for the state that the source is in",
          now.state == state ? 1 : 0, {{"state", std::string(ToString(state))}});
  }
  for (const char* protocol : {"pb", "legacy"}) {
    gauge("lockstep_pika_protocol", "1 for the protocol that is spoken",
          now.protocol == protocol ? 1 : 0, {{"protocol", protocol}});
  }
  Positions(now);
  if (const auto bytes = now.LagBytes()) {
    gauge("lockstep_pika_lag_bytes",
          "From what was received to the master's end as far as is known; a lower bound if "
          "lockstep_pika_lag_files is not 0",
          *bytes);
    gauge("lockstep_pika_lag_files", "Binlog files between the two", *now.LagFiles());
  }
  if (const auto seconds = now.LagSeconds(now_ms)) {
    gauge("lockstep_pika_lag_seconds", "Age of what was received last; 0 when caught up", *seconds);
  }

  const bool behind = now.ledgered.snapshot_id != 0 || now.ledgered.binlog < now.received;
  if (!any_ || now.ledgered != exported_.ledgered || !behind) ledgered_moved_ms_ = steady_ms;
  gauge("lockstep_pika_checkpoint_age_seconds",
        "Since the ledger's checkpoint moved last, while more was received; else 0",
        static_cast<double>(steady_ms - ledgered_moved_ms_) / 1000.0);
  if (now.wal_unledgered_bytes) {
    gauge("lockstep_pika_wal_unledgered_bytes", "In the WAL and not in the ledger; see --wal-max",
          *now.wal_unledgered_bytes);
  }

  gauge("lockstep_pika_snapshot_received_bytes", "Of the newest full copy",
        now.copy.received_bytes);
  gauge("lockstep_pika_snapshot_walked_keys", "Of the newest full copy", now.copy.keys);
  gauge("lockstep_pika_snapshot_estimated_keys", "RocksDB's estimate; 0: not known",
        now.copy.keys_estimated);
  gauge("lockstep_pika_snapshot_bad_records",
        "Left out of the newest full copy: they make no sense", now.copy.bad_records);
  if (const auto left = now.copy.SecondsLeft()) {
    gauge("lockstep_pika_snapshot_left_seconds", "Until the full copy is walked, as it goes now",
          now.state == SourceState::kWalking ? *left : 0);
  }

  const char* const events = "Events handed to the producer";
  count("lockstep_pika_events_total", events, exported_.binlog_events, now.binlog_events,
        {{"type", "binlog"}});
  count("lockstep_pika_events_total", events, exported_.snapshot_events, now.snapshot_events,
        {{"type", "snapshot"}});
  count("lockstep_pika_disconnects_total", "Streams that broke", exported_.disconnects,
        now.disconnects);
  count("lockstep_pika_damages_total", "Bytes that made no sense, and were read again",
        exported_.damages, now.damages);
  count("lockstep_pika_unknown_commands_total", "Passed on with data_type unknown",
        exported_.unknown_commands, now.unknown_commands);
  count("lockstep_pika_filtered_total", "Not passed on: the SOURCE's filters", exported_.filtered,
        now.filtered);
  exported_ = now;
  any_ = true;
}

}  // namespace lockstep
