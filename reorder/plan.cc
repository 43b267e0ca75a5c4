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
  absl::Status Park(size_t queue, Seq seq, const RecordView& record) override {
    record.ReadHeaders(headers_);
    int64_t bytes = kOverheadBytes + static_cast<int64_t>(record.at.size());
    if (record.key.has_value()) bytes += static_cast<int64_t>(record.key->size());
    if (record.value.has_value()) bytes += static_cast<int64_t>(record.value->size());
    for (const auto& [name, value] : headers_) {
      bytes += static_cast<int64_t>(8 + name.size() + (value.has_value() ? value->size() : 0));
    }
    if (queues_.size() <= queue) queues_.resize(queue + 1);
    queues_[queue].push_back({seq, bytes});
    stats_.records += 1;
    stats_.bytes += bytes;
    stats_.records_peak = std::max(stats_.records_peak, stats_.records);
    stats_.bytes_peak = std::max(stats_.bytes_peak, stats_.bytes);
    return absl::OkStatus();
  }
  std::optional<Seq> Front(size_t queue) const override {
    if (queue >= queues_.size() || queues_[queue].empty()) return std::nullopt;
    return queues_[queue].front().seq;
  }
  absl::StatusOr<RecordView> Unpark(size_t queue) override {
    LOCKSTEP_CHECK(Front(queue).has_value(), "only what was parked is taken out");
    stats_.records -= 1;
    stats_.bytes -= queues_[queue].front().bytes;
    queues_[queue].pop_front();
    return RecordView{};
  }
  void ReleaseUnparked() override {}
  void Clear() override {
    queues_.clear();
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
  std::vector<std::deque<Parked>> queues_;
  std::vector<HeaderView> headers_;
  ParkingStats stats_;
};

}  // namespace

absl::StatusOr<StreamPlan> PlanStream(const StreamReaderOptions& options, Ledger& ledger,
                                      std::chrono::milliseconds stall_timeout,
                                      const std::function<bool()>& stop_requested) {
  SizeParking parking;
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
