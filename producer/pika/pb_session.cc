#include "producer/pika/pb_session.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/base/utf8.h"

namespace lockstep::pika {
namespace {

BinlogPosition PositionOf(const BinlogPoint& point) { return {point.filenum(), point.offset()}; }

void FillPoint(const BinlogPosition& position, BinlogPoint& point) {
  point.set_filenum(position.filenum);
  point.set_offset(position.offset);
}

// Database names come from outside and go into events and back to servers that crash on wrong ones.
bool ValidDatabaseName(const std::string& name) {
  for (const char c : name) {
    const bool fine = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                      c == '_' || c == '-' || c == '.';
    if (!fine) return false;
  }
  return !name.empty() && name.size() <= 64;
}

}  // namespace

PbSession::PbSession(SlaveOptions options, int64_t now_ms)
    : options_(std::move(options)),
      position_(options_.position),
      verifying_(options_.content_mark != 0 && !options_.copy),
      logic_id_(options_.logic_id),
      asked_at_ms_(now_ms),
      heard_at_ms_(now_ms) {
  if (verifying_) {
    starts_ =
        BinlogStartsOf(position_.offset, kBinlogItemHeaderBytes + (options_.content_mark >> 32));
  }
  Request request;
  request.set_type(META_SYNC);
  FillNode(*request.mutable_meta_sync()->mutable_node());
  if (!options_.password.empty()) request.mutable_meta_sync()->set_auth(options_.password);
  Send(request, now_ms);
}

void PbSession::FillNode(Node& node) const {
  node.set_ip(options_.slave_ip);
  node.set_port(options_.slave_port);
}

void PbSession::Send(const Request& request, int64_t now_ms) {
  AppendPbFrame(request.SerializeAsString(), output_);
  sent_at_ms_ = now_ms;
}

std::string PbSession::TakeOutput() { return std::exchange(output_, {}); }

std::vector<ReceivedItem> PbSession::TakeItems() { return std::exchange(items_, {}); }

void PbSession::Fail(absl::Status status) {
  if (stage_ == Stage::kFailed) return;
  stage_ = Stage::kFailed;
  status_ = std::move(status);
}

void PbSession::OnBytes(std::string_view bytes, int64_t now_ms) {
  if (stage_ == Stage::kFailed) return;
  reader_.Append(bytes);
  while (stage_ != Stage::kFailed) {
    const auto frame = reader_.Next();
    if (!frame.ok()) {
      std::string hint;
      if (reader_.frames() == 0) {
        hint = "; is this the replication port (client port + 2000) of a Pika 3.1 or later?";
      }
      return Fail(Annotate(frame.status(), "the master's bytes make no sense" + hint));
    }
    if (!*frame) break;
    heard_at_ms_ = now_ms;
    OnFrame(**frame, now_ms);
  }
  if (ping_due_ && stage_ != Stage::kFailed) SendBinlogSync({}, {}, false, now_ms);
  ping_due_ = false;
}

void PbSession::OnFrame(std::string_view frame, int64_t now_ms) {
  Response response;
  if (!response.ParseFromArray(frame.data(), static_cast<int>(frame.size()))) {
    return Fail(absl::DataLossError(absl::StrCat("frame ", reader_.frames(), " at byte ",
                                                 reader_.frame_byte(), ", ", frame.size(),
                                                 " bytes, is no reply of Pika's")));
  }
  understood_ = true;
  absl::Status status;
  if (response.type() == META_SYNC && stage_ == Stage::kMeta) {
    status = OnMetaSync(response);
    if (status.ok()) Ask(now_ms);
  } else if (response.type() == DB_SYNC && stage_ == Stage::kTry && options_.copy &&
             (!response.db_sync().has_slot() ||
              response.db_sync().slot().db_name() == options_.database)) {
    status = OnDbSync(response);
    if (status.ok()) stage_ = Stage::kCopy;
  } else if (response.type() == TRY_SYNC && stage_ == Stage::kTry && !options_.copy &&
             (!response.try_sync().has_slot() ||
              response.try_sync().slot().db_name() == options_.database)) {
    status = OnTrySync(response, now_ms);
  } else if (response.type() == BINLOG_SYNC &&
             (stage_ == Stage::kStream || stage_ == Stage::kCopy)) {
    for (Response::BinlogSync& element : *response.mutable_binlog_sync()) {
      status = OnBinlog(element);
      if (!status.ok()) break;
    }
  } else {
    ++ignored_;
  }
  if (!status.ok()) Fail(std::move(status));
}

BinlogPosition PbSession::Wish() const {
  return verifying_ ? BinlogPosition{position_.filenum, starts_.front()} : position_;
}

void PbSession::Ask(int64_t now_ms) {
  if (verifying_ && starts_.empty()) {
    return Fail(OtherHistory(position_, options_.content_mark,
                             "no entry of that length ends there in " + options_.database));
  }
  Request request;
  request.set_type(options_.copy ? DB_SYNC : TRY_SYNC);
  Request::Sync& sync = options_.copy ? *request.mutable_db_sync() : *request.mutable_try_sync();
  FillNode(*sync.mutable_node());
  sync.mutable_slot()->set_db_name(options_.database);
  sync.mutable_slot()->set_slot_id(0);
  FillPoint(Wish(), *sync.mutable_point());
  Send(request, now_ms);
  stage_ = Stage::kTry;
  asked_at_ms_ = now_ms;
}

absl::Status PbSession::OnMetaSync(const Response& response) {
  if (response.status() != STATUS_OK) {
    if (absl::StrContains(response.reply(), "masterauth")) return PasswordRefused(response.reply());
    return absl::UnavailableError("the master refuses MetaSync: '" + Shown(response.reply()) + "'");
  }
  const Response::MetaSync& meta = response.meta_sync();
  if (!response.has_meta_sync() || meta.databases().empty()) {
    return absl::DataLossError("the master's MetaSync names no database");
  }
  if (!meta.classic_mode()) {
    return absl::FailedPreconditionError(
        "the master runs in sharding mode, which is not read; use instance-mode classic");
  }
  if (!IsUtf8(meta.replication_id()) || meta.replication_id().size() > 255) {
    return absl::DataLossError("the master's replication_id is not text");
  }
  replication_id_ = meta.replication_id();
  const bool other_id = !options_.replication_id.empty() && !replication_id_.empty() &&
                        options_.replication_id != replication_id_;
  const bool other_hash = options_.replication_hash != 0 && !replication_id_.empty() &&
                          options_.replication_hash != ReplicationHash(replication_id_);
  if (other_id || other_hash) {
    return absl::FailedPreconditionError(
        "source behind ledger: the master belongs to another replication group ('" +
        replication_id_ +
        "') than the one that was read so far; its positions mean something else");
  }
  if (options_.copy && meta.has_run_id() == options_.push) {
    return absl::UnimplementedError(options_.push
                                        ? "this Pika does not push its full copy"
                                        : "a Pika before 3.5 pushes its full copy by rsync");
  }
  return ChooseDatabase(meta);
}

absl::Status PbSession::ChooseDatabase(const Response::MetaSync& meta) {
  std::string names;
  bool found = false;
  for (const auto& database : meta.databases()) {
    names += (names.empty() ? "" : ", ") + Shown(database.db_name());
    found |= database.db_name() == options_.database;
  }
  if (options_.database.empty()) {
    if (meta.databases_size() > 1) {
      return absl::InvalidArgumentError(
          "the master has the databases " + names +
          ", each with a binlog of its own; start one producer for each, with its own --name and "
          "?db=NAME in its --source");
    }
    options_.database = meta.databases(0).db_name();
    found = true;
  }
  if (!found) {
    return absl::NotFoundError("the master has no database '" + options_.database + "'; it has " +
                               names);
  }
  if (!ValidDatabaseName(options_.database)) {
    return absl::DataLossError("'" + Shown(options_.database) + "' is no database name");
  }
  return absl::OkStatus();
}

absl::Status PbSession::OnTrySync(const Response& response, int64_t now_ms) {
  const std::string where = absl::StrCat(options_.database, " at ", ToString(position_));
  if (response.status() != STATUS_OK) {
    return absl::UnavailableError("the master refuses TrySync of " + where + ": '" +
                                  Shown(response.reply()) + "'");
  }
  const Response::TrySync& answer = response.try_sync();
  master_end_ = PositionOf(answer.point());
  const std::string end = ToString(master_end_);
  const absl::Status behind = absl::OutOfRangeError(
      absl::StrCat("source behind ledger: the master's binlog of ", where, " ends at ", end,
                   "; a slave that lags catches up, an older copy does not"));
  switch (answer.answer()) {
    case Response::TrySync::OK:
      if (verifying_ && master_end_ < position_) return behind;  // It lacks the entry itself.
      session_id_ = answer.session_id();
      stage_ = Stage::kStream;
      asked_at_ms_ = now_ms;
      SendBinlogSync({Wish()}, {Wish()}, true, now_ms);
      return absl::OkStatus();
    case Response::TrySync::POINT_PURGED:
      return absl::AbortedError(absl::StrCat(
          "the master has purged its binlog of ", where, " (it is at ", end, ")",
          master_end_.filenum == position_.filenum
              ? "; it even deleted the file that it writes to, which comes back with the next one"
              : ""));
    case Response::TrySync::POINT_LARGER:
      return behind;
    default:
      if (verifying_) {
        starts_.erase(starts_.begin());
        Ask(now_ms);
        return absl::OkStatus();
      }
      return absl::FailedPreconditionError(absl::StrCat(
          "the master says that no entry of ", where,
          " begins there; is this the master, or a slave of it, that was read before?"));
  }
}

absl::Status PbSession::OnDbSync(const Response& response) {
  if (response.status() != STATUS_OK || !response.db_sync().has_session_id()) {
    return absl::UnavailableError("the master refuses a full copy of " + options_.database + ": '" +
                                  Shown(response.reply()) + "'");
  }
  session_id_ = response.db_sync().session_id();
  return absl::OkStatus();
}

absl::Status PbSession::OnBinlog(Response::BinlogSync& element) {
  if (element.slot().db_name() != options_.database || element.session_id() != session_id_) {
    ++ignored_;
    return absl::OkStatus();
  }
  if (element.item().empty()) {
    ping_due_ = true;
    return absl::OkStatus();
  }
  if (stage_ == Stage::kCopy) return absl::DataLossError("entries of a stream not asked for");
  const BinlogPosition end = PositionOf(element.end());
  const auto fail = [&](const std::string& what) {
    return absl::DataLossError(
        absl::StrCat("binlog of ", options_.database, " behind ", ToString(position_), ": ", what));
  };
  const absl::StatusOr<BinlogItem> item = ParseBinlogItem(element.item());
  if (!item.ok()) return fail(std::string(item.status().message()));
  const bool verified = verifying_;
  if (verifying_) {
    LOCKSTEP_RETURN_IF_ERROR(CheckFirst(*item, element.item().size(), end));
    verifying_ = false;
  } else if (const absl::Status why = CheckNext(*item, element.item().size(), end); !why.ok()) {
    return fail(std::string(why.message()));
  }
  if (!IsPaddingItem(*item)) logic_id_ = item->logic_id;
  position_ = end;
  unacknowledged_.push_back({end, element.end().term(), element.end().index()});
  items_.push_back({end, std::move(*element.mutable_item()), 0, verified});
  return absl::OkStatus();
}

absl::Status PbSession::CheckFirst(const BinlogItem& item, size_t bytes,
                                   const BinlogPosition& end) {
  const uint64_t mark = ContentMark(item.content);
  if (end == position_ && EndsAt(item.start, bytes, end) && mark == options_.content_mark) {
    return absl::OkStatus();
  }
  return OtherHistory(position_, options_.content_mark,
                      absl::StrCat("one of ", options_.database, " ends at ", ToString(end),
                                   " and has ", DescribeContentMark(mark)));
}

absl::Status PbSession::CheckNext(const BinlogItem& item, size_t bytes, const BinlogPosition& end) {
  if (end <= position_) {
    return absl::DataLossError("position goes back: an item that ends at " + ToString(end));
  }
  if (IsPaddingItem(item)) return absl::OkStatus();
  if (item.start != position_) {
    return absl::DataLossError("binlog hole: the next item begins at " + ToString(item.start));
  }
  if (!EndsAt(item.start, bytes, end)) {
    return absl::DataLossError(
        absl::StrCat("an item of ", bytes, " bytes can not end at ", ToString(end)));
  }
  if (logic_id_ && item.logic_id != *logic_id_ + 1) {
    return absl::DataLossError(absl::StrCat("logic_id mismatch: ", item.logic_id, " follows ",
                                            *logic_id_, "; another history?"));
  }
  return absl::OkStatus();
}

void PbSession::SendBinlogSync(const Unacknowledged& first, const Unacknowledged& last,
                               bool first_send, int64_t now_ms) {
  Request request;
  request.set_type(BINLOG_SYNC);
  Request::BinlogSync& sync = *request.mutable_binlog_sync();
  FillNode(*sync.mutable_node());
  sync.set_db_name(options_.database);
  sync.set_slot_id(0);
  const auto fill = [](const Unacknowledged& from, BinlogPoint& point) {
    FillPoint(from.end, point);
    point.set_term(from.term);
    point.set_index(from.index);
  };
  fill(first, *sync.mutable_ack_start());
  fill(last, *sync.mutable_ack_end());
  sync.set_session_id(session_id_);
  sync.set_first_send(first_send);
  Send(request, now_ms);
}

void PbSession::Acknowledge(size_t items, int64_t now_ms) {
  LOCKSTEP_CHECK(items <= unacknowledged_.size(), "an item is acknowledged once");
  if (items == 0 || stage_ != Stage::kStream) return;
  const Unacknowledged first = unacknowledged_.front();
  const Unacknowledged last = unacknowledged_[items - 1];
  unacknowledged_.erase(unacknowledged_.begin(),
                        unacknowledged_.begin() + static_cast<std::ptrdiff_t>(items));
  SendBinlogSync(first, last, false, now_ms);
  // The master is silent while it waits for us; its silence counts from here.
  heard_at_ms_ = std::max(heard_at_ms_, now_ms);
}

void PbSession::OnTick(int64_t now_ms) {
  if (stage_ == Stage::kFailed) return;
  if (stage_ == Stage::kMeta || stage_ == Stage::kTry || verifying_) {
    if (now_ms - asked_at_ms_ >= kAnswerTimeoutMs) {
      Fail(absl::UnavailableError(absl::StrCat("the master does not answer ",
                                               stage_ == Stage::kMeta     ? "MetaSync"
                                               : stage_ == Stage::kStream ? "BinlogSync"
                                               : options_.copy            ? "DBSync"
                                                                          : "TrySync",
                                               " for ", (now_ms - asked_at_ms_) / 1000, " s")));
    }
    return;
  }
  if (unacknowledged_.empty() && now_ms - heard_at_ms_ >= kSilenceMaxMs) {
    return Fail(absl::UnavailableError(
        absl::StrCat("the master is silent for ", (now_ms - heard_at_ms_) / 1000, " s")));
  }
  if (now_ms - sent_at_ms_ >= kPingEveryMs) SendBinlogSync({}, {}, false, now_ms);
}

}  // namespace lockstep::pika
