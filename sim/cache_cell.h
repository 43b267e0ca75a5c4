// CacheCell: one experiment (an algorithm with a buffer of a size, on an order), run and described.
#ifndef LOCKSTEP_SIM_CACHE_CELL_H_
#define LOCKSTEP_SIM_CACHE_CELL_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "common/config/terminal.h"
#include "common/config/text_table.h"
#include "sim/cache_orders.h"

namespace lockstep::sim {

enum class CacheAlgorithm {
  kLockstep,  // The shipped code.
  kMain1,     // The source's unbounded cache (cache_main1.h).
  kMain2,     // The source's bounded one (cache_main2.h).
  kOptimal,   // The reference of the bounded buffer (cache_optimal.h).
};
enum class CacheBuffer { kMemory, kSpill, kBounded };

std::string_view ToString(CacheAlgorithm algorithm);
std::optional<CacheAlgorithm> ParseCacheAlgorithm(std::string_view name);
std::string_view ToString(CacheBuffer buffer);
std::optional<CacheBuffer> ParseCacheBuffer(std::string_view name);

// True iff there is such an algorithm with such a buffer.
bool Exists(CacheAlgorithm algorithm, CacheBuffer buffer);

// Record by record as the real thing does, or burst by burst, which only counts.
enum class CacheSteps { kAuto, kRecord, kBurst };
// kAuto: by record up to so many. The shipped bounded buffer always.
inline constexpr int64_t kByRecordMax = 10'000'000;

struct CacheCell {
  CacheAlgorithm algorithm = CacheAlgorithm::kLockstep;
  CacheBuffer buffer = CacheBuffer::kMemory;
  int64_t budget_records = 0;  // 0: no bound.
};

struct CacheSettings {
  int64_t value_bytes = 100;
  int64_t poll_records = 10'000;  // One fetch gives so many at most.
  int64_t chunk_records = 0;      // Of the bounded buffer; 0: ChunkFor.
  int64_t polls_max = 0;          // Main2 stops there; 0: never.
  double main2_seconds_max = 30;  // And here.
  CacheSteps steps = CacheSteps::kAuto;
  int passes = 1;  // A cell is run so many times and the fastest counts.
};

// What an experiment is driven by. `seconds` reads a clock that never goes back.
struct CacheDriver {
  std::function<bool()> go_on;
  std::function<double()> seconds;
};

struct CacheResult {
  bool by_record = false;
  int64_t sent = 0;  // Fewer than there are: it was stopped (Main2).
  int64_t first_hits = 0;
  int64_t buffer_hits = 0;
  int64_t peak_records = 0;  // Waiting at once; what bounded buffers do not hold does not count.
  int64_t peak_bytes = 0;    // Of memory.
  int64_t polls = 0;         // Fetches from the log.
  int64_t bound = 0;         // On fetches, as counted (chunk_parking.h); 0: none is promised.
  int64_t least = 0;         // Fetches that nobody can do without.
  int64_t records_fetched = 0;
  int64_t spilled_records = 0;  // Left memory for the disk.
  int64_t bytes_reread = 0;     // From the log again, or from disk.
  double seconds = 0;           // Without making the orders.
  double first_seconds = 0;     // Of the first pass, which pays for memory never used before.
};

// CANCELLED: driver.go_on said no. INVALID_ARGUMENT: the budget has no room for two records a
// writer, or there is no such algorithm with such a buffer or such steps.
absl::StatusOr<CacheResult> RunCacheCell(const CacheOrders& orders, const CacheCell& cell,
                                         const CacheSettings& settings, const CacheDriver& driver);

// A cell with its result, to be printed.
struct CacheRow {
  CacheCell cell = {};
  CacheResult result = {};
  std::string interleaving = {};
  int64_t records = 0;
  int64_t writers = 0;
  uint64_t seed = 0;

  bool finished() const { return result.sent == records; }
};

// As in the contract, one JSON object.
Summary CacheRowJson(const CacheRow& row);
// The columns' names, and a row of them.
std::vector<std::string> CacheColumns();
std::vector<std::string> CacheRowText(const CacheRow& row);

}  // namespace lockstep::sim

#endif  // LOCKSTEP_SIM_CACHE_CELL_H_
