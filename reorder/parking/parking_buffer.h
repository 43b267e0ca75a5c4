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
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "common/base/status_macros.h"
#include "common/model/ids.h"
#include "reorder/record.h"

namespace lockstep {

// Memory for parked records. Both limits hold.
struct ParkingBudget {
  int64_t bytes = INT64_MAX;
  int64_t records = INT64_MAX;
  bool operator==(const ParkingBudget&) const = default;
};

struct ParkingStats {
  int64_t records = 0;
  int64_t bytes = 0;  // With the overhead.
  int64_t records_peak = 0;
  int64_t bytes_peak = 0;
  int64_t bytes_written = 0;  // Outside memory, and …
  int64_t bytes_reread = 0;   // … read from there, or from the log, again.
  int64_t store_bytes_peak = 0;
  int64_t fetches = 0;          // From the log, once more …
  int64_t fetches_bound = 0;    // … of at most so many …
  int64_t records_fetched = 0;  // … of so many records.
  bool operator==(const ParkingStats&) const = default;
};

// What a buffer may ask about the records parked in it.
class ParkedOrder {
 public:
  virtual ~ParkedOrder() = default;
  // The position at which a parked record's turn comes. Ascending calls for one queue are O(1).
  virtual Position TurnOf(size_t queue, Seq seq) const = 0;
  // The first seq of the queue's producer that is still to go out, from whichever queue. O(1)
  virtual Seq NextSeq(size_t queue) const = 0;
  // Its position. REQUIRES: a record of that seq or a later one is parked. O(1)
  virtual Position NextTurn(size_t queue) const = 0;
  // The queue that a record of `topic` belongs to; nullopt: to none, its identity is not one that
  // the ledger names.
  virtual std::optional<size_t> QueueOf(int topic, const RecordHeader& header) const = 0;
  // Producers that may have records parked.
  virtual int64_t producers() const = 0;
};

class ParkingBuffer {
 public:
  virtual ~ParkingBuffer() = default;

  // Who knows the order; called before anything is parked, and again after Clear. `order` must
  // outlive the use of this.
  virtual void Bind(const ParkedOrder& order) { static_cast<void>(order); }

  // Copies the record to the end of `queue`. REQUIRES: seq above every one parked there before.
  virtual absl::Status Park(size_t queue, Seq seq, const RecordView& record) = 0;

  // Seq of the queue's oldest record; nullopt: none is parked.
  virtual std::optional<Seq> Front(size_t queue) const = 0;

  // Takes out the queue's oldest record; the view is valid until ReleaseUnparked. UNAVAILABLE: not
  // now; nothing is lost, and the same call may be made again. REQUIRES: Front(queue)
  virtual absl::StatusOr<RecordView> Unpark(size_t queue) = 0;
  // The same for the queue's oldest records as long as their seqs follow each other: at most
  // `count`, and none after so many bytes of keys and values. Appends one ReadyRecord each, with
  // the view alone. An error only if not even the first could be had: otherwise one at least.
  virtual absl::Status UnparkRun(size_t queue, size_t count, size_t bytes_max,
                                 std::vector<ReadyRecord>& out) {
    static_cast<void>(count);
    static_cast<void>(bytes_max);
    LOCKSTEP_ASSIGN_OR_RETURN(const RecordView view, Unpark(queue));
    out.emplace_back().view = view;
    return absl::OkStatus();
  }
  // A hint: the queue's oldest records, if any, are taken out soon.
  virtual void ExpectUnpark(size_t queue) const { static_cast<void>(queue); }
  // Drops the queue's oldest record, which is not needed. REQUIRES: Front(queue)
  virtual absl::Status Skip(size_t queue) { return Unpark(queue).status(); }

  // Every view from Unpark ends here.
  virtual void ReleaseUnparked() = 0;
  // True iff views keep more memory than they should: ReleaseUnparked before more is taken out.
  virtual bool ReleaseFirst() const { return false; }

  // Forgets everything parked; views end too. The peaks stay.
  virtual void Clear() = 0;

  virtual const ParkingStats& stats() const = 0;
};

}  // namespace lockstep

#endif  // LOCKSTEP_REORDER_PARKING_PARKING_BUFFER_H_
