// SourceEvent: what a source hands to the producer. One event becomes one record.
#ifndef LOCKSTEP_PRODUCER_SOURCE_EVENT_H_
#define LOCKSTEP_PRODUCER_SOURCE_EVENT_H_

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "common/model/digest.h"

namespace lockstep {

struct SourceEvent {
  std::string at;  // Source position: decimal numbers joined by ':' (`98231`, `731:98231`).
  Payload payload;
  std::optional<int32_t> partition;  // Explicit, else by key or position (partitioner.h).
  // What the partition is chosen by instead of the record's key, for a source whose keys say more
  // than what has to stay in order. Null: the record's key.
  std::optional<std::string> partition_key = {};
  // Whatever else the checkpoint behind this event says (jsonl: byte offset and line hash).
  // Goes into the checkpoint's text by Source::FormatCheckpoint, nowhere else.
  std::array<uint64_t, 4> resume{};
};

// Orders source positions as their source does: number by number, left to right. The empty
// position ("nothing yet") is below all others. Texts that are not positions compare as bytes.
std::strong_ordering CompareSourcePositions(std::string_view a, std::string_view b);

// Where a source starts after the ledger has answered the open.
struct ResumePoint {
  // The stored checkpoint, as FormatCheckpoint made it: everything at or below it is ledgered.
  std::optional<std::string> checkpoint;
  // Everything at or below this position is ledgered. Empty: from the start (or the checkpoint).
  std::string floor;
  // The greatest ledgered position of any stream. A source that ends below it is *behind the
  // ledger*: it has lost events that the outside may have seen.
  std::string seen;
};

}  // namespace lockstep

#endif  // LOCKSTEP_PRODUCER_SOURCE_EVENT_H_
