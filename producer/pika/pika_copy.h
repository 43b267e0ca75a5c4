// PikaCopy: a database's full copy on this disk, from asking the master for it to its last key.
//
// Under `snapshot_dir` a database has a directory of its own: `dump/`, and `snapshot`, a text with
// the copy's id, written once the dump is whole. A process that starts in the middle of walking a
// dump goes on with it if the two are there; else the copy is made again, under a greater id.
//
// Not thread-safe.
#ifndef LOCKSTEP_PRODUCER_PIKA_PIKA_COPY_H_
#define LOCKSTEP_PRODUCER_PIKA_PIKA_COPY_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "common/io/file_system.h"
#include "producer/pika/dump_reader.h"
#include "producer/pika/pika_event.h"
#include "producer/pika/pika_link.h"
#include "producer/pika/snapshot_fetch.h"

namespace lockstep::pika {

class PikaCopy {
 public:
  // FAILED_PRECONDITION: another process uses the directory.
  static absl::StatusOr<std::unique_ptr<PikaCopy>> Open(const std::string& snapshot_dir,
                                                        const std::string& address,
                                                        const std::string& database);

  // The dump that a copy with this id left, to be walked behind event `known`; false if it is not
  // there (any more).
  absl::StatusOr<bool> Resume(uint64_t id, BinlogPosition position, uint64_t known);

  // Asks the master for a copy and fetches it, under an id above `id_above`; call it until it
  // returns the dump's position. nullopt: under way. Waits up to `timeout`. Errors are as
  // slave.h's and SnapshotFetch's; after UNAVAILABLE call it again.
  absl::StatusOr<std::optional<BinlogPosition>> Fetch(const std::string& host, int32_t port,
                                                      SlaveOptions session, uint64_t id_above,
                                                      std::chrono::milliseconds timeout);

  // Appends the events of the next few batches; false: there are no more.
  absl::StatusOr<bool> Walk(size_t max, PikaEventWriter& writer, std::vector<SourceEvent>& events);

  // Lets go of the master, once the stream behind the copy has begun.
  void Release() { hold_.reset(); }
  // The copy is ledgered: its files go.
  void Remove();

 private:
  PikaCopy(std::string directory, std::string database, std::unique_ptr<FileLock> lock);
  std::string DumpDirectory() const { return directory_ + "/dump"; }
  std::string MarkPath() const { return directory_ + "/snapshot"; }
  absl::StatusOr<BinlogPosition> Finish(uint64_t id_above);
  void Progress(const char* event);

  const std::string directory_;
  const std::string database_;
  const std::unique_ptr<FileLock> lock_;
  std::unique_ptr<PikaLink> hold_;  // Makes the master keep its binlog.
  std::unique_ptr<SnapshotFetch> fetch_;
  PikaEventWriter::SnapshotPlace place_;
  std::unique_ptr<DumpReader> reader_;
  std::chrono::steady_clock::time_point logged_at_ = std::chrono::steady_clock::now();
};

}  // namespace lockstep::pika

#endif  // LOCKSTEP_PRODUCER_PIKA_PIKA_COPY_H_
