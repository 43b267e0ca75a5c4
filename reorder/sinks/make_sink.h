// MakeSinks turns `--sink` into one sink a stream.
#ifndef LOCKSTEP_REORDER_SINKS_MAKE_SINK_H_
#define LOCKSTEP_REORDER_SINKS_MAKE_SINK_H_

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "common/model/ids.h"
#include "reorder/sinks/sink.h"

namespace lockstep {

// `jsonl:FILE`, `jsonl:-`, `table:schema.table`, `exec:COMMAND`, `null`.
struct SinkSpec {
  enum class Kind { kNull, kJsonl, kTable, kExec };
  Kind kind = Kind::kNull;
  std::string target = {};  // The file, `-`, the quoted table name, or the command.
  bool operator==(const SinkSpec&) const = default;
};

absl::StatusOr<SinkSpec> ParseSinkSpec(std::string_view text);

// True iff records go to standard output, so that nothing else may.
bool TakesStdout(const SinkSpec& spec);

// Why records that were sent before must not be given to this sink again (--mode replay); nullptr:
// they may, a repeat is what such a sink is for.
const char* WhyNotReplayed(const SinkSpec& spec);

// In the streams' order. `sink_db` empty: the ledger's database. Opens files and connections.
absl::StatusOr<std::vector<std::unique_ptr<Sink>>> MakeSinks(const SinkSpec& spec,
                                                             const std::vector<StreamName>& streams,
                                                             const std::string& ledger,
                                                             const std::string& sink_db);

}  // namespace lockstep

#endif  // LOCKSTEP_REORDER_SINKS_MAKE_SINK_H_
