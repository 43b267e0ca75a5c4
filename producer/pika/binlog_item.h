// BinlogItem: one entry of Pika's binlog, as it travels and as it lies in the file.
//
// 34 bytes of header, little-endian, and the command as a RESP array. There is no checksum; what
// can be checked is that lengths add up, that each entry begins where the one before it ended, and
// that logic_id counts on. docs/formats/pika-replication.md has the bytes.
//
// Total: no bytes break the parser.
#ifndef LOCKSTEP_PRODUCER_PIKA_BINLOG_ITEM_H_
#define LOCKSTEP_PRODUCER_PIKA_BINLOG_ITEM_H_

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace lockstep::pika {

// A point in one database's binlog: a byte offset in `write2file<filenum>`. The same number on a
// master and on its healthy slaves.
struct BinlogPosition {
  uint32_t filenum = 0;
  uint64_t offset = 0;
  auto operator<=>(const BinlogPosition&) const = default;
};

// `FILENUM:OFFSET`, a source position.
std::string ToString(const BinlogPosition& position);
// INVALID_ARGUMENT names the text.
absl::StatusOr<BinlogPosition> ParseBinlogPosition(std::string_view text);

inline constexpr size_t kBinlogItemHeaderBytes = 34;

struct BinlogItem {
  uint32_t exec_time_s = 0;  // Unix time on the master when the command was logged.
  uint32_t term_id = 0;      // 3.0 to 3.2: the master's server id.
  uint64_t logic_id = 0;     // Counts the entries of one log.
  BinlogPosition start;      // Where the log ended before this entry.
  std::string_view content;  // The command, one RESP array.
};

// Takes exactly one item. INVALID_ARGUMENT names the field and its byte. The content is not looked
// into; it lives as long as `bytes`.
absl::StatusOr<BinlogItem> ParseBinlogItem(std::string_view bytes);
// The same for the first of several, `bytes` then begin behind it.
absl::StatusOr<BinlogItem> TakeBinlogItem(std::string_view& bytes);
void AppendBinlogItem(const BinlogItem& item, std::string& out);

// True for the filler of a node that was copied from another one (3.0.10 to 3.3.1): its header is
// all zero, it stands for no command and has no place in the count.
bool IsPaddingItem(const BinlogItem& item);

// Where a record of `bytes` ends that begins at `offset`: records lie in blocks of 64 KiB, an
// 8-byte header before each fragment, and a rest below 8 bytes is left empty. REQUIRES: offset <
// 2^62, bytes < 2^32
uint64_t AdvanceBinlogOffset(uint64_t offset, uint64_t bytes);

// True iff an item of `item_bytes` whose header says `start` can end at `end`: in the same file, or
// as the first of the next one.
bool EndsAt(const BinlogPosition& start, size_t item_bytes, const BinlogPosition& end);

// Every offset where a record of `bytes` can begin that ends at `end`, ascending; several only
// where a rest of a block is left empty. The inverse of AdvanceBinlogOffset, with what it REQUIRES.
std::vector<uint64_t> BinlogStartsOf(uint64_t end, uint64_t bytes);

// What an entry's content is known by on any server of its group, where all but its place in the
// log is numbered anew: the length in the upper 32 bits, the lower half of its XXH3-64 below. Never
// 0.
uint64_t ContentMark(std::string_view content);
// `27 bytes, hash 89abcdef`
std::string DescribeContentMark(uint64_t mark);

}  // namespace lockstep::pika

#endif  // LOCKSTEP_PRODUCER_PIKA_BINLOG_ITEM_H_
