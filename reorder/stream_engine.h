// StreamEngine runs one stream whose cursor is a position.
//
//   gate, recover and replay are this one engine; they differ in how they start: where the cursor
//   has to come from, and whether reading begins behind it or at the ledger's first record.
//
// Replay gives what lies up to the cursor's done to the sink first, marked `replayed`: no intent,
// no done, the cursor stays. What lies above goes out as always.
#ifndef LOCKSTEP_REORDER_STREAM_ENGINE_H_
#define LOCKSTEP_REORDER_STREAM_ENGINE_H_

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/status.h"

#include "common/model/ids.h"
#include "db-ledger/ledger.h"
#include "reorder/engine_loop.h"
#include "reorder/gate.h"
#include "reorder/stream_reader.h"
#include "reorder/stream_runner.h"

namespace lockstep {

class StreamEngine final : public EngineLoop {
 public:
  StreamEngine(StreamEngineOptions options, Ledger& ledger, Sink& sink, StreamProgress& progress)
      : EngineLoop(std::move(options), ledger, sink, progress) {}

 private:
  absl::Status OpenGate() override;
  absl::Status ResolveDoubt() override;
  absl::StatusOr<std::unique_ptr<RecordReader>> OpenReader() override;
  absl::Status GiveOut(std::vector<ReadyRecord>& records) override;
  bool owes_done() const override { return gate_->owes_done(); }
  absl::Status WriteDone() override;
  bool HasEnd(const Waiting& waiting) const override;
  StreamEnd EndedBy(const absl::Status& status) const override;

  absl::Status ListInDoubt();
  bool IsHeldAsBefore();
  absl::Status CheckReplay();
  bool Replaying() const;
  absl::Status Replay(std::span<ReadyRecord> records);
  absl::Status SendOut(std::span<ReadyRecord> records);
  absl::Status LetOut(std::span<ReadyRecord> records);

  std::optional<Gate> gate_;
  std::optional<Position> replayed_to_;  // kReplay: what was given out last.
};

}  // namespace lockstep

#endif  // LOCKSTEP_REORDER_STREAM_ENGINE_H_
