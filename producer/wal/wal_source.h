// A Pika source behind a WAL: a thread of its own takes events from the source as they come and
// appends them, Poll reads them back. So the source is read on while Kafka or the ledger is away.
//
// At the start what the ledger has not got is replayed, also while the source is away, and the
// source goes on behind the WAL's end. What is ledgered stays until newer ledgered events fill
// `keep_bytes`; what is not ledgered always stays: at `max_bytes` of it the source is not polled,
// which slows it as without a WAL.
//
// A full disk ends the source (RESOURCE_EXHAUSTED) once everything that the WAL has is handed out.
// Nothing is lost: what it lacks was not taken from the source.
#ifndef LOCKSTEP_PRODUCER_WAL_WAL_SOURCE_H_
#define LOCKSTEP_PRODUCER_WAL_WAL_SOURCE_H_

#include <memory>

#include "producer/sources/source.h"
#include "producer/wal/wal.h"

namespace lockstep {

struct WalLimits {
  uint64_t max_bytes = uint64_t{1} << 30;   // Of what the ledger has not got.
  uint64_t keep_bytes = uint64_t{1} << 30;  // Of what it has, for re-injection.
};

std::unique_ptr<Source> ReadThroughWal(std::unique_ptr<Source> source, std::unique_ptr<Wal> wal,
                                       const WalLimits& limits);

}  // namespace lockstep

#endif  // LOCKSTEP_PRODUCER_WAL_WAL_SOURCE_H_
