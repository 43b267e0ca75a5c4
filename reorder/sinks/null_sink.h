// NullSink counts records and checksums them; for benchmarks and for comparing two runs.
//
// Checksum: of each record XXH3-64 of (epoch, offset, size of the key, size of the value), four
// int64 with -1 for null; seeded by it, of the key; seeded by that, of the value. Then, record by
// record, checksum × kFactor + that, from 0. (A record's own does not wait for the one before.)
// Blind: it forgets everything with its process.
#ifndef LOCKSTEP_REORDER_SINKS_NULL_SINK_H_
#define LOCKSTEP_REORDER_SINKS_NULL_SINK_H_

#include <cstdint>
#include <string>

#include "reorder/sinks/sink.h"

namespace lockstep {

class NullSink final : public Sink {
 public:
  SinkKind kind() const override { return SinkKind::kBlind; }
  absl::StatusOr<std::optional<Position>> Last() override;
  absl::Status Write(std::span<const ReadyRecord> records) override;
  absl::Status Sync() override { return absl::OkStatus(); }
  std::string Checksum() const override;  // 16 hexadecimal digits.

  int64_t records() const { return records_; }

 private:
  uint64_t checksum_ = 0;
  int64_t records_ = 0;
};

}  // namespace lockstep

#endif  // LOCKSTEP_REORDER_SINKS_NULL_SINK_H_
