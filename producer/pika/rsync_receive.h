// RsyncReceive has a dump pushed to this disk, as a Pika before 3.5 does it: the slave runs an
// rsync daemon at a port above the one that it declares, and the master sends it directory by
// directory, the file `info` last. docs/formats/pika-replication.md.
//
// Begin it, then ask the master for a copy as slave_port(). What is there when it is done is whole
// and synced. The directory is filled under another name until then. Its owner's calls come from
// one thread.
#ifndef LOCKSTEP_PRODUCER_PIKA_RSYNC_RECEIVE_H_
#define LOCKSTEP_PRODUCER_PIKA_RSYNC_RECEIVE_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "producer/pika/dump_transfer.h"
#include "producer/pika/rsync_daemon.h"
#include "producer/pika/slave.h"

namespace lockstep::pika {

struct RsyncReceiveOptions {
  Protocol protocol = Protocol::kPb;
  std::string host;  // The master, and the port of its clients.
  int32_t port = 0;
  std::string database;
  std::string password;    // The master's requirepass.
  int32_t slave_port = 0;  // To declare; 0: any with a free port above it.
  std::string directory;   // The dump's.
  // Without a new byte for so long the master is taken to have given up. It may serve others first,
  // so the first byte has kFirstByteFactor times as long.
  std::chrono::milliseconds idle_max{120'000};
};

class RsyncReceive final : public DumpTransfer {
 public:
  static constexpr int kFirstByteFactor = 15;

  // Errors as RsyncDaemon's; UNAVAILABLE too if the master's address is not found.
  static absl::StatusOr<std::unique_ptr<RsyncReceive>> Begin(RsyncReceiveOptions options);

  // Removes what a killed process left beside the dump's directory: a password, half a dump.
  static void RemoveRemains(const std::string& directory);

  int32_t slave_port() const { return options_.slave_port; }

  bool done() override;
  // UNAVAILABLE: it has not come; begin another.
  absl::Status status() override { return status_; }
  uint64_t received_bytes() override { return received_bytes_; }

 private:
  explicit RsyncReceive(RsyncReceiveOptions options);
  absl::Status StartDaemon();
  std::string Incoming() const;
  std::string IncomingDump() const;
  absl::Status Finish();
  void Measure();

  RsyncReceiveOptions options_;
  std::unique_ptr<RsyncDaemon> daemon_;
  int32_t daemon_port_ = 0;
  bool done_ = false;
  absl::Status status_;
  uint64_t received_bytes_ = 0;
  std::chrono::steady_clock::time_point measured_at_;
  std::chrono::steady_clock::time_point grown_at_;
};

}  // namespace lockstep::pika

#endif  // LOCKSTEP_PRODUCER_PIKA_RSYNC_RECEIVE_H_
