#include "reorder/plan.h"

#include <algorithm>
#include <utility>

#include "common/base/status_macros.h"
#include "reorder/buffer.h"
#include "reorder/parking/chunk_parking.h"
#include "reorder/parking/fifo_parking.h"
#include "reorder/parking/size_chunk_store.h"

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

}  // namespace

absl::StatusOr<StreamPlan> PlanStream(StreamReaderOptions options, Ledger& ledger,
                                      const ParkingBudget& budget,
                                      std::chrono::milliseconds stall_timeout,
                                      const std::function<bool()>& stop_requested) {
  LimitBatch(budget, options);
  PlanParking parking(budget, static_cast<int>(options.topics.size()));
  LOCKSTEP_ASSIGN_OR_RETURN(const auto reader, StreamReader::Open(options, ledger, parking));
  StreamPlan plan;
  plan.from = options.after;
  const auto began = steady_clock::now();
  std::vector<ReadyRecord> records;
  while (!reader->read_a_page() || !reader->resequencer().ReachedAll(reader->heads_at_start())) {
    if (stop_requested()) return absl::CancelledError("stopped before the end");
    LOCKSTEP_RETURN_IF_ERROR(reader->Next(records, std::chrono::milliseconds(200)));
    plan.records += static_cast<int64_t>(records.size());
    const std::optional<Waiting>& waiting = reader->waiting();
    if (waiting.has_value() && steady_clock::now() - waiting->since >= stall_timeout) {
      plan.missing = waiting;
      break;
    }
  }
  const std::chrono::duration<double> took = steady_clock::now() - began;
  plan.counts = reader->counts();
  plan.buffers = parking.Plans(took.count(), plan.records);
  plan.polls = reader->polls();
  return plan;
}

}  // namespace lockstep
