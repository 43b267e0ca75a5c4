// Discover asks ledger and Kafka once, at start: which streams there are and where their records
// lie.
#ifndef LOCKSTEP_REORDER_DISCOVER_H_
#define LOCKSTEP_REORDER_DISCOVER_H_

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
  std::vector<StreamName> streams;  // Logical names.
  std::vector<std::string> topics;  // FindTopics.
  int32_t partition_count = 0;      // Of the largest of them.
};

// With --topic the streams are the ledger's, or, if no producer has opened yet, the topic's
// partitions. UNAVAILABLE: ledger or brokers are away; NOT_FOUND: no such topic
// or partition.
absl::StatusOr<Discovered> Discover(const CommonOptions& options, Ledger& ledger);

// `engine`, whatever it was told to do, told where: the stream, these brokers, the topics found.
StreamEngineOptions Placed(StreamEngineOptions engine, const CommonOptions& common,
                           const Discovered& found, const StreamName& stream);

}  // namespace lockstep

#endif  // LOCKSTEP_REORDER_DISCOVER_H_
