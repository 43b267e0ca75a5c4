// A place in what a Pika gives: as the source position of an event, as the checkpoint that the
// ledger keeps, and as the JSON of the checkpoint file and topic (docs/formats/pika-checkpoint.md).
#ifndef LOCKSTEP_PRODUCER_PIKA_PIKA_CHECKPOINT_H_
#define LOCKSTEP_PRODUCER_PIKA_PIKA_CHECKPOINT_H_

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

#include "producer/pika/binlog_item.h"
#include "producer/source_event.h"

namespace lockstep::pika {

// `FILENUM:OFFSET`, or within a full copy `FILENUM:OFFSET:ID:NUMBER`; with the ID 0 the NUMBER-th
// command of the record that begins there. Ordered as CompareSourcePositions orders the texts.
struct PikaPosition {
  BinlogPosition binlog;
  uint64_t snapshot_id = 0;  // 0: in the binlog, not in a copy.
  uint64_t number = 0;
  auto operator<=>(const PikaPosition&) const = default;
};

std::string ToString(const PikaPosition& position);
// INVALID_ARGUMENT names the text.
absl::StatusOr<PikaPosition> ParsePikaPosition(std::string_view text);

// True iff the event comes of a full copy. `event` is a Pika's.
bool IsSnapshotEvent(const SourceEvent& event);

// `POSITION:LOGIC_ID:TERM_ID:HASH:MARK`.
struct PikaCheckpoint {
  PikaPosition position;
  uint64_t logic_id = 0;  // Of the entry that ends there; 0 in a copy.
  uint64_t term_id = 0;
  uint64_t replication_hash = 0;
  uint64_t content_mark = 0;  // Of that entry, as ContentMark; 0: it can not be asked for again.
  bool operator==(const PikaCheckpoint&) const = default;
};

std::string ToString(const PikaCheckpoint& checkpoint);
// The checkpoint behind an event of a Pika source: Source::FormatCheckpoint.
std::string FormatPikaCheckpoint(const SourceEvent& event);
// INVALID_ARGUMENT names the text.
absl::StatusOr<PikaCheckpoint> ParsePikaCheckpoint(std::string_view text);

// Whose checkpoint a file or a record holds.
struct CheckpointOwner {
  std::string source_id;  // host:port
  std::string database;   // Empty: the SOURCE names none.
  std::string producer;
  bool operator==(const CheckpointOwner&) const = default;
};

// The key in the compacted topic: `source_id`, or `source_id/db` where the SOURCE names a database.
std::string CheckpointKey(const CheckpointOwner& owner);

// One line, one JSON object.
std::string CheckpointJson(const CheckpointOwner& owner, const PikaCheckpoint& checkpoint,
                           int64_t ts_ms);
// INVALID_ARGUMENT: cut short, not such an object, or not `owner`'s; the message says what is
// wrong. Of the fields only source_id, filenum, offset and logic_id must be there.
absl::StatusOr<PikaCheckpoint> ParseCheckpointJson(std::string_view json,
                                                   const CheckpointOwner& owner);

// Where an exported checkpoint lies, seen from the ledger.
enum class ExportStands {
  kWithLedger,
  kBehindLedger,  // Normal: it is written later, and less often.
  kAheadOfLedger  // The ledger never confirmed what it says.
};
// INVALID_ARGUMENT: `ledger` is not a Pika's.
absl::StatusOr<ExportStands> CompareWithLedger(const PikaCheckpoint& exported,
                                               const ResumePoint& ledger);
// The position behind which a source goes on that is started at `point`. INVALID_ARGUMENT as above.
absl::StatusOr<PikaPosition> ResumePosition(const ResumePoint& point);

}  // namespace lockstep::pika

#endif  // LOCKSTEP_PRODUCER_PIKA_PIKA_CHECKPOINT_H_
