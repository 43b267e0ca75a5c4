// PikaPayloadSource makes a producer's events again from the binlog of a Pika that survived: a
// replica of the one that the producer read, or that one itself.
//
// A replica has the commands at the same positions, and numbers everything else anew; what the
// master said is in the run's notes (pika/run_notes.h). The first entry of a run is asked for by
// the position where it ends and must be the one in the notes, so a replica with another history
// is told from one that is only behind. Runs that ascend are read straight on, on one connection,
// which ends with this object.
#ifndef LOCKSTEP_PRODUCER_SOURCES_PIKA_PAYLOAD_SOURCE_H_
#define LOCKSTEP_PRODUCER_SOURCES_PIKA_PAYLOAD_SOURCE_H_

#include <memory>

#include "producer/sources/payload_source.h"
#include "producer/sources/source_spec.h"

namespace lockstep {

// The filter of `spec` is the producer's. Its Read takes the run's notes from request.run.payload,
// and fails, naming the Pika and the first record that it can not give, as PayloadSource says, and
// with
//   NOT_FOUND            also: purged there, another history, or behind for `patience`.
//   FAILED_PRECONDITION  the run has no notes, or not of a binlog that can be read again: the Pika
//                        was not asked.
//   UNAVAILABLE          also: it refuses (password, no such database, …).
std::unique_ptr<PayloadSource> OpenPikaPayloadSource(const PikaSpec& spec,
                                                     const PayloadSourceOptions& options);

}  // namespace lockstep

#endif  // LOCKSTEP_PRODUCER_SOURCES_PIKA_PAYLOAD_SOURCE_H_
