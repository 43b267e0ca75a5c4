// A ledger that remembers nothing: for `--no-ledger`, where a checkpoint file or topic decides
// where a source resumes.
//
// The pipeline runs over it as over any other, so the source is told only of what Kafka has. It
// dies with its process: after a crash what was sent since the last checkpoint is sent again (at
// least once), no order survives the site, nothing fences a second process. Records must carry no
// identity (ProducerOptions::identity), for seqs and terms begin anew with every process.
#ifndef LOCKSTEP_PRODUCER_NO_LEDGER_H_
#define LOCKSTEP_PRODUCER_NO_LEDGER_H_

#include <memory>

#include "db-ledger/ledger.h"

namespace lockstep {

std::unique_ptr<Ledger> OpenNoLedger();

}  // namespace lockstep

#endif  // LOCKSTEP_PRODUCER_NO_LEDGER_H_
