#include "producer/pika/pika_checkpoint.h"

#include <algorithm>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include <rapidjson/document.h>
#include <rapidjson/error/en.h>
#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include "common/base/check.h"
#include "common/base/status_macros.h"

namespace lockstep::pika {
namespace {

absl::Status Invalid(const std::string& what) { return absl::InvalidArgumentError(what); }

absl::StatusOr<uint64_t> Number(const rapidjson::Value& object, const char* field) {
  const auto found = object.FindMember(field);
  if (found == object.MemberEnd() || !found->value.IsUint64()) {
    return Invalid(absl::StrCat("field \"", field, "\" is not a whole number"));
  }
  return found->value.GetUint64();
}

// 0 for a field that is absent or null.
absl::StatusOr<uint64_t> NumberIfAny(const rapidjson::Value& object, const char* field) {
  const auto found = object.FindMember(field);
  if (found == object.MemberEnd() || found->value.IsNull()) return 0;
  return Number(object, field);
}

// OK iff the field says `expected`, or is absent and may be.
absl::Status CheckText(const rapidjson::Value& object, const char* field,
                       const std::string& expected, bool may_lack) {
  const auto found = object.FindMember(field);
  if (found == object.MemberEnd() && may_lack) return absl::OkStatus();
  std::string text;
  if (found != object.MemberEnd() && found->value.IsString()) text = found->value.GetString();
  if (found != object.MemberEnd() && text == expected) return absl::OkStatus();
  return Invalid(absl::StrCat("its field \"", field, "\" says '", text, "', not '", expected, "'"));
}

}  // namespace

std::string ToString(const PikaPosition& position) {
  if (position.snapshot_id == 0 && position.number == 0) return ToString(position.binlog);
  return absl::StrCat(ToString(position.binlog), ":", position.snapshot_id, ":", position.number);
}

absl::StatusOr<PikaPosition> ParsePikaPosition(std::string_view text) {
  const std::vector<std::string> parts = absl::StrSplit(std::string(text), ':');
  PikaPosition position;
  const bool in_copy = parts.size() == 4;
  if ((parts.size() == 2 || in_copy) &&
      (!in_copy || (absl::SimpleAtoi(parts[2], &position.snapshot_id) &&
                    absl::SimpleAtoi(parts[3], &position.number)))) {
    LOCKSTEP_ASSIGN_OR_RETURN(position.binlog, ParseBinlogPosition(parts[0] + ":" + parts[1]));
    return position;
  }
  return Invalid("'" + std::string(text) + "' is no position of a Pika");
}

bool IsSnapshotEvent(const SourceEvent& event) {
  const auto position = ParsePikaPosition(event.at);
  LOCKSTEP_CHECK(position.ok(), "a Pika source's positions are a Pika's");
  return position->snapshot_id != 0;
}

std::string ToString(const PikaCheckpoint& checkpoint) {
  return absl::StrCat(ToString(checkpoint.position), ":", checkpoint.logic_id, ":",
                      checkpoint.term_id, ":", checkpoint.replication_hash, ":",
                      checkpoint.content_mark);
}

std::string FormatPikaCheckpoint(const SourceEvent& event) {
  return absl::StrCat(event.at, ":", absl::StrJoin(event.resume, ":"));
}

absl::StatusOr<PikaCheckpoint> ParsePikaCheckpoint(std::string_view text) {
  std::vector<std::string> parts = absl::StrSplit(std::string(text), ':');
  PikaCheckpoint checkpoint;
  const size_t n = parts.size();
  if (n >= 6 && absl::SimpleAtoi(parts[n - 4], &checkpoint.logic_id) &&
      absl::SimpleAtoi(parts[n - 3], &checkpoint.term_id) &&
      absl::SimpleAtoi(parts[n - 2], &checkpoint.replication_hash) &&
      absl::SimpleAtoi(parts[n - 1], &checkpoint.content_mark)) {
    parts.resize(n - 4);
    const auto position = ParsePikaPosition(absl::StrJoin(parts, ":"));
    if (position.ok()) {
      checkpoint.position = *position;
      return checkpoint;
    }
  }
  // 5 or 7 numbers is what versions wrote that did not keep the entry's mark.
  return Invalid("'" + std::string(text) + "' is not POSITION:LOGIC_ID:TERM_ID:HASH:MARK" +
                 (n == 5 || n == 7 ? "; without MARK it is of an earlier version, which this one "
                                     "does not continue: go on under another --name"
                                   : ""));
}

// ---------------------------------------------------------------- JSON

std::string CheckpointKey(const CheckpointOwner& owner) {
  return owner.database.empty() ? owner.source_id : owner.source_id + "/" + owner.database;
}

std::string CheckpointJson(const CheckpointOwner& owner, const PikaCheckpoint& checkpoint,
                           int64_t ts_ms) {
  rapidjson::StringBuffer json;
  rapidjson::Writer writer(json);
  const auto text = [&](const char* field, const std::string& value) {
    writer.Key(field);
    writer.String(value.data(), static_cast<rapidjson::SizeType>(value.size()));
  };
  const auto number = [&](const char* field, uint64_t value) {
    writer.Key(field);
    writer.Uint64(value);
  };
  const PikaPosition& position = checkpoint.position;
  writer.StartObject();
  text("source_id", owner.source_id);
  text("db", owner.database);
  text("producer", owner.producer);
  number("filenum", position.binlog.filenum);
  number("offset", position.binlog.offset);
  number("logic_id", checkpoint.logic_id);
  writer.Key("server_id");
  writer.Null();
  number("term_id", checkpoint.term_id);
  writer.Key("ts_ms");
  writer.Int64(ts_ms);
  number("replication_hash", checkpoint.replication_hash);
  number("content_mark", checkpoint.content_mark);
  writer.Key("snapshot");
  if (position.snapshot_id == 0 && position.number == 0) {
    writer.Null();
  } else {
    writer.StartObject();
    number("id", position.snapshot_id);
    number("number", position.number);
    writer.EndObject();
  }
  writer.EndObject();
  return std::string(json.GetString(), json.GetSize()) + "\n";
}

absl::StatusOr<PikaCheckpoint> ParseCheckpointJson(std::string_view json,
                                                   const CheckpointOwner& owner) {
  rapidjson::Document document;
  document.Parse(json.data(), json.size());
  if (document.HasParseError()) {
    return Invalid(absl::StrCat("it is no JSON at byte ", document.GetErrorOffset(), ": ",
                                rapidjson::GetParseError_En(document.GetParseError())));
  }
  const rapidjson::Value& object = document;
  if (!object.IsObject()) return Invalid("it is not a JSON object");
  LOCKSTEP_RETURN_IF_ERROR(CheckText(object, "source_id", owner.source_id, false));
  LOCKSTEP_RETURN_IF_ERROR(CheckText(object, "db", owner.database, true));
  LOCKSTEP_RETURN_IF_ERROR(CheckText(object, "producer", owner.producer, true));
  PikaCheckpoint checkpoint;
  LOCKSTEP_ASSIGN_OR_RETURN(const uint64_t filenum, Number(object, "filenum"));
  LOCKSTEP_ASSIGN_OR_RETURN(const uint64_t offset, Number(object, "offset"));
  LOCKSTEP_ASSIGN_OR_RETURN(checkpoint.position.binlog,
                            ParseBinlogPosition(absl::StrCat(filenum, ":", offset)));
  LOCKSTEP_ASSIGN_OR_RETURN(checkpoint.logic_id, Number(object, "logic_id"));
  LOCKSTEP_ASSIGN_OR_RETURN(checkpoint.term_id, NumberIfAny(object, "term_id"));
  LOCKSTEP_ASSIGN_OR_RETURN(checkpoint.replication_hash, NumberIfAny(object, "replication_hash"));
  LOCKSTEP_ASSIGN_OR_RETURN(checkpoint.content_mark, NumberIfAny(object, "content_mark"));
  const auto snapshot = object.FindMember("snapshot");
  if (snapshot == object.MemberEnd() || snapshot->value.IsNull()) return checkpoint;
  if (!snapshot->value.IsObject()) return Invalid("field \"snapshot\" is neither object nor null");
  LOCKSTEP_ASSIGN_OR_RETURN(checkpoint.position.snapshot_id, Number(snapshot->value, "id"));
  LOCKSTEP_ASSIGN_OR_RETURN(checkpoint.position.number, Number(snapshot->value, "number"));
  return checkpoint;
}

// ---------------------------------------------------------------- the ledger's place

absl::StatusOr<PikaPosition> ResumePosition(const ResumePoint& point) {
  PikaPosition resume;
  if (point.checkpoint) {
    LOCKSTEP_ASSIGN_OR_RETURN(const PikaCheckpoint checkpoint,
                              ParsePikaCheckpoint(*point.checkpoint));
    resume = checkpoint.position;
  }
  if (point.floor.empty()) return resume;
  LOCKSTEP_ASSIGN_OR_RETURN(const PikaPosition floor, ParsePikaPosition(point.floor));
  return std::max(resume, floor);
}

absl::StatusOr<ExportStands> CompareWithLedger(const PikaCheckpoint& exported,
                                               const ResumePoint& ledger) {
  LOCKSTEP_ASSIGN_OR_RETURN(const PikaPosition resume, ResumePosition(ledger));
  if (exported.position < resume) return ExportStands::kBehindLedger;
  PikaPosition seen = resume;
  if (!ledger.seen.empty()) {
    LOCKSTEP_ASSIGN_OR_RETURN(const PikaPosition greatest, ParsePikaPosition(ledger.seen));
    seen = std::max(seen, greatest);
  }
  return exported.position > seen ? ExportStands::kAheadOfLedger : ExportStands::kWithLedger;
}

}  // namespace lockstep::pika
