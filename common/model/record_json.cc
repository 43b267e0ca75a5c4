#include "common/model/record_json.h"

#include <algorithm>
#include <array>

#include "absl/strings/escaping.h"
#include <rapidjson/document.h>
#include <rapidjson/error/en.h>

#include "common/base/status_macros.h"
#include "common/base/utf8.h"
#include "common/model/record_header.h"

namespace lockstep {
namespace {

using rapidjson::SizeType;
using Pool = rapidjson::MemoryPoolAllocator<>;
using Document = rapidjson::GenericDocument<rapidjson::UTF8<>, Pool, Pool>;
using Value = Document::ValueType;

SizeType Length(std::string_view text) { return static_cast<SizeType>(text.size()); }

// Header names are text by Kafka's protocol; what is not becomes U+FFFD.
std::string TextName(std::string_view name) {
  std::string out;
  while (!name.empty()) {
    const size_t length = Utf8CharacterLength(name);
    if (length == 0) out += "\xef\xbf\xbd";
    out.append(name.substr(0, length));
    name.remove_prefix(length == 0 ? 1 : length);
  }
  return out;
}

bool NamesRepeat(const std::vector<RunDigest::HeaderView>& headers) {
  for (size_t i = 0; i < headers.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      if (headers[i].first == headers[j].first) return true;
    }
  }
  return false;
}

absl::Status Bad(std::string_view field, std::string_view why) {
  return absl::InvalidArgumentError("field \"" + std::string(field) + "\" " + std::string(why));
}

absl::StatusOr<std::string> Text(std::string_view field, const Value& value) {
  if (!value.IsString()) return Bad(field, "is not a string");
  return std::string(value.GetString(), value.GetStringLength());
}

absl::StatusOr<std::string> Bytes(std::string_view field, const Value& value) {
  if (!value.IsString()) return Bad(field, "is not a string of base64");
  std::string bytes;
  if (!absl::Base64Unescape({value.GetString(), value.GetStringLength()}, &bytes)) {
    return Bad(field, "is not base64");
  }
  return bytes;
}

// A string, base64 or null, once. `seen` says whether a twin (`key` and `key_b64`) was there.
absl::Status TakeBytes(std::string_view field, const Value& value, bool base64, bool& seen,
                       std::optional<std::string>& out) {
  if (seen) return Bad(field, "is given twice (also as text or base64)");
  seen = true;
  if (value.IsNull() && !base64) return absl::OkStatus();
  LOCKSTEP_ASSIGN_OR_RETURN(out, base64 ? Bytes(field, value) : Text(field, value));
  return absl::OkStatus();
}

absl::StatusOr<int64_t> Number(std::string_view field, const Value& value, int64_t least) {
  if (!value.IsInt64()) return Bad(field, "is not a whole number of 64 bits");
  if (value.GetInt64() < least) return Bad(field, "is below " + std::to_string(least));
  return value.GetInt64();
}

absl::StatusOr<bool> Boolean(std::string_view field, const Value& value) {
  if (!value.IsBool()) return Bad(field, "is not true or false");
  return value.GetBool();
}

using OwnedHeaders = decltype(Payload::headers);

absl::Status TakeHeader(std::string_view field, const Value& name, const Value& value, bool base64,
                        OwnedHeaders& headers) {
  if (!name.IsString()) return Bad(field, "has a name that is not a string");
  std::string text(name.GetString(), name.GetStringLength());
  if (text == kRecordHeaderKey || text == kReinjectedHeaderKey) {
    return Bad(field, "has \"" + text + "\", which is Lockstep's own");
  }
  if (value.IsNull()) {
    headers.emplace_back(std::move(text), std::nullopt);
    return absl::OkStatus();
  }
  LOCKSTEP_ASSIGN_OR_RETURN(std::string content, base64 ? Bytes(field, value) : Text(field, value));
  headers.emplace_back(std::move(text), std::move(content));
  return absl::OkStatus();
}

// {"k":"v",…} or [["k","v"],…].
absl::Status TakeHeaders(std::string_view field, const Value& value, bool base64, bool& seen,
                         OwnedHeaders& headers) {
  if (seen) return Bad(field, "is given twice");
  seen = true;
  if (value.IsObject()) {
    for (const auto& member : value.GetObject()) {
      LOCKSTEP_RETURN_IF_ERROR(TakeHeader(field, member.name, member.value, base64, headers));
    }
    return absl::OkStatus();
  }
  if (!value.IsArray()) return Bad(field, "is neither an object nor an array of pairs");
  for (const auto& pair : value.GetArray()) {
    if (!pair.IsArray() || pair.Size() != 2) return Bad(field, "has an element that is no pair");
    LOCKSTEP_RETURN_IF_ERROR(TakeHeader(field, pair[0], pair[1], base64, headers));
  }
  return absl::OkStatus();
}

// Key, value, headers and timestamp: the fields that both kinds of line have.
class PayloadFields {
 public:
  // Returns false iff the field is none of them.
  absl::StatusOr<bool> Take(std::string_view field, const Value& value) {
    if (field == "key") return Done(TakeBytes(field, value, false, key_, payload_.key));
    if (field == "key_b64") return Done(TakeBytes(field, value, true, key_, payload_.key));
    if (field == "value") return Done(TakeBytes(field, value, false, value_, payload_.value));
    if (field == "value_b64") return Done(TakeBytes(field, value, true, value_, payload_.value));
    if (field == "headers") {
      return Done(TakeHeaders(field, value, false, headers_, payload_.headers));
    }
    if (field == "headers_b64") {
      return Done(TakeHeaders(field, value, true, headers_b64_, binary_));
    }
    if (field == "timestamp_ms") {
      if (timestamp_) return Bad(field, "is given twice");
      timestamp_ = true;
      LOCKSTEP_ASSIGN_OR_RETURN(payload_.timestamp_ms, Number(field, value, 0));
      return true;
    }
    return false;
  }

  bool has_key() const { return key_; }
  bool has_value() const { return value_; }

  Payload Finish() && {
    std::move(binary_.begin(), binary_.end(), std::back_inserter(payload_.headers));
    return std::move(payload_);
  }

 private:
  static absl::StatusOr<bool> Done(const absl::Status& status) {
    if (!status.ok()) return status;
    return true;
  }

  Payload payload_;
  OwnedHeaders binary_;
  bool key_ = false, value_ = false, headers_ = false, headers_b64_ = false, timestamp_ = false;
};

absl::Status ParseObject(std::string_view line, Document& document) {
  if (!IsUtf8(line)) return absl::InvalidArgumentError("the line is not UTF-8");
  // Iterative: depth costs memory of the parser's, not of the stack.
  document.Parse<rapidjson::kParseIterativeFlag>(line.data(), line.size());
  if (document.HasParseError()) {
    return absl::InvalidArgumentError(
        "the line is not JSON: " + std::string(GetParseError_En(document.GetParseError())) +
        " (at byte " + std::to_string(document.GetErrorOffset()) + ")");
  }
  if (!document.IsObject()) return absl::InvalidArgumentError("the line is not a JSON object");
  return absl::OkStatus();
}

// Small lines are parsed without going to the heap.
struct Scratch {
  alignas(16) std::array<char, 8192> values;
  alignas(16) std::array<char, 2048> stack;
  Pool value_pool{values.data(), values.size()};
  Pool stack_pool{stack.data(), stack.size()};
  Document document{&value_pool, 1024, &stack_pool};
};

// The fields that only an emitted record has; each is given once, and most are required.
class IdentityFields {
 public:
  explicit IdentityFields(EmittedRecord& record) : record_(record) {}

  absl::Status Take(std::string_view field, const Value& value) {
    if (field == "stream") {
      LOCKSTEP_RETURN_IF_ERROR(Once(field, stream_));
      LOCKSTEP_ASSIGN_OR_RETURN(const std::string text, Text(field, value));
      auto stream = ParseStreamName(text);
      if (!stream.ok()) return Annotate(stream.status(), "field \"stream\"");
      record_.stream = *std::move(stream);
    } else if (field == "epoch") {
      return TakeNumber(field, value, 1, epoch_, record_.epoch);
    } else if (field == "offset") {
      return TakeNumber(field, value, 0, offset_, record_.offset);
    } else if (field == "term") {
      return TakeNumber(field, value, 1, term_, record_.term);
    } else if (field == "seq") {
      return TakeNumber(field, value, 1, seq_, record_.seq);
    } else if (field == "log_offset") {
      Offset offset;
      LOCKSTEP_RETURN_IF_ERROR(TakeNumber(field, value, 0, log_offset_, offset));
      record_.log_offset = offset;
    } else if (field == "producer" || field == "producer_b64") {
      LOCKSTEP_RETURN_IF_ERROR(TakeText(field, value, producer_, record_.producer));
      if (!ValidProducerName(record_.producer)) return Bad(field, "is not a producer's name");
    } else if (field == "at" || field == "at_b64") {
      LOCKSTEP_RETURN_IF_ERROR(TakeText(field, value, at_, record_.at));
      if (!ValidSourcePosition(record_.at)) return Bad(field, "is not a source position");
    } else if (field == "replayed") {
      LOCKSTEP_RETURN_IF_ERROR(Once(field, replayed_));
      LOCKSTEP_ASSIGN_OR_RETURN(record_.replayed, Boolean(field, value));
    } else if (field == "in_doubt") {
      LOCKSTEP_RETURN_IF_ERROR(Once(field, in_doubt_));
      LOCKSTEP_ASSIGN_OR_RETURN(record_.in_doubt, Boolean(field, value));
    }
    return absl::OkStatus();
  }

  absl::Status CheckComplete() const {
    const std::pair<const char*, bool> required[] = {
        {"stream", stream_}, {"epoch", epoch_}, {"offset", offset_}, {"producer", producer_},
        {"term", term_},     {"seq", seq_},     {"at", at_}};
    for (const auto& [field, seen] : required) {
      if (!seen) return Bad(field, "is missing");
    }
    return absl::OkStatus();
  }

 private:
  static absl::Status Once(std::string_view field, bool& seen) {
    if (seen) return Bad(field, "is given twice");
    seen = true;
    return absl::OkStatus();
  }

  template <class Int>
  static absl::Status TakeNumber(std::string_view field, const Value& value, int64_t least,
                                 bool& seen, Int& out) {
    LOCKSTEP_RETURN_IF_ERROR(Once(field, seen));
    LOCKSTEP_ASSIGN_OR_RETURN(const int64_t number, Number(field, value, least));
    out = Int(number);
    return absl::OkStatus();
  }

  static absl::Status TakeText(std::string_view field, const Value& value, bool& seen,
                               std::string& out) {
    LOCKSTEP_RETURN_IF_ERROR(Once(field, seen));
    LOCKSTEP_ASSIGN_OR_RETURN(out,
                              field.ends_with("_b64") ? Bytes(field, value) : Text(field, value));
    return absl::OkStatus();
  }

  EmittedRecord& record_;
  bool stream_ = false, epoch_ = false, offset_ = false, producer_ = false, term_ = false,
       seq_ = false, at_ = false, log_offset_ = false, replayed_ = false, in_doubt_ = false;
};

std::string_view NameOf(const Value::Member& member) {
  return {member.name.GetString(), member.name.GetStringLength()};
}

}  // namespace

void RecordJsonWriter::Base64(Writer& writer, std::string_view bytes) {
  absl::Base64Escape({bytes.data(), bytes.size()}, &base64_);
  writer.String(base64_.data(), Length(base64_));
}

void RecordJsonWriter::Member(Writer& writer, std::string_view name, std::string_view name_b64,
                              std::optional<std::string_view> bytes) {
  if (!bytes) {
    writer.Key(name.data(), Length(name));
    writer.Null();
  } else if (IsUtf8(*bytes)) {
    writer.Key(name.data(), Length(name));
    writer.String(bytes->data(), Length(*bytes));
  } else {
    writer.Key(name_b64.data(), Length(name_b64));
    Base64(writer, *bytes);
  }
}

void RecordJsonWriter::Headers(Writer& writer, std::span<const RunDigest::HeaderView> headers) {
  text_headers_.clear();
  binary_headers_.clear();
  for (const RunDigest::HeaderView& header : headers) {
    (!header.second || IsUtf8(*header.second) ? text_headers_ : binary_headers_).push_back(header);
  }
  const auto list = [&](const char* field, const std::vector<RunDigest::HeaderView>& some,
                        bool base64) {
    writer.Key(field);
    const bool pairs = NamesRepeat(some);
    pairs ? writer.StartArray() : writer.StartObject();
    for (const auto& [name, value] : some) {
      const std::string replaced = IsUtf8(name) ? std::string() : TextName(name);
      const std::string_view text = IsUtf8(name) ? name : std::string_view(replaced);
      if (pairs) writer.StartArray();
      writer.String(text.data(), Length(text));  // In an object a string is a key.
      if (!value) {
        writer.Null();
      } else if (base64) {
        Base64(writer, *value);
      } else {
        writer.String(value->data(), Length(*value));
      }
      if (pairs) writer.EndArray();
    }
    pairs ? writer.EndArray() : writer.EndObject();
  };
  list("headers", text_headers_, false);
  if (!binary_headers_.empty()) list("headers_b64", binary_headers_, true);
}

std::string_view RecordJsonWriter::Write(const EmittedRecordView& record) {
  buffer_.Clear();
  Writer writer(buffer_);
  writer.StartObject();
  writer.Key("stream");
  writer.String(record.stream.data(), Length(record.stream));
  writer.Key("epoch");
  writer.Int64(record.epoch.value());
  writer.Key("offset");
  writer.Int64(record.offset.value());
  Member(writer, "producer", "producer_b64", record.producer);
  writer.Key("term");
  writer.Int64(record.term.value());
  writer.Key("seq");
  writer.Int64(record.seq.value());
  Member(writer, "at", "at_b64", record.at);
  Member(writer, "key", "key_b64", record.key);
  Member(writer, "value", "value_b64", record.value);
  writer.Key("timestamp_ms");
  writer.Int64(record.timestamp_ms);
  Headers(writer, record.headers);
  if (record.log_offset) {
    writer.Key("log_offset");
    writer.Int64(record.log_offset->value());
  }
  if (record.replayed) {
    writer.Key("replayed");
    writer.Bool(true);
  }
  if (record.in_doubt) {
    writer.Key("in_doubt");
    writer.Bool(true);
  }
  writer.EndObject();
  return {buffer_.GetString(), buffer_.GetSize()};
}

std::string_view RecordJsonWriter::Write(const EmittedRecord& record) {
  stream_ = ToString(record.stream);
  owned_headers_.clear();
  for (const auto& [name, value] : record.payload.headers) owned_headers_.emplace_back(name, value);
  return Write(EmittedRecordView{.stream = stream_,
                                 .epoch = record.epoch,
                                 .offset = record.offset,
                                 .producer = record.producer,
                                 .term = record.term,
                                 .seq = record.seq,
                                 .at = record.at,
                                 .key = record.payload.key,
                                 .value = record.payload.value,
                                 .headers = owned_headers_,
                                 .timestamp_ms = record.payload.timestamp_ms,
                                 .log_offset = record.log_offset,
                                 .replayed = record.replayed,
                                 .in_doubt = record.in_doubt});
}

absl::StatusOr<EmittedRecord> ParseRecordJson(std::string_view line) {
  Scratch scratch;
  LOCKSTEP_RETURN_IF_ERROR(ParseObject(line, scratch.document));
  EmittedRecord record;
  PayloadFields payload;
  IdentityFields identity(record);
  for (const auto& member : scratch.document.GetObject()) {
    const std::string_view field = NameOf(member);
    LOCKSTEP_ASSIGN_OR_RETURN(const bool taken, payload.Take(field, member.value));
    if (!taken) LOCKSTEP_RETURN_IF_ERROR(identity.Take(field, member.value));
  }
  LOCKSTEP_RETURN_IF_ERROR(identity.CheckComplete());
  if (!payload.has_key()) return Bad("key", "is missing");
  if (!payload.has_value()) return Bad("value", "is missing");
  record.payload = std::move(payload).Finish();
  return record;
}

absl::StatusOr<SourceLine> ParseSourceLine(std::string_view line) {
  Scratch scratch;
  LOCKSTEP_RETURN_IF_ERROR(ParseObject(line, scratch.document));
  SourceLine result;
  PayloadFields payload;
  for (const auto& member : scratch.document.GetObject()) {
    const std::string_view field = NameOf(member);
    LOCKSTEP_ASSIGN_OR_RETURN(const bool taken, payload.Take(field, member.value));
    if (taken || field != "partition") continue;
    if (result.partition) return Bad(field, "is given twice");
    LOCKSTEP_ASSIGN_OR_RETURN(const int64_t partition, Number(field, member.value, 0));
    if (partition > INT32_MAX) return Bad(field, "is above 2147483647");
    result.partition = static_cast<int32_t>(partition);
  }
  if (!payload.has_value()) return Bad("value", "is missing");
  result.payload = std::move(payload).Finish();
  return result;
}

}  // namespace lockstep
