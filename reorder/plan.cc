#include "reorder/plan.h"

#include <algorithm>
#include <deque>
#include <utility>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "reorder/buffer.h"
#include "reorder/parking/chunk_parking.h"
#include "reorder/producer_fifo.h"

namespace lockstep {
namespace {

using std::chrono::steady_clock;

// Keeps of a parked record only what it would take, and counts what FifoParking would write.
class SizeParking final : public ParkingBuffer {
 public:
  explicit SizeParking(const ParkingBudget& budget) : budget_(budget) {}

  absl::Status Park(size_t queue, Seq seq, const RecordView& record) override {
    const auto bytes = static_cast<int64_t>(ProducerFifo::PackedBytes(record));
    if (queues_.size() <= queue) queues_.resize(queue + 1);
    if (unwritten_bytes_ >= budget_.bytes || unwritten_records_ >= budget_.records) Write();
    queues_[queue].records.push_back({seq, bytes});
    unwritten_bytes_ += bytes;
    unwritten_records_ += 1;
    stats_.records += 1;
    stats_.bytes += bytes;
    stats_.records_peak = std::max(stats_.records_peak, stats_.records);
    stats_.bytes_peak = std::max(stats_.bytes_peak, stats_.bytes);
    return absl::OkStatus();
  }
  std::optional<Seq> Front(size_t queue) const override {
    if (queue >= queues_.size() || queues_[queue].records.empty()) return std::nullopt;
    return queues_[queue].records.front().seq;
  }
  absl::StatusOr<RecordView> Unpark(size_t queue) override {
    LOCKSTEP_CHECK(Front(queue).has_value(), "only what was parked is taken out");
    Queue& from = queues_[queue];
    const int64_t bytes = from.records.front().bytes;
    from.records.pop_front();
    if (from.written > 0) {
      --from.written;
      stats_.bytes_reread += bytes;
    } else {
      unwritten_bytes_ -= bytes;
      unwritten_records_ -= 1;
    }
    stats_.records -= 1;
    stats_.bytes -= bytes;
    return RecordView{};
  }
  void ReleaseUnparked() override {}
  void Clear() override {
    queues_.clear();
    unwritten_bytes_ = 0;
    unwritten_records_ = 0;
    stats_.records = 0;
    stats_.bytes = 0;
  }
  const ParkingStats& stats() const override { return stats_; }

 private:
  struct Parked {
    Seq seq;
    int64_t bytes;
  };
  struct Queue {
    std::deque<Parked> records;
    size_t written = 0;  // Of them, from the front.
  };

  void Write() {
    stats_.bytes_written += unwritten_bytes_;
    unwritten_bytes_ = 0;
    unwritten_records_ = 0;
    for (Queue& queue : queues_) queue.written = queue.records.size();
  }

  const ParkingBudget budget_;
  int64_t unwritten_bytes_ = 0;
  int64_t unwritten_records_ = 0;
  std::vector<Queue> queues_;
  ParkingStats stats_;
};

// Does the same to both.
class PlanParking final : public ParkingBuffer {
 public:
  PlanParking(const ParkingBudget& budget, int topics)
      : spill_(budget), bounded_(BoundedParkingBudget(budget), topics, nullptr) {}

  void Bind(const ParkedOrder& order) override { bounded_.Bind(order); }
  absl::Status Park(size_t queue, Seq seq, const RecordView& record) override {
    LOCKSTEP_RETURN_IF_ERROR(spill_.Park(queue, seq, record));
    return bounded_.Park(queue, seq, record);
  }
  std::optional<Seq> Front(size_t queue) const override { return spill_.Front(queue); }
  absl::StatusOr<RecordView> Unpark(size_t queue) override {
    LOCKSTEP_RETURN_IF_ERROR(spill_.Unpark(queue).status());
    return bounded_.Unpark(queue);
  }
  absl::Status Skip(size_t queue) override {
    LOCKSTEP_RETURN_IF_ERROR(spill_.Skip(queue));
    return bounded_.Skip(queue);
  }
  void ReleaseUnparked() override { bounded_.ReleaseUnparked(); }
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
  SizeParking spill_;
  ChunkParking bounded_;
};

}  // namespace

absl::StatusOr<StreamPlan> PlanStream(const StreamReaderOptions& options, Ledger& ledger,
                                      const ParkingBudget& budget,
                                      std::chrono::milliseconds stall_timeout,
                                      const std::function<bool()>& stop_requested) {
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
