#include "sim/cache_reproduce.h"

#include <algorithm>
#include <array>

#include "absl/strings/str_cat.h"

#include "common/config/text_table.h"
#include "sim/cache_plan.h"

namespace lockstep::sim {
namespace {

constexpr std::string_view kOrders[] = {"batches", "skewed"};

struct SourcePeak {
  int64_t records;
  std::string_view peak;
  std::string_view share;
  std::string_view seconds;
};
constexpr std::array<SourcePeak, 3> kSourcePeaks = {{
    {200'000, "4,953–24,625", "2–12 %", "1"},
    {1'000'000, "129,634–297,375", "12–29 %", "5–7"},
    {10'000'000, "407,639–4,591,199", "4–45 %", "41–80"},
}};
// The one bounded cell that the document fills; it was stopped unfinished.
constexpr int64_t kSourceRecords = 1'000'000;
constexpr int64_t kSourceBudget = 10'000;

std::vector<const CacheRow*> Select(const std::vector<CacheRow>& rows, std::string_view order,
                                    int64_t records, CacheAlgorithm algorithm, int64_t budget,
                                    bool by_record) {
  std::vector<const CacheRow*> selected;
  for (const CacheRow& row : rows) {
    if (row.interleaving == order && row.records == records && row.cell.algorithm == algorithm &&
        row.cell.budget_records == budget && row.result.by_record == by_record) {
      selected.push_back(&row);
    }
  }
  return selected;
}

std::string Megabytes(int64_t bytes) { return ThreeDigits(static_cast<double>(bytes) / 1e6); }

// What was read, as a multiple of the log.
std::string OfAll(int64_t fetched, int64_t records) {
  return ThreeDigits(static_cast<double>(fetched) / static_cast<double>(records)) + " × N";
}

std::string Unbounded(const std::vector<CacheRow>& rows) {
  TextTable table({"records", "order", "source: peak", "of all", "seconds", "here: peak", "of all",
                   "first hits", "buffer hits", "main1: seconds", "MB", "lockstep: seconds", "MB"});
  for (const SourcePeak& source : kSourcePeaks) {
    for (const std::string_view order : kOrders) {
      const auto counted = Select(rows, order, source.records, CacheAlgorithm::kMain1, 0, false);
      const auto main1 = Select(rows, order, source.records, CacheAlgorithm::kMain1, 0, true);
      const auto ours = Select(rows, order, source.records, CacheAlgorithm::kLockstep, 0, true);
      if (counted.empty() || main1.empty() || ours.empty()) continue;
      const auto [least, most] = std::minmax_element(
          counted.begin(), counted.end(), [](const CacheRow* a, const CacheRow* b) {
            return a->result.peak_records < b->result.peak_records;
          });
      const int64_t low = (*least)->result.peak_records;
      const int64_t high = (*most)->result.peak_records;
      table.Add({WithSeparators(source.records), std::string(order), std::string(source.peak),
                 std::string(source.share), std::string(source.seconds),
                 absl::StrCat(WithSeparators(low), "–", WithSeparators(high)),
                 absl::StrCat(low * 100 / source.records, "–", Percent(high, source.records)),
                 WithSeparators(ours[0]->result.first_hits),
                 WithSeparators(ours[0]->result.buffer_hits), ThreeDigits(main1[0]->result.seconds),
                 Megabytes(main1[0]->result.peak_bytes), ThreeDigits(ours[0]->result.seconds),
                 Megabytes(ours[0]->result.peak_bytes)});
    }
  }
  return table.Text();
}

std::string Bounded(const std::vector<CacheRow>& rows) {
  TextTable table({"records", "cache", "order", "source: polls", "seconds", "main2: polls",
                   "fetched", "sent", "lockstep: fetches", "seconds", "fetched", "bound", "least"});
  for (const int64_t records : {1'000'000, 10'000'000}) {
    for (const int64_t budget : {10'000, 20'000, 50'000, 100'000}) {
      for (const std::string_view order : kOrders) {
        const auto main2 = Select(rows, order, records, CacheAlgorithm::kMain2, budget, false);
        const auto ours = Select(rows, order, records, CacheAlgorithm::kLockstep, budget, true);
        if (main2.empty() || ours.empty()) continue;
        const CacheResult& blind = main2[0]->result;
        const CacheResult& best = ours[0]->result;
        const bool known = records == kSourceRecords && budget == kSourceBudget;
        table.Add({WithSeparators(records), WithSeparators(budget), std::string(order),
                   known ? "631,200+" : "", known ? "90+" : "",
                   WithSeparators(blind.polls) + (main2[0]->finished() ? "" : "+"),
                   OfAll(blind.records_fetched, records),
                   main2[0]->finished() ? "all" : Percent(blind.sent, records),
                   WithSeparators(best.polls), ThreeDigits(best.seconds),
                   OfAll(best.records_fetched, records), WithSeparators(best.bound),
                   WithSeparators(best.least)});
      }
    }
  }
  return table.Text();
}

}  // namespace

std::string SourceFigures(const CacheRow& row) {
  if (row.cell.algorithm == CacheAlgorithm::kMain1) {
    for (const SourcePeak& source : kSourcePeaks) {
      if (source.records != row.records) continue;
      return absl::StrCat("peak ", std::string(source.peak), ", ", std::string(source.share), ", ",
                          std::string(source.seconds), " s");
    }
  }
  if (row.cell.algorithm == CacheAlgorithm::kMain2 && row.records == kSourceRecords &&
      row.cell.budget_records == kSourceBudget) {
    return "stopped after 631,200 polls and 90 s";
  }
  return "";
}

std::string ReproducedTables(const std::vector<CacheRow>& rows) {
  return absl::StrCat(
      "Unbounded cache. Two writers, batches of up to 10,000 records; `batches`: ledger and log by "
      "a coin each; `skewed`: the log prefers one writer.\nThe peaks here are the least and the "
      "greatest of ",
      kReproduceSeeds,
      " seeds; main1 and lockstep wait for the same records. Hits and seconds are of the first "
      "seed.\n\n",
      Unbounded(rows),
      "\nBounded cache. `+`: stopped before all was sent. The source's other cells are empty.\n"
      "lockstep's fetches and their bound count the first reading too, which alone is the "
      "least.\nlockstep's seconds are of the shipped code without a broker. main2 is counted burst "
      "by burst, which takes no time to speak of: what it fetches is what it costs.\n\n",
      Bounded(rows));
}

}  // namespace lockstep::sim
