// What Pika's write commands act on: the kind of value and where the key stands.
//
// The list is every command that 3.0 to 4.0 write to their binlogs. Names are compared without
// case: they are logged as the client typed them.
#ifndef LOCKSTEP_PRODUCER_PIKA_COMMAND_TABLE_H_
#define LOCKSTEP_PRODUCER_PIKA_COMMAND_TABLE_H_

#include <cstddef>
#include <string>
#include <string_view>

namespace lockstep::pika {

enum class DataType {
  kString,
  kHash,
  kList,
  kSet,
  kZset,
  kStream,
  kKey,       // Whatever lies under the key: DEL, EXPIRE, …
  kDatabase,  // All of the database: FLUSHDB, …
  kUnknown,   // A command that is not in the table.
};

// `string`, `hash`, `list`, `set`, `zset`, `stream`, `key`, `database`, `unknown`.
std::string_view ToString(DataType type);

struct CommandInfo {
  DataType type = DataType::kUnknown;
  size_t key_index = 0;      // Of the (first) key among the arguments, the name being 0. 0: no key.
  bool changes_data = true;  // False: Pika logs it, but it changes nothing (CLEARCACHE, …).
};

// `lower_name` in lower case.
CommandInfo FindCommand(std::string_view lower_name);

// ASCII only.
std::string ToLower(std::string_view name);

// Keys that Pika keeps for itself (moves of slots).
bool IsInternalKey(std::string_view key);

}  // namespace lockstep::pika

#endif  // LOCKSTEP_PRODUCER_PIKA_COMMAND_TABLE_H_
