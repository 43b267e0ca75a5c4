// Discover asks ledger and Kafka once, at start: which streams there are and where their records
// lie.
#ifndef LOCKSTEP_REORDER_DISCOVER_H_
#define LOCKSTEP_REORDER_DISCOVER_H_

#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "common/config/program.h"
#include "common/model/ids.h"
#include "db-ledger/ledger.h"
#include "reorder/stream_runner.h"

namespace lockstep {

struct Discovered {
  std::string cluster_id;
  std::vector<StreamName> streams;  // Logical names, ascending where --topic names them.
  // Those of them that the ledger does not know, where it knows others of the topic: nobody has
  // written there. (If it knows none, the topic's name may be wrong.)
  std::set<StreamName> unused;
  std::vector<std::string> topics;  // FindTopics.
  int32_t partition_count = 0;      // Of the largest of them.
};

// With --topic the streams are the ledger's, and, for a run that follows the topic, all its
// partitions besides: a producer may open there at any time. (If the ledger knows none, so does a
// run that ends.) UNAVAILABLE: ledger or brokers are away; NOT_FOUND: no such topic or partition.
enum class Reads { kToTheEnd, kFollows };
absl::StatusOr<Discovered> Discover(const CommonOptions& options, Ledger& ledger, Reads reads);

// `engine`, whatever it was told to do, told where: the stream, these brokers, the topics found. An
// unused stream begins at its start, whatever the mode.
StreamEngineOptions Placed(StreamEngineOptions engine, const CommonOptions& common,
                           const Discovered& found, const StreamName& stream);

}  // namespace lockstep

#endif  // LOCKSTEP_REORDER_DISCOVER_H_
