// ParkingBuffer holds records that are not next until their turn comes.
//
// One queue a (producer, topic), numbered densely by the caller. Every implementation gives the
// same records back in the same order; they differ in where the bytes wait. An implementation that
// does not keep them in memory may fail at Park and Unpark.
//
// Not thread-safe.
#ifndef LOCKSTEP_REORDER_PARKING_PARKING_BUFFER_H_
#define LOCKSTEP_REORDER_PARKING_PARKING_BUFFER_H_

#include <cstddef>
#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "common/model/ids.h"
#include "reorder/record.h"

namespace lockstep {

struct ParkingStats {
  int64_t records = 0;
  int64_t bytes = 0;  // With the overhead.
  int64_t records_peak = 0;
  int64_t bytes_peak = 0;
  int64_t bytes_written = 0;  // Outside memory, and …
  int64_t bytes_reread = 0;   // … read from there again.
  int64_t store_bytes_peak = 0;
};

class ParkingBuffer {
 public:
  virtual ~ParkingBuffer() = default;

  // Copies the record to the end of `queue`. REQUIRES: seq above every one parked there before.
  virtual absl::Status Park(size_t queue, Seq seq, const RecordView& record) = 0;

  // Seq of the queue's oldest record; nullopt: none is parked.
  virtual std::optional<Seq> Front(size_t queue) const = 0;

  // Takes out the queue's oldest record; the view is valid until ReleaseUnparked. REQUIRES:
  // Front(queue)
  virtual absl::StatusOr<RecordView> Unpark(size_t queue) = 0;

  // Every view from Unpark ends here.
  virtual void ReleaseUnparked() = 0;

  // Forgets everything parked; views end too. The peaks stay.
  virtual void Clear() = 0;

  virtual const ParkingStats& stats() const = 0;
};

}  // namespace lockstep

#endif  // LOCKSTEP_REORDER_PARKING_PARKING_BUFFER_H_
