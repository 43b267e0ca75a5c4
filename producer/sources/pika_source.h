// Pika: one database, read as a slave of an unmodified Pika 2.3 to 4.0 reads it: its binlog, and
// before that a full copy where the binlog does not reach back.
//
// The position is where an entry ends in the binlog, `FILENUM:OFFSET`; within a full copy it is
// `FILENUM:OFFSET:ID:NUMBER`: the dump's position, the copy's id and the event's number in it,
// which lies behind the one and before whatever follows in the binlog. With the ID 0 it is so
// many-th command of the record that begins there (ReceivedItem::part). The checkpoint is the
// position, `:LOGIC_ID:TERM_ID:HASH:MARK`: the entry's own count and term (0 in a copy), a hash of
// the replication id, and what its content is known by.
//
// Started at a checkpoint it reads that entry again before anything else, where it can (MARK). So
// any server that has the history will do, a promoted replica as well; one with another is noticed
// (*source behind ledger*).
//
// One source is one database: their binlogs are independent of each other, and there is no order
// between them to keep. A master with several needs a producer for each.
//
// A full copy is made only if there is a directory for it (SourceOptions::snapshot_dir); without, a
// position that the master has purged is FAILED_PRECONDITION.
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
