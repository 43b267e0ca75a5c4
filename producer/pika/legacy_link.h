// LegacyLink: a LegacySession on its three connections, one of which the master makes.
//
// It listens at the address that it reaches the master from, and takes only the master's
// connections, one at a time: the next one waits in the kernel until this one is read to its end.
#ifndef LOCKSTEP_PRODUCER_PIKA_LEGACY_LINK_H_
#define LOCKSTEP_PRODUCER_PIKA_LEGACY_LINK_H_

#include <array>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "producer/pika/legacy_session.h"
#include "producer/pika/pika_link.h"

#include <asio/ip/tcp.hpp>
#include <asio/steady_timer.hpp>

namespace lockstep::pika {

// The heartbeat port is the master's client port and this.
inline constexpr int32_t kHeartbeatPortOffset = 2000;

class LegacyLink final : public PikaLink {
 public:
  // `slave.slave_port` 0: any that is free.
  LegacyLink(std::string host, int32_t port, SlaveOptions slave);
  ~LegacyLink() override;

 private:
  using Tcp = asio::ip::tcp;
  using Channel = LegacySession::Channel;

  struct Line {
    explicit Line(asio::io_context& io) : socket(io) {}
    Tcp::socket socket;
    bool begun = false;  // It is being made, or is there.
    bool open = false;
    bool reading = false;
    std::string written;  // Being written.
    std::array<char, 64 * 1024> buffer{};
  };

  void Begin() override;
  void OnTaken(size_t items) override;
  void Close() override;
  void Connect(Channel channel, const std::vector<Tcp::endpoint>& to);
  void OnOpen(Channel channel);
  absl::Status Listen();
  void Accept();
  void Read(Channel channel);
  void Write(Channel channel);
  void CloseLine(Channel channel);
  void Tick();
  // Gives out what the session has, and makes its connections be as it wants them.
  void Follow();

  SlaveOptions slave_;
  Tcp::resolver resolver_{io_};
  Tcp::acceptor acceptor_{io_};
  asio::steady_timer timer_{io_};
  std::array<Line, LegacySession::kChannels> lines_{Line(io_), Line(io_), Line(io_)};
  std::optional<LegacySession> session_;
  asio::ip::address master_;
  std::optional<std::chrono::steady_clock::time_point> connect_deadline_;
  bool closed_ = false;
};

}  // namespace lockstep::pika

#endif  // LOCKSTEP_PRODUCER_PIKA_LEGACY_LINK_H_
