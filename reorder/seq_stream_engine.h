// SeqStreamEngine runs one stream in per-producer mode: ProducerOrderReader → SeqGate → sink.
//
// It is StreamEngine with the other kind of cursor, for sinks that cannot be asked (kBlind); a
// table or a file knows positions, which say nothing here. Epoch 1 creates the group's cursor;
// later it has to be there, unless `from_start`: a mistyped group would send everything.
#ifndef LOCKSTEP_REORDER_SEQ_STREAM_ENGINE_H_
#define LOCKSTEP_REORDER_SEQ_STREAM_ENGINE_H_

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"

#include "db-ledger/seq_cursor.h"
#include "reorder/producer_order_reader.h"
#include "reorder/seq_gate.h"
#include "reorder/stream_engine.h"

namespace lockstep {

class SeqStreamEngine final : public StreamRunner, private SinkHost {
 public:
  // `ledger` and `cursors` are one ledger. All must outlive this; nothing else may use the ledger.
  // `options.mode` is not looked at.
  SeqStreamEngine(StreamEngineOptions options, Ledger& ledger, SeqCursors& cursors, Sink& sink,
                  StreamProgress& progress);

  StreamResult Run(const StopRequested& stop_requested) override;

 private:
  // SinkHost.
  std::optional<std::chrono::steady_clock::time_point> StopBy() override;
  void Waits(const std::string& for_what, std::chrono::steady_clock::time_point since) override;

  absl::Status Open();
  absl::Status OpenGate();
  absl::Status ResolveDoubt();
  absl::Status ListInDoubt();
  absl::Status OpenReader();
  StreamEnd Loop();
  absl::Status SendOut(std::vector<ReadyRecord>& records);
  absl::Status WriteDone();
  absl::Status Commit(const MoveSeqCursorRequest& move);
  void NoteProgress();

  // Constant after construction.
  StreamEngineOptions options_;
  Ledger* const ledger_;
  SeqCursors* const cursors_;
  Sink* const sink_;
  StreamProgress* const progress_;

  std::optional<SeqGate> gate_;
  std::unique_ptr<Buffer> buffer_;  // Before the reader, which holds on to it.
  std::unique_ptr<ProducerOrderReader> reader_;
  StreamResult result_;
  const int64_t emitted_before_;  // By engines of this stream before this one.
  WaitingLog waiting_log_;
  const StopRequested* stop_requested_ = nullptr;  // Run's.
  std::atomic<int64_t> stop_by_ms_{0};             // Steady clock; 0: no stop was seen yet.
};

}  // namespace lockstep

#endif  // LOCKSTEP_REORDER_SEQ_STREAM_ENGINE_H_
