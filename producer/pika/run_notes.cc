#include "producer/pika/run_notes.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <optional>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include <rapidjson/document.h>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/base/varint.h"
#include "db-ledger/run_payload.h"
#include "producer/pika/little_endian.h"

namespace lockstep::pika {
namespace {

// ---------------------------------------------------------------- an event's value

// What the notes need of a value, as it stands there: texts with their quotes.
struct ValueParts {
  std::string_view database;
  std::string_view front;  // All before the time.
  std::string_view source_id;
  std::string_view host;
  std::string_view replication_id;  // Or `null`.
  uint64_t port = 0;
  uint64_t logic_id = 0;
  bool legacy = false;
  RunNotes::Numbers numbers;

  bool SameSource(const ValueParts& other) const {
    return database == other.database && source_id == other.source_id && host == other.host &&
           replication_id == other.replication_id && port == other.port && legacy == other.legacy;
  }
};

// Reads on in JSON whose fields come in a known order, without any space.
class Scanner {
 public:
  explicit Scanner(std::string_view text) : rest_(text) {}

  bool Skip(std::string_view literal) {
    const bool found = rest_.substr(0, literal.size()) == literal;
    if (found) rest_.remove_prefix(literal.size());
    return found;
  }
  template <typename T>
  bool TakeNumber(T& number) {
    const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), number);
    if (error != std::errc()) return false;
    rest_.remove_prefix(static_cast<size_t>(end - rest_.data()));
    return true;
  }
  // A string with its quotes, as it is escaped.
  bool TakeString(std::string_view& text) {
    if (rest_.empty() || rest_[0] != '"') return false;
    for (size_t at = 1; at < rest_.size(); ++at) {
      if (rest_[at] == '\\') {
        ++at;
      } else if (rest_[at] == '"') {
        text = rest_.substr(0, at + 1);
        rest_.remove_prefix(at + 1);
        return true;
      }
    }
    return false;
  }
  bool TakeStringOrNull(std::string_view& text) {
    text = "null";
    return Skip("null") || TakeString(text);
  }
  bool at_end() const { return rest_.empty(); }

 private:
  std::string_view rest_;
};

bool ReadFront(Scanner front, ValueParts& parts) {
  std::string_view skipped;
  return front.Skip(R"({"event_type":"binlog","op":)") && front.TakeString(skipped) &&
         front.Skip(R"(,"data_type":)") && front.TakeString(skipped) && front.Skip(R"(,"db":)") &&
         front.TakeString(parts.database);
}

bool ReadTail(Scanner tail, ValueParts& parts) {
  uint64_t ts_ms = 0;
  uint64_t skipped = 0;
  uint32_t field = 0;
  if (!tail.Skip(R"(,"ts_ms":)") || !tail.TakeNumber(ts_ms) || ts_ms % 1000 != 0 ||
      ts_ms / 1000 > std::numeric_limits<uint32_t>::max() || !tail.Skip(R"(,"event_id":")") ||
      !tail.TakeNumber(parts.numbers.term_id) || !tail.Skip(":") || !tail.TakeNumber(skipped) ||
      !tail.Skip(":") || !tail.TakeNumber(skipped) || !tail.Skip(":") ||
      !tail.TakeNumber(parts.logic_id) || !tail.Skip(R"(","source_id":)") ||
      !tail.TakeString(parts.source_id) || !tail.Skip(R"(,"binlog":{"filenum":)") ||
      !tail.TakeNumber(skipped) || !tail.Skip(R"(,"offset":)") || !tail.TakeNumber(skipped) ||
      !tail.Skip(R"(,"logic_id":)") || !tail.TakeNumber(skipped) ||
      !tail.Skip(R"(,"server_id":)")) {
    return false;
  }
  parts.legacy = tail.TakeNumber(field);
  parts.numbers.exec_time_s = static_cast<uint32_t>(ts_ms / 1000);
  return (parts.legacy || tail.Skip("null")) && tail.Skip(R"(,"term_id":)") &&
         (parts.legacy ? tail.Skip("null") : tail.TakeNumber(field)) &&
         tail.Skip(R"(},"source":{"host":)") && tail.TakeString(parts.host) &&
         tail.Skip(R"(,"port":)") && tail.TakeNumber(parts.port) &&
         tail.Skip(R"(,"replication_id":)") && tail.TakeStringOrNull(parts.replication_id) &&
         tail.Skip("}}") && tail.at_end();
}

std::optional<ValueParts> ReadValue(std::string_view value) {
  // Quotes within a string are escaped, so no string has this in it: it is there once.
  const size_t tail = value.find(R"(,"ts_ms":)");
  ValueParts parts;
  if (tail == std::string_view::npos || !ReadFront(Scanner(value), parts) ||
      !ReadTail(Scanner(value.substr(tail)), parts)) {
    return std::nullopt;
  }
  parts.front = value.substr(0, tail);
  return parts;
}

// The entry's content, which ends what is before the time; nullopt: it does not.
std::optional<std::string> ReadContent(std::string_view front) {
  constexpr std::string_view kName = R"(,"raw_resp_b64":")";
  const size_t name = front.rfind(kName);
  if (name == std::string_view::npos || front.back() != '"') {
    return std::nullopt;
  }
  const std::string_view base64 =
      front.substr(name + kName.size(), front.size() - name - kName.size() - 1);
  std::string content;
  if (!absl::Base64Unescape({base64.data(), base64.size()}, &content)) return std::nullopt;
  return content;
}

// The text that a string of JSON, or `null`, stands for; nullopt: none.
std::optional<std::string> Unquote(std::string_view json) {
  if (json == "null") return "";
  rapidjson::Document text;
  text.Parse(json.data(), json.size());
  if (text.HasParseError() || !text.IsString()) return std::nullopt;
  return std::string(text.GetString(), text.GetStringLength());
}

class RunNotesEncoder final : public PayloadEncoder {
 public:
  void Add(const Payload& payload) override {
    if (!fit_) return;
    const std::optional<ValueParts> parts =
        payload.value ? ReadValue(*payload.value) : std::nullopt;
    fit_ = parts.has_value();
    if (!fit_) return;
    if (notes_.events.empty()) {
      // The payload goes, so the parts to compare with are of a copy.
      first_value_ = *payload.value;
      first_ = *ReadValue(first_value_);
      fit_ = Begin();
    } else {
      fit_ = parts->SameSource(first_);
    }
    notes_.events.push_back(parts->numbers);
  }

  size_t bytes() const override { return 0; }  // A run is not cut for its notes' sake.

  std::string Take() override {
    std::string bytes = fit_ && !notes_.events.empty() ? EncodeRunNotes(notes_) : "";
    notes_.events.clear();
    fit_ = true;
    return bytes;
  }

 private:
  // False iff a text is none.
  bool Begin() {
    const auto source_id = Unquote(first_.source_id);
    const auto host = Unquote(first_.host);
    const auto database = Unquote(first_.database);
    const auto replication_id = Unquote(first_.replication_id);
    const auto content = ReadContent(first_.front);
    if (!source_id || !host || !database || !replication_id || !content || first_.port > 65'535) {
      return false;
    }
    notes_.first_mark = ContentMark(*content);
    notes_.source_id = *source_id;
    notes_.host = *host;
    notes_.port = static_cast<int32_t>(first_.port);
    notes_.replication_hash = ReplicationHash(*replication_id);
    notes_.protocol = first_.legacy ? Protocol::kLegacy : Protocol::kPb;
    notes_.database = *database;
    notes_.first_logic_id = first_.logic_id;
    return true;
  }

  bool fit_ = true;  // All values so far are events of one source.
  std::string first_value_;
  ValueParts first_;  // Views of first_value_.
  RunNotes notes_;
};

// ---------------------------------------------------------------- the bytes

void PutText(std::string_view text, std::string& out) {
  PutVarint(text.size(), out);
  out.append(text);
}

absl::Status Bad(const std::string& what) { return absl::DataLossError("run notes: " + what); }

absl::StatusOr<uint64_t> TakeNumber(std::string_view& bytes, const char* what,
                                    uint64_t max = std::numeric_limits<uint64_t>::max()) {
  const std::optional<uint64_t> number = TakeVarint(bytes);
  if (!number || *number > max) return Bad(absl::StrCat(what, " is cut off or too large"));
  return *number;
}

absl::StatusOr<std::string> TakeText(std::string_view& bytes, const char* what) {
  LOCKSTEP_ASSIGN_OR_RETURN(const uint64_t size, TakeNumber(bytes, what, bytes.size()));
  if (size > bytes.size()) return Bad(absl::StrCat(what, " goes past the end"));
  std::string text(bytes.substr(0, size));
  bytes.remove_prefix(size);
  return text;
}

// Steps are between 32 bit numbers.
absl::Status Step(uint64_t zigzag, uint32_t& number) {
  constexpr auto kMax = static_cast<int64_t>(std::numeric_limits<uint32_t>::max());
  const int64_t step = UnZigZag(zigzag);
  if (step < -kMax || step > kMax || number + step < 0 || number + step > kMax) {
    return Bad("a step leaves what a number can be");
  }
  number = static_cast<uint32_t>(number + step);
  return absl::OkStatus();
}

absl::Status TakeEvents(std::string_view& bytes, size_t count,
                        std::vector<RunNotes::Numbers>& events) {
  RunNotes::Numbers numbers;
  while (events.size() < count) {
    LOCKSTEP_ASSIGN_OR_RETURN(const uint64_t time, TakeNumber(bytes, "a time's step"));
    LOCKSTEP_RETURN_IF_ERROR(Step(time, numbers.exec_time_s));
    LOCKSTEP_ASSIGN_OR_RETURN(const uint64_t term, TakeNumber(bytes, "a term's step"));
    LOCKSTEP_RETURN_IF_ERROR(Step(term, numbers.term_id));
    LOCKSTEP_ASSIGN_OR_RETURN(
        const uint64_t repeats,
        TakeNumber(bytes, "how many events a step is for", count - events.size()));
    if (repeats == 0 || (!events.empty() && numbers == events.back())) return Bad("an empty step");
    events.insert(events.end(), repeats, numbers);
  }
  return absl::OkStatus();
}

}  // namespace

std::string EncodeRunNotes(const RunNotes& notes) {
  LOCKSTEP_CHECK(!notes.events.empty(), "EncodeRunNotes REQUIRES it");
  std::string out(1, kRunNotesVersion);
  out += notes.protocol == Protocol::kLegacy ? '\1' : '\0';
  AppendLittleEndian(notes.replication_hash, out);
  AppendLittleEndian(notes.first_mark, out);
  PutText(notes.source_id, out);
  PutText(notes.host, out);
  PutVarint(static_cast<uint64_t>(notes.port), out);
  PutText(notes.database, out);
  PutVarint(notes.first_logic_id, out);
  RunNotes::Numbers last;
  for (size_t i = 0; i < notes.events.size();) {
    const RunNotes::Numbers& now = notes.events[i];
    PutVarint(ZigZag(int64_t{now.exec_time_s} - last.exec_time_s), out);
    PutVarint(ZigZag(int64_t{now.term_id} - last.term_id), out);
    const size_t from = i;
    while (i < notes.events.size() && notes.events[i] == now) ++i;
    PutVarint(i - from, out);
    last = now;
  }
  return out;
}

absl::StatusOr<RunNotes> DecodeRunNotes(std::string_view bytes, int64_t record_count) {
  if (bytes.empty() || bytes[0] != kRunNotesVersion) {
    return absl::NotFoundError("the ledger keeps no notes of it");
  }
  constexpr size_t kFixedBytes = 1 + 1 + 2 * sizeof(uint64_t);
  if (bytes.size() < kFixedBytes || bytes[1] < 0 || bytes[1] > 1) return Bad("no such beginning");
  RunNotes notes;
  notes.protocol = bytes[1] == 1 ? Protocol::kLegacy : Protocol::kPb;
  notes.replication_hash = ReadLittleEndian<uint64_t>(bytes, 2);
  notes.first_mark = ReadLittleEndian<uint64_t>(bytes, 10);
  bytes.remove_prefix(kFixedBytes);
  LOCKSTEP_ASSIGN_OR_RETURN(notes.source_id, TakeText(bytes, "the source's id"));
  LOCKSTEP_ASSIGN_OR_RETURN(notes.host, TakeText(bytes, "the host"));
  LOCKSTEP_ASSIGN_OR_RETURN(const uint64_t port, TakeNumber(bytes, "the port", 65'535));
  notes.port = static_cast<int32_t>(port);
  LOCKSTEP_ASSIGN_OR_RETURN(notes.database, TakeText(bytes, "the database"));
  LOCKSTEP_ASSIGN_OR_RETURN(notes.first_logic_id, TakeNumber(bytes, "the count"));
  LOCKSTEP_RETURN_IF_ERROR(
      TakeEvents(bytes, static_cast<size_t>(std::max<int64_t>(record_count, 0)), notes.events));
  if (!bytes.empty()) return Bad("more than the run's records");
  return notes;
}

std::unique_ptr<PayloadEncoder> MakeRunNotesEncoder() {
  return std::make_unique<RunNotesEncoder>();
}

}  // namespace lockstep::pika
