#include "producer/pika/legacy_session.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#include "common/base/status_macros.h"
#include "common/model/ids.h"
#include "producer/pika/legacy_wire.h"
#include "producer/pika/resp_command.h"

namespace lockstep::pika {
namespace {

constexpr char kOnlyDatabase[] = "db0";
constexpr int64_t kFirstVersion = 20'300;
constexpr int64_t kFirstWithAuth = 20'303;
constexpr int64_t kFirstPbVersion = 30'100;
constexpr uint64_t kRecordBytesMax = std::numeric_limits<uint32_t>::max();
// What no log has: the master dumps the database.
constexpr BinlogPosition kCopyWish{std::numeric_limits<uint32_t>::max(), 0};

const char* const kChannelNames[] = {"client port", "heartbeat", "binlog connection"};

// The value of `name:value` in an INFO; empty: there is none.
std::string InfoField(const std::string& info, const std::string& name) {
  for (const std::string& line : std::vector<std::string>(absl::StrSplit(info, '\n'))) {
    if (!absl::StartsWith(line, name + ":")) continue;
    const std::string value = line.substr(name.size() + 1);
    return value.substr(0, value.find('\r'));
  }
  return "";
}

// 3.0.16 as 30016; 0: it is no version.
int64_t ParseVersion(const std::string& text) {
  int64_t version = 0;
  const std::vector<std::string> parts = absl::StrSplit(text, '.');
  for (size_t i = 0; i < 3; ++i) {
    const auto part = i < parts.size() ? ParseDecimal(parts[i]) : 0;
    if (!part.ok() || *part > 99) return 0;
    version = version * 100 + *part;
  }
  return version;
}

}  // namespace

LegacySession::LegacySession(SlaveOptions options, int64_t now_ms)
    : options_(std::move(options)),
      heard_at_ms_(now_ms),
      position_(options_.position),
      verifying_(options_.content_mark != 0 && !options_.copy) {
  record_.start = position_;
  record_.parts = options_.parts;
  if (options_.logic_id) record_.logic_id = options_.logic_id;
}

void LegacySession::Fail(absl::Status status) {
  if (stage_ == Stage::kFailed) return;
  stage_ = Stage::kFailed;
  status_ = std::move(status);
}

bool LegacySession::Wants(Channel channel) const {
  if (channel == kCommand) return stage_ == Stage::kAsk || stage_ == Stage::kRoll;
  return stage_ == Stage::kHeartbeat || stage_ == Stage::kStream;
}

void LegacySession::Say(Channel channel, const std::vector<std::string_view>& args) {
  AppendRespCommand(args, output_[channel]);
}

// ---------------------------------------------------------------- connections

void LegacySession::OnOpen(Channel channel, int64_t now_ms) {
  input_[channel] = ByteQueue();
  switch (channel) {
    case kCommand:
      return Ask(options_.password.empty() ? Asked::kInfo : Asked::kAuth, now_ms);
    case kHeartbeat:
      asked_at_ms_ = now_ms;
      return Say(kHeartbeat, {"spci", absl::StrCat(sid_)});
    case kBinlog:
      binlog_open_ = true;
      authenticated_ = version_ < kFirstWithAuth;
      fresh_ = true;
      record_open_ = false;
  }
}

void LegacySession::OnBytes(Channel channel, std::string_view bytes, int64_t now_ms) {
  if (stage_ == Stage::kFailed || !Wants(channel)) return;
  input_[channel].Append(bytes);
  absl::Status status;
  if (channel != kBinlog) {
    status = TakeReplies(channel, now_ms);
  } else {
    status = marked() ? TakeCommands() : TakeFrames();
  }
  if (absl::IsInvalidArgument(status)) {
    status =
        absl::DataLossError(absl::StrCat(kChannelNames[channel], ", byte ", input_[channel].at(),
                                         ": ", std::string(status.message())));
  }
  if (!status.ok()) Fail(std::move(status));
}

void LegacySession::OnClosed(Channel channel, int64_t now_ms) {
  if (channel == kBinlog) {
    // A record that was cut short comes whole on the next one.
    binlog_open_ = false;
    binlog_gone_at_ms_ = now_ms;
    return;
  }
  if (!Wants(channel)) return;
  Fail(absl::UnavailableError(absl::StrCat(
      "the master closed the connection (", kChannelNames[channel], ")",
      stage_ == Stage::kHeartbeat
          ? "; it takes heartbeats from the addresses of its slaves only, and none over loopback"
          : "")));
}

void LegacySession::OnTick(int64_t now_ms) {
  const int64_t waited_ms = now_ms - asked_at_ms_;
  switch (stage_) {
    case Stage::kRoll:
      if (asked_ == Asked::kNothing && waited_ms >= kPingEveryMs) return Ask(Asked::kLog, now_ms);
      [[fallthrough]];
    case Stage::kAsk:
    case Stage::kHeartbeat:
      if ((asked_ != Asked::kNothing || stage_ == Stage::kHeartbeat) &&
          waited_ms >= kAnswerTimeoutMs) {
        Fail(absl::UnavailableError(
            absl::StrCat("the master does not answer for ", waited_ms / 1000, " s")));
      }
      return;
    case Stage::kStream:
      break;
    default:
      return;
  }
  if (now_ms - heard_at_ms_ >= kPongTimeoutMs) {
    return Fail(absl::UnavailableError(absl::StrCat("the master does not answer a heartbeat for ",
                                                    (now_ms - heard_at_ms_) / 1000, " s")));
  }
  if (!binlog_open_ && now_ms - binlog_gone_at_ms_ >= kDialBackMaxMs) {
    return Fail(absl::UnavailableError(absl::StrCat(
        "the master does not dial back to ", options_.slave_ip, ":",
        options_.slave_port + kBinlogPortOffset, " for ", (now_ms - binlog_gone_at_ms_) / 1000,
        " s; a Pika before 3.1 must be able to reach this port (--pika-slave-port fixes it)")));
  }
  if (now_ms - pinged_at_ms_ >= kPingEveryMs) {
    pinged_at_ms_ = now_ms;
    Say(kHeartbeat, {"ping"});
  }
}

// ---------------------------------------------------------------- replies

absl::Status LegacySession::TakeReplies(Channel channel, int64_t now_ms) {
  while (Wants(channel)) {
    LOCKSTEP_ASSIGN_OR_RETURN(const std::optional<RespReply> reply,
                              FindRespReply(input_[channel].bytes()));
    if (!reply) return absl::OkStatus();
    LOCKSTEP_RETURN_IF_ERROR(channel == kCommand ? OnCommandReply(*reply, now_ms)
                                                 : OnHeartbeatReply(*reply, now_ms));
    input_[channel].Drop(reply->bytes);
  }
  return absl::OkStatus();
}

void LegacySession::Ask(Asked what, int64_t now_ms) {
  asked_ = what;
  asked_at_ms_ = now_ms;
  switch (what) {
    case Asked::kAuth:
      return Say(kCommand, {"auth", options_.password});
    case Asked::kInfo:
      return Say(kCommand, {"info"});
    case Asked::kLog:
      return Say(kCommand, {"info", "log"});
    case Asked::kFileSize:
      return Say(kCommand, {"config", "get", "binlog-file-size"});
    default:
      return;
  }
}

absl::Status LegacySession::OnCommandReply(const RespReply& reply, int64_t now_ms) {
  if (reply.kind == '-' && absl::StrContains(reply.text, "NOAUTH")) {
    return PasswordRefused(reply.text);
  }
  switch (std::exchange(asked_, Asked::kNothing)) {
    case Asked::kAuth:
      // One that wants none is not told apart by others either.
      if (reply.kind == '-' && !absl::StrContains(reply.text, "no password is set")) {
        return PasswordRefused(reply.text);
      }
      Ask(Asked::kInfo, now_ms);
      return absl::OkStatus();
    case Asked::kInfo:
      LOCKSTEP_RETURN_IF_ERROR(OnInfo(reply));
      Ask(Asked::kFileSize, now_ms);
      return absl::OkStatus();
    case Asked::kFileSize:
      LOCKSTEP_RETURN_IF_ERROR(OnFileSize(reply));
      AskForStream(now_ms);
      return absl::OkStatus();
    case Asked::kLog:
      LOCKSTEP_RETURN_IF_ERROR(ReadLogEnd(reply.text));
      AskForStream(now_ms);
      return absl::OkStatus();
    case Asked::kTrySync:
      return OnTrySync(reply, now_ms);
    case Asked::kNothing:
      break;
  }
  return absl::InvalidArgumentError("a reply to nothing");
}

absl::Status LegacySession::OnInfo(const RespReply& reply) {
  const std::string text = InfoField(reply.text, "pika_version");
  version_ = ParseVersion(text);
  if (reply.kind != '$' || version_ == 0) {
    return absl::InvalidArgumentError("an INFO without a pika_version: '" + Shown(reply.text) +
                                      "'");
  }
  if (version_ >= kFirstPbVersion) {
    return absl::UnimplementedError("the master is a Pika " + text + ", whose protocol is pb");
  }
  understood_ = true;
  if (version_ < kFirstVersion) {
    return absl::FailedPreconditionError("the master is a Pika " + Shown(text) +
                                         "; before 2.3 its stream has no positions to resume at");
  }
  if (options_.copy && marked()) {
    return absl::FailedPreconditionError(
        "going on needs a full copy, and that of a Pika before 3.0 is not read; keep more binlog "
        "on "
        "it (expire-logs-nums, expire-logs-days)");
  }
  if (!options_.database.empty() && options_.database != kOnlyDatabase) {
    return absl::NotFoundError("the master has no database '" + options_.database +
                               "'; a Pika before 3.1 has only " + kOnlyDatabase);
  }
  if (marked() && InfoField(reply.text, "role") != "master") {
    return absl::FailedPreconditionError(
        "the master is a slave itself; a Pika 2.3 then passes on positions that are not its own. "
        "Name its master in --source");
  }
  return ReadLogEnd(reply.text);
}

absl::Status LegacySession::ReadLogEnd(const std::string& info) {
  const std::string text = InfoField(info, "binlog_offset");
  const size_t space = text.find(' ');
  const auto end = ParseBinlogPosition(
      space == std::string::npos ? "" : text.substr(0, space) + ":" + text.substr(space + 1));
  if (!end.ok()) {
    return absl::InvalidArgumentError("an INFO whose binlog_offset is '" + Shown(text) + "'");
  }
  master_end_ = *end;
  if (!options_.copy && master_end_ < position_) {
    return absl::OutOfRangeError(absl::StrCat("source behind ledger: the master's binlog ends at ",
                                              ToString(master_end_), ", before ",
                                              ToString(position_),
                                              "; a slave that lags catches up, an older copy does "
                                              "not"));
  }
  return absl::OkStatus();
}

absl::Status LegacySession::OnFileSize(const RespReply& reply) {
  const auto size =
      reply.elements.size() == 2 ? ParseDecimal(reply.elements[1]) : absl::InvalidArgumentError("");
  if (!size.ok() || *size <= 0) {
    return absl::InvalidArgumentError("no binlog-file-size in the answer to CONFIG GET: '" +
                                      Shown(reply.text) + "'");
  }
  file_size_ = static_cast<uint64_t>(*size);
  return absl::OkStatus();
}

void LegacySession::AskForStream(int64_t now_ms) {
  BinlogPosition wish = options_.copy ? kCopyWish : position_;
  if (verifying_) {
    // Of several starts the first: the master rounds a wish up to where an entry begins.
    const std::vector<uint64_t> starts =
        BinlogStartsOf(position_.offset, kBinlogItemHeaderBytes + (options_.content_mark >> 32));
    // One behind a full file can not be asked for.
    verifying_ = !starts.empty() && starts.front() <= file_size_;
    if (verifying_) wish.offset = starts.front();
  }
  if (wish.offset > file_size_) {
    // The master refuses an end behind a full file; what follows begins the next file, once there
    // is one. A wish for a file that does not exist would make it dump the database.
    if (master_end_.filenum == wish.filenum) {
      stage_ = Stage::kRoll;
      return;
    }
    wish = {wish.filenum + 1, 0};
  }
  stage_ = Stage::kAsk;
  Ask(Asked::kTrySync, now_ms);
  Say(kCommand, {"trysync", options_.slave_ip, absl::StrCat(options_.slave_port),
                 absl::StrCat(wish.filenum), absl::StrCat(wish.offset)});
}

absl::Status LegacySession::OnTrySync(const RespReply& reply, int64_t now_ms) {
  const std::string where =
      absl::StrCat("its binlog of ", kOnlyDatabase, " at ", ToString(position_));
  if (reply.kind == ':' && !options_.copy) {
    const auto sid = ParseDecimal(reply.text);
    if (!sid.ok()) return absl::InvalidArgumentError("a slave's number that is none");
    sid_ = *sid;
    stage_ = Stage::kHeartbeat;
    asked_at_ms_ = binlog_gone_at_ms_ = now_ms;
    return absl::OkStatus();
  }
  if (reply.kind == '$' && reply.text == "wait") {
    if (!options_.copy) {
      return absl::AbortedError(
          absl::StrCat("the master has purged ", where, " (it is at ", ToString(master_end_), ")"));
    }
    stage_ = Stage::kCopy;
    return absl::OkStatus();
  }
  if (reply.kind == '-' && absl::StrContains(reply.text, "InvalidOffset")) {
    return absl::FailedPreconditionError("the master says that " + where + " can not be read ('" +
                                         Shown(reply.text) +
                                         "'); is this the master that was read before?");
  }
  return absl::UnavailableError("the master refuses trysync of " + where + ": '" +
                                Shown(reply.text) + "'");
}

absl::Status LegacySession::OnHeartbeatReply(const RespReply& reply, int64_t now_ms) {
  if (reply.kind != '+') {
    return absl::UnavailableError("the master refuses the heartbeat: '" + Shown(reply.text) + "'");
  }
  heard_at_ms_ = now_ms;
  if (stage_ == Stage::kHeartbeat) {
    stage_ = Stage::kStream;
    pinged_at_ms_ = now_ms;
  }
  return absl::OkStatus();
}

// ---------------------------------------------------------------- the binlog

absl::Status LegacySession::TakeFrames() {
  ByteQueue& input = input_[kBinlog];
  for (;;) {
    LOCKSTEP_ASSIGN_OR_RETURN(const std::optional<TransferFrame> frame,
                              FindTransferFrame(input.bytes()));
    if (!frame) return absl::OkStatus();
    LOCKSTEP_RETURN_IF_ERROR(frame->auth ? OnAuth(frame->body) : OnRecord(frame->body));
    input.Drop(frame->bytes);
  }
}

absl::Status LegacySession::TakeCommands() {
  ByteQueue& input = input_[kBinlog];
  for (;;) {
    LOCKSTEP_ASSIGN_OR_RETURN(const std::optional<size_t> length, FindRespCommand(input.bytes()));
    if (!length) return absl::OkStatus();
    const std::string_view command = input.bytes().substr(0, *length);
    if (!authenticated_) {
      LOCKSTEP_RETURN_IF_ERROR(OnAuth(command));
    } else {
      LOCKSTEP_ASSIGN_OR_RETURN(const std::string item, ItemOfMarkedCommand(command));
      LOCKSTEP_RETURN_IF_ERROR(OnItem(item, *length, false));
    }
    input.Drop(*length);
  }
}

absl::Status LegacySession::OnAuth(std::string_view command) {
  LOCKSTEP_ASSIGN_OR_RETURN(const int64_t sid, ParseLegacyAuth(command));
  if (sid != sid_) {
    return absl::UnavailableError(
        absl::StrCat("the master's binlog connection is of slave ", sid, ", and we are ", sid_));
  }
  authenticated_ = true;
  return absl::OkStatus();
}

absl::Status LegacySession::OnRecord(std::string_view body) {
  if (!authenticated_) return absl::InvalidArgumentError("a record before auth");
  while (!body.empty()) {
    const std::string_view from = body;
    LOCKSTEP_ASSIGN_OR_RETURN(const BinlogItem item, TakeBinlogItem(body));
    const std::string_view bytes = from.substr(0, from.size() - body.size());
    LOCKSTEP_RETURN_IF_ERROR(IsPaddingItem(item) ? OnPadding(bytes)
                                                 : OnItem(bytes, bytes.size(), body.empty()));
  }
  return absl::OkStatus();
}

absl::Status LegacySession::OnPadding(std::string_view bytes) {
  position_.offset = AdvanceBinlogOffset(position_.offset, bytes.size());
  fresh_ = record_open_ = false;
  items_.push_back({position_, std::string(bytes)});
  return absl::OkStatus();
}

absl::Status LegacySession::OnItem(std::string_view bytes, uint64_t length, bool ends_record) {
  LOCKSTEP_ASSIGN_OR_RETURN(const BinlogItem item, ParseBinlogItem(bytes));
  const bool verified = verifying_;
  if (verifying_) {
    LOCKSTEP_RETURN_IF_ERROR(Verify(item, length, ends_record && !record_open_));
    verifying_ = false;
    position_ = item.start;
  }
  if (!record_open_ || item.start != record_.start) LOCKSTEP_RETURN_IF_ERROR(BeginRecord(item));
  record_open_ = !ends_record;
  fresh_ = false;
  record_.bytes += length;
  ++record_.parts;
  if (record_.bytes > kRecordBytesMax) {
    return absl::DataLossError(absl::StrCat("binlog record at ", ToString(record_.start),
                                            " of more than ", kRecordBytesMax, " bytes"));
  }
  position_ = {record_.begin.filenum, AdvanceBinlogOffset(record_.begin.offset, record_.bytes)};
  const bool had = record_.parts <= skip_;
  items_.push_back(
      {position_, had ? "" : std::string(bytes), ends_record ? 0 : record_.parts, verified});
  return absl::OkStatus();
}

absl::Status LegacySession::Verify(const BinlogItem& item, size_t bytes, bool whole) const {
  const uint64_t mark = ContentMark(item.content);
  if (whole && EndsAt(item.start, bytes, position_) && mark == options_.content_mark) {
    return absl::OkStatus();
  }
  return OtherHistory(
      position_, options_.content_mark,
      absl::StrCat("one begins at ", ToString(item.start), " and has ", DescribeContentMark(mark)));
}

absl::Status LegacySession::BeginRecord(const BinlogItem& item) {
  const auto fail = [&](const std::string& what) {
    return absl::DataLossError(
        absl::StrCat("binlog of ", kOnlyDatabase, " behind ", ToString(position_), ": ", what));
  };
  // A new connection begins with the record that the one before was cut in.
  const bool again = fresh_ && record_.parts > 0 && item.start == record_.start;
  if (!again && item.start != position_) {
    return fail((item.start < position_ ? "position goes back: the next record begins at "
                                        : "binlog hole: the next record begins at ") +
                ToString(item.start));
  }
  if (!marked() && record_.logic_id && item.logic_id != *record_.logic_id + (again ? 0 : 1)) {
    return fail(absl::StrCat("logic_id mismatch: ", item.logic_id, " follows ", *record_.logic_id,
                             "; another history?"));
  }
  skip_ = again ? std::max(skip_, record_.parts) : 0;
  record_ = {item.start, item.start, 0, 0, item.logic_id};
  // A record that found its file full lies at the start of the next.
  if (item.start.offset > file_size_) record_.begin = {item.start.filenum + 1, 0};
  return absl::OkStatus();
}

}  // namespace lockstep::pika
