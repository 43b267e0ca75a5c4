// The power fails before operation 0, 1, 2, … of ReplaceFile: old contents or new, never else, and
// what was acknowledged is never lost. Without either of its syncs this fails at once.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/faulty_file_system.h"

namespace lockstep {
namespace {

void CutEverywhere(uint64_t seed) {
  SCOPED_TRACE("seed " + std::to_string(seed));
  for (int cut = 0;; ++cut) {
    FaultyFileSystem fs(seed);
    ASSERT_TRUE(ReplaceFile(fs, "dir/checkpoint", "old").ok());
    fs.PowerOffAfter(cut);
    const bool acknowledged = ReplaceFile(fs, "dir/checkpoint", "new").ok();
    const bool finished = !fs.powered_off();
    fs.Crash();
    const auto contents = fs.Read("dir/checkpoint");
    ASSERT_TRUE(contents.ok()) << "cut " << cut;
    EXPECT_THAT(*contents, testing::AnyOf("old", "new")) << "cut " << cut;
    if (acknowledged) {
      EXPECT_EQ(*contents, "new") << "cut " << cut;
    }
    if (finished) {
      EXPECT_TRUE(acknowledged);
      break;
    }
  }
}

TEST(ReplaceFile, SurvivesAPowerCutAtEveryOperation) {
  for (uint64_t seed = 0; seed < 64; ++seed) CutEverywhere(seed);
}

TEST(ReplaceFile, AFullDiskLeavesTheOldContents) {
  for (int operation = 0; operation < 4; ++operation) {
    FaultyFileSystem fs;
    ASSERT_TRUE(ReplaceFile(fs, "checkpoint", "old").ok());
    fs.FailNext(absl::ResourceExhaustedError("no space left on device"));
    EXPECT_EQ(ReplaceFile(fs, "checkpoint", "new").code(), absl::StatusCode::kResourceExhausted);
    EXPECT_EQ(fs.Read("checkpoint").value(), "old");
    EXPECT_TRUE(ReplaceFile(fs, "checkpoint", "new").ok());
    EXPECT_EQ(fs.Read("checkpoint").value(), "new");
  }
}

TEST(FaultyFileSystem, ForgetsWhatWasNotSynced) {
  FaultyFileSystem fs;
  ASSERT_TRUE(fs.Write("a", "1").ok());
  ASSERT_TRUE(fs.SyncFile("a").ok());
  ASSERT_TRUE(fs.Write("b", "1").ok());
  ASSERT_TRUE(fs.SyncDirectory("b").ok());
  ASSERT_TRUE(fs.Append("a", "2").ok());
  ASSERT_TRUE(fs.Write("c", "1").ok());
  fs.Crash();
  EXPECT_EQ(fs.Read("a").value(), "1");
  EXPECT_EQ(fs.Read("b").value(), "");
  EXPECT_FALSE(fs.Read("c").ok());
}

}  // namespace
}  // namespace lockstep
