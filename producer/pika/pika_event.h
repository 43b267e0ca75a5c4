// PikaEventWriter turns binlog items and keys of a dump into events: JSON for people and consumers
// of any language, with the identity to write idempotently by.
//
//   {"event_type":"binlog","op":"set","data_type":"string","db":"db0","slot":0,"key":"k",
//    "args_b64":["U0VU","aw==","dg=="],"raw_resp_b64":"…","ts_ms":1700000000000,
//    "event_id":"0:0:69:1","source_id":"10.0.0.1:9221",
//    "binlog":{"filenum":0,"offset":69,"logic_id":1,"server_id":null,"term_id":0},
//    "source":{"host":"10.0.0.1","port":9221,"replication_id":"…"}}
//
// docs/formats/pika-event.md is the manual, pika-event.schema.json its schema.
//
// An event is a function of the item, its end, the database and the source's descriptor: read
// again, it is the same bytes.
#ifndef LOCKSTEP_PRODUCER_PIKA_PIKA_EVENT_H_
#define LOCKSTEP_PRODUCER_PIKA_PIKA_EVENT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include "producer/pika/binlog_item.h"
#include "producer/pika/command_table.h"
#include "producer/pika/dump_batch.h"
#include "producer/pika/pika_filter.h"
#include "producer/pika/slave.h"
#include "producer/source_event.h"

namespace lockstep::pika {

struct PikaSourceDescriptor {
  std::string source_id;  // `host:port` of the SOURCE text, unless it was given another.
  std::string host;
  int32_t port = 0;
  std::string replication_id;  // Empty: the master has none (before 3.5.1).
  Protocol protocol = Protocol::kPb;
};

// Not thread-safe. O(bytes), buffers are kept.
class PikaEventWriter {
 public:
  PikaEventWriter(PikaSourceDescriptor source, std::string db, PikaFilter filter = {});

  // The item as an event whose position is `end`; nullopt for what changes no data (CLEARCACHE, …),
  // for Pika's own keys and for what the filter does not let pass. `bytes` are the item's.
  // DATA_LOSS: not an item, or no command in it; the message names field and byte.
  absl::StatusOr<std::optional<SourceEvent>> Write(std::string_view bytes,
                                                   const BinlogPosition& end);

  // One batch of a dump's key as the command that makes it (SET, HSET, RPUSH, SADD, ZADD, XADD),
  // and behind the last batch of a collection that expires a PEXPIREAT. `number` counts the events
  // of the snapshot from 1 and is counted on; events with a number up to `known` are not made, nor
  // what the filter does not let pass, which is not counted either.
  struct SnapshotPlace {
    uint64_t id = 0;  // When it was begun, Unix seconds; a later snapshot has a greater one.
    BinlogPosition position;  // The dump's: the binlog goes on there.
    uint64_t number = 0;
    uint64_t known = 0;
  };
  void WriteSnapshot(const DumpBatch& batch, SnapshotPlace& place,
                     std::vector<SourceEvent>& events);

  int64_t unknown_commands() const { return unknown_commands_; }
  const std::string& last_unknown_command() const { return last_unknown_command_; }
  int64_t filtered() const { return filtered_; }  // Entries and batches that it did not let pass.

 private:
  using Writer = rapidjson::Writer<rapidjson::StringBuffer>;
  // What binlog and snapshot events have in common, without the object's end.
  void BeginJson(Writer& writer, const char* event_type, const std::string& op, DataType type,
                 std::optional<std::string_view> key, std::string_view content, int64_t ts_ms,
                 const std::string& event_id);
  void WriteSnapshotEvent(const DumpBatch& batch, bool first, bool last, SnapshotPlace& place,
                          std::vector<SourceEvent>& events);
  SourceEvent MakeEvent(std::string at, DataType type, std::optional<std::string_view> key,
                        int64_t ts_ms);
  void String(Writer& writer, std::string_view text);
  void Base64(Writer& writer, std::string_view bytes);
  void Json(Writer& writer, std::string_view json);

  const PikaSourceDescriptor source_;
  const std::string db_;
  const PikaFilter filter_;
  std::string source_json_;  // The member `source`.
  std::vector<std::string_view> args_;
  rapidjson::StringBuffer json_;
  std::string base64_;
  std::string content_;
  int64_t unknown_commands_ = 0;
  std::string last_unknown_command_;
  int64_t filtered_ = 0;
};

// The Kafka key: `db:data_type:key`, or `db` where the command has no key.
std::string EventKey(std::string_view db, DataType type, std::optional<std::string_view> key);

}  // namespace lockstep::pika

#endif  // LOCKSTEP_PRODUCER_PIKA_PIKA_EVENT_H_
