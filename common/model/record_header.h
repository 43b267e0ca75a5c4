// The record header: who wrote this record and which one it is.
//
//   lockstep: <term>/<seq>/<at>/<producer>        e.g.  4/2301/98231/A
//
// One Kafka header, text, readable in kcat. `at` is the source position (no '/', no ','; may be
// empty). The producer's name comes last, so it may contain anything, also '/'. Re-injected records
// carry `lockstep-reinjected: <epoch>` as well. docs/formats/record-header.md has the grammar and
// worked examples. A later format will take another header key.
#ifndef LOCKSTEP_COMMON_MODEL_RECORD_HEADER_H_
#define LOCKSTEP_COMMON_MODEL_RECORD_HEADER_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

#include "common/model/ids.h"

namespace lockstep {

inline constexpr char kRecordHeaderKey[] = "lockstep";
inline constexpr char kReinjectedHeaderKey[] = "lockstep-reinjected";
inline constexpr size_t kProducerNameMaxBytes = 255;
inline constexpr size_t kSourcePositionMaxBytes = 255;

// The header's fields; views into the bytes that were parsed, which must outlive it.
struct RecordHeader {
  Term term;
  Seq seq;
  std::string_view at;
  std::string_view producer;
  bool operator==(const RecordHeader&) const = default;
};

// Refuses, with the field's name, whatever FormatRecordHeader could not have written. O(length); no
// allocation on success.
absl::StatusOr<RecordHeader> ParseRecordHeader(std::string_view text);

// Appends the header's text to `out`. REQUIRES: term ≥ 1, seq ≥ 1, ValidProducerName(producer),
// ValidSourcePosition(at).
void AppendRecordHeader(const RecordHeader& header, std::string& out);

// A producer's name: 1 to 255 bytes, anything but NUL.
bool ValidProducerName(std::string_view name);
// A source position as a header can carry it: at most 255 bytes without '/', ',' or NUL.
bool ValidSourcePosition(std::string_view at);

}  // namespace lockstep

#endif  // LOCKSTEP_COMMON_MODEL_RECORD_HEADER_H_
