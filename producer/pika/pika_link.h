// PikaLink is one connection to a Pika master's replication port: a PbSession with a socket, a
// clock and a thread.
//
// The thread reads, answers keep-alives and pings whatever its owner does, so a slow Kafka does not
// make the master forget us. Memory is bounded: above kBufferedBytesMax it stops reading, and the
// master sends no more than its window beyond what is acknowledged. Items are acknowledged as Take
// hands them out; that is flow control and no promise: what is safe is what the ledger says.
//
// Its owner's calls come from one thread.
#ifndef LOCKSTEP_PRODUCER_PIKA_PIKA_LINK_H_
#define LOCKSTEP_PRODUCER_PIKA_PIKA_LINK_H_

#include <array>
#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"

#include "common/base/mutex.h"
#include "producer/pika/pb_session.h"

#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/steady_timer.hpp>

namespace lockstep::pika {

// The replication port is the client port and this.
inline constexpr int32_t kReplicationPortOffset = 2000;

class PikaLink {
 public:
  static constexpr size_t kBufferedBytesMax = size_t{32} << 20;
  static constexpr std::chrono::milliseconds kConnectTimeout{5'000};

  // Begins to connect to the Pika whose client port is `port`, and returns. The session's slave
  // address is filled in from the socket: no other live connection has it.
  PikaLink(std::string host, int32_t port, PbSessionOptions session);
  ~PikaLink();
  PikaLink(const PikaLink&) = delete;
  PikaLink& operator=(const PikaLink&) = delete;

  // What the handshake told.
  struct Ready {
    std::string database;
    std::string replication_id;
    BinlogPosition master_end;
  };
  // Waits up to `timeout` for the stream (or the copy) to begin. UNAVAILABLE: not yet. Else as
  // PbSession fails; UNAVAILABLE too if the network does.
  absl::StatusOr<Ready> AwaitReady(std::chrono::milliseconds timeout);

  // Appends up to `max` further items, waiting up to `timeout` for the first, and acknowledges
  // them. An error comes after the last item that was read; the link is then of no further use.
  absl::Status Take(size_t max, std::chrono::milliseconds timeout,
                    std::vector<PbSession::ReceivedItem>& items);

  // True iff the link is of no further use, though items may be left to take.
  bool failed();
  // The database's name as soon as the master has told it, even if the link then failed.
  std::string database();

 private:
  using Tcp = asio::ip::tcp;

  static int64_t NowMs();

  // The link's thread.
  void Connect();
  void OnConnected();
  void Read();
  void OnRead(size_t bytes);
  void Write();
  void Tick();
  void Publish();
  void Fail(absl::Status status);

  // Constant after construction.
  const std::string host_;
  const int32_t port_;

  // The link's thread only.
  PbSessionOptions session_options_;
  asio::io_context io_;
  Tcp::resolver resolver_{io_};
  Tcp::socket socket_{io_};
  asio::steady_timer timer_{io_};
  std::optional<PbSession> session_;
  std::array<char, 64 * 1024> read_buffer_;
  std::string written_;  // Being written.
  bool reading_ = false;
  std::chrono::steady_clock::time_point connect_deadline_;

  Mutex mu_;
  CondVar changed_;
  std::deque<PbSession::ReceivedItem> items_ ABSL_GUARDED_BY(mu_);
  size_t items_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  std::string database_ ABSL_GUARDED_BY(mu_);
  std::optional<Ready> ready_ ABSL_GUARDED_BY(mu_);
  absl::Status status_ ABSL_GUARDED_BY(mu_);

  std::thread thread_;
};

}  // namespace lockstep::pika

#endif  // LOCKSTEP_PRODUCER_PIKA_PIKA_LINK_H_
