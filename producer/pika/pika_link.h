// PikaLink is a slave's line to a Pika master: a session with sockets, a clock and a thread.
//
// The thread reads, answers keep-alives and pings whatever its owner does, so a slow Kafka does not
// make the master forget us. Memory is bounded: above kBufferedBytesMax it stops reading, and the
// master waits. What Take hands out is thereby acknowledged to the master; that is flow control and
// no promise: what is safe is what the ledger says.
//
// pb_link.h and legacy_link.h are the two there are. Its owner's calls come from one thread.
#ifndef LOCKSTEP_PRODUCER_PIKA_PIKA_LINK_H_
#define LOCKSTEP_PRODUCER_PIKA_PIKA_LINK_H_

#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "common/base/mutex.h"
#include "producer/pika/slave.h"

#include <asio/io_context.hpp>

namespace lockstep::pika {

class PikaLink {
 public:
  static constexpr size_t kBufferedBytesMax = size_t{32} << 20;
  static constexpr std::chrono::milliseconds kConnectTimeout{5'000};
  static constexpr std::chrono::milliseconds kTickEvery{500};

  // Begins to connect to the Pika whose client port is `port`, and returns. The slave's address is
  // filled in from the socket, and a port that is 0 so that no other live slave has it.
  static std::unique_ptr<PikaLink> Open(Protocol protocol, const std::string& host, int32_t port,
                                        SlaveOptions slave);
  virtual ~PikaLink();
  PikaLink(const PikaLink&) = delete;
  PikaLink& operator=(const PikaLink&) = delete;

  // What the handshake told.
  struct Ready {
    std::string database;
    std::string replication_id;
    BinlogPosition master_end;
  };
  // Waits up to `timeout` for the stream (or the copy) to begin. UNAVAILABLE: not yet. Else as the
  // session fails; UNAVAILABLE too if the network does.
  absl::StatusOr<Ready> AwaitReady(std::chrono::milliseconds timeout);

  // Appends up to `max` further items, waiting up to `timeout` for the first. An error comes after
  // the last item that was read; the link is then of no further use.
  absl::Status Take(size_t max, std::chrono::milliseconds timeout,
                    std::vector<ReceivedItem>& items);

  // True iff the link is of no further use, though items may be left to take.
  bool failed();
  // The database's name as soon as the master has told it, even if the link then failed.
  std::string database();
  // Whether somebody took the connection, and whether it spoke this protocol.
  bool connected();
  bool understood();
  // The end of the last item that was read; 0:0: none.
  BinlogPosition received_end();

 protected:
  PikaLink(std::string host, int32_t port);

  static int64_t NowMs();
  // The derived class's last act when it is made, its first one when it ends.
  void StartThread();
  void StopThread();

  // From here on the link's thread only.
  virtual void Begin() = 0;
  virtual void OnTaken(size_t items) = 0;  // The owner has taken so many.
  virtual void Close() = 0;                // No socket, timer or resolver may call back after it.

  void Fail(const absl::Status& status);  // The first counts.
  void SetConnected();
  // The master has spoken this protocol; the database's name, if it is known.
  void SetUnderstood(const std::string& database);
  void SetReady(Ready ready);  // The first counts.
  void Add(std::vector<ReceivedItem> items);
  // True iff more may be read: there is room, and no failure.
  bool HasRoom();

  const std::string host_;
  const int32_t port_;
  asio::io_context io_;  // The link's thread runs it.

 private:
  Mutex mu_;
  CondVar changed_;
  std::deque<ReceivedItem> items_ ABSL_GUARDED_BY(mu_);
  size_t items_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  std::string database_ ABSL_GUARDED_BY(mu_);
  bool connected_ ABSL_GUARDED_BY(mu_) = false;
  bool understood_ ABSL_GUARDED_BY(mu_) = false;
  BinlogPosition received_end_ ABSL_GUARDED_BY(mu_);
  std::optional<Ready> ready_ ABSL_GUARDED_BY(mu_);
  absl::Status status_ ABSL_GUARDED_BY(mu_);

  std::thread thread_;
};

}  // namespace lockstep::pika

#endif  // LOCKSTEP_PRODUCER_PIKA_PIKA_LINK_H_
