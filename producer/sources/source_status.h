// SourceStatus: what a source tells of itself while it runs, for metrics, progress and `status`.
// Today it is a Pika's.
#ifndef LOCKSTEP_PRODUCER_SOURCES_SOURCE_STATUS_H_
#define LOCKSTEP_PRODUCER_SOURCES_SOURCE_STATUS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "producer/pika/binlog_item.h"
#include "producer/pika/pika_checkpoint.h"

namespace lockstep {

enum class SourceState {
  kConnecting,  // No master, or not yet a stream from it.
  kCopying,     // A full copy is on its way to this disk.
  kWalking,     // It is read key by key.
  kStreaming,   // The binlog.
};
inline constexpr SourceState kSourceStates[] = {SourceState::kConnecting, SourceState::kCopying,
                                                SourceState::kWalking, SourceState::kStreaming};
std::string_view ToString(SourceState state);  // `connecting`, …

// Of the newest full copy. How many bytes will come no master says.
struct CopyStatus {
  uint64_t received_bytes = 0;
  int64_t keys = 0;            // Walked.
  int64_t keys_estimated = 0;  // RocksDB's estimate, with stale ones; 0: not known (yet).
  int64_t bad_records = 0;     // Left out: they make no sense.
  int64_t walk_ms = 0;         // Since the walk began.
  bool operator==(const CopyStatus&) const = default;

  // Of the walk, if it goes on as it went so far.
  std::optional<int64_t> SecondsLeft() const;
};

struct SourceStatus {
  SourceState state = SourceState::kConnecting;
  std::string protocol;           // `pb`, `legacy`: the one that is spoken, or tried now.
  pika::BinlogPosition received;  // What was taken from the master ends there.
  pika::PikaPosition ledgered;    // The checkpoint.
  std::optional<pika::BinlogPosition> master_end;  // As far as is known: see LagBytes.
  bool caught_up = false;     // Nothing is left to take, and nothing came for a while.
  int64_t current_at_ms = 0;  // What the master had logged by then is taken; Unix. 0: not known.
  CopyStatus copy;
  std::optional<uint64_t> wal_unledgered_bytes;  // nullopt: there is no WAL.

  // Since the start.
  int64_t binlog_events = 0;
  int64_t snapshot_events = 0;
  int64_t disconnects = 0;       // Streams that broke.
  int64_t damages = 0;           // Bytes that made no sense, and were read again.
  int64_t unknown_commands = 0;  // Passed on with data_type unknown.
  int64_t filtered = 0;          // Not passed on: the SOURCE's filters.
  bool operator==(const SourceStatus&) const = default;

  // From `received` to `master_end`, which is where the master's binlog ended when the stream
  // began, or the end of what it has sent since: it tells no more. Exact within a file; from
  // another file on (LagFiles > 0) at least so many, for how long the files between are it does not
  // tell either.
  std::optional<uint64_t> LagBytes() const;
  std::optional<uint64_t> LagFiles() const;
  // How long ago the master logged what comes next, at most. 0 when caught up; the master's clock
  // counts, in whole seconds.
  std::optional<double> LagSeconds(int64_t now_ms) const;
};

}  // namespace lockstep

#endif  // LOCKSTEP_PRODUCER_SOURCES_SOURCE_STATUS_H_
