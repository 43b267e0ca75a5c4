// What a Pika before 3.1 pushes to its slaves: records of the binlog, in one of two forms.
//
//   3.0   type(2) length(4) body(length), little-endian; the body is a command `auth SID`, or a
//         record: one binlog item, in 3.0.0 to 3.0.4 several with one header.
//   2.3   commands, one after the other; first `auth SID` (2.3.3 and later). Each has four further
//         arguments: a magic word, the server's id, 16 bytes (time, filenum, offset) and a flag.
//         A record of several commands has the same 16 bytes in each.
//
// Total: no bytes break it.
#ifndef LOCKSTEP_PRODUCER_PIKA_LEGACY_WIRE_H_
#define LOCKSTEP_PRODUCER_PIKA_LEGACY_WIRE_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

#include "producer/pika/binlog_item.h"

namespace lockstep::pika {

struct TransferFrame {
  bool auth = false;      // Else a record.
  std::string_view body;  // A view of the bytes it was found in.
  size_t bytes = 0;       // With its header.
};
inline constexpr size_t kTransferBytesMax = size_t{512} << 20;

// The frame that `bytes` begin with; nullopt: it is not all there yet. INVALID_ARGUMENT names the
// field and its byte.
absl::StatusOr<std::optional<TransferFrame>> FindTransferFrame(std::string_view bytes);
void AppendTransferFrame(bool auth, std::string_view body, std::string& out);

// `auth SID`. INVALID_ARGUMENT: anything else.
absl::StatusOr<int64_t> ParseLegacyAuth(std::string_view command);

// One command of 2.3 as a binlog item: the command without the four arguments, the server's id as
// its term_id, logic_id 0. INVALID_ARGUMENT names what is wrong.
absl::StatusOr<std::string> ItemOfMarkedCommand(std::string_view command);
// The other way round, from an item with one command.
void AppendMarkedCommand(const BinlogItem& item, std::string& out);

}  // namespace lockstep::pika

#endif  // LOCKSTEP_PRODUCER_PIKA_LEGACY_WIRE_H_
