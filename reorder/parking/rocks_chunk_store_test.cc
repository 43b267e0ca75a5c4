// Who may read what is spilled. (What is kept and given back: parking_test.cc.)
#include "reorder/parking/rocks_chunk_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lockstep {
namespace {

using std::filesystem::perms;
using testing::HasSubstr;

class RocksChunkStoreRightsTest : public testing::Test {
 protected:
  RocksChunkStoreRightsTest() {
    std::string pattern = std::filesystem::temp_directory_path() / "lockstep-rights-XXXXXX";
    directory_ = mkdtemp(pattern.data());
    // Everybody may read, as far as the process is concerned.
    umask_ = umask(0);
    std::filesystem::permissions(directory_, perms(0755));
  }
  ~RocksChunkStoreRightsTest() override {
    umask(umask_);
    std::filesystem::remove_all(directory_);
  }
  static perms RightsOf(const std::string& path) {
    return std::filesystem::status(path).permissions();
  }

  std::string directory_;
  mode_t umask_ = 0;
};

TEST_F(RocksChunkStoreRightsTest, WhatItMakesIsItsOwnersOnly) {
  RocksChunkStore store(directory_ + "/gates/price.orders.0");
  ASSERT_TRUE(store.Write(1, {{0, Seq(1), "a payload"}}).ok());
  EXPECT_EQ(RightsOf(directory_ + "/gates"), perms(0700));
  EXPECT_EQ(RightsOf(directory_ + "/gates/price.orders.0"), perms(0700));
  EXPECT_EQ(RightsOf(directory_ + "/gates/price.orders.0/records"), perms(0700));
  EXPECT_EQ(RightsOf(directory_), perms(0755));
}

TEST_F(RocksChunkStoreRightsTest, ADirectoryThatIsThereStaysAsItIs) {
  RocksChunkStore store(directory_ + "/");
  ASSERT_TRUE(store.Open().ok());
  EXPECT_EQ(RightsOf(directory_), perms(0755));
  EXPECT_EQ(RightsOf(directory_ + "/records"), perms(0700));  // This one it made.
}

TEST_F(RocksChunkStoreRightsTest, AFileInTheWayIsNamed) {
  ASSERT_EQ(close(open((directory_ + "/file").c_str(), O_CREAT | O_WRONLY, 0600)), 0);
  for (const char* path : {"/file", "/file/gate"}) {
    const std::string in_the_way = directory_ + path;
    const absl::Status status = RocksChunkStore(in_the_way).Open();
    EXPECT_TRUE(absl::IsInternal(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("cannot make " + in_the_way));
    EXPECT_THAT(std::string(status.message()), HasSubstr("Not a directory"));
  }
}

}  // namespace
}  // namespace lockstep
