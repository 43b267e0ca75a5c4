// One record as one line of JSON: what jsonl and exec sinks are given, and what jsonl sources read.
//
//   {"stream":"orders/0","epoch":1,"offset":4711,"producer":"A","term":4,"seq":2301,"at":"98231",
//    "key":"k1","value":"…","timestamp_ms":1700000000000,"headers":{"h":"v"}}
//
// Bytes that are not UTF-8 come as base64: `key_b64`, `value_b64`, `producer_b64`, `at_b64`, and a
// header whose value is not UTF-8 stands in `headers_b64` instead of `headers`. An absent key, a
// tombstone and a null header are `null`. Repeated header names turn the object into
// [["k","v"],["k","w"]]. docs/formats/record-json.md has the grammar and examples.
#ifndef LOCKSTEP_COMMON_MODEL_RECORD_JSON_H_
#define LOCKSTEP_COMMON_MODEL_RECORD_JSON_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include "common/model/digest.h"
#include "common/model/ids.h"

namespace lockstep {

// What a sink is given. `epoch` and `offset` are the ledger's position, never the local log's.
struct EmittedRecord {
  StreamName stream = {};
  Epoch epoch = {};
  Offset offset = {};
  std::string producer = {};
  Term term = {};
  Seq seq = {};
  std::string at = {};
  Payload payload = {};
  std::optional<Offset> log_offset = {};  // Where the local log has it.
  bool replayed = false;                  // The outside has seen it already (replay mode).
  bool in_doubt = false;                  // It may have been sent before.
  bool operator==(const EmittedRecord&) const = default;
};

// The same without owning anything.
struct EmittedRecordView {
  std::string_view stream;  // `orders/0`
  Epoch epoch = {};
  Offset offset = {};
  std::string_view producer = {};
  Term term = {};
  Seq seq = {};
  std::string_view at = {};
  std::optional<std::string_view> key = {};
  std::optional<std::string_view> value = {};
  std::span<const RunDigest::HeaderView> headers = {};  // Without Lockstep's own.
  int64_t timestamp_ms = 0;
  std::optional<Offset> log_offset = {};
  bool replayed = false;
  bool in_doubt = false;
};

// Writes records into one buffer that it keeps. Not thread-safe. O(bytes).
class RecordJsonWriter {
 public:
  // The line without its end; valid until the next call.
  std::string_view Write(const EmittedRecordView& record);
  std::string_view Write(const EmittedRecord& record);

 private:
  using Writer = rapidjson::Writer<rapidjson::StringBuffer>;
  void Member(Writer& writer, std::string_view name, std::string_view name_b64,
              std::optional<std::string_view> bytes);
  void Base64(Writer& writer, std::string_view bytes);
  void Headers(Writer& writer, std::span<const RunDigest::HeaderView> headers);

  rapidjson::StringBuffer buffer_;
  std::string base64_;
  std::vector<RunDigest::HeaderView> text_headers_;
  std::vector<RunDigest::HeaderView> binary_headers_;
  std::vector<RunDigest::HeaderView> owned_headers_;  // Views of an EmittedRecord's.
  std::string stream_;
};

// Reads back what RecordJsonWriter wrote. Headers of `headers` come before those of `headers_b64`;
// within each their order is kept. INVALID_ARGUMENT names the field. Unknown fields are ignored.
absl::StatusOr<EmittedRecord> ParseRecordJson(std::string_view line);

// One line of a jsonl source.
struct SourceLine {
  Payload payload = {};                   // timestamp_ms 0: none given.
  std::optional<int32_t> partition = {};  // nullopt: by key.
  bool operator==(const SourceLine&) const = default;
};

// Only `value` (a string, or null for a tombstone) or `value_b64` is required; `key` or `key_b64`,
// `headers`, `headers_b64`, `timestamp_ms`, `partition` may be there. Unknown fields are ignored.
// INVALID_ARGUMENT names the field, or says that the line is not UTF-8 or not a JSON object.
// Lockstep's own header names are refused.
absl::StatusOr<SourceLine> ParseSourceLine(std::string_view line);

}  // namespace lockstep

#endif  // LOCKSTEP_COMMON_MODEL_RECORD_JSON_H_
