#include "sim/cache_cell.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

#include "common/base/status_macros.h"
#include "reorder/parking/chunk_parking.h"
#include "reorder/parking/fifo_parking.h"
#include "sim/cache_lockstep.h"
#include "sim/cache_main1.h"
#include "sim/cache_main2.h"
#include "sim/cache_merge.h"
#include "sim/cache_optimal.h"
#include "sim/memory_chunk_store.h"

namespace lockstep::sim {
namespace {

constexpr std::array<std::pair<CacheAlgorithm, std::string_view>, 4> kAlgorithms = {{
    {CacheAlgorithm::kLockstep, "lockstep"},
    {CacheAlgorithm::kMain1, "main1"},
    {CacheAlgorithm::kMain2, "main2"},
    {CacheAlgorithm::kOptimal, "optimal"},
}};
constexpr std::array<std::pair<CacheBuffer, std::string_view>, 3> kBuffers = {{
    {CacheBuffer::kMemory, "memory"},
    {CacheBuffer::kSpill, "spill"},
    {CacheBuffer::kBounded, "bounded"},
}};

template <class Table>
std::string_view NameIn(const Table& table, typename Table::value_type::first_type wanted) {
  for (const auto& [value, name] : table) {
    if (value == wanted) return name;
  }
  return "unknown";
}
template <class Table>
std::optional<typename Table::value_type::first_type> FindIn(const Table& table,
                                                             std::string_view wanted) {
  for (const auto& [value, name] : table) {
    if (name == wanted) return value;
  }
  return std::nullopt;
}

int64_t Ceil(int64_t count, int64_t each) { return (count + each - 1) / each; }

// What one pass over the log costs.
void OnePass(const CacheOrders& orders, const CacheSettings& settings, CacheResult& result) {
  result.sent = orders.records;
  result.polls = Ceil(orders.records, settings.poll_records);
  result.least = result.polls;
  result.records_fetched = orders.records;
}

CacheResult Counted(const CacheOrders& orders, const CacheCell& cell,
                    const CacheSettings& settings) {
  const MergeCounts counts =
      cell.budget_records > 0 ? MergeByBurst(orders, cell.budget_records) : MergeByBurst(orders);
  const int64_t bytes = cell.algorithm == CacheAlgorithm::kMain1
                            ? Main1Bytes(1, settings.value_bytes)
                            : ParkedBytes(settings.value_bytes);
  const int64_t in_memory =
      cell.budget_records > 0 ? std::min(counts.peak, cell.budget_records) : counts.peak;
  CacheResult result{.first_hits = counts.first_hits,
                     .buffer_hits = counts.buffer_hits,
                     .peak_records = counts.peak,
                     .peak_bytes = in_memory * bytes,
                     .spilled_records = counts.spilled,
                     .bytes_reread = counts.spilled * bytes};
  OnePass(orders, settings, result);
  return result;
}

absl::StatusOr<CacheResult> ByMain1(const CacheOrders& orders, const CacheSettings& settings,
                                    const CacheDriver& driver) {
  LOCKSTEP_ASSIGN_OR_RETURN(const Main1Counts counts,
                            RunMain1(orders, settings.value_bytes, driver.go_on));
  CacheResult result{.by_record = true,
                     .first_hits = counts.first_hits,
                     .buffer_hits = counts.buffer_hits,
                     .peak_records = counts.peak_records,
                     .peak_bytes = counts.peak_bytes};
  OnePass(orders, settings, result);
  return result;
}

CacheResult ByMain2(const CacheOrders& orders, const CacheCell& cell, const CacheSettings& settings,
                    const CacheDriver& driver) {
  const double start = driver.seconds();
  const Main2Counts counts = RunMain2(
      orders,
      {.cache_records = cell.budget_records,
       .poll_records = settings.poll_records,
       .polls_max = settings.polls_max},
      [&] { return driver.go_on() && driver.seconds() - start < settings.main2_seconds_max; });
  return {.sent = counts.sent,
          .first_hits = counts.first_hits,
          .buffer_hits = counts.buffer_hits,
          .peak_records = counts.peak_records,
          .peak_bytes = Main1Bytes(counts.peak_records, settings.value_bytes),
          .polls = counts.polls,
          .least = Ceil(orders.records, settings.poll_records),
          .records_fetched = counts.records_fetched,
          .bytes_reread =
              std::max<int64_t>(0, counts.records_fetched - orders.records) * settings.value_bytes};
}

absl::StatusOr<CacheResult> ByOptimal(const CacheOrders& orders, const CacheCell& cell,
                                      const CacheSettings& settings) {
  const int64_t chunk = settings.chunk_records > 0
                            ? settings.chunk_records
                            : ChunkFor(cell.budget_records, orders.writers, settings.poll_records);
  if (chunk == 0 || chunk > cell.budget_records) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a budget of ", cell.budget_records, " records has no room for two chunks a writer, and ",
        orders.writers, " write; give more, or fewer writers"));
  }
  const OptimalCounts counts =
      RunOptimal(orders, {.budget_records = cell.budget_records, .chunk_records = chunk});
  return CacheResult{
      .sent = orders.records,
      .first_hits = counts.first_hits,
      .buffer_hits = counts.buffer_hits,
      .peak_records = counts.peak_records,
      .peak_bytes = counts.peak_records * ParkedBytes(settings.value_bytes),
      .polls = counts.loads,
      .bound = counts.bound,
      .least = counts.least,
      .records_fetched = counts.records_fetched,
      .bytes_reread = (counts.records_fetched - orders.records) * settings.value_bytes};
}

// Where a cell's records wait, with the room that it has.
class CellParking {
 public:
  CellParking(const CacheCell& cell, OrdersLog& log) {
    const ParkingBudget budget{.records = cell.budget_records};
    if (cell.buffer == CacheBuffer::kBounded) {
      chunks_.emplace(budget, 1, &log);
    } else if (cell.buffer == CacheBuffer::kSpill) {
      fifos_.emplace(budget, store_);
    } else {
      fifos_.emplace();
    }
  }
  ParkingBuffer& buffer() {
    return chunks_ ? static_cast<ParkingBuffer&>(*chunks_) : static_cast<ParkingBuffer&>(*fifos_);
  }
  // Whether the theorem speaks of it.
  bool bound_holds() const { return chunks_ && chunks_->premise_holds(); }

 private:
  MemoryChunkStore store_;
  std::optional<FifoParking> fifos_;
  std::optional<ChunkParking> chunks_;
};

// The clock starts when the ledger's page is at hand.
absl::StatusOr<CacheResult> ByLockstep(const CacheOrders& orders, const CacheCell& cell,
                                       const CacheSettings& settings, const CacheDriver& driver) {
  OrdersLog log(orders, settings.value_bytes);
  CellParking parking(cell, log);
  StreamPage page = LedgerPage(orders.ledger, orders.writers);
  const double start = driver.seconds();
  LOCKSTEP_ASSIGN_OR_RETURN(
      const ResequencerCounts counts,
      RunLockstep(orders, log, std::move(page), parking.buffer(), driver.go_on));
  const double seconds = driver.seconds() - start;
  const ParkingStats& stats = parking.buffer().stats();
  const int64_t bytes = ParkedBytes(settings.value_bytes);
  const int64_t room = cell.budget_records > 0 ? cell.budget_records : stats.records_peak;
  const bool bounded = cell.buffer == CacheBuffer::kBounded;
  CacheResult result{
      .by_record = true,
      .first_hits = counts.first_hits,
      .buffer_hits = counts.buffer_hits,
      .peak_records = bounded ? std::min(stats.records_peak, room) : stats.records_peak,
      .peak_bytes = std::min(stats.bytes_peak, room * bytes),
      .spilled_records = stats.bytes_written / bytes,
      .bytes_reread = stats.bytes_reread,
      .seconds = seconds};
  OnePass(orders, settings, result);
  result.polls += stats.fetches;
  result.records_fetched += stats.records_fetched;
  if (parking.bound_holds()) result.bound = result.least + stats.fetches_bound;
  return result;
}

// Steps are what was asked for, or what the size allows; there is no counting what the shipped
// bounded buffer does.
bool ByRecord(const CacheOrders& orders, const CacheCell& cell, const CacheSettings& settings) {
  return cell.buffer == CacheBuffer::kBounded || settings.steps == CacheSteps::kRecord ||
         (settings.steps == CacheSteps::kAuto && orders.records <= kByRecordMax);
}

absl::StatusOr<CacheResult> RunOnce(const CacheOrders& orders, const CacheCell& cell,
                                    const CacheSettings& settings, const CacheDriver& driver) {
  const double start = driver.seconds();
  absl::StatusOr<CacheResult> result;
  if (cell.algorithm == CacheAlgorithm::kMain2) {
    result = ByMain2(orders, cell, settings, driver);
  } else if (cell.algorithm == CacheAlgorithm::kOptimal) {
    result = ByOptimal(orders, cell, settings);
  } else if (!ByRecord(orders, cell, settings)) {
    result = Counted(orders, cell, settings);
  } else if (cell.algorithm == CacheAlgorithm::kMain1) {
    result = ByMain1(orders, settings, driver);
  } else {
    result = ByLockstep(orders, cell, settings, driver);
  }
  LOCKSTEP_RETURN_IF_ERROR(result.status());
  if (!driver.go_on()) return absl::CancelledError("stopped");
  if (result->seconds == 0) result->seconds = driver.seconds() - start;
  return result;
}

}  // namespace

std::string_view ToString(CacheAlgorithm algorithm) { return NameIn(kAlgorithms, algorithm); }
std::optional<CacheAlgorithm> ParseCacheAlgorithm(std::string_view name) {
  return FindIn(kAlgorithms, name);
}
std::string_view ToString(CacheBuffer buffer) { return NameIn(kBuffers, buffer); }
std::optional<CacheBuffer> ParseCacheBuffer(std::string_view name) {
  return FindIn(kBuffers, name);
}

bool Exists(CacheAlgorithm algorithm, CacheBuffer buffer) {
  switch (algorithm) {
    case CacheAlgorithm::kLockstep:
      return true;
    case CacheAlgorithm::kMain1:
      return buffer == CacheBuffer::kMemory;
    case CacheAlgorithm::kMain2:
    case CacheAlgorithm::kOptimal:
      return buffer == CacheBuffer::kBounded;
  }
  return false;
}

absl::StatusOr<CacheResult> RunCacheCell(const CacheOrders& orders, const CacheCell& cell,
                                         const CacheSettings& settings, const CacheDriver& driver) {
  if (!Exists(cell.algorithm, cell.buffer)) {
    return absl::InvalidArgumentError(absl::StrCat("no ", std::string(ToString(cell.algorithm)),
                                                   " with the buffer ",
                                                   std::string(ToString(cell.buffer))));
  }
  LOCKSTEP_ASSIGN_OR_RETURN(CacheResult result, RunOnce(orders, cell, settings, driver));
  result.first_seconds = result.seconds;
  for (int pass = 1; pass < settings.passes; ++pass) {
    LOCKSTEP_ASSIGN_OR_RETURN(const CacheResult again, RunOnce(orders, cell, settings, driver));
    result.seconds = std::min(result.seconds, again.seconds);
  }
  return result;
}

Summary CacheRowJson(const CacheRow& row) {
  const CacheResult& result = row.result;
  Summary summary;
  summary.Add("algorithm", ToString(row.cell.algorithm))
      .Add("records", row.records)
      .Add("writers", row.writers)
      .Add("interleaving", row.interleaving)
      .Add("seed", row.seed)
      .Add("buffer", ToString(row.cell.buffer))
      .Add("budget_records", row.cell.budget_records)
      .Add("steps", result.by_record ? "record" : "burst")
      .Add("finished", row.finished())
      .Add("sent", result.sent)
      .Add("first_hits", result.first_hits)
      .Add("buffer_hits", result.buffer_hits)
      .Add("peak_records", result.peak_records)
      .Add("peak_bytes", result.peak_bytes)
      .Add("peak_share", static_cast<double>(result.peak_records) /
                             static_cast<double>(std::max<int64_t>(row.records, 1)))
      .Add("polls", result.polls)
      .Add("bound", result.bound)
      .Add("least", result.least)
      .Add("records_fetched", result.records_fetched)
      .Add("spilled_records", result.spilled_records)
      .Add("bytes_reread", result.bytes_reread)
      .Add("seconds", result.seconds)
      .Add("first_seconds", result.first_seconds);
  return summary;
}

std::vector<std::string> CacheColumns() {
  return {"order",      "records",     "writers",   "algorithm", "buffer",  "budget",
          "first hits", "buffer hits", "peak",      "of all",    "peak MB", "fetches",
          "bound",      "fetched",     "reread MB", "sent",      "seconds"};
}

std::vector<std::string> CacheRowText(const CacheRow& row) {
  const CacheResult& result = row.result;
  const auto megabytes = [](int64_t bytes) {
    return ThreeDigits(static_cast<double>(bytes) / 1e6);
  };
  const auto or_dash = [](int64_t number) {
    return number == 0 ? std::string("-") : WithSeparators(number);
  };
  return {row.interleaving,
          WithSeparators(row.records),
          WithSeparators(row.writers),
          std::string(ToString(row.cell.algorithm)),
          std::string(ToString(row.cell.buffer)),
          or_dash(row.cell.budget_records),
          WithSeparators(result.first_hits),
          WithSeparators(result.buffer_hits),
          WithSeparators(result.peak_records),
          Percent(result.peak_records, row.records),
          megabytes(result.peak_bytes),
          WithSeparators(result.polls) + (row.finished() ? "" : "+"),
          or_dash(result.bound),
          absl::StrCat(ThreeDigits(static_cast<double>(result.records_fetched) /
                                   static_cast<double>(std::max<int64_t>(row.records, 1))),
                       " × N"),
          megabytes(result.bytes_reread),
          row.finished() ? "all" : Percent(result.sent, row.records),
          ThreeDigits(result.seconds)};
}

}  // namespace lockstep::sim
