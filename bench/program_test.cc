#include "bench/program.h"

#include <gtest/gtest.h>

#include "bench/site.h"

namespace lockstep::bench {
namespace {

absl::StatusOr<rapidjson::Document> Shell(const char* script,
                                          const std::vector<int>& accepted = {0}) {
  return RunProgram({"/bin/sh", "-c", script}, accepted);
}

TEST(RunProgram, ReadsTheObjectThatOutputEndsWith) {
  const auto object = Shell("echo a line; echo '{\"emitted\":12,\"seconds\":0.5}'");
  ASSERT_TRUE(object.ok()) << object.status();
  EXPECT_EQ(Number(*object, "emitted"), 12);
  EXPECT_EQ(Number(*object, "seconds"), 0.5);
  EXPECT_EQ(Number(*object, "absent"), 0);
}

TEST(RunProgram, AnExitCodeNotAcceptedIsAnErrorThatTellsTheLastLine) {
  const auto object = Shell("echo '{\"gap_records\":1}'; exit 1");
  ASSERT_FALSE(object.ok());
  EXPECT_NE(object.status().message().find("ended with 1: {\"gap_records\":1}"), std::string::npos);
  EXPECT_TRUE(Shell("echo '{\"gap_records\":1}'; exit 1", {0, 1}).ok());
}

TEST(RunProgram, OutputWithoutAnObjectIsAnError) {
  EXPECT_FALSE(Shell("echo done").ok());
  EXPECT_FALSE(Shell("true").ok());
}

TEST(RunProgram, AProgramThatIsNotThereIsAnError) {
  EXPECT_EQ(RunProgram({"/nowhere/lockstep-reorder"}).status().code(), absl::StatusCode::kNotFound);
}

TEST(SecondsToFirstOutput, DoesNotWaitForTheProgramsEnd) {
  const auto seconds = SecondsToFirstOutput({"/bin/sh", "-c", "echo first; exec sleep 600"}, 60);
  ASSERT_TRUE(seconds.ok()) << seconds.status();
  EXPECT_LT(*seconds, 60);
}

TEST(SecondsToFirstOutput, SilenceIsAnError) {
  EXPECT_EQ(SecondsToFirstOutput({"/bin/sh", "-c", "true"}, 60).status().code(),
            absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(SecondsToFirstOutput({"/bin/sh", "-c", "exec sleep 600"}, 0.05).status().code(),
            absl::StatusCode::kDeadlineExceeded);
}

TEST(WithKeyword, ChangesOneAndKeepsTheOthers) {
  const auto conninfo = WithKeyword("host=a,b port=1,2 dbname=x user='o''b'", "dbname", "it's");
  ASSERT_FALSE(conninfo.ok());  // Not libpq's way of quoting.
  const auto changed = WithKeyword("host=a,b port=1,2 dbname=x user=me", "dbname", "it's");
  ASSERT_TRUE(changed.ok()) << changed.status();
  const auto again = WithKeyword(*changed, "user", "you");
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_NE(again->find("dbname='it\\'s'"), std::string::npos) << *again;
  EXPECT_NE(again->find("host='a,b'"), std::string::npos) << *again;
  EXPECT_NE(again->find("user='you'"), std::string::npos) << *again;
}

}  // namespace
}  // namespace lockstep::bench
