#include "common/kafka/preflight.h"

#include <algorithm>
#include <charconv>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace lockstep {
namespace {

std::optional<std::string> Setting(const TopicPreflight& facts, const std::string& name) {
  if (!facts.settings) return std::nullopt;
  const auto found = facts.settings->find(name);
  if (found == facts.settings->end()) return std::nullopt;
  return found->second;
}

std::optional<int64_t> Number(const std::optional<std::string>& text) {
  int64_t value = 0;
  if (!text) return std::nullopt;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (error != std::errc() || end != text->data() + text->size()) return std::nullopt;
  return value;
}

Finding Unknown(const char* check, const char* setting) {
  return {check, Verdict::kUnknown, absl::StrCat("the broker did not tell ", setting),
          "allow DescribeConfigs on the topic, or check the setting by hand"};
}

std::string Alter(const TopicPreflight& facts, std::string_view setting) {
  return absl::StrCat("kafka-configs.sh --alter --topic ", facts.topic.name, " --add-config ",
                      std::string(setting));
}

Finding CleanupPolicy(const TopicPreflight& facts) {
  const auto policy = Setting(facts, "cleanup.policy");
  if (!policy) return Unknown("cleanup_policy", "cleanup.policy");
  if (absl::StrContains(*policy, "compact")) {
    return {"cleanup_policy", Verdict::kFail,
            absl::StrCat("cleanup.policy=", *policy,
                         ": compaction removes records that the ledger "
                         "names"),
            Alter(facts, "cleanup.policy=delete")};
  }
  return {"cleanup_policy", Verdict::kOk, absl::StrCat("cleanup.policy=", *policy), ""};
}

Finding RetentionTime(const TopicPreflight& facts) {
  const auto retention = Number(Setting(facts, "retention.ms"));
  if (!retention) return Unknown("retention_time", "retention.ms");
  if (*retention >= 0 && *retention < facts.outage_wanted_ms) {
    return {"retention_time", Verdict::kFail,
            absl::StrCat("retention.ms=", *retention, " is shorter than the outage to survive, ",
                         facts.outage_wanted_ms, " ms"),
            Alter(facts, absl::StrCat("retention.ms=", facts.outage_wanted_ms))};
  }
  return {"retention_time", Verdict::kOk, absl::StrCat("retention.ms=", *retention), ""};
}

Finding RetentionBytes(const TopicPreflight& facts) {
  const auto retention = Number(Setting(facts, "retention.bytes"));
  if (!retention) return Unknown("retention_bytes", "retention.bytes");
  if (*retention >= 0) {
    return {"retention_bytes", Verdict::kWarn,
            absl::StrCat("retention.bytes=", *retention,
                         ": a burst may remove records before they are mirrored"),
            Alter(facts, "retention.bytes=-1")};
  }
  return {"retention_bytes", Verdict::kOk, "retention.bytes=-1", ""};
}

Finding MinInsync(const TopicPreflight& facts) {
  const auto replicas = Number(Setting(facts, "min.insync.replicas"));
  if (!replicas) return Unknown("min_insync_replicas", "min.insync.replicas");
  const std::string is =
      absl::StrCat("min.insync.replicas=", *replicas, " of ", facts.topic.replication, " replicas");
  if (facts.topic.replication > 1 && *replicas < 2) {
    return {"min_insync_replicas", Verdict::kFail,
            is + ": the loss of one broker loses acknowledged records",
            Alter(facts, "min.insync.replicas=2")};
  }
  if (facts.topic.replication <= 1) {
    return {"min_insync_replicas", Verdict::kWarn, is + ": one broker's disk is all this site has",
            "run three brokers and replication factor 3 where the site itself must survive a "
            "broker's loss"};
  }
  return {"min_insync_replicas", Verdict::kOk, is, ""};
}

Finding UncleanElection(const TopicPreflight& facts) {
  const auto unclean = Setting(facts, "unclean.leader.election.enable");
  if (!unclean) return Unknown("unclean_election", "unclean.leader.election.enable");
  if (*unclean != "false") {
    return {"unclean_election", Verdict::kFail,
            "unclean.leader.election.enable=" + *unclean +
                ": an election may truncate the log below the ledger",
            Alter(facts, "unclean.leader.election.enable=false")};
  }
  return {"unclean_election", Verdict::kOk, "unclean.leader.election.enable=false", ""};
}

Finding PartitionCount(const TopicPreflight& facts) {
  const std::string is = absl::StrCat(facts.topic.partition_count, " partitions");
  if (facts.topic.partition_count <= 0) {
    return {"partition_count", Verdict::kUnknown, "the partition count is not known",
            "create the topic, or allow Describe on it"};
  }
  if (facts.partition_count_expected &&
      *facts.partition_count_expected != facts.topic.partition_count) {
    return {"partition_count", Verdict::kFail,
            absl::StrCat(is, ", the ledger knows ", *facts.partition_count_expected,
                         ": records would change their stream"),
            "a partition count is fixed while a topic lives; create a new topic instead"};
  }
  return {"partition_count", Verdict::kOk, is, ""};
}

}  // namespace

std::string_view VerdictName(Verdict verdict) {
  switch (verdict) {
    case Verdict::kOk:
      return "ok";
    case Verdict::kUnknown:
      return "unknown";
    case Verdict::kWarn:
      return "warn";
    case Verdict::kFail:
      break;
  }
  return "fail";
}

std::vector<Finding> CheckTopic(const TopicPreflight& facts) {
  return {CleanupPolicy(facts), RetentionTime(facts),   RetentionBytes(facts),
          MinInsync(facts),     UncleanElection(facts), PartitionCount(facts)};
}

NewTopic AdvisedTopic(const std::string& name, int32_t partition_count, int32_t replication,
                      int64_t retention_ms) {
  NewTopic topic;
  topic.name = name;
  topic.partition_count = partition_count;
  topic.replication = replication;
  topic.settings = {{"cleanup.policy", "delete"},
                    {"retention.ms", absl::StrCat(retention_ms)},
                    {"retention.bytes", "-1"},
                    {"message.timestamp.type", "CreateTime"},
                    {"unclean.leader.election.enable", "false"}};
  if (replication > 1) topic.settings.emplace("min.insync.replicas", "2");
  return topic;
}

Verdict Worst(const std::vector<Finding>& findings) {
  Verdict worst = Verdict::kOk;
  for (const Finding& finding : findings) worst = std::max(worst, finding.verdict);
  return worst;
}

}  // namespace lockstep
