#include "reorder/topic_names.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace lockstep {
namespace {

bool Contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace

absl::StatusOr<std::vector<std::string>> FindTopics(const std::string& topic,
                                                    const std::string& mirror_topic,
                                                    const std::vector<std::string>& existing,
                                                    const std::vector<std::string>& logical) {
  std::vector<std::string> found;
  if (Contains(existing, topic)) found.push_back(topic);
  if (!mirror_topic.empty()) {
    if (!Contains(existing, mirror_topic)) {
      return absl::NotFoundError(absl::StrCat("no topic ", mirror_topic, " on these brokers"));
    }
    if (mirror_topic != topic) found.push_back(mirror_topic);
    return found;
  }
  std::vector<std::string> mirrored;
  for (const std::string& name : existing) {
    if (absl::EndsWith(name, "." + topic) && !Contains(logical, name)) mirrored.push_back(name);
  }
  if (mirrored.size() > 1) {
    return absl::InvalidArgumentError(absl::StrCat("several topics may be mirrors of ", topic, ": ",
                                                   absl::StrJoin(mirrored, ", "),
                                                   "; say which one with --mirror-topic"));
  }
  found.insert(found.end(), mirrored.begin(), mirrored.end());
  if (found.empty()) {
    return absl::NotFoundError(
        absl::StrCat("no topic ", topic, " nor <alias>.", topic, " on these brokers"));
  }
  return found;
}

}  // namespace lockstep
