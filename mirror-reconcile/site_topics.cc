#include "mirror-reconcile/site_topics.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "common/base/status_macros.h"

namespace lockstep {
namespace {

absl::StatusOr<std::string> FindMirrored(const std::vector<TopicInfo>& topics,
                                         const std::string& topic) {
  const std::string suffix = absl::StrCat(".", topic);
  std::vector<std::string> renamed;
  for (const TopicInfo& info : topics) {
    if (info.name.size() > suffix.size() && absl::EndsWith(info.name, suffix)) {
      renamed.push_back(info.name);
    }
  }
  if (renamed.empty()) return topic;
  if (renamed.size() == 1) return renamed.front();
  return absl::InvalidArgumentError(absl::StrCat(
      "several topics could be the mirror of ", topic, ": ", absl::StrJoin(renamed, ", "),
      "; name one with --mirror-topic (the topic itself under the identity policy)"));
}

}  // namespace

bool TopicChoice::has(const std::string& topic) const {
  return std::any_of(present.begin(), present.end(),
                     [&topic](const TopicInfo& info) { return info.name == topic; });
}

absl::StatusOr<TopicChoice> ChooseTopics(const std::vector<TopicInfo>& topics,
                                         const std::string& topic, const std::string& mirror_topic,
                                         int32_t partition_count) {
  TopicChoice choice;
  choice.local = topic;
  choice.mirrored = mirror_topic;
  if (mirror_topic.empty()) {
    LOCKSTEP_ASSIGN_OR_RETURN(choice.mirrored, FindMirrored(topics, topic));
  }
  std::vector<std::string> wanted = {choice.mirrored};
  if (choice.local != choice.mirrored) wanted.push_back(choice.local);
  for (const std::string& name : wanted) {
    const auto found = std::find_if(topics.begin(), topics.end(),
                                    [&name](const TopicInfo& info) { return info.name == name; });
    if (found == topics.end()) {
      choice.missing.push_back(name);
      continue;
    }
    if (found->partition_count < partition_count) {
      return absl::FailedPreconditionError(absl::StrCat(
          "topic ", name, " has ", found->partition_count, " partition(s), the ledger has ",
          partition_count, " for ", topic,
          "; records of the others would have no log. Create it anew with the ledger's count"));
    }
    choice.present.push_back(*found);
  }
  return choice;
}

absl::StatusOr<SiteLogs> SiteLogs::Open(const KafkaConfig& config, const TopicChoice& topics,
                                        int32_t partition, std::chrono::milliseconds patience) {
  SiteLogs site;
  for (const TopicInfo& topic : topics.present) {
    LOCKSTEP_ASSIGN_OR_RETURN(std::unique_ptr<KafkaLogReader> reader,
                              KafkaLogReader::Open(config, {topic.name, partition}, patience));
    site.logs_.push_back({topic.name, reader.get()});
    site.readers_.push_back(std::move(reader));
  }
  return site;
}

}  // namespace lockstep
