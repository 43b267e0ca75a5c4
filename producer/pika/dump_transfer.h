// DumpTransfer: a dump on its way to this disk. snapshot_fetch.h fetches it, rsync_receive.h has it
// pushed.
#ifndef LOCKSTEP_PRODUCER_PIKA_DUMP_TRANSFER_H_
#define LOCKSTEP_PRODUCER_PIKA_DUMP_TRANSFER_H_

#include <cstdint>

#include "absl/status/status.h"

namespace lockstep::pika {

class DumpTransfer {
 public:
  virtual ~DumpTransfer() = default;

  virtual bool done() = 0;
  // REQUIRES: done(). OK: the dump is there, whole and synced.
  virtual absl::Status status() = 0;
  virtual uint64_t received_bytes() = 0;
};

}  // namespace lockstep::pika

#endif  // LOCKSTEP_PRODUCER_PIKA_DUMP_TRANSFER_H_
