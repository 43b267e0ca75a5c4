#include "tests/fuzz/fuzz_targets.h"

#include <string>
#include <vector>

#include "common/base/check.h"
#include "common/base/utf8.h"
#include "common/config/config_file.h"
#include "common/model/offset_ranges.h"
#include "common/model/record_header.h"
#include "common/model/record_json.h"
#include "producer/pika/binlog_item.h"
#include "producer/pika/dump_format.h"
#include "producer/pika/dump_reader.h"
#include "producer/pika/legacy_session.h"
#include "producer/pika/pb_frame.h"
#include "producer/pika/pb_session.h"
#include "producer/pika/pika_event.h"
#include "producer/pika/resp_command.h"
#include "producer/pika/run_notes.h"
#include "producer/pika/snapshot_session.h"

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

namespace {

std::vector<std::string> ReadFrames(std::string_view bytes, size_t step) {
  pika::PbFrameReader reader(1000);
  std::vector<std::string> frames;
  for (size_t at = 0; at < bytes.size(); at += step) {
    reader.Append(bytes.substr(at, step));
    for (;;) {
      const auto frame = reader.Next();
      if (!frame.ok()) {
        frames.emplace_back(frame.status().message());
        return frames;
      }
      if (!*frame) break;
      frames.emplace_back(**frame);
    }
  }
  return frames;
}

}  // namespace

void FuzzPikaFrames(std::string_view bytes) {
  LOCKSTEP_CHECK(ReadFrames(bytes, 1) == ReadFrames(bytes, bytes.size() + 1),
                 "frames do not depend on how they arrive");
}

void FuzzPikaItem(std::string_view bytes) {
  const auto item = pika::ParseBinlogItem(bytes);
  if (item.ok() && !pika::IsPaddingItem(*item)) {
    std::string again;
    pika::AppendBinlogItem(*item, again);
    LOCKSTEP_CHECK(again == bytes, "an item that parses is canonical");
  }
  pika::PikaEventWriter writer({"h:1", "h", 1, ""}, "db0");
  const auto event = writer.Write(bytes, {0, 69});
  LOCKSTEP_CHECK(!event.ok() || item.ok(), "only an item makes an event");
  if (event.ok() && *event) {
    LOCKSTEP_CHECK(IsUtf8(*(*event)->payload.value), "an event is text");
  }
}

void FuzzPikaNotes(std::string_view bytes) {
  constexpr int64_t kRecords = 3;
  const auto notes = pika::DecodeRunNotes(bytes, kRecords);
  LOCKSTEP_CHECK(!notes.ok() || notes->events.size() == kRecords, "one a record");
  if (notes.ok()) {
    const auto again = pika::DecodeRunNotes(pika::EncodeRunNotes(*notes), kRecords);
    LOCKSTEP_CHECK(again.ok() && *again == *notes, "notes read back as themselves");
  }
  const auto encoder = pika::MakeRunNotesEncoder();
  Payload payload;
  payload.value = std::string(bytes);
  encoder->Add(payload);
  const std::string made = encoder->Take();
  LOCKSTEP_CHECK(made.empty() || pika::DecodeRunNotes(made, 1).ok(), "what is made decodes");
}

void FuzzPikaSession(std::string_view bytes) {
  pika::PbSession session({.slave_ip = "127.0.0.1",
                           .slave_port = 1,
                           .password = "",
                           .database = "db0",
                           .position = {},
                           .parts = 0,
                           .logic_id = {},
                           .replication_id = "",
                           .replication_hash = 0},
                          0);
  // A good start, so that what follows is looked at in earnest.
  using Bytes = std::string_view;
  session.OnBytes(Bytes("\0\0\0\x11\x08\x01\x10\x01\x22\x0b\x08\x01\x12\x07\x0a\x03"
                        "db0\x10\x01",
                        21),
                  0);
  session.OnBytes(Bytes("\0\0\0\x19\x08\x02\x10\x01\x32\x13\x08\x01\x12\x07\x0a\x03"
                        "db0\x10\x00\x1a\x04\x08\x00\x10\x45\x20\x07",
                        29),
                  0);
  LOCKSTEP_CHECK(session.stage() == pika::PbSession::Stage::kStream, "the master's word is good");
  session.OnBytes(bytes, 1);
  pika::BinlogPosition position;
  for (const auto& received : session.TakeItems()) {
    const auto item = pika::ParseBinlogItem(received.bytes);
    LOCKSTEP_CHECK(item.ok() && (pika::IsPaddingItem(*item) || item->start == position),
                   "items come without a hole");
    position = received.end;
  }
  session.Acknowledge(session.unacknowledged(), 2);
  session.OnTick(100'000);
}

void FuzzPikaLegacy(std::string_view bytes) {
  using pika::LegacySession;
  LegacySession session({.slave_ip = "127.0.0.1",
                         .slave_port = 1,
                         .password = "",
                         .database = "db0",
                         .position = {},
                         .parts = 0,
                         .logic_id = {},
                         .replication_id = "",
                         .replication_hash = 0},
                        0);
  // A good start, unless the bytes shall be that; what follows is cut in two.
  const char form = bytes.empty() ? 0 : bytes[0];
  bytes = bytes.substr(bytes.empty() ? 0 : 1);
  session.OnOpen(LegacySession::kCommand, 0);
  if (form % 3 == 2) {
    session.OnBytes(LegacySession::kCommand, bytes, 1);
    return session.OnTick(100'000);
  }
  const std::string info = absl::StrCat("pika_version:", form % 3 == 0 ? "3.0.4" : "2.3.2",
                                        "\r\nrole:master\r\nbinlog_offset:9 0\r\n");
  session.OnBytes(LegacySession::kCommand,
                  absl::StrCat("$", info.size(), "\r\n", info,
                               "\r\n*2\r\n$16\r\nbinlog-file-size\r\n$4\r\n1000\r\n:7\r\n"),
                  0);
  session.OnOpen(LegacySession::kHeartbeat, 0);
  session.OnBytes(LegacySession::kHeartbeat, "+OK\r\n", 0);
  LOCKSTEP_CHECK(session.stage() == LegacySession::Stage::kStream, "the master's word is good");
  const std::string auth =
      form % 3 == 0 ? std::string("\1\0\x15\0\0\0", 6) + "*2\r\n$4\r\nauth\r\n$1\r\n7\r\n" : "";
  for (const std::string_view part :
       {bytes.substr(0, bytes.size() / 2), bytes.substr(bytes.size() / 2)}) {
    session.OnOpen(LegacySession::kBinlog, 0);
    session.OnBytes(LegacySession::kBinlog, auth, 0);
    session.OnBytes(LegacySession::kBinlog, part, 1);
    session.OnClosed(LegacySession::kBinlog, 1);
  }
  pika::BinlogPosition position;
  for (const auto& received : session.TakeItems()) {
    LOCKSTEP_CHECK(received.end >= position, "positions do not go back");
    position = received.end;
    if (received.bytes.empty()) continue;
    LOCKSTEP_CHECK(pika::ParseBinlogItem(received.bytes).ok(), "items parse");
  }
  session.OnTick(100'000);
}

void FuzzPikaSnapshot(std::string_view bytes) {
  pika::SnapshotSession session("db0", 0);
  session.OnBytes(bytes, 1);
  session.OnTick(10'000);
  for (const std::string& file : session.files()) {
    LOCKSTEP_CHECK(pika::ValidDumpFileName(file), "a file stays below the directory");
  }
  std::string file;
  uint64_t end = 0;
  for (const auto& piece : session.TakePieces()) {
    LOCKSTEP_CHECK(piece.offset == (piece.file == file ? end : 0), "pieces come without a hole");
    file = piece.file;
    end = piece.offset + piece.data.size();
  }
}

void FuzzPikaDump(std::string_view bytes) {
  const size_t half = bytes.size() / 2;
  const std::string_view key = bytes.substr(0, half);
  const std::string_view value = bytes.substr(half);
  for (const auto family : {pika::DumpFamily::kByType, pika::DumpFamily::kMixed}) {
    for (const auto type : {pika::DataType::kString, pika::DataType::kHash, pika::DataType::kList,
                            pika::DataType::kZset, pika::DataType::kStream}) {
      const auto meta = pika::ParseDumpMeta(family, type, key, value, 0);
      if (!meta.ok() || !*meta) continue;
      LOCKSTEP_CHECK((*meta)->count > 0, "what is alive has elements");
      std::vector<std::string> elements;
      pika::AppendDumpElement(family, **meta, (*meta)->data_prefix + std::string(key), value,
                              elements)
          .IgnoreError();  // Anything but a crash.
    }
    const rocksdb::Comparator* order = pika::ListNodeComparator(family);
    const rocksdb::Slice a(key.data(), key.size());
    const rocksdb::Slice b(value.data(), value.size());
    const int forward = order->Compare(a, b);
    const int back = order->Compare(b, a);
    LOCKSTEP_CHECK((forward < 0) == (back > 0) && (forward == 0) == (back == 0),
                   "an order is the same from both sides");
  }
  (void)pika::ParseDumpInfo(bytes);
}

}  // namespace lockstep
