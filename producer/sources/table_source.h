// The outbox: a PostgreSQL table whose rows become records, in the order of a serial column.
//
// A serial column alone skips rows that commit late. The rule: M = the greatest id visible; list
// the holders of RowExclusiveLock on the table; wait until none of those listed then holds it; in a
// new snapshot deliver pos < id ≤ M. A writer locks the table before it takes an id, so whoever
// could still commit an id ≤ M is on the list; later holders take greater ids and do not matter, so
// nobody starves the source and nobody is blocked by it.
//
// With `xid=COLUMN` (ids that the application allots) order and position are (xid, id), delivered
// below the oldest transaction that still runs.
//
// A long writer delays delivery and is named in the log. The recent rows are counted again and
// again: a row that came late all the same stops the source.
#ifndef LOCKSTEP_PRODUCER_SOURCES_TABLE_SOURCE_H_
#define LOCKSTEP_PRODUCER_SOURCES_TABLE_SOURCE_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"

#include "producer/sources/payload_source.h"
#include "producer/sources/source.h"
#include "producer/sources/source_spec.h"

namespace lockstep {

absl::StatusOr<std::unique_ptr<Source>> OpenTableSource(const TableSpec& spec,
                                                        const SourceOptions& options);

absl::StatusOr<std::unique_ptr<PayloadSource>> OpenTablePayloadSource(const TableSpec& spec,
                                                                      const std::string& source_db);

}  // namespace lockstep

#endif  // LOCKSTEP_PRODUCER_SOURCES_TABLE_SOURCE_H_
