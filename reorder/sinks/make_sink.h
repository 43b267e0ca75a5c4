// MakeSinks turns `--sink` into one sink a stream.
#ifndef LOCKSTEP_REORDER_SINKS_MAKE_SINK_H_
#define LOCKSTEP_REORDER_SINKS_MAKE_SINK_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "common/model/ids.h"
#include "reorder/sinks/http_sink.h"
#include "reorder/sinks/http_target.h"
#include "reorder/sinks/sink.h"

namespace lockstep {

// `jsonl:FILE`, `jsonl:-`, `table:schema.table`, `exec:COMMAND`, `http://…`, `https://…`,
// `kafka:TOPIC[@BROKERS]`, `null`.
struct SinkSpec {
  enum class Kind { kNull, kJsonl, kTable, kExec, kHttp, kKafka };
  Kind kind = Kind::kNull;
  std::string target = {};   // The file, `-`, the quoted table name, the command, or the topic.
  HttpTarget http = {};      // kHttp.
  std::string brokers = {};  // kKafka; empty: the input's.
  bool operator==(const SinkSpec&) const = default;
};

absl::StatusOr<SinkSpec> ParseSinkSpec(std::string_view text);

// True iff records go to standard output, so that nothing else may.
bool TakesStdout(const SinkSpec& spec);

// How many records a batch may have, and so an intent: many where nothing is asked of an operator
// after a crash, few where one request is slow, or where they are copied.
size_t BatchRecordsMax(const SinkSpec& spec);

// Why records that were sent before must not be given to this sink again (--mode replay); nullptr:
// they may, a repeat is what such a sink is for.
const char* WhyNotReplayed(const SinkSpec& spec);

// What the sinks of one kind or another are told besides.
struct SinkSettings {
  std::string ledger = {};          // libpq conninfo.
  std::string standby_ledger = {};  // The same; empty: the witness is among `ledger`'s hosts.
  std::string sink_db = {};         // kTable; empty: the ledger's database.
  int64_t http_records_per_request = 1;
  bool http_by_producer = false;  // The records are in no order but each producer's.
  HttpHeaders http_headers = {};
  std::string http_ca_file = {};
  std::chrono::milliseconds http_answer_max = HttpSinkOptions().answer_max;
};

// In the streams' order; null for kKafka, which is a producer and no sink (kafka_relay.h). Opens
// files and connections.
absl::StatusOr<std::vector<std::unique_ptr<Sink>>> MakeSinks(const SinkSpec& spec,
                                                             const std::vector<StreamName>& streams,
                                                             const SinkSettings& settings);

}  // namespace lockstep

#endif  // LOCKSTEP_REORDER_SINKS_MAKE_SINK_H_
