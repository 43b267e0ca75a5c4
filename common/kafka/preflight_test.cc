#include "common/kafka/preflight.h"

#include <gtest/gtest.h>

namespace lockstep {
namespace {

TopicPreflight Good() {
  return {.topic = {"orders", 4, 3},
          .settings = KafkaSettings{{"cleanup.policy", "delete"},
                                    {"retention.ms", "-1"},
                                    {"retention.bytes", "-1"},
                                    {"min.insync.replicas", "2"},
                                    {"unclean.leader.election.enable", "false"}},
          .partition_count_expected = 4};
}

Verdict Of(const TopicPreflight& facts, const std::string& check) {
  for (const Finding& finding : CheckTopic(facts)) {
    if (finding.check == check) {
      EXPECT_EQ(finding.remedy.empty(), finding.verdict == Verdict::kOk) << check;
      return finding.verdict;
    }
  }
  ADD_FAILURE() << check;
  return Verdict::kUnknown;
}

TEST(Preflight, GoodSettingsAreOk) { EXPECT_EQ(Worst(CheckTopic(Good())), Verdict::kOk); }

TEST(Preflight, AnAdvisedTopicIsOk) {
  for (const int32_t replication : {2, 3}) {
    const NewTopic topic = AdvisedTopic("orders", 4, replication, 86'400'000);
    EXPECT_EQ(Worst(CheckTopic({.topic = {topic.name, topic.partition_count, topic.replication},
                                .settings = topic.settings,
                                .partition_count_expected = 4,
                                .outage_wanted_ms = 86'400'000})),
              Verdict::kOk);
    EXPECT_EQ(topic.settings.at("message.timestamp.type"), "CreateTime");
  }
  EXPECT_EQ(AdvisedTopic("orders", 4, 3, -1).settings.at("retention.ms"), "-1");
  for (const int32_t replication : {-1, 1}) {  // More than there are replicas: nothing is written.
    EXPECT_FALSE(
        AdvisedTopic("orders", 4, replication, -1).settings.contains("min.insync.replicas"));
  }
}

TEST(Preflight, EachSettingHasItsVerdict) {
  const struct {
    const char* setting;
    const char* value;
    const char* check;
    Verdict verdict;
  } rows[] = {{"cleanup.policy", "compact", "cleanup_policy", Verdict::kFail},
              {"cleanup.policy", "delete,compact", "cleanup_policy", Verdict::kFail},
              {"retention.ms", "3600000", "retention_time", Verdict::kFail},
              {"retention.ms", "604800000", "retention_time", Verdict::kOk},
              {"retention.bytes", "1000", "retention_bytes", Verdict::kWarn},
              {"min.insync.replicas", "1", "min_insync_replicas", Verdict::kFail},
              {"unclean.leader.election.enable", "true", "unclean_election", Verdict::kFail}};
  for (const auto& row : rows) {
    TopicPreflight facts = Good();
    (*facts.settings)[row.setting] = row.value;
    EXPECT_EQ(Of(facts, row.check), row.verdict) << row.setting << "=" << row.value;
    facts.settings->erase(row.setting);
    EXPECT_EQ(Of(facts, row.check), Verdict::kUnknown) << row.setting;
  }
}

TEST(Preflight, OneReplicaWarnsAndAnotherPartitionCountFails) {
  TopicPreflight facts = Good();
  facts.topic.replication = 1;
  EXPECT_EQ(Of(facts, "min_insync_replicas"), Verdict::kWarn);
  facts.partition_count_expected = 5;
  EXPECT_EQ(Of(facts, "partition_count"), Verdict::kFail);
  facts.partition_count_expected = std::nullopt;
  EXPECT_EQ(Of(facts, "partition_count"), Verdict::kOk);
}

TEST(Preflight, WhatCouldNotBeAskedIsUnknownNeverOk) {
  TopicPreflight facts = Good();
  facts.settings = std::nullopt;
  for (const Finding& finding : CheckTopic(facts)) {
    EXPECT_EQ(finding.verdict,
              finding.check == "partition_count" ? Verdict::kOk : Verdict::kUnknown);
  }
  EXPECT_EQ(CheckTopic(facts).size(), CheckTopic(Good()).size());
}

}  // namespace
}  // namespace lockstep
