// RsyncDaemon is Debian's rsync as a daemon with a configuration of ours, for as long as this
// object lives: it takes files at one address from one host, and hands out nothing.
//
// It ends with this process, too; what a killed one leaves in its directory the next one removes.
#ifndef LOCKSTEP_PRODUCER_PIKA_RSYNC_DAEMON_H_
#define LOCKSTEP_PRODUCER_PIKA_RSYNC_DAEMON_H_

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace lockstep::pika {

struct RsyncDaemonOptions {
  std::string directory;  // Configuration, secret, log; emptied, made and removed.
  std::string address;    // Where it listens.
  int32_t port = 0;
  std::string from;    // The only host that it takes files from.
  std::string module;  // The name that the host knows `path` by.
  std::string path;
  std::string user;      // Empty: it asks for none.
  std::string password;  // Of `user`.
};

class RsyncDaemon {
 public:
  // Returns when it listens. UNAVAILABLE: the port is taken. FAILED_PRECONDITION: there is no
  // rsync.
  static absl::StatusOr<std::unique_ptr<RsyncDaemon>> Start(const RsyncDaemonOptions& options);
  ~RsyncDaemon();
  RsyncDaemon(const RsyncDaemon&) = delete;
  RsyncDaemon& operator=(const RsyncDaemon&) = delete;

  bool running();
  // The last lines of its log, for a message.
  std::string LogTail() const;

 private:
  RsyncDaemon(std::string directory, pid_t pid) : directory_(std::move(directory)), pid_(pid) {}
  absl::Status AwaitListening(const RsyncDaemonOptions& options);

  const std::string directory_;
  const pid_t pid_;
  bool ended_ = false;
  int exit_status_ = 0;
};

}  // namespace lockstep::pika

#endif  // LOCKSTEP_PRODUCER_PIKA_RSYNC_DAEMON_H_
