// The numbers and names of design.md's dictionary, each a kind of its own.
#ifndef LOCKSTEP_COMMON_MODEL_IDS_H_
#define LOCKSTEP_COMMON_MODEL_IDS_H_

#include <compare>
#include <cstdint>
#include <ostream>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

#include "common/base/strong_int.h"

namespace lockstep {

using Offset =
    StrongInt<struct OffsetTag>;       // In one epoch's log; given by the broker; may have holes.
using Seq = StrongInt<struct SeqTag>;  // 1, 2, 3… per (producer, stream), across terms and epochs.
using Term = StrongInt<struct TermTag>;  // Fencing number of one tenure, from 1; never used twice.
using Epoch = StrongInt<struct EpochTag>;                     // Reign of one primary, from 1.
using StreamId = StrongInt<struct StreamIdTag>;               // The ledger's number for a stream.
using ProducerId = StrongInt<struct ProducerIdTag, int32_t>;  // The ledger's number for a producer.

// A point in a stream's global order: offset in the log of one epoch.
struct Position {
  Epoch epoch;
  Offset offset;
  auto operator<=>(const Position&) const = default;
};

// One topic-partition under its logical name: `orders/0`.
struct StreamName {
  std::string topic;
  int32_t partition = 0;
  auto operator<=>(const StreamName&) const = default;
};

// `EPOCH:OFFSET`, as on a command line.
std::string ToString(const Position& position);
absl::StatusOr<Position> ParsePosition(std::string_view text);

// `TOPIC/PARTITION`. The topic obeys Kafka's rules (letters, digits, `.`, `_`, `-`; 1 to 249; not
// `.` or `..`).
std::string ToString(const StreamName& stream);
absl::StatusOr<StreamName> ParseStreamName(std::string_view text);

// Decimal without sign, spaces or leading zeros; at most INT64_MAX. The one number parser of every
// format of ours.
absl::StatusOr<int64_t> ParseDecimal(std::string_view text);

inline std::ostream& operator<<(std::ostream& out, const Position& p) { return out << ToString(p); }
inline std::ostream& operator<<(std::ostream& out, const StreamName& s) {
  return out << ToString(s);
}

}  // namespace lockstep

#endif  // LOCKSTEP_COMMON_MODEL_IDS_H_
