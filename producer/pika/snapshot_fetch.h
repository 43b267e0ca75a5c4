// SnapshotFetch brings a database's dump onto this disk: a SnapshotSession with a socket, a clock,
// a directory and a thread.
//
// What is there when it is done is one dump, whole and synced: another one made meanwhile, or a
// broken connection, makes it start over. It does not give up while the master may yet answer.
//
// Its owner's calls come from one thread.
#ifndef LOCKSTEP_PRODUCER_PIKA_SNAPSHOT_FETCH_H_
#define LOCKSTEP_PRODUCER_PIKA_SNAPSHOT_FETCH_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <thread>

#include "absl/status/status.h"

#include "common/base/mutex.h"
#include "producer/pika/dump_transfer.h"
#include "producer/pika/snapshot_session.h"

namespace lockstep::pika {

// The snapshot port is the client port and this.
inline constexpr int32_t kSnapshotPortOffset = 10'001;

class SnapshotFetch final : public DumpTransfer {
 public:
  // `directory` is emptied, and made if need be. `rate`: bytes a second; 0: as they come.
  SnapshotFetch(std::string host, int32_t port, std::string database, std::string directory,
                uint64_t rate);
  ~SnapshotFetch() override;
  SnapshotFetch(const SnapshotFetch&) = delete;
  SnapshotFetch& operator=(const SnapshotFetch&) = delete;

  bool done() override { return done_.load(); }
  // Not OK: the disk (RESOURCE_EXHAUSTED: it is full), or answers that make no sense.
  absl::Status status() override;
  uint64_t received_bytes() override { return received_bytes_.load(); }

 private:
  void Run();
  absl::Status Attempt();
  // Talks until `enough` says so.
  absl::Status Converse(SnapshotSession& session,
                        const std::function<bool(const SnapshotSession&)>& enough);
  absl::Status WritePieces(SnapshotSession& session);
  absl::Status SyncFiles(const SnapshotSession& session);

  const std::string host_;
  const int32_t port_;
  const std::string database_;
  const std::string directory_;
  const uint64_t rate_;
  std::atomic<bool> stop_{false};
  std::atomic<bool> done_{false};
  std::atomic<uint64_t> received_bytes_{0};
  Mutex mu_;
  absl::Status status_ ABSL_GUARDED_BY(mu_);
  std::thread thread_;
};

}  // namespace lockstep::pika

#endif  // LOCKSTEP_PRODUCER_PIKA_SNAPSHOT_FETCH_H_
