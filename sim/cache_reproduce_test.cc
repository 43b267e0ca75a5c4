#include "sim/cache_reproduce.h"

#include <regex>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sim/cache_plan.h"

namespace lockstep::sim {
namespace {

using testing::ContainsRegex;
using testing::HasSubstr;

// What a small machine makes of the plan: nothing is run.
std::vector<CacheRow> Rows() {
  std::vector<CacheRow> rows;
  for (const CacheExperiment& experiment : ReproducePlan(1, {})) {
    for (const CacheCell& cell : experiment.cells) {
      CacheRow row{.cell = cell,
                   .interleaving = std::string(ToString(experiment.orders.interleaving)),
                   .records = experiment.orders.records,
                   .writers = 2,
                   .seed = experiment.orders.seed};
      const bool ours = cell.algorithm == CacheAlgorithm::kLockstep;
      row.result = {.by_record = experiment.settings.steps == CacheSteps::kRecord ||
                                 cell.algorithm == CacheAlgorithm::kLockstep,
                    .sent = row.records,
                    .first_hits = ours ? row.records / 5 : 0,
                    .buffer_hits = ours ? row.records * 4 / 5 : 0,
                    .peak_records = 1'000 * static_cast<int64_t>(row.seed),
                    .polls = 4'711,
                    .bound = 5'000,
                    .least = 4'000,
                    .records_fetched = ours ? row.records * 5 / 4 : row.records * 80,
                    .seconds = ours ? 1.25 : 7.75};
      rows.push_back(row);
    }
  }
  return rows;
}

TEST(ReproducedTables, HaveARowForEachOfTheEightBoundedCellsAndBothOrders) {
  const std::string text = ReproducedTables(Rows());
  const std::string bounded = text.substr(text.find("Bounded cache"));
  size_t cells = 0;
  for (size_t at = 0; (at = bounded.find("1.25 × N", at)) != std::string::npos; ++at) ++cells;
  EXPECT_EQ(cells, 16U);
  EXPECT_THAT(bounded, HasSubstr("631,200+"));
}

TEST(ReproducedTables, SayTheSourcesPeaksBesideTheRangeOverTheSeeds) {
  const std::string text = ReproducedTables(Rows());
  EXPECT_THAT(text, HasSubstr("407,639–4,591,199"));
  EXPECT_THAT(text, HasSubstr("1,000–10,000"));
}

// The document's columns, each with ours: polls and time of its bounded table, hits of its first.
TEST(ReproducedTables, SayTheTimesAndTheHits) {
  const std::string text = ReproducedTables(Rows());
  const size_t middle = text.find("Bounded cache");
  const std::string unbounded = text.substr(0, middle);
  EXPECT_THAT(unbounded, ContainsRegex("first hits  buffer hits"));
  EXPECT_THAT(unbounded, ContainsRegex(" 2,000,000 +8,000,000 +7\\.75 .* 1\\.25 "));
  const std::string bounded = text.substr(middle);
  EXPECT_THAT(bounded, ContainsRegex("main2: polls +fetched  sent  lockstep: fetches  seconds"));
  size_t cells = 0;
  const std::regex times("4,711 +80\\.0 × N +all +4,711 +1\\.25 +1\\.25 × N");
  for (std::sregex_iterator at(bounded.begin(), bounded.end(), times), end; at != end; ++at)
    ++cells;
  EXPECT_EQ(cells, 16U);
}

TEST(ReproducedTables, AStoppedCellEndsWithAPlusAndSaysHowMuchWasSent) {
  std::vector<CacheRow> rows = Rows();
  for (CacheRow& row : rows) {
    if (row.cell.algorithm == CacheAlgorithm::kMain2) row.result.sent = row.records / 4;
  }
  EXPECT_THAT(ReproducedTables(rows), HasSubstr("4,711+"));
  EXPECT_THAT(ReproducedTables(rows), HasSubstr("25 %"));
}

TEST(SourceFigures, AreThereForTheCellsThatTheDocumentFills) {
  CacheRow row{.cell = {CacheAlgorithm::kMain1, CacheBuffer::kMemory, 0},
               .interleaving = "batches",
               .records = 200'000};
  EXPECT_EQ(SourceFigures(row), "peak 4,953–24,625, 2–12 %, 1 s");
  row.cell = {CacheAlgorithm::kMain2, CacheBuffer::kBounded, 10'000};
  EXPECT_EQ(SourceFigures(row), "");
  row.records = 1'000'000;
  EXPECT_EQ(SourceFigures(row), "stopped after 631,200 polls and 90 s");
}

}  // namespace
}  // namespace lockstep::sim
