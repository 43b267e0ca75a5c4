#include "mirror-reconcile/mm2_config.h"

#include <gtest/gtest.h>

namespace lockstep {
namespace {

std::string Judge(std::string_view text) {
  std::string verdicts;
  for (const Finding& finding : CheckMm2(ParseProperties(text))) {
    verdicts +=
        std::string(verdicts.empty() ? "" : " ") + std::string(VerdictName(finding.verdict));
  }
  return verdicts;
}

TEST(Mm2ConfigTest, WithoutAFileNothingIsOk) {
  for (const Finding& finding : CheckMm2(std::nullopt)) {
    EXPECT_EQ(finding.verdict, Verdict::kUnknown) << finding.check;
  }
}

TEST(Mm2ConfigTest, DefaultsWarnOfWhatTheyMean) {
  // isolation, order, reset, acls, policy
  EXPECT_EQ(Judge("clusters = p, s\n"), "warn ok ok warn ok");
}

TEST(Mm2ConfigTest, SettingsMayStandBarePerClusterOrPerFlow) {
  EXPECT_EQ(Judge("p.consumer.isolation.level=read_committed\nsync.topic.acls.enabled : false"),
            "ok ok ok ok ok");
  EXPECT_EQ(Judge("p->s.consumer.isolation.level = \\\n  read_committed\n"), "ok ok ok warn ok");
  EXPECT_EQ(Judge("#p.consumer.isolation.level = read_committed"), "warn ok ok warn ok");
}

TEST(Mm2ConfigTest, OvertakingRetriesAndSkippingResetsFail) {
  EXPECT_EQ(Judge("s.producer.max.in.flight.requests.per.connection = 5"), "warn fail ok warn ok");
  EXPECT_EQ(Judge("s.producer.max.in.flight.requests.per.connection = 5\n"
                  "s.producer.enable.idempotence = true"),
            "warn ok ok warn ok");
  EXPECT_EQ(Judge("p.consumer.auto.offset.reset = latest"), "warn ok fail warn ok");
}

}  // namespace
}  // namespace lockstep
