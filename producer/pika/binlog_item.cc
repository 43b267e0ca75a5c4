#include "producer/pika/binlog_item.h"

#include <limits>

#include "absl/strings/str_cat.h"

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/model/ids.h"

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

template <class Int>
Int Read(std::string_view bytes, size_t at) {
  Int value = 0;
  for (size_t i = sizeof(Int); i-- > 0;) {
    value = static_cast<Int>(value << 8 | static_cast<unsigned char>(bytes[at + i]));
  }
  return value;
}

template <class Int>
void Append(Int value, std::string& out) {
  for (size_t i = 0; i < sizeof(Int); ++i) out.push_back(static_cast<char>(value >> (8 * i)));
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
  if (bytes.size() < kBinlogItemHeaderBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("header cut at byte ", bytes.size(), " of ", kBinlogItemHeaderBytes));
  }
  BinlogItem item;
  const auto type = Read<uint16_t>(bytes, kTypeAt);
  item.exec_time_s = Read<uint32_t>(bytes, kExecTimeAt);
  item.term_id = Read<uint32_t>(bytes, kTermIdAt);
  item.logic_id = Read<uint64_t>(bytes, kLogicIdAt);
  item.start = {Read<uint32_t>(bytes, kFilenumAt), Read<uint64_t>(bytes, kOffsetAt)};
  const auto content_length = Read<uint32_t>(bytes, kContentLengthAt);
  item.content = bytes.substr(kBinlogItemHeaderBytes);
  if (content_length != item.content.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("content_length at byte ", kContentLengthAt, " is ", content_length, ", but ",
                     item.content.size(), " bytes follow the header"));
  }
  if (type != kItemType && !(type == 0 && IsPaddingItem(item))) {
    return absl::InvalidArgumentError(
        absl::StrCat("type at byte ", kTypeAt, " is ", type, ", not ", kItemType));
  }
  if (item.start.offset >= kOffsetMax) {
    return absl::InvalidArgumentError(absl::StrCat(
        "offset at byte ", kOffsetAt, " is ", item.start.offset, ", more than any file holds"));
  }
  return item;
}

void AppendBinlogItem(const BinlogItem& item, std::string& out) {
  Append(kItemType, out);
  Append(item.exec_time_s, out);
  Append(item.term_id, out);
  Append(item.logic_id, out);
  Append(item.start.filenum, out);
  Append(item.start.offset, out);
  Append(static_cast<uint32_t>(item.content.size()), out);
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

}  // namespace lockstep::pika
