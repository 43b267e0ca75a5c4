// Which local topics hold a stream's records: the logical name `T`, the mirrored name (`<alias>.T`
// under MirrorMaker 2's default policy), or both.
#ifndef LOCKSTEP_REORDER_TOPIC_NAMES_H_
#define LOCKSTEP_REORDER_TOPIC_NAMES_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace lockstep {

// The topics among `existing` in which records of `topic` are looked for, the local name first.
// `mirror_topic` empty: the one `<alias>.topic` that exists and is not in `logical` (the topics
// that the ledger knows as streams of their own) is taken. NOT_FOUND: there is none at all, or no
// topic called `mirror_topic`. INVALID_ARGUMENT: several would do, --mirror-topic has to say which.
absl::StatusOr<std::vector<std::string>> FindTopics(const std::string& topic,
                                                    const std::string& mirror_topic,
                                                    const std::vector<std::string>& existing,
                                                    const std::vector<std::string>& logical);

}  // namespace lockstep

#endif  // LOCKSTEP_REORDER_TOPIC_NAMES_H_
