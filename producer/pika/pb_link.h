// PbLink: a PbSession on its one connection.
#ifndef LOCKSTEP_PRODUCER_PIKA_PB_LINK_H_
#define LOCKSTEP_PRODUCER_PIKA_PB_LINK_H_

#include <array>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "producer/pika/pb_session.h"
#include "producer/pika/pika_link.h"

#include <asio/ip/tcp.hpp>
#include <asio/steady_timer.hpp>

namespace lockstep::pika {

// The replication port is the client port and this.
inline constexpr int32_t kReplicationPortOffset = 2000;

class PbLink final : public PikaLink {
 public:
  PbLink(std::string host, int32_t port, SlaveOptions slave);
  ~PbLink() override;

 private:
  using Tcp = asio::ip::tcp;

  void Begin() override;
  void OnTaken(size_t items) override;
  void Close() override;
  void OnConnected();
  void Read();
  void Write();
  void Tick();
  void Publish();

  SlaveOptions slave_;
  Tcp::resolver resolver_{io_};
  Tcp::socket socket_{io_};
  asio::steady_timer timer_{io_};
  std::optional<PbSession> session_;
  std::array<char, 64 * 1024> read_buffer_{};
  std::string written_;  // Being written.
  bool reading_ = false;
  std::chrono::steady_clock::time_point connect_deadline_;
};

}  // namespace lockstep::pika

#endif  // LOCKSTEP_PRODUCER_PIKA_PB_LINK_H_
