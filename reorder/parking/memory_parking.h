// MemoryParking keeps parked records in memory without a bound: one ProducerFifo a queue over one
// pool of chunks. Park and Unpark never fail.
#ifndef LOCKSTEP_REORDER_PARKING_MEMORY_PARKING_H_
#define LOCKSTEP_REORDER_PARKING_MEMORY_PARKING_H_

#include <vector>

#include "reorder/parking/parking_buffer.h"
#include "reorder/producer_fifo.h"

namespace lockstep {

class MemoryParking final : public ParkingBuffer {
 public:
  absl::Status Park(size_t queue, Seq seq, const RecordView& record) override;
  std::optional<Seq> Front(size_t queue) const override;
  absl::StatusOr<RecordView> Unpark(size_t queue) override;
  void ReleaseUnparked() override;
  void Clear() override;
  const ParkingStats& stats() const override { return stats_; }

  // What the allocator was asked for, tests compare it with the payload.
  size_t allocated_bytes() const { return pool_.allocated_bytes(); }

 private:
  ChunkPool pool_;
  std::vector<ProducerFifo> queues_;
  std::vector<size_t> touched_;  // Queues taken from since the last release; may repeat.
  ParkingStats stats_;
};

}  // namespace lockstep

#endif  // LOCKSTEP_REORDER_PARKING_MEMORY_PARKING_H_
