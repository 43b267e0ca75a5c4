#include "sim/cache_pictures.h"

#include <cstdio>
#include <fstream>
#include <iterator>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sim/cache_plan.h"

namespace lockstep::sim {
namespace {

using testing::HasSubstr;

CacheRow Row(CacheAlgorithm algorithm, CacheBuffer buffer, const std::string& order,
             int64_t records, int64_t budget, int64_t value) {
  CacheRow row{.interleaving = order, .records = records, .writers = 2};
  row.cell = {algorithm, buffer, budget};
  row.result.sent = records;
  row.result.peak_records = value;
  row.result.polls = value;
  row.result.bound = 2 * value;
  row.result.least = value;
  row.result.spilled_records = value;
  return row;
}

// Every line of every picture, two points each.
std::vector<CacheRow> SmallRows() {
  std::vector<CacheRow> rows;
  for (const int64_t size : {1'000, 2'000}) {
    for (const Interleaving interleaving :
         {Interleaving::kUniform, Interleaving::kBursts, Interleaving::kBatches,
          Interleaving::kSkewed, Interleaving::kAdversarial}) {
      const std::string order(ToString(interleaving));
      rows.push_back(
          Row(CacheAlgorithm::kLockstep, CacheBuffer::kMemory, order, size, 0, size / 2));
      rows.push_back(
          Row(CacheAlgorithm::kLockstep, CacheBuffer::kSpill, order, 10'000, size, 3'000));
      rows.push_back(
          Row(CacheAlgorithm::kMain2, CacheBuffer::kBounded, order, 10'000, size, 400'000));
      rows.push_back(
          Row(CacheAlgorithm::kLockstep, CacheBuffer::kBounded, order, 10'000, size, 12'000));
    }
  }
  return rows;
}

std::string Drawn(const CachePicture& picture) {
  const std::string path = testing::TempDir() + "/" + picture.file;
  std::FILE* gnuplot = popen("gnuplot", "w");
  const std::string script = "set output '" + path + "'\n" + picture.script;
  std::fwrite(script.data(), 1, script.size(), gnuplot);
  EXPECT_EQ(pclose(gnuplot), 0) << picture.script;
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

TEST(DrawCachePictures, GnuplotMakesThemOfTheRows) {
  const std::vector<CachePicture> pictures = DrawCachePictures(SmallRows());
  ASSERT_EQ(pictures.size(), 3U);
  for (const CachePicture& picture : pictures) {
    const std::string svg = Drawn(picture);
    EXPECT_THAT(svg, HasSubstr("</svg>")) << picture.file;
    EXPECT_THAT(svg, HasSubstr("skewed")) << picture.file;
  }
}

TEST(DrawCachePictures, SeveralSeedsBecomeTheirMean) {
  std::vector<CacheRow> rows = SmallRows();
  rows.push_back(Row(CacheAlgorithm::kLockstep, CacheBuffer::kMemory, "skewed", 1'000, 0, 100));
  EXPECT_THAT(DrawCachePictures(rows)[0].script, HasSubstr("1000 300\n"));
}

TEST(DrawCachePictures, AnUnfinishedCellIsNoPoint) {
  std::vector<CacheRow> rows = SmallRows();
  CacheRow unfinished =
      Row(CacheAlgorithm::kMain2, CacheBuffer::kBounded, "skewed", 10'000, 4'711, 100);
  unfinished.result.sent = 10;
  rows.push_back(unfinished);
  EXPECT_THAT(DrawCachePictures(rows)[1].script, testing::Not(HasSubstr("4711")));
}

TEST(PicturePlan, HasEveryLineOfEveryPicture) {
  int64_t memory = 0;
  int64_t spill = 0;
  int64_t main2 = 0;
  for (const CacheExperiment& experiment : PicturePlan(1, {})) {
    for (const CacheCell& cell : experiment.cells) {
      memory += cell.buffer == CacheBuffer::kMemory ? 1 : 0;
      spill += cell.buffer == CacheBuffer::kSpill ? 1 : 0;
      main2 += cell.algorithm == CacheAlgorithm::kMain2 ? 1 : 0;
    }
  }
  EXPECT_EQ(memory, 4 * 9 * 3 + 9);
  EXPECT_EQ(spill, 3 * 9);
  EXPECT_EQ(main2, 2 * 9);
}

}  // namespace
}  // namespace lockstep::sim
