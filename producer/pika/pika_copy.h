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
#include "producer/pika/dump_transfer.h"
#include "producer/pika/pika_event.h"
#include "producer/pika/pika_link.h"
#include "producer/sources/source_status.h"

namespace lockstep::pika {

struct PikaCopyOptions {
  std::string snapshot_dir;
  std::string address;  // Of the master, `host:port`.
  std::string database;
  uint64_t rate = 0;      // Bytes a second that are fetched; 0: as they come. Not of a pushed copy.
  int32_t push_port = 0;  // The slave's port to declare where the copy is pushed; 0: any.
  std::chrono::milliseconds push_idle_max{120'000};
};

class PikaCopy {
 public:
  // FAILED_PRECONDITION: another process uses the directory.
  static absl::StatusOr<std::unique_ptr<PikaCopy>> Open(PikaCopyOptions options);

  // The dump that a copy with this id left, to be walked behind event `known`; false if it is not
  // there (any more).
  absl::StatusOr<bool> Resume(uint64_t id, BinlogPosition position, uint64_t known);

  // Asks the master for a copy and fetches it, under an id above `id_above`; call it until it
  // returns the dump's position. nullopt: under way. Waits up to `timeout`. Errors are as
  // slave.h's, SnapshotFetch's and RsyncReceive's; after UNAVAILABLE call it again.
  absl::StatusOr<std::optional<BinlogPosition>> Fetch(Protocol protocol, const std::string& host,
                                                      int32_t port, SlaveOptions slave,
                                                      uint64_t id_above,
                                                      std::chrono::milliseconds timeout);

  // Appends the events of the next few batches; false: there are no more.
  absl::StatusOr<bool> Walk(size_t max, PikaEventWriter& writer, std::vector<SourceEvent>& events);

  // How far it is.
  CopyStatus status() const;

  // Lets go of the master, once the stream behind the copy has begun.
  void Release() { hold_.reset(); }
  // The copy is ledgered: its files go.
  void Remove();

 private:
  PikaCopy(std::string directory, PikaCopyOptions options, std::unique_ptr<FileLock> lock);
  // OK: the master makes a dump for us, and transfer_ waits for it.
  absl::Status Ask(Protocol protocol, const std::string& host, int32_t port, SlaveOptions slave,
                   std::chrono::milliseconds timeout);
  void StartOver();
  std::string DumpDirectory() const { return directory_ + "/dump"; }
  std::string MarkPath() const { return directory_ + "/snapshot"; }
  absl::StatusOr<BinlogPosition> Finish(uint64_t id_above);
  absl::Status BeginWalk();
  void Progress(const char* event);

  const std::string directory_;
  const std::string database_;
  const uint64_t rate_;
  const int32_t push_port_;
  const std::chrono::milliseconds push_idle_max_;
  const std::unique_ptr<FileLock> lock_;
  std::unique_ptr<PikaLink> hold_;  // Makes the master keep its binlog.
  std::unique_ptr<DumpTransfer> transfer_;
  bool asked_ = false;   // The master has said that it makes a dump for us.
  bool pushes_ = false;  // A master of protocol pb pushes its dump.
  PikaEventWriter::SnapshotPlace place_;
  std::unique_ptr<DumpReader> reader_;
  CopyStatus status_;
  std::chrono::steady_clock::time_point walk_begun_at_;
  std::chrono::steady_clock::time_point logged_at_ = std::chrono::steady_clock::now();
};

}  // namespace lockstep::pika

#endif  // LOCKSTEP_PRODUCER_PIKA_PIKA_COPY_H_
