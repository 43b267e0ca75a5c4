// Which topics of this site hold a stream.
//
// Under MirrorMaker 2's identity policy, and without any mirror, it is `T` alone. Under the default
// policy the mirror writes to `<alias>.T`, and `T` is what this site's own producers write to. The
// two together are one stream.
#ifndef LOCKSTEP_MIRROR_RECONCILE_SITE_TOPICS_H_
#define LOCKSTEP_MIRROR_RECONCILE_SITE_TOPICS_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "common/kafka/kafka_admin.h"
#include "common/kafka/kafka_config.h"
#include "mirror-reconcile/kafka_log_reader.h"
#include "mirror-reconcile/log_reader.h"

namespace lockstep {

struct TopicChoice {
  std::string mirrored;              // Re-injection writes here.
  std::string local;                 // New producers write here: the logical name.
  std::vector<TopicInfo> present;    // Those of the two that exist, the mirrored one first.
  std::vector<std::string> missing;  // Those that do not.
  bool has(const std::string& topic) const;
};

// `topic` is the logical name, `mirror_topic` what the user said (empty: find it). A single
// `<alias>.<topic>` is taken for the mirrored one; several are INVALID_ARGUMENT (--mirror-topic
// decides). FAILED_PRECONDITION iff a topic has fewer partitions than the ledger's.
absl::StatusOr<TopicChoice> ChooseTopics(const std::vector<TopicInfo>& topics,
                                         const std::string& topic, const std::string& mirror_topic,
                                         int32_t partition_count);

// This site's logs of one stream, open for reading.
class SiteLogs {
 public:
  static absl::StatusOr<SiteLogs> Open(const KafkaConfig& config, const TopicChoice& topics,
                                       int32_t partition, std::chrono::milliseconds patience);
  const std::vector<SiteLog>& logs() const { return logs_; }

 private:
  std::vector<std::unique_ptr<KafkaLogReader>> readers_;
  std::vector<SiteLog> logs_;
};

}  // namespace lockstep

#endif  // LOCKSTEP_MIRROR_RECONCILE_SITE_TOPICS_H_
