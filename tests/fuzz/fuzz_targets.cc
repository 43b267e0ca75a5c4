#include "tests/fuzz/fuzz_targets.h"

#include "common/base/check.h"
#include "common/base/utf8.h"
#include "common/config/config_file.h"
#include "common/model/offset_ranges.h"
#include "common/model/record_header.h"
#include "common/model/record_json.h"

namespace lockstep {

void FuzzRecordHeader(std::string_view bytes) {
  const auto header = ParseRecordHeader(bytes);
  if (!header.ok()) return;
  std::string again;
  AppendRecordHeader(*header, again);
  LOCKSTEP_CHECK(again == bytes, "a header that parses is canonical");
}

void FuzzRecordJson(std::string_view bytes) {
  const auto record = ParseRecordJson(bytes);
  if (!record.ok()) return;
  RecordJsonWriter writer;
  const std::string line(writer.Write(*record));
  LOCKSTEP_CHECK(IsUtf8(line) && line.find('\n') == std::string::npos,
                 "a line is one line of UTF-8");
  const auto again = ParseRecordJson(line);
  LOCKSTEP_CHECK(again.ok(), "what was written can be read");
  LOCKSTEP_CHECK(again->payload.key == record->payload.key &&
                     again->payload.value == record->payload.value &&
                     again->payload.headers.size() == record->payload.headers.size() &&
                     again->producer == record->producer && again->at == record->at &&
                     again->seq == record->seq && again->term == record->term &&
                     again->offset == record->offset && again->epoch == record->epoch,
                 "a record reads back as itself");
}

void FuzzSourceLine(std::string_view bytes) {
  const auto source = ParseSourceLine(bytes);
  if (!source.ok()) return;
  EmittedRecord record{.stream = {"t", source->partition.value_or(0)},
                       .epoch = Epoch(1),
                       .offset = Offset(0),
                       .producer = "A",
                       .term = Term(1),
                       .seq = Seq(1),
                       .payload = source->payload};
  RecordJsonWriter writer;
  const auto again = ParseSourceLine(writer.Write(record));
  LOCKSTEP_CHECK(again.ok() && again->payload.key == source->payload.key &&
                     again->payload.value == source->payload.value &&
                     again->payload.headers.size() == source->payload.headers.size() &&
                     again->payload.timestamp_ms == source->payload.timestamp_ms,
                 "a payload survives the way through a sink's line");
}

void FuzzOffsetRanges(std::string_view bytes) {
  const auto ranges = OffsetRanges::Parse(bytes);
  if (!ranges.ok()) return;
  LOCKSTEP_CHECK(ranges->ToString() == bytes, "ranges that parse are canonical");
}

void FuzzConfigFile(std::string_view bytes) {
  const auto entries = ParseConfigFile(bytes);
  if (!entries.ok()) return;
  for (const ConfigEntry& entry : *entries) {
    for (const std::string& value : entry.values) {
      const auto again = ParseConfigFile("x = " + QuoteToml(value));
      LOCKSTEP_CHECK(again.ok() && (*again)[0].values[0] == value,
                     "a quoted value reads as itself");
    }
  }
}

}  // namespace lockstep
