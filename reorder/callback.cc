#include "reorder/callback.h"

#include <utility>

#include "common/base/status_macros.h"
#include "common/config/program.h"
#include "db-ledger/postgres_ledger.h"
#include "reorder/discover.h"
#include "reorder/seq_stream_engine.h"
#include "reorder/stream_engine.h"

namespace lockstep {
namespace {

class OutsideSink final : public Sink {
 public:
  OutsideSink(Outside& outside, const StreamName& stream)
      : outside_(&outside), stream_text_(ToString(stream)) {}

  SinkKind kind() const override { return outside_->kind(); }
  absl::StatusOr<std::optional<Position>> Last() override { return outside_->Last(); }
  void Attach(SinkHost& host) override { outside_->Attach(host); }
  absl::Status Write(std::span<const ReadyRecord> records) override {
    std::optional<Position> taken;
    for (const ReadyRecord& record : records) {
      const absl::Status status = Take(record);
      if (status.ok()) {
        taken = record.position;
        continue;
      }
      // What came before it need not stay in doubt.
      if (taken.has_value() && outside_->Sync().ok()) done_ = taken;
      return status;
    }
    return absl::OkStatus();
  }
  absl::Status Sync() override { return outside_->Sync(); }
  std::optional<Position> KnownDone() const override { return done_; }

 private:
  absl::Status Take(const ReadyRecord& record) {
    record.view.ReadHeaders(headers_);
    return outside_->Take({.stream = stream_text_,
                           .epoch = record.position.epoch,
                           .offset = record.position.offset,
                           .producer = record.producer,
                           .term = record.term,
                           .seq = record.seq,
                           .at = record.view.at,
                           .key = record.view.key,
                           .value = record.view.value,
                           .headers = headers_,
                           .timestamp_ms = record.view.timestamp_ms,
                           .replayed = record.replayed,
                           .in_doubt = record.in_doubt});
  }

  Outside* const outside_;
  const std::string stream_text_;
  std::optional<Position> done_;
  std::vector<HeaderView> headers_;
};

CommonOptions CommonOf(const CallbackOptions& options) {
  CommonOptions common;
  common.brokers = options.brokers;
  common.kafka_properties = options.kafka_properties;
  common.ledger = options.ledger;
  common.standby_ledger = options.standby_ledger;
  common.streams = {options.stream};
  common.mirror_topic = options.mirror_topic;
  return common;
}

absl::StatusOr<std::unique_ptr<PostgresLedger>> Connect(const CallbackOptions& options) {
  return PostgresLedger::Connect({.ledger = options.ledger,
                                  .standby_ledger = options.standby_ledger,
                                  .application_name = "lockstep-callback"});
}

}  // namespace

std::unique_ptr<Sink> MakeOutsideSink(Outside& outside, const StreamName& stream) {
  return std::make_unique<OutsideSink>(outside, stream);
}

CallbackGate::CallbackGate(CallbackOptions options, Outside& outside)
    : options_(std::move(options)),
      adapter_(MakeOutsideSink(outside, options_.stream)),
      sink_(adapter_.get()) {}

CallbackGate::CallbackGate(CallbackOptions options, Sink& sink)
    : options_(std::move(options)), sink_(&sink) {}

CallbackGate::~CallbackGate() = default;

StreamResult CallbackGate::Run() {
  absl::StatusOr<StreamResult> result = OpenAndRun();
  if (result.ok()) return *std::move(result);
  StreamResult failed;
  failed.why = result.status();
  failed.exit_code = ExitCodeOf(failed.why);
  return failed;
}

absl::StatusOr<StreamResult> CallbackGate::OpenAndRun() {
  LOCKSTEP_ASSIGN_OR_RETURN(const std::unique_ptr<PostgresLedger> ledger, Connect(options_));
  const CommonOptions common = CommonOf(options_);
  LOCKSTEP_ASSIGN_OR_RETURN(const Discovered found, Discover(common, *ledger, Reads::kFollows));
  const StreamEngineOptions engine =
      Placed(EngineOptionsOf(options_), common, found, options_.stream);
  const auto stop_requested = [this] { return stop_.load(); };
  if (engine.mode == ReorderMode::kPerProducer) {
    return SeqStreamEngine(engine, *ledger, *ledger, *sink_, progress_).Run(stop_requested);
  }
  return StreamEngine(engine, *ledger, *sink_, progress_).Run(stop_requested);
}

StreamEngineOptions EngineOptionsOf(const CallbackOptions& options) {
  StreamEngineOptions engine;
  engine.mode = options.mode;
  engine.group = options.group;
  engine.from_start = options.from_start;
  engine.replay_from = options.replay_from;
  engine.reader.foreign = options.foreign;
  engine.in_doubt = options.in_doubt;
  engine.old_gate_is_dead = options.old_gate_is_dead;
  engine.until_end = options.until_end;
  engine.stall_timeout = options.stall_timeout;
  engine.drain_timeout = options.drain_timeout;
  engine.reader.batch_records_max = options.batch_records_max;
  const bool spills = !options.spill_directory.empty();
  if (!spills && options.mode == ReorderMode::kPerProducer) return engine;
  engine.buffer.kind = spills ? BufferOptions::Kind::kSpill : BufferOptions::Kind::kBounded;
  engine.buffer.budget.bytes = options.buffer_memory_bytes;
  engine.buffer.spill_directory = options.spill_directory;
  return engine;
}

absl::StatusOr<std::vector<StreamName>> FindCallbackStreams(const CallbackOptions& options) {
  LOCKSTEP_ASSIGN_OR_RETURN(const std::unique_ptr<PostgresLedger> ledger, Connect(options));
  CommonOptions common = CommonOf(options);
  common.topic = options.stream.topic;
  common.streams.clear();
  LOCKSTEP_ASSIGN_OR_RETURN(Discovered found, Discover(common, *ledger, Reads::kFollows));
  return std::move(found.streams);
}

}  // namespace lockstep
