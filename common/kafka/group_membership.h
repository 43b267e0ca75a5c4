// GroupMembership: which partitions of a topic are this process's, by Kafka's consumer group.
//
// It only says who has what. It fetches nothing (assigned partitions stay paused, and at their
// end) and commits nothing: where to read is the ledger's business, and readers have handles of
// their own. So a member whose work is slow is not thrown out; it has to go on calling Poll.
//
// Cooperative: a rebalance takes away single partitions and leaves the others at work. What is
// taken away stays ours until Accept: nobody else is given it before, unless it is *lost*.
//
// Not thread-safe.
#ifndef LOCKSTEP_COMMON_KAFKA_GROUP_MEMBERSHIP_H_
#define LOCKSTEP_COMMON_KAFKA_GROUP_MEMBERSHIP_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "common/kafka/kafka_config.h"

namespace lockstep {

class GroupMembership {
 public:
  struct Change {
    enum class Kind {
      kAssigned,  // Ours from Accept on.
      kRevoked,   // Ours until Accept.
      kLost,      // Others may have them already: the session expired.
    };
    Kind kind = Kind::kAssigned;
    std::vector<int32_t> partitions = {};
  };

  virtual ~GroupMembership() = default;

  // Serves the group without waiting; call it at least every second. A change is returned once; no
  // other one comes before Accept. An error is final: the group or the topic cannot be had.
  virtual absl::StatusOr<std::optional<Change>> Poll() = 0;
  // The change under way has been acted upon.
  virtual absl::Status Accept() = 0;
  // Gives all partitions back and leaves, so that the others need not wait for the session to
  // expire. REQUIRES: whoever worked on them has ended. Further calls do nothing.
  virtual void Leave() = 0;
};

struct KafkaMembershipOptions {
  KafkaConfig kafka = {};
  std::string group = {};
  std::string topic = {};
  // How long a change may wait for Accept before the group goes on without us.
  std::chrono::milliseconds accept_within{300'000};
};

// Joins in the background. INVALID_ARGUMENT names the property at fault.
absl::StatusOr<std::unique_ptr<GroupMembership>> JoinKafkaGroup(
    const KafkaMembershipOptions& options);

}  // namespace lockstep

#endif  // LOCKSTEP_COMMON_KAFKA_GROUP_MEMBERSHIP_H_
