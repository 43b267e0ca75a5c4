// SeqStreamEngine runs one stream whose cursor is a seq per producer (--mode per-producer).
//
// Epoch 1 creates the group's cursor; later it has to be there, unless `from_start`: a mistyped
// group would send everything.
#ifndef LOCKSTEP_REORDER_SEQ_STREAM_ENGINE_H_
#define LOCKSTEP_REORDER_SEQ_STREAM_ENGINE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"

#include "db-ledger/seq_cursor.h"
#include "reorder/engine_loop.h"
#include "reorder/producer_order_reader.h"
#include "reorder/seq_gate.h"

namespace lockstep {

class SeqStreamEngine final : public EngineLoop {
 public:
  // `ledger` and `cursors` are one ledger. `options.mode` is not looked at.
  SeqStreamEngine(StreamEngineOptions options, Ledger& ledger, SeqCursors& cursors, Sink& sink,
                  StreamProgress& progress)
      : EngineLoop(std::move(options), ledger, sink, progress), cursors_(&cursors) {}

 private:
  absl::Status OpenGate() override;
  absl::Status ResolveDoubt() override;
  absl::StatusOr<std::unique_ptr<RecordReader>> OpenReader() override;
  absl::Status GiveOut(std::vector<ReadyRecord>& records) override;
  bool owes_done() const override { return gate_->owes_done(); }
  absl::Status WriteDone() override;

  absl::StatusOr<std::unique_ptr<ProducerOrderReader>> ReaderAfter(
      const std::map<ProducerId, Seq>& done);
  absl::StatusOr<std::vector<SeqGate::Outside>> AskOutside();
  absl::Status ListInDoubt(const std::map<ProducerId, Seq>& done);
  bool IsHeldAsBefore();
  lockstep::Commit<OpenedSeqGate> OpenIfKnown(bool& create);
  bool ListDoubtfulOf(const std::vector<ReadyRecord>& records, const ProducerOrder& order,
                      std::map<ProducerId, int64_t>& left);
  void MarkResent(std::vector<ReadyRecord>& records);
  absl::Status LetOut(const std::vector<ReadyRecord>& records);

  SeqCursors* const cursors_;
  std::optional<SeqGate> gate_;
  ProducerOrderReader* order_reader_ = nullptr;  // reader_.
};

}  // namespace lockstep

#endif  // LOCKSTEP_REORDER_SEQ_STREAM_ENGINE_H_
