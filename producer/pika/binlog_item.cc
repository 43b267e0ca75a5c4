#include "producer/pika/binlog_item.h"

#include <xxhash.h>

#include <limits>

#include "absl/strings/str_cat.h"

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/model/ids.h"
#include "producer/pika/little_endian.h"

namespace lockstep::pika {
namespace {

constexpr uint16_t kItemType = 1;
constexpr uint64_t kBlockBytes = 65'536;
constexpr uint64_t kFragmentHeaderBytes = 8;
constexpr uint64_t kOffsetMax = uint64_t{1} << 62;

// Where each header field begins.
constexpr size_t kTypeAt = 0;
constexpr size_t kExecTimeAt = 2;
constexpr size_t kTermIdAt = 6;
constexpr size_t kLogicIdAt = 10;
constexpr size_t kFilenumAt = 18;
constexpr size_t kOffsetAt = 22;
constexpr size_t kContentLengthAt = 30;

absl::Status BadLength(size_t content_length, size_t there) {
  return absl::InvalidArgumentError(absl::StrCat("content_length at byte ", kContentLengthAt,
                                                 " is ", content_length, ", but ", there,
                                                 " bytes follow the header"));
}

}  // namespace

std::string ToString(const BinlogPosition& position) {
  return absl::StrCat(position.filenum, ":", position.offset);
}

absl::StatusOr<BinlogPosition> ParseBinlogPosition(std::string_view text) {
  const size_t colon = text.find(':');
  if (colon != std::string_view::npos) {
    const absl::StatusOr<int64_t> filenum = ParseDecimal(text.substr(0, colon));
    const absl::StatusOr<int64_t> offset = ParseDecimal(text.substr(colon + 1));
    if (filenum.ok() && offset.ok() && *filenum <= std::numeric_limits<uint32_t>::max()) {
      return BinlogPosition{static_cast<uint32_t>(*filenum), static_cast<uint64_t>(*offset)};
    }
  }
  return absl::InvalidArgumentError("'" + std::string(text) +
                                    "' is not a binlog position FILENUM:OFFSET");
}

absl::StatusOr<BinlogItem> ParseBinlogItem(std::string_view bytes) {
  LOCKSTEP_ASSIGN_OR_RETURN(const BinlogItem item, TakeBinlogItem(bytes));
  if (!bytes.empty()) return BadLength(item.content.size(), item.content.size() + bytes.size());
  return item;
}

absl::StatusOr<BinlogItem> TakeBinlogItem(std::string_view& bytes) {
  if (bytes.size() < kBinlogItemHeaderBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("header cut at byte ", bytes.size(), " of ", kBinlogItemHeaderBytes));
  }
  BinlogItem item;
  const auto type = ReadLittleEndian<uint16_t>(bytes, kTypeAt);
  item.exec_time_s = ReadLittleEndian<uint32_t>(bytes, kExecTimeAt);
  item.term_id = ReadLittleEndian<uint32_t>(bytes, kTermIdAt);
  item.logic_id = ReadLittleEndian<uint64_t>(bytes, kLogicIdAt);
  item.start = {ReadLittleEndian<uint32_t>(bytes, kFilenumAt),
                ReadLittleEndian<uint64_t>(bytes, kOffsetAt)};
  const auto content_length = ReadLittleEndian<uint32_t>(bytes, kContentLengthAt);
  if (content_length > bytes.size() - kBinlogItemHeaderBytes) {
    return BadLength(content_length, bytes.size() - kBinlogItemHeaderBytes);
  }
  item.content = bytes.substr(kBinlogItemHeaderBytes, content_length);
  if (type != kItemType && !(type == 0 && IsPaddingItem(item))) {
    return absl::InvalidArgumentError(
        absl::StrCat("type at byte ", kTypeAt, " is ", type, ", not ", kItemType));
  }
  if (item.start.offset >= kOffsetMax) {
    return absl::InvalidArgumentError(absl::StrCat(
        "offset at byte ", kOffsetAt, " is ", item.start.offset, ", more than any file holds"));
  }
  bytes.remove_prefix(kBinlogItemHeaderBytes + content_length);
  return item;
}

void AppendBinlogItem(const BinlogItem& item, std::string& out) {
  AppendLittleEndian(kItemType, out);
  AppendLittleEndian(item.exec_time_s, out);
  AppendLittleEndian(item.term_id, out);
  AppendLittleEndian(item.logic_id, out);
  AppendLittleEndian(item.start.filenum, out);
  AppendLittleEndian(item.start.offset, out);
  AppendLittleEndian(static_cast<uint32_t>(item.content.size()), out);
  out.append(item.content);
}

bool IsPaddingItem(const BinlogItem& item) {
  constexpr std::string_view kContent = "*2\r\n$7\r\npadding\r\n";
  return item.exec_time_s == 0 && item.term_id == 0 && item.logic_id == 0 &&
         item.start == BinlogPosition() && item.content.substr(0, kContent.size()) == kContent;
}

uint64_t AdvanceBinlogOffset(uint64_t offset, uint64_t bytes) {
  LOCKSTEP_CHECK(offset < kOffsetMax && bytes >> 32 == 0, "AdvanceBinlogOffset REQUIRES it");
  for (;;) {
    const uint64_t left = kBlockBytes - offset % kBlockBytes;
    if (left < kFragmentHeaderBytes) offset += left;
    const uint64_t room = kBlockBytes - offset % kBlockBytes - kFragmentHeaderBytes;
    const uint64_t part = std::min(bytes, room);
    offset += kFragmentHeaderBytes + part;
    bytes -= part;
    if (bytes == 0) return offset;
  }
}

bool EndsAt(const BinlogPosition& start, size_t item_bytes, const BinlogPosition& end) {
  if (end.filenum == start.filenum) {
    return AdvanceBinlogOffset(start.offset, item_bytes) == end.offset;
  }
  return end.filenum == start.filenum + 1 && AdvanceBinlogOffset(0, item_bytes) == end.offset;
}

std::vector<uint64_t> BinlogStartsOf(uint64_t end, uint64_t bytes) {
  // AdvanceBinlogOffset never falls: the first start that reaches `end`, and those that do as well.
  uint64_t low = 0;
  uint64_t high = end;
  while (low < high) {
    const uint64_t middle = low + (high - low) / 2;
    if (AdvanceBinlogOffset(middle, bytes) < end) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  std::vector<uint64_t> starts;
  for (; low < end && AdvanceBinlogOffset(low, bytes) == end; ++low) starts.push_back(low);
  return starts;
}

uint64_t ContentMark(std::string_view content) {
  const uint64_t mark =
      uint64_t{content.size()} << 32 | (XXH3_64bits(content.data(), content.size()) & 0xffff'ffff);
  return mark == 0 ? 1 : mark;
}

std::string DescribeContentMark(uint64_t mark) {
  return absl::StrCat(mark >> 32, " bytes, hash ", absl::Hex(mark & 0xffff'ffff, absl::kZeroPad8));
}

}  // namespace lockstep::pika
