#include "reorder/plan.h"

#include <algorithm>
#include <utility>

#include "common/base/status_macros.h"
#include "reorder/buffer.h"
#include "reorder/parking/chunk_parking.h"
#include "reorder/parking/fifo_parking.h"
#include "reorder/parking/size_chunk_store.h"
#include "reorder/replay_start.h"

namespace lockstep {
namespace {

using std::chrono::steady_clock;

// Does the same to both. The one that spills is a run's own, over a disk that keeps sizes; views
// into it are as large as a run's, so batches end where a run's do.
class PlanParking final : public ParkingBuffer {
 public:
  PlanParking(const ParkingBudget& budget, int topics)
      : spill_(budget, disk_), bounded_(BoundedParkingBudget(budget), topics, nullptr) {}

  void Bind(const ParkedOrder& order) override {
    spill_.Bind(order);
    bounded_.Bind(order);
  }
  absl::Status Park(size_t queue, Seq seq, const RecordView& record) override {
    LOCKSTEP_RETURN_IF_ERROR(spill_.Park(queue, seq, record));
    return bounded_.Park(queue, seq, record);
  }
  std::optional<Seq> Front(size_t queue) const override { return spill_.Front(queue); }
  absl::StatusOr<RecordView> Unpark(size_t queue) override {
    LOCKSTEP_RETURN_IF_ERROR(bounded_.Unpark(queue).status());
    return spill_.Unpark(queue);
  }
  // Run by run, as a run does, which looks at ReleaseFirst in between.
  absl::Status UnparkRun(size_t queue, size_t count, size_t bytes_max,
                         std::vector<ReadyRecord>& out) override {
    const size_t before = out.size();
    LOCKSTEP_RETURN_IF_ERROR(spill_.UnparkRun(queue, count, bytes_max, out));
    for (size_t taken = before; taken < out.size(); ++taken) {
      LOCKSTEP_RETURN_IF_ERROR(bounded_.Unpark(queue).status());
    }
    return absl::OkStatus();
  }
  bool ReleaseFirst() const override { return spill_.ReleaseFirst(); }
  absl::Status Skip(size_t queue) override {
    LOCKSTEP_RETURN_IF_ERROR(spill_.Skip(queue));
    return bounded_.Skip(queue);
  }
  void ReleaseUnparked() override {
    spill_.ReleaseUnparked();
    bounded_.ReleaseUnparked();
  }
  void Clear() override {
    spill_.Clear();
    bounded_.Clear();
  }
  const ParkingStats& stats() const override { return spill_.stats(); }

  // `seconds`: that reading it once takes.
  std::vector<BufferPlan> Plans(double seconds, int64_t records) const {
    const ParkingStats& spill = spill_.stats();
    ParkingStats memory;
    memory.records_peak = spill.records_peak;
    memory.bytes_peak = spill.bytes_peak;
    const ParkingStats& bounded = bounded_.stats();
    const double again = static_cast<double>(bounded.records_fetched) /
                         static_cast<double>(std::max<int64_t>(records, 1));
    return {{"memory", memory, true, seconds},
            {"spill", spill, true,
             seconds + static_cast<double>(spill.bytes_written + spill.bytes_reread) /
                           kDiskBytesPerSecond},
            {"bounded", bounded, bounded_.premise_holds(),
             seconds * (1 + again) + static_cast<double>(bounded.fetches) * kSecondsPerFetch}};
  }

 private:
  SizeChunkStore disk_;
  FifoParking spill_;
  ChunkParking bounded_;
};

absl::Status ReadToEnd(StreamReader& reader, std::chrono::milliseconds stall_timeout,
                       const PlanHooks& hooks, StreamPlan& plan) {
  std::vector<ReadyRecord> records;
  int64_t expected = 0;
  while (!reader.read_a_page() || !reader.ReachedAll()) {
    if (hooks.stop_requested()) return absl::CancelledError("stopped before the end");
    LOCKSTEP_RETURN_IF_ERROR(reader.Next(records, std::chrono::milliseconds(200)));
    plan.records += static_cast<int64_t>(records.size());
    if (expected == 0 && reader.read_a_page()) expected = plan.records + reader.Left();
    hooks.on_progress(reader.records_read(), expected);
    const std::optional<Waiting>& waiting = reader.waiting();
    if (waiting.has_value() && steady_clock::now() - waiting->since >= stall_timeout) {
      plan.missing = waiting;
      break;
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::optional<Position>> PlanStart(const StreamEngineOptions& options,
                                                  StreamId stream, Ledger& ledger) {
  if (options.from_start) return std::nullopt;
  LOCKSTEP_ASSIGN_OR_RETURN(const std::vector<Cursor> cursors, ledger.ReadCursors());
  const auto cursor = std::find_if(cursors.begin(), cursors.end(), [&](const Cursor& one) {
    return one.group == options.group && one.stream == stream;
  });
  if (cursor == cursors.end()) {
    if (options.mode == ReorderMode::kGate) return std::nullopt;
    return NoCursorError(options.group, options.reader.stream, options.mode);
  }
  if (options.mode != ReorderMode::kReplay) return cursor->done;
  LOCKSTEP_ASSIGN_OR_RETURN(
      const StreamPage first_runs,
      ledger.ReadStream({.stream = stream, .after = {}, .runs_per_producer_max = 1}));
  LOCKSTEP_RETURN_IF_ERROR(
      CheckReplayStart(options.reader.stream, first_runs, options.replay_from, cursor->done));
  return ReplayAfter(options.replay_from);
}

StreamPlan PlanStream(StreamReaderOptions options, Ledger& ledger, const ParkingBudget& budget,
                      std::chrono::milliseconds stall_timeout, const PlanHooks& hooks) {
  LimitBatch(budget, options);
  StreamPlan plan;
  plan.from = options.after;
  PlanParking parking(budget, static_cast<int>(options.topics.size()));
  const auto reader = StreamReader::Open(options, ledger, parking);
  plan.why = reader.status();
  if (!plan.why.ok()) return plan;
  const auto began = steady_clock::now();
  plan.why = ReadToEnd(**reader, stall_timeout, hooks, plan);
  const std::chrono::duration<double> took = steady_clock::now() - began;
  plan.counts = (*reader)->counts();
  plan.buffers = parking.Plans(took.count(), plan.records);
  plan.polls = (*reader)->polls();
  return plan;
}

}  // namespace lockstep
