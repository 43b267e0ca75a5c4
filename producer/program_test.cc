// The shipped program killed at any moment, run twice, its standby frozen.
#include "producer/program_world_test.h"

namespace lockstep {
namespace {

TEST_F(ProgramTest, ReadsAFileToItsEndAndSaysWhatItDid) {
  AppendLines(1, 1000);
  auto process = Start("jsonl:" + LinesFile(), {"--until-end"});
  EXPECT_EQ(process->Wait(), 0) << process->Err();
  EXPECT_THAT(process->Out(), HasSubstr("{\"records\":1000,\"adopted\":0,"));
  ExpectEachOnce(1000);
  AppendLines(1001, 1010);
  auto again = Start("jsonl:" + LinesFile(), {"--until-end", "--payload-in-ledger"});
  EXPECT_EQ(again->Wait(), 0) << again->Err();
  EXPECT_THAT(again->Out(), HasSubstr("{\"records\":10,"));
  ExpectEachOnce(1010);
}

TEST_F(ProgramTest, KilledAtAnyMomentALineComesOnce) {
  AppendLines(1, 20'000);
  KillUntilDone("jsonl:" + LinesFile(), 1);
  ExpectEachOnce(20'000);
}

TEST_F(ProgramTest, KilledAtAnyMomentARowComesOnceWhileOthersWrite) {
  world_.Sql(
      "create table public.outbox (id bigserial primary key, value text not null); grant select on "
      "public.outbox to writer; insert into public.outbox (value) select 'event ' || g from "
      "generate_series(1, 10000) g");
  std::thread writer([&] {
    for (int i = 10'001; i <= 10'200; ++i) {
      world_.Sql(absl::StrCat("insert into public.outbox (value) values ('event ", i, "')"));
    }
  });
  KillUntilDone("table:outbox?id=id&value=value", 2);
  writer.join();
  auto process = Start("table:outbox?id=id&value=value", {"--until-end"});
  EXPECT_EQ(process->Wait(), 0) << process->Err();
  ExpectEachOnce(10'200);
}

TEST_F(ProgramTest, ASecondLiveProcessFencesTheFirst) {
  AppendLines(1, 100);
  auto first = Start("jsonl:" + LinesFile());
  ASSERT_TRUE(first->AwaitLog("tenure_begun"));
  auto second = Start("jsonl:" + LinesFile());
  ASSERT_TRUE(second->AwaitLog("tenure_begun"));
  AppendLines(101, 200);
  EXPECT_TRUE(first->EndsWithin(milliseconds(20'000)));
  EXPECT_EQ(first->Wait(), 3) << first->Err();
  EXPECT_THAT(first->Err(), HasSubstr("refused: fenced: another process named 'A'"));
  second->Terminate();
  EXPECT_EQ(second->Wait(), 0) << second->Err();
  auto last = Start("jsonl:" + LinesFile(), {"--until-end"});
  EXPECT_EQ(last->Wait(), 0);
  ExpectEachOnce(200);
}

TEST_F(ProgramTest, AFrozenStandbyIsAStallNotALoss) {
  AppendLines(1, 10);
  auto process = Start("jsonl:" + LinesFile());
  ASSERT_TRUE(process->AwaitLog("tenure_begun"));
  world_.pair().Freeze(PostgresPair::kStandby);
  AppendLines(11, 2000);
  EXPECT_TRUE(process->AwaitLog("ledger_stalled"));
  world_.pair().Thaw(PostgresPair::kStandby);
  EXPECT_TRUE(process->AwaitLog("ledger_resumed"));
  process->Terminate();
  EXPECT_EQ(process->Wait(), 0) << process->Err();
  EXPECT_THAT(process->Out(), HasSubstr("\"records\":2000"));
  ExpectEachOnce(2000);
}

TEST_F(ProgramTest, WrongCredentialsAreSaidAndNotRetriedForEver) {
  AppendLines(1, 1);
  std::vector<std::string> arguments =
      Arguments("jsonl:" + LinesFile(), {"--until-end", "--ledger", Conninfo("locked")});
  arguments.erase(arguments.begin() + 6, arguments.begin() + 8);  // The good --ledger.
  Process process(arguments, directory_ + "/locked");
  EXPECT_EQ(process.Wait(), 2) << process.Err();
  EXPECT_THAT(process.Err(), HasSubstr("no password supplied"));
}

TEST_F(ProgramTest, AnotherSourceForAKnownProducerIsRefused) {
  AppendLines(1, 5);
  EXPECT_EQ(Start("jsonl:" + LinesFile(), {"--until-end"})->Wait(), 0);
  std::filesystem::copy(LinesFile(), directory_ + "/other.jsonl");
  auto process = Start("jsonl:" + directory_ + "/other.jsonl", {"--until-end"});
  EXPECT_EQ(process->Wait(), 3) << process->Err();
}

TEST_F(ProgramTest, ABadLineStopsBehindWhatCameBefore) {
  AppendLines(1, 50);
  std::ofstream(LinesFile(), std::ios::app) << "not json\n";
  AppendLines(52, 60);
  auto process = Start("jsonl:" + LinesFile(), {"--until-end"});
  EXPECT_EQ(process->Wait(), 2) << process->Err();
  EXPECT_THAT(process->Err(), HasSubstr("bad line 51"));
  EXPECT_THAT(process->Out(), HasSubstr("\"records\":50"));
  auto skipping = Start("jsonl:" + LinesFile(), {"--until-end", "--bad-lines", "skip"});
  EXPECT_EQ(skipping->Wait(), 0) << skipping->Err();
  EXPECT_THAT(skipping->Out(), HasSubstr("\"records\":9"));
}

TEST_F(ProgramTest, AFileThatWasChangedIsRefused) {
  AppendLines(1, 50);
  EXPECT_EQ(Start("jsonl:" + LinesFile(), {"--until-end"})->Wait(), 0);
  std::filesystem::remove(LinesFile());
  AppendLines(2, 60);
  auto process = Start("jsonl:" + LinesFile(), {"--until-end"});
  EXPECT_EQ(process->Wait(), 3) << process->Err();
  EXPECT_THAT(process->Err(), HasSubstr("source behind ledger"));
}

TEST_F(ProgramTest, UsageErrorsComeAllAtOnce) {
  Process process({"--source", "orders.jsonl", "--partition", "3", "--stream", "orders/1"},
                  directory_ + "/usage");
  EXPECT_EQ(process.Wait(), 2);
  for (const char* says : {"--name is required", "--brokers is required", "--ledger is required",
                           "write jsonl:FILE", "different partitions"}) {
    EXPECT_THAT(process.Err(), HasSubstr(says));
  }
}

}  // namespace
}  // namespace lockstep
