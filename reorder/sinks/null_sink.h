// NullSink counts records and checksums them; for benchmarks and for comparing two runs.
//
// Checksum: XXH3-64 over, for each record in order, its position, key and value (each with its
// length). Blind: it forgets everything with its process.
#ifndef LOCKSTEP_REORDER_SINKS_NULL_SINK_H_
#define LOCKSTEP_REORDER_SINKS_NULL_SINK_H_

#include <cstdint>
#include <memory>
#include <string>

#include "reorder/sinks/sink.h"

struct XXH3_state_s;

namespace lockstep {

class NullSink final : public Sink {
 public:
  NullSink();
  ~NullSink() override;

  SinkKind kind() const override { return SinkKind::kBlind; }
  absl::StatusOr<std::optional<Position>> Last() override;
  absl::Status Write(std::span<const ReadyRecord> records) override;
  absl::Status Sync() override { return absl::OkStatus(); }
  std::string Checksum() const override;  // 16 hexadecimal digits.

  int64_t records() const { return records_; }

 private:
  struct Free {
    void operator()(XXH3_state_s* state) const;
  };
  std::unique_ptr<XXH3_state_s, Free> state_;
  int64_t records_ = 0;
};

}  // namespace lockstep

#endif  // LOCKSTEP_REORDER_SINKS_NULL_SINK_H_
