// Buffer is one stream's ParkingBuffer with what it needs behind it, made as `--buffer` says.
#ifndef LOCKSTEP_REORDER_BUFFER_H_
#define LOCKSTEP_REORDER_BUFFER_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"

#include "reorder/parking/parking_buffer.h"
#include "reorder/stream_reader.h"

namespace lockstep {

struct BufferOptions {
  enum class Kind {
    kMemory,   // In memory, without a bound.
    kSpill,    // In memory up to the budget, the rest on disk.
    kBounded,  // In memory up to the budget, the rest fetched again from the log.
  };
  Kind kind = Kind::kMemory;
  ParkingBudget budget = {};
  std::string spill_directory = {};  // kSpill: of this stream's own, made when it is needed, or …
  bool spill_at_once = false;        // … by Open, which fails if that cannot be.
  int64_t spill_bytes_max = INT64_MAX;
};

class Buffer {
 public:
  virtual ~Buffer() = default;
  // Makes the buffer, and has the reader fetch no more ahead than belongs to the budget.
  static std::unique_ptr<Buffer> Make(const BufferOptions& options, StreamReaderOptions& reader);

  virtual absl::Status Open() { return absl::OkStatus(); }
  virtual ParkingBuffer& parking() = 0;
  // Another budget from now on (not kMemory).
  virtual absl::Status SetBudget(ParkingBudget budget) {
    static_cast<void>(budget);
    return absl::OkStatus();
  }
  // Unpark ends its waiting for something outside (UNAVAILABLE) once `stop_requested` says so.
  virtual void StopWhen(const std::function<bool()>& stop_requested) {
    static_cast<void>(stop_requested);
  }
  virtual int64_t spill_bytes() const { return 0; }  // On disk now.
  // kSpill: the longest that the stream stood still while a piece of its budget was written.
  virtual std::chrono::milliseconds longest_pause() const { return {}; }
  // kBounded: what brokers sent for records fetched again, all that was thrown away included; see
  // KafkaLogFetcher.
  virtual int64_t wire_bytes() const { return 0; }
};

// What is taken out for one batch stays in memory beside the budget, so a smaller budget has
// smaller batches. Where batches end decides what is written: a plan is told the same as the run
// (not kMemory, which writes nothing). A budget that is told in records bounds no bytes.
void LimitBatch(const ParkingBudget& budget, StreamReaderOptions& reader);

// kBounded: the part of the budget that is left for parked records.
ParkingBudget BoundedParkingBudget(ParkingBudget budget);

}  // namespace lockstep

#endif  // LOCKSTEP_REORDER_BUFFER_H_
