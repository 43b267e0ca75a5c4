#include <stdlib.h>
#include <unistd.h>

#include <filesystem>

#include <gtest/gtest.h>

#include "common/io/clock.h"
#include "common/io/file_system.h"

namespace lockstep {
namespace {

class DiskTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "/lockstep_io_XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
    path_ = directory_ + "/file";
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  FileSystem& fs_ = RealFileSystem();
  std::string directory_;
  std::string path_;
};

TEST_F(DiskTest, WritesAppendsCutsRenamesAndRemoves) {
  EXPECT_EQ(fs_.Read(path_).status().code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(fs_.Append(path_, "ab").ok());
  ASSERT_TRUE(fs_.Append(path_, std::string("c\0d", 3)).ok());
  EXPECT_EQ(fs_.Read(path_).value(), std::string("abc\0d", 5));
  EXPECT_EQ(fs_.Size(path_).value(), 5);
  ASSERT_TRUE(fs_.Truncate(path_, 1).ok());
  ASSERT_TRUE(fs_.SyncFile(path_).ok());
  ASSERT_TRUE(fs_.Rename(path_, path_ + "2").ok());
  ASSERT_TRUE(fs_.SyncDirectory(path_).ok());
  EXPECT_EQ(fs_.Read(path_ + "2").value(), "a");
  ASSERT_TRUE(fs_.Remove(path_ + "2").ok());
  EXPECT_FALSE(fs_.Remove(path_ + "2").ok());
}

TEST_F(DiskTest, ReplaceFileReplaces) {
  ASSERT_TRUE(ReplaceFile(fs_, path_, "old and long").ok());
  ASSERT_TRUE(ReplaceFile(fs_, path_, "new").ok());
  EXPECT_EQ(fs_.Read(path_).value(), "new");
  EXPECT_FALSE(fs_.Read(path_ + ".tmp").ok());
  EXPECT_EQ(ReplaceFile(fs_, directory_ + "/none/x", "").code(), absl::StatusCode::kNotFound);
}

TEST_F(DiskTest, AFullDiskIsResourceExhausted) {
  EXPECT_EQ(fs_.Append("/dev/full", "x").code(), absl::StatusCode::kResourceExhausted);
}

TEST_F(DiskTest, ALockIsExclusiveUntilItIsGone) {
  auto lock = fs_.Lock(path_);
  ASSERT_TRUE(lock.ok());
  EXPECT_EQ(fs_.Lock(path_).status().code(), absl::StatusCode::kFailedPrecondition);
  lock->reset();
  EXPECT_TRUE(fs_.Lock(path_).ok());
}

TEST(ManualClock, OnlyTheCalendarJumps) {
  ManualClock clock(1000);
  clock.Advance(5);
  clock.Jump(-500);
  EXPECT_EQ(clock.SteadyMs(), 5);
  EXPECT_EQ(clock.NowMs(), 505);
  RealClock real;
  EXPECT_LE(real.SteadyMs(), real.SteadyMs());
}

}  // namespace
}  // namespace lockstep
