// DumpBatch: some or all of one key's content, as a dump is walked.
#ifndef LOCKSTEP_PRODUCER_PIKA_DUMP_BATCH_H_
#define LOCKSTEP_PRODUCER_PIKA_DUMP_BATCH_H_

#include <cstdint>
#include <string>
#include <vector>

#include "producer/pika/command_table.h"

namespace lockstep::pika {

struct DumpBatch {
  DataType type = DataType::kString;
  std::string key;
  int64_t expire_at_ms = 0;  // Of the key; 0: never.
  bool first = false;        // Of its key.
  bool last = false;
  // As the type's command takes them: a string's value; fields and values of a hash; elements of a
  // list; members of a set; scores and members of a zset; id, fields and values of one stream
  // entry.
  std::vector<std::string> elements;
};

}  // namespace lockstep::pika

#endif  // LOCKSTEP_PRODUCER_PIKA_DUMP_BATCH_H_
