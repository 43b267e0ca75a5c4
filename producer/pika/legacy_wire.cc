#include "producer/pika/legacy_wire.h"

#include <limits>
#include <span>
#include <vector>

#include "absl/strings/str_cat.h"

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/model/ids.h"
#include "producer/pika/little_endian.h"
#include "producer/pika/resp_command.h"

namespace lockstep::pika {
namespace {

constexpr size_t kFrameHeaderBytes = 6;
constexpr size_t kLengthAt = 2;
constexpr uint16_t kAuth = 1;
constexpr uint16_t kRecord = 2;

constexpr std::string_view kMagic = "__PIKA_X#$SKGI";
constexpr size_t kMarks = 4;
constexpr size_t kInfoBytes = 16;

absl::Status Bad(const std::string& what) { return absl::InvalidArgumentError(what); }

}  // namespace

absl::StatusOr<std::optional<TransferFrame>> FindTransferFrame(std::string_view bytes) {
  if (bytes.size() < kFrameHeaderBytes) return std::nullopt;
  const auto type = ReadLittleEndian<uint16_t>(bytes, 0);
  const auto length = ReadLittleEndian<uint32_t>(bytes, kLengthAt);
  if (type != kAuth && type != kRecord) {
    return Bad(absl::StrCat("type at byte 0 is ", type, ", not 1 or 2"));
  }
  if (length == 0 || length > kTransferBytesMax) {
    return Bad(absl::StrCat("length at byte ", kLengthAt, " is ", length, ", not between 1 and ",
                            kTransferBytesMax));
  }
  if (bytes.size() - kFrameHeaderBytes < length) return std::nullopt;
  return TransferFrame{type == kAuth, bytes.substr(kFrameHeaderBytes, length),
                       kFrameHeaderBytes + length};
}

void AppendTransferFrame(bool auth, std::string_view body, std::string& out) {
  LOCKSTEP_CHECK(!body.empty() && body.size() <= kTransferBytesMax, "a frame has a body");
  AppendLittleEndian(auth ? kAuth : kRecord, out);
  AppendLittleEndian(static_cast<uint32_t>(body.size()), out);
  out.append(body);
}

absl::StatusOr<int64_t> ParseLegacyAuth(std::string_view command) {
  std::vector<std::string_view> args;
  LOCKSTEP_RETURN_IF_ERROR(ParseRespCommand(command, args));
  if (args.size() != 2 || args[0] != "auth") return Bad("the command is not 'auth SID'");
  const auto sid = ParseDecimal(args[1]);
  if (!sid.ok()) return Bad("the SID of auth is no number");
  return *sid;
}

absl::StatusOr<std::string> ItemOfMarkedCommand(std::string_view command) {
  std::vector<std::string_view> args;
  LOCKSTEP_RETURN_IF_ERROR(ParseRespCommand(command, args));
  if (args.size() <= kMarks || args[args.size() - kMarks] != kMagic) {
    return Bad("the magic word is not the fourth argument from the end");
  }
  const std::span<const std::string_view> marks = std::span(args).last(kMarks);
  const auto server_id = ParseDecimal(marks[1]);
  if (!server_id.ok() || *server_id > std::numeric_limits<uint32_t>::max()) {
    return Bad("the server's id, the third argument from the end, is no number");
  }
  if (marks[2].size() != kInfoBytes) {
    return Bad(absl::StrCat("the position, the second argument from the end, has ", marks[2].size(),
                            " bytes, not ", kInfoBytes));
  }
  std::string content;
  AppendRespCommand(std::span(args).first(args.size() - kMarks), content);
  BinlogItem item;
  item.exec_time_s = ReadLittleEndian<uint32_t>(marks[2], 0);
  item.term_id = static_cast<uint32_t>(*server_id);
  item.start = {ReadLittleEndian<uint32_t>(marks[2], 4), ReadLittleEndian<uint64_t>(marks[2], 8)};
  item.content = content;
  std::string bytes;
  AppendBinlogItem(item, bytes);
  // The offset's range is the item's business.
  LOCKSTEP_RETURN_IF_ERROR(ParseBinlogItem(bytes).status());
  return bytes;
}

void AppendMarkedCommand(const BinlogItem& item, std::string& out) {
  std::vector<std::string_view> args;
  LOCKSTEP_CHECK(ParseRespCommand(item.content, args).ok(), "the item has one command");
  std::string info;
  AppendLittleEndian(item.exec_time_s, info);
  AppendLittleEndian(item.start.filenum, info);
  AppendLittleEndian(item.start.offset, info);
  const std::string server_id = absl::StrCat(item.term_id);
  args.insert(args.end(), {kMagic, server_id, info, "1"});
  AppendRespCommand(args, out);
}

}  // namespace lockstep::pika
