#include "reorder/plan.h"

#include <algorithm>
#include <deque>
#include <vector>

#include "common/base/check.h"
#include "common/base/status_macros.h"

namespace lockstep {
namespace {

// Keeps of a parked record only what it would take.
class SizeParking final : public ParkingBuffer {
 public:
  explicit SizeParking(int64_t budget_bytes) : budget_bytes_(budget_bytes) {}

  absl::Status Park(size_t queue, Seq seq, const RecordView& record) override {
    record.ReadHeaders(headers_);
    int64_t bytes = kOverheadBytes + static_cast<int64_t>(record.at.size());
    if (record.key.has_value()) bytes += static_cast<int64_t>(record.key->size());
    if (record.value.has_value()) bytes += static_cast<int64_t>(record.value->size());
    for (const auto& [name, value] : headers_) {
      bytes += static_cast<int64_t>(8 + name.size() + (value.has_value() ? value->size() : 0));
    }
    if (queues_.size() <= queue) queues_.resize(queue + 1);
    if (unwritten_bytes_ >= budget_bytes_) Write();
    queues_[queue].records.push_back({seq, bytes});
    unwritten_bytes_ += bytes;
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
    } else {
      unwritten_bytes_ -= bytes;
    }
    stats_.records -= 1;
    stats_.bytes -= bytes;
    return RecordView{};
  }
  void ReleaseUnparked() override {}
  void Clear() override {
    queues_.clear();
    unwritten_bytes_ = 0;
    stats_.records = 0;
    stats_.bytes = 0;
  }
  const ParkingStats& stats() const override { return stats_; }

 private:
  static constexpr int64_t kOverheadBytes = 48;
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
    for (Queue& queue : queues_) queue.written = queue.records.size();
  }

  const int64_t budget_bytes_;
  int64_t unwritten_bytes_ = 0;
  std::vector<Queue> queues_;
  std::vector<HeaderView> headers_;
  ParkingStats stats_;
};

}  // namespace

absl::StatusOr<StreamPlan> PlanStream(const StreamReaderOptions& options, Ledger& ledger,
                                      int64_t buffer_bytes, std::chrono::milliseconds stall_timeout,
                                      const std::function<bool()>& stop_requested) {
  SizeParking parking(buffer_bytes);
  LOCKSTEP_ASSIGN_OR_RETURN(const auto reader, StreamReader::Open(options, ledger, parking));
  StreamPlan plan;
  plan.from = options.after;
  std::vector<ReadyRecord> records;
  while (!reader->read_a_page() || !reader->resequencer().ReachedAll(reader->heads_at_start())) {
    if (stop_requested()) return absl::CancelledError("stopped before the end");
    LOCKSTEP_RETURN_IF_ERROR(reader->Next(records, std::chrono::milliseconds(200)));
    plan.records += static_cast<int64_t>(records.size());
    const std::optional<Waiting>& waiting = reader->waiting();
    if (waiting.has_value() && std::chrono::steady_clock::now() - waiting->since >= stall_timeout) {
      plan.missing = waiting;
      break;
    }
  }
  plan.counts = reader->counts();
  plan.parking = parking.stats();
  plan.polls = reader->polls();
  return plan;
}

}  // namespace lockstep
