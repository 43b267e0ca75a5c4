// A Pika source whose checkpoint is exported: to a file, to a compacted topic, or to both.
//
// The ledger decides where the source resumes (or, without a ledger, they do: `decide`). File and
// topic say the same for people, monitoring and other programs, a little later (CheckpointExport
// has the rules). At the start they are read and compared with the ledger: behind it is normal;
// ahead of it is logged as an error, with both positions. What is damaged or another producer's is
// refused (FAILED_PRECONDITION) before anything is written over it.
//
// A place that cannot be written (disk full, Kafka away) is logged, and tried again every interval;
// the producer goes on.
#ifndef LOCKSTEP_PRODUCER_CHECKPOINTED_SOURCE_H_
#define LOCKSTEP_PRODUCER_CHECKPOINTED_SOURCE_H_

#include <chrono>
#include <memory>
#include <string>

#include "common/io/clock.h"
#include "common/io/file_system.h"
#include "producer/checkpoint_topic.h"
#include "producer/pika/pika_checkpoint.h"
#include "producer/sources/source.h"

namespace lockstep {

struct CheckpointOptions {
  pika::CheckpointOwner owner = {};
  std::string file = {};                             // Empty: none. In an existing directory.
  std::unique_ptr<CheckpointTopic> topic = nullptr;  // Null: none.
  // Whoever writes the events writes the topic, in one transaction with them; it is only read here,
  // and knows better than the file.
  bool topic_in_transaction = false;
  // There is no ledger: the source resumes by the file, else by the topic, else from its beginning.
  bool decide = false;
  std::chrono::milliseconds interval{1'000};
  std::chrono::milliseconds end_wait{5'000};  // For the topic's last write, at the end.
};

// `fs` and `clock` must outlive the result. Its destructor writes the last checkpoint out.
std::unique_ptr<Source> ExportCheckpoints(std::unique_ptr<Source> source, CheckpointOptions options,
                                          FileSystem& fs, Clock& clock);

}  // namespace lockstep

#endif  // LOCKSTEP_PRODUCER_CHECKPOINTED_SOURCE_H_
