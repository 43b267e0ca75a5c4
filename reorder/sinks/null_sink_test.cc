// Two runs have the same checksum iff they gave out the same records in the same order.
#include "reorder/sinks/null_sink.h"

#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

namespace lockstep {
namespace {

using Bytes = std::optional<std::string_view>;

ReadyRecord Record(int64_t epoch, int64_t offset, Bytes key, Bytes value) {
  ReadyRecord record;
  record.position = {Epoch(epoch), Offset(offset)};
  record.view.key = key;
  record.view.value = value;
  return record;
}

std::string ChecksumOf(const std::vector<ReadyRecord>& records) {
  NullSink sink;
  EXPECT_TRUE(sink.Write(records).ok());
  EXPECT_EQ(sink.records(), static_cast<int64_t>(records.size()));
  return sink.Checksum();
}

TEST(NullSinkTest, TheChecksumSaysEveryDifference) {
  const std::vector<std::vector<ReadyRecord>> runs = {
      {},
      {Record(1, 5, "k", "v")},
      {Record(2, 5, "k", "v")},
      {Record(1, 6, "k", "v")},
      {Record(1, 5, "kv", "")},
      {Record(1, 5, "", "kv")},
      {Record(1, 5, "kv", std::nullopt)},
      {Record(1, 5, std::nullopt, "kv")},
      {Record(1, 5, std::nullopt, std::nullopt)},
      {Record(1, 5, "", "")},
      {Record(1, 5, "k", "v"), Record(1, 6, "k", "w")},
      {Record(1, 6, "k", "w"), Record(1, 5, "k", "v")},
  };
  std::set<std::string> checksums;
  for (const std::vector<ReadyRecord>& run : runs) checksums.insert(ChecksumOf(run));
  EXPECT_EQ(checksums.size(), runs.size());
}

TEST(NullSinkTest, TheChecksumDoesNotDependOnTheBatches) {
  NullSink sink;
  EXPECT_TRUE(sink.Write(std::vector{Record(1, 5, "k", "v")}).ok());
  EXPECT_TRUE(sink.Write(std::vector{Record(1, 6, "k", "w")}).ok());
  EXPECT_EQ(sink.Checksum(), ChecksumOf({Record(1, 5, "k", "v"), Record(1, 6, "k", "w")}));
}

}  // namespace
}  // namespace lockstep
