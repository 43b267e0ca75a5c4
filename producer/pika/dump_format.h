// What lies in a dump of Pika's: the bytes of its RocksDB keys and values, and the order of its
// list nodes. docs/formats/pika-dump.md has the tables.
//
// Two families: 3.0 to 3.5 keep one RocksDB for each type (`strings/`, `hashes/`, …), 4.0 keeps all
// types in each of several (`0/`, `1/`, …). Total: no bytes break the parsers.
#ifndef LOCKSTEP_PRODUCER_PIKA_DUMP_FORMAT_H_
#define LOCKSTEP_PRODUCER_PIKA_DUMP_FORMAT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include <rocksdb/comparator.h>

#include "producer/pika/command_table.h"

namespace lockstep::pika {

enum class DumpFamily { kByType, kMixed };

// A key that is alive: what its meta record says.
struct DumpKey {
  DataType type = DataType::kString;
  std::string key;
  int64_t expire_at_ms = 0;  // 0: never.
  std::string value;         // Strings only.
  uint64_t count = 0;        // Elements of a collection.
  std::string data_prefix;   // Its data records begin with this.
  uint64_t first_index = 0;  // Lists: of the head; the others follow, one each.
};

// One record of the meta column family. nullopt: stale at now_ms, deleted, or empty.
// INVALID_ARGUMENT says what is wrong with it. `type` is the store's, for kByType.
absl::StatusOr<std::optional<DumpKey>> ParseDumpMeta(DumpFamily family, DataType type,
                                                     std::string_view key, std::string_view value,
                                                     int64_t now_ms);

// One data record of `owner`, appended as a command takes it: field and value of a hash, member of
// a set, score and member of a zset, element of a list, id, fields and values of a stream.
// REQUIRES: key begins with owner.data_prefix.
absl::Status AppendDumpElement(DumpFamily family, const DumpKey& owner, std::string_view key,
                               std::string_view value, std::vector<std::string>& elements);

// Where the node of a list with this index lies.
std::string ListNodeKey(DumpFamily family, const DumpKey& owner, uint64_t index);

// The order of list nodes, under the name that the files carry.
const rocksdb::Comparator* ListNodeComparator(DumpFamily family);

}  // namespace lockstep::pika

#endif  // LOCKSTEP_PRODUCER_PIKA_DUMP_FORMAT_H_
