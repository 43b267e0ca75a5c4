// Pika: one database's binlog, read as a slave of an unmodified Pika 3.1 to 4.0 reads it.
//
// The position is where the entry ends in the binlog, `FILENUM:OFFSET`. The checkpoint is
// `FILENUM:OFFSET:LOGIC_ID:HASH`: the entry's own count, and a hash of the replication id, so that
// a master with another history is noticed (*source behind ledger*).
//
// One source is one database: their binlogs are independent of each other, and there is no order
// between them to keep. A master with several needs a producer for each.
//
// A position that the master has purged needs a full copy of the database, which is not read:
// FAILED_PRECONDITION says so.
#ifndef LOCKSTEP_PRODUCER_SOURCES_PIKA_SOURCE_H_
#define LOCKSTEP_PRODUCER_SOURCES_PIKA_SOURCE_H_

#include <memory>

#include "absl/status/statusor.h"

#include "producer/sources/source.h"
#include "producer/sources/source_spec.h"

namespace lockstep {

absl::StatusOr<std::unique_ptr<Source>> OpenPikaSource(const PikaSpec& spec,
                                                       const SourceOptions& options);

}  // namespace lockstep

#endif  // LOCKSTEP_PRODUCER_SOURCES_PIKA_SOURCE_H_
