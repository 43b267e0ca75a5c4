// A record on its way through the reorderer: as the log shows it (FetchedRecord) and as it goes out
// (ReadyRecord).
//
// Both are views. Of a record that is next when it arrives, they point into the consumer's message
// (no copy); of one that was parked, into the parking buffer.
#ifndef LOCKSTEP_REORDER_RECORD_H_
#define LOCKSTEP_REORDER_RECORD_H_

#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "common/model/ids.h"
#include "common/model/record_header.h"

namespace lockstep {

// Name and value of one header; nullopt is Kafka's null.
using HeaderView = std::pair<std::string_view, std::optional<std::string_view>>;

// Reads a record's headers where they lie; most sinks of a run never ask.
class HeaderSource {
 public:
  virtual ~HeaderSource() = default;
  // The headers without Lockstep's own, in order, into `out` (emptied first). The views live as
  // long as the record's.
  virtual void Read(const void* handle, std::vector<HeaderView>& out) const = 0;
};

// What a record carries. Valid as long as the message or the parking buffer that it points into.
struct RecordView {
  Offset log_offset;  // In the topic that it was read from.
  int64_t timestamp_ms = 0;
  std::string_view at;
  std::optional<std::string_view> key;
  std::optional<std::string_view> value;
  const HeaderSource* header_source = nullptr;  // nullptr: no other headers.
  const void* header_handle = nullptr;

  // Of key and value.
  size_t payload_bytes() const {
    return (key.has_value() ? key->size() : 0) + (value.has_value() ? value->size() : 0);
  }
  void ReadHeaders(std::vector<HeaderView>& out) const {
    out.clear();
    if (header_source != nullptr) header_source->Read(header_handle, out);
  }
};

// One record as it came out of a log.
struct FetchedRecord {
  FetchedRecord() {}  // NOLINT(modernize-use-equals-default): see ReadyRecord.

  bool foreign = false;  // It carries no record header; `header` says nothing.
  RecordHeader header;
  RecordView view;
};

// A record whose turn it is.
struct ReadyRecord {
  // Written out, so that emplace_back() does not clear all the bytes before the members are set.
  ReadyRecord() {}  // NOLINT(modernize-use-equals-default)

  Position position;          // The ledger's.
  std::string_view producer;  // Its name; lives as long as the Resequencer.
  bool in_doubt = false;      // It may have been sent before.
  bool replayed = false;      // The outside has seen it (replay mode).
  Term term;
  Seq seq;
  RecordView view;
};

}  // namespace lockstep

#endif  // LOCKSTEP_REORDER_RECORD_H_
