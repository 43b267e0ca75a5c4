#include "producer/pika/pika_event.h"

#include <cstring>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

#include "common/base/status_macros.h"
#include "common/base/utf8.h"
#include "producer/pika/resp_command.h"

namespace lockstep::pika {

std::string EventKey(std::string_view db, DataType type, std::optional<std::string_view> key) {
  std::string out(db);
  if (!key) return out;
  out.append(":").append(ToString(type)).append(":").append(*key);
  return out;
}

PikaEventWriter::PikaEventWriter(PikaSourceDescriptor source, std::string db, PikaFilter filter)
    : source_(std::move(source)), db_(std::move(db)), filter_(std::move(filter)) {
  rapidjson::StringBuffer buffer;
  Writer writer(buffer);
  writer.StartObject();
  writer.Key("host");
  String(writer, source_.host);
  writer.Key("port");
  writer.Int(source_.port);
  writer.Key("replication_id");
  if (source_.replication_id.empty()) {
    writer.Null();
  } else {
    String(writer, source_.replication_id);
  }
  writer.EndObject();
  source_json_.assign(buffer.GetString(), buffer.GetSize());
}

void PikaEventWriter::String(Writer& writer, std::string_view text) {
  writer.String(text.data(), static_cast<rapidjson::SizeType>(text.size()));
}

void PikaEventWriter::Base64(Writer& writer, std::string_view bytes) {
  absl::Base64Escape({bytes.data(), bytes.size()}, &base64_);
  // Nothing to escape in it: copied past the writer, which only sets the comma.
  writer.RawValue("", 0, rapidjson::kStringType);
  char* out = json_.Push(base64_.size() + 2);
  *out++ = '"';
  std::memcpy(out, base64_.data(), base64_.size());
  out[base64_.size()] = '"';
}

// What is JSON already is copied past the writer, which only sets the comma.
void PikaEventWriter::Json(Writer& writer, std::string_view json) {
  writer.RawValue("", 0, rapidjson::kObjectType);
  std::memcpy(json_.Push(json.size()), json.data(), json.size());
}

void PikaEventWriter::BeginJson(Writer& writer, const char* event_type, const std::string& op,
                                DataType type, std::optional<std::string_view> key,
                                std::string_view content, int64_t ts_ms,
                                const std::string& event_id) {
  writer.StartObject();
  writer.Key("event_type");
  String(writer, event_type);
  writer.Key("op");
  String(writer, op);
  writer.Key("data_type");
  String(writer, ToString(type));
  writer.Key("db");
  String(writer, db_);
  writer.Key("slot");
  writer.Int(0);
  writer.Key("key");
  if (key && IsUtf8(*key)) {
    String(writer, *key);
  } else {
    writer.Null();
  }
  if (key && !IsUtf8(*key)) {
    writer.Key("key_b64");
    Base64(writer, *key);
  }
  writer.Key("args_b64");
  writer.StartArray();
  for (const std::string_view arg : args_) Base64(writer, arg);
  writer.EndArray();
  writer.Key("raw_resp_b64");
  Base64(writer, content);
  writer.Key("ts_ms");
  writer.Int64(ts_ms);
  writer.Key("event_id");
  String(writer, event_id);
  writer.Key("source_id");
  String(writer, source_.source_id);
}

SourceEvent PikaEventWriter::MakeEvent(std::string at, DataType type,
                                       std::optional<std::string_view> key, int64_t ts_ms) {
  SourceEvent event;
  event.at = std::move(at);
  event.payload.key = EventKey(db_, type, key);
  event.payload.value.emplace(json_.GetString(), json_.GetSize());
  event.payload.timestamp_ms = ts_ms;
  // DEL and EXPIRE name no type: by the type they would leave the partition of what they act on.
  event.partition_key = key ? absl::StrCat(db_, ":", std::string(*key)) : db_;
  return event;
}

absl::StatusOr<std::optional<SourceEvent>> PikaEventWriter::Write(std::string_view bytes,
                                                                  const BinlogPosition& end) {
  const auto bad = [&](const absl::Status& why) {
    return absl::DataLossError(absl::StrCat("binlog item of ", db_, " that ends at ", ToString(end),
                                            ": ", std::string(why.message())));
  };
  const absl::StatusOr<BinlogItem> item = ParseBinlogItem(bytes);
  if (!item.ok()) return bad(item.status());
  if (IsPaddingItem(*item)) return std::nullopt;
  if (const absl::Status status = ParseRespCommand(item->content, args_); !status.ok()) {
    return bad(status);
  }
  const std::string op = ToLower(args_[0]);
  const CommandInfo command = FindCommand(op);
  if (!command.changes_data) return std::nullopt;
  std::optional<std::string_view> key;
  if (command.key_index > 0 && command.key_index < args_.size()) key = args_[command.key_index];
  if (key && IsInternalKey(*key)) return std::nullopt;
  if (!filter_.Passes(op, command.type, key)) {
    ++filtered_;
    return std::nullopt;
  }
  // A name is text everywhere in Pika; bytes that are not would make the event no JSON.
  if (!IsUtf8(op)) return bad(absl::InvalidArgumentError("the command's name is not text"));
  if (command.type == DataType::kUnknown) {
    ++unknown_commands_;
    last_unknown_command_ = op;
  }

  const int64_t ts_ms = int64_t{item->exec_time_s} * 1000;
  json_.Clear();
  Writer writer(json_);
  BeginJson(writer, "binlog", op, command.type, key, item->content, ts_ms,
            absl::StrCat(item->term_id, ":", end.filenum, ":", end.offset, ":", item->logic_id));
  writer.Key("binlog");
  writer.StartObject();
  writer.Key("filenum");
  writer.Uint(end.filenum);
  writer.Key("offset");
  writer.Uint64(end.offset);
  writer.Key("logic_id");
  writer.Uint64(item->logic_id);
  // One field of the entry, whose meaning changed.
  const bool legacy = source_.protocol == Protocol::kLegacy;
  for (const bool server : {true, false}) {
    writer.Key(server ? "server_id" : "term_id");
    if (server == legacy) {
      writer.Uint(item->term_id);
    } else {
      writer.Null();
    }
  }
  writer.EndObject();
  writer.Key("source");
  Json(writer, source_json_);
  writer.EndObject();
  SourceEvent event = MakeEvent(ToString(end), command.type, key, ts_ms);
  // Only an entry that is a record of its own can be asked for again by its end and length.
  const bool whole = EndsAt(item->start, bytes.size(), end);
  event.resume = {item->logic_id, item->term_id, 0, whole ? ContentMark(item->content) : 0};
  return event;
}

// ---------------------------------------------------------------- snapshots

namespace {

const char* CommandThatMakes(DataType type) {
  switch (type) {
    case DataType::kHash:
      return "hset";
    case DataType::kList:
      return "rpush";
    case DataType::kSet:
      return "sadd";
    case DataType::kZset:
      return "zadd";
    case DataType::kStream:
      return "xadd";
    default:
      return "set";
  }
}

}  // namespace

void PikaEventWriter::WriteSnapshot(const DumpBatch& batch, SnapshotPlace& place,
                                    std::vector<SourceEvent>& events) {
  const std::string expire_at = std::to_string(batch.expire_at_ms);
  const bool expires = batch.expire_at_ms != 0;
  const char* const command = CommandThatMakes(batch.type);
  if (!filter_.Passes(command, batch.type, batch.key)) {
    ++filtered_;
    return;  // And no expiry of what is not there.
  }
  const bool expiry_follows = expires && batch.type != DataType::kString && batch.last &&
                              filter_.Passes("pexpireat", batch.type, batch.key);
  args_ = {command, batch.key};
  args_.insert(args_.end(), batch.elements.begin(), batch.elements.end());
  if (expires && batch.type == DataType::kString) {
    args_.insert(args_.end(), {"pxat", expire_at});
  }
  WriteSnapshotEvent(batch, batch.first, batch.last && !expiry_follows, place, events);
  if (!expiry_follows) return;
  args_ = {"pexpireat", batch.key, expire_at};
  WriteSnapshotEvent(batch, false, true, place, events);
}

void PikaEventWriter::WriteSnapshotEvent(const DumpBatch& batch, bool first, bool last,
                                         SnapshotPlace& place, std::vector<SourceEvent>& events) {
  if (++place.number <= place.known) return;
  content_.clear();
  AppendRespCommand(args_, content_);
  const std::string at = absl::StrCat(ToString(place.position), ":", place.id, ":", place.number);
  const auto ts_ms = static_cast<int64_t>(place.id) * 1000;
  json_.Clear();
  Writer writer(json_);
  BeginJson(writer, "snapshot", std::string(args_[0]), batch.type, batch.key, content_, ts_ms,
            "s" + absl::StrCat(place.id, ":", ToString(place.position), ":", place.number));
  writer.Key("binlog");
  writer.StartObject();
  writer.Key("filenum");
  writer.Uint(place.position.filenum);
  writer.Key("offset");
  writer.Uint64(place.position.offset);
  for (const char* name : {"logic_id", "server_id", "term_id"}) {
    writer.Key(name);
    writer.Null();
  }
  writer.EndObject();
  writer.Key("snapshot");
  writer.StartObject();
  writer.Key("id");
  writer.Uint64(place.id);
  writer.Key("number");
  writer.Uint64(place.number);
  writer.Key("first");
  writer.Bool(first);
  writer.Key("last");
  writer.Bool(last);
  writer.EndObject();
  writer.Key("source");
  Json(writer, source_json_);
  writer.EndObject();
  events.push_back(MakeEvent(at, batch.type, batch.key, ts_ms));
}

}  // namespace lockstep::pika
