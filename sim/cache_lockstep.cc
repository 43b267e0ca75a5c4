#include "sim/cache_lockstep.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"

#include "common/base/status_macros.h"
#include "sim/order_walk.h"

namespace lockstep::sim {
namespace {

constexpr size_t kRangesPerRun = 1000;
constexpr size_t kFetchedMax = 128;  // Read ahead of the engine, as StreamReader does.
constexpr Term kTerm(1);
constexpr std::string_view kAt = "98231";

// One writer's runs, burst by burst.
class RunWriter {
 public:
  explicit RunWriter(int64_t writer) : producer_(static_cast<int32_t>(writer) + 1) {}

  void Append(OffsetRange range, std::vector<Run>& runs) {
    offsets_.Append(range);
    if (offsets_.ranges().size() >= kRangesPerRun) Finish(runs);
  }
  void Finish(std::vector<Run>& runs) {
    if (offsets_.empty()) return;
    const Seq first = last_seq_ + 1;
    last_seq_ = last_seq_ + offsets_.count();
    runs.push_back({.producer = producer_,
                    .epoch = Epoch(1),
                    .term = kTerm,
                    .first_seq = first,
                    .last_seq = last_seq_,
                    .offsets = std::exchange(offsets_, {}),
                    .at_first = ToString(first),
                    .at_last = ToString(last_seq_),
                    .payload = {}});
  }
  Head head(int64_t writer) const {
    return {.producer = producer_,
            .name = WriterName(writer),
            .term = kTerm,
            .closed = kTerm,
            .epoch = Epoch(1),
            .last_seq = last_seq_,
            .last_at = ToString(last_seq_)};
  }

 private:
  ProducerId producer_;
  Seq last_seq_;
  OffsetRanges offsets_;
};

// What a record that comes out must be: it carries its writer and seq in its timestamp.
int64_t Mark(int32_t writer, int64_t seq) { return (int64_t{writer} << 40) + seq; }

// Takes out what is ready, as the program does, and compares it with the ledger.
class Outside {
 public:
  Outside(const CacheOrders& orders, Resequencer& engine)
      : wanted_(orders.ledger, orders.writers), engine_(&engine) {}

  std::vector<ReadyRecord>& ready() { return ready_; }
  absl::Status Send() {
    do {
      for (const ReadyRecord& record : ready_) {
        if (wanted_.done() || record.view.timestamp_ms != Mark(wanted_.writer(), wanted_.seq())) {
          return absl::DataLossError(absl::StrCat("(", std::string(record.producer), ", seq ",
                                                  record.seq.value(), ") came out of turn"));
        }
        wanted_.Advance(1);
      }
      ready_.clear();
      engine_->Release();
      if (engine_->drain_pending()) LOCKSTEP_RETURN_IF_ERROR(engine_->DrainParked(ready_));
    } while (!ready_.empty());
    return absl::OkStatus();
  }
  bool done() const { return wanted_.done(); }

 private:
  OrderWalk wanted_;
  Resequencer* engine_;
  std::vector<ReadyRecord> ready_;
};

}  // namespace

std::string WriterName(int64_t writer) { return "W" + std::to_string(writer); }

int64_t ParkedBytes(int64_t value_bytes) {
  constexpr int64_t kOverheadBytes = 48;
  constexpr int64_t kAlignment = 8;
  const int64_t bytes = kOverheadBytes + static_cast<int64_t>(kAt.size()) + value_bytes;
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

StreamPage LedgerPage(const Bursts& ledger, int64_t writers) {
  StreamPage page;
  page.epoch = Epoch(2);
  std::vector<RunWriter> open;
  for (int64_t writer = 0; writer < writers; ++writer) open.emplace_back(writer);
  Offset next(0);
  for (const Burst& burst : ledger) {
    const Offset end = next + burst.count;
    open[static_cast<size_t>(burst.writer)].Append({next, end}, page.runs);
    next = end;
  }
  for (int64_t writer = 0; writer < writers; ++writer) {
    RunWriter& one = open[static_cast<size_t>(writer)];
    one.Finish(page.runs);
    page.heads.push_back(one.head(writer));
  }
  return page;
}

OrdersLog::OrdersLog(const CacheOrders& orders, int64_t value_bytes)
    : index_(orders.log, orders.writers), value_(static_cast<size_t>(value_bytes), 'v') {
  for (int64_t writer = 0; writer < orders.writers; ++writer) names_.push_back(WriterName(writer));
}

FetchedRecord OrdersLog::Record(size_t burst, int64_t offset) const {
  FetchedRecord record;
  Fill(burst, offset, record);
  return record;
}

void OrdersLog::Fill(size_t burst, int64_t offset, FetchedRecord& record) const {
  const int32_t writer = index_.writer(burst);
  const int64_t seq = index_.seq(burst) + (offset - index_.offset(burst));
  record.header.term = kTerm;
  record.header.seq = Seq(seq);
  record.header.at = kAt;
  record.header.producer = names_[static_cast<size_t>(writer)];
  record.view.log_offset = Offset(offset);
  record.view.timestamp_ms = Mark(writer, seq);
  record.view.at = kAt;
  record.view.value = value_;
}

void OrdersLog::Read(int64_t offset, size_t count, size_t& burst,
                     std::vector<FetchedRecord>& out) const {
  out.clear();
  const int64_t end = std::min(offset + static_cast<int64_t>(count), index_.records());
  for (; offset < end; ++offset) {
    while (offset >= index_.offset(burst) + index_.count(burst)) ++burst;
    Fill(burst, offset, out.emplace_back());
  }
}

absl::Status OrdersLog::Fetch(int /*topic*/, Offset first, Offset end, const Take& take) {
  size_t burst = index_.At(first.value());
  for (int64_t offset = first.value(); offset < end.value(); ++offset) {
    if (offset == index_.offset(burst) + index_.count(burst)) ++burst;
    LOCKSTEP_RETURN_IF_ERROR(take(Record(burst, offset)));
  }
  return absl::OkStatus();
}

absl::StatusOr<ResequencerCounts> RunLockstep(const CacheOrders& orders, const OrdersLog& log,
                                              StreamPage page, ParkingBuffer& parking,
                                              const std::function<bool()>& go_on) {
  Resequencer engine({.stream = {"cache", 0}, .epoch = Epoch(2), .after = std::nullopt}, parking);
  Outside outside(orders, engine);
  LOCKSTEP_RETURN_IF_ERROR(engine.AddPage(std::move(page), outside.ready()));
  constexpr int64_t kBatchRecords = 10'000;
  std::vector<FetchedRecord> fetched;
  size_t burst = 0;
  for (int64_t offset = 0; offset < log.index().records();) {
    log.Read(offset, kFetchedMax, burst, fetched);
    for (const FetchedRecord& record : fetched) {
      LOCKSTEP_ASSIGN_OR_RETURN(const Resequencer::Taken taken,
                                engine.TakeFrozen(0, record, outside.ready()));
      if (taken != Resequencer::Taken::kTaken) return absl::InternalError("the engine is blocked");
      if (++offset % kBatchRecords != 0 && !engine.drain_pending()) continue;
      LOCKSTEP_RETURN_IF_ERROR(outside.Send());
      if (!go_on()) return absl::CancelledError("stopped");
    }
  }
  LOCKSTEP_RETURN_IF_ERROR(outside.Send());
  if (!outside.done()) return absl::DataLossError("records are left in the buffer");
  return engine.counts();
}

}  // namespace lockstep::sim
