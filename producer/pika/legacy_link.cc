#include "producer/pika/legacy_link.h"

#include <utility>

#include "absl/strings/str_cat.h"

#include <asio/buffer.hpp>
#include <asio/connect.hpp>
#include <asio/error.hpp>
#include <asio/write.hpp>

namespace lockstep::pika {
namespace {

using Clock = std::chrono::steady_clock;

// The dump of a full copy comes to a port this far above the declared one.
constexpr int kHighestOffset = 3000;

}  // namespace

LegacyLink::LegacyLink(std::string host, int32_t port, SlaveOptions slave)
    : PikaLink(std::move(host), port), slave_(std::move(slave)) {
  StartThread();
}

LegacyLink::~LegacyLink() { StopThread(); }

void LegacyLink::OnTaken(size_t /*items*/) { Read(Channel::kBinlog); }

void LegacyLink::Close() {
  closed_ = true;
  asio::error_code ignored;
  for (Line& line : lines_) line.socket.close(ignored);
  acceptor_.close(ignored);
  resolver_.cancel();
  timer_.cancel();
}

// ---------------------------------------------------------------- making connections

void LegacyLink::Begin() {
  connect_deadline_ = Clock::now() + kConnectTimeout;
  Tick();
  resolver_.async_resolve(host_, std::to_string(port_),
                          [this](asio::error_code error, const Tcp::resolver::results_type& to) {
                            if (closed_) return;
                            if (error) {
                              return Fail(absl::UnavailableError(
                                  absl::StrCat("the host is not found: ", error.message())));
                            }
                            std::vector<Tcp::endpoint> endpoints;
                            for (const auto& entry : to) endpoints.push_back(entry.endpoint());
                            Connect(Channel::kCommand, endpoints);
                          });
}

void LegacyLink::Connect(Channel channel, const std::vector<Tcp::endpoint>& to) {
  Line& line = lines_[channel];
  line.begun = true;
  connect_deadline_ = Clock::now() + kConnectTimeout;
  asio::async_connect(
      line.socket, to, [this, channel](asio::error_code error, const Tcp::endpoint& peer) {
        if (closed_) return;
        connect_deadline_.reset();
        const bool command = channel == Channel::kCommand;
        if (error) {
          return Fail(absl::UnavailableError(
              absl::StrCat("cannot connect to the ",
                           command ? "client port" : "heartbeat port (client port + 2000)", ": ",
                           error.message())));
        }
        if (command) {
          SetConnected();
          master_ = peer.address();
          if (const absl::Status status = Listen(); !status.ok()) return Fail(status);
          session_.emplace(slave_, NowMs());
        }
        OnOpen(channel);
      });
}

void LegacyLink::OnOpen(Channel channel) {
  Line& line = lines_[channel];
  line.open = true;
  asio::error_code ignored;
  line.socket.set_option(Tcp::no_delay(true), ignored);
  session_->OnOpen(channel, NowMs());
  Read(channel);
  Follow();
}

absl::Status LegacyLink::Listen() {
  asio::error_code error;
  const Tcp::endpoint self = lines_[Channel::kCommand].socket.local_endpoint(error);
  if (error) return absl::UnavailableError("the connection is gone: " + error.message());
  slave_.slave_ip = self.address().to_string();
  if (slave_.copy) return absl::OkStatus();  // Nobody dials back; rsync has its own port.
  const int wanted = slave_.slave_port == 0 ? 0 : slave_.slave_port + kBinlogPortOffset;
  for (;;) {
    const Tcp::endpoint at(self.address(), static_cast<uint16_t>(wanted));
    acceptor_.open(at.protocol(), error);
    if (!error) acceptor_.set_option(Tcp::acceptor::reuse_address(true), error);
    if (!error) acceptor_.bind(at, error);
    if (!error) acceptor_.listen(asio::socket_base::max_listen_connections, error);
    if (error) {
      return absl::UnavailableError(absl::StrCat(
          "cannot listen for the master at ", slave_.slave_ip, ":", wanted, ": ", error.message()));
    }
    slave_.slave_port = acceptor_.local_endpoint().port() - kBinlogPortOffset;
    if (wanted != 0 || slave_.slave_port + kHighestOffset < 65'536) return absl::OkStatus();
    acceptor_.close(error);
  }
}

void LegacyLink::Accept() {
  lines_[Channel::kBinlog].begun = true;
  acceptor_.async_accept([this](asio::error_code error, Tcp::socket socket) {
    if (closed_) return;
    if (error) return Fail(absl::UnavailableError("cannot accept: " + error.message()));
    asio::error_code gone;
    // A stranger's bytes are not even looked at.
    if (socket.remote_endpoint(gone).address() != master_ || gone) return Accept();
    lines_[Channel::kBinlog].socket = std::move(socket);
    OnOpen(Channel::kBinlog);
  });
}

// ---------------------------------------------------------------- using them

void LegacyLink::Tick() {
  if (connect_deadline_ && Clock::now() >= *connect_deadline_) {
    return Fail(absl::UnavailableError(
        absl::StrCat("no connection within ", kConnectTimeout.count(), " ms")));
  }
  if (session_) {
    session_->OnTick(NowMs());
    Follow();
    if (closed_) return;
  }
  timer_.expires_after(kTickEvery);
  timer_.async_wait([this](asio::error_code error) {
    if (!error && !closed_) Tick();
  });
}

void LegacyLink::Read(Channel channel) {
  Line& line = lines_[channel];
  if (closed_ || line.reading || !line.open) return;
  if (channel == Channel::kBinlog && !HasRoom()) return;
  line.reading = true;
  line.socket.async_read_some(asio::buffer(line.buffer),
                              [this, channel](asio::error_code error, size_t bytes) {
                                Line& read = lines_[channel];
                                read.reading = false;
                                if (closed_ || !read.open) return;
                                if (error) {
                                  CloseLine(channel);
                                  session_->OnClosed(channel, NowMs());
                                } else {
                                  session_->OnBytes(channel, {read.buffer.data(), bytes}, NowMs());
                                }
                                Follow();
                                Read(channel);
                              });
}

void LegacyLink::Write(Channel channel) {
  Line& line = lines_[channel];
  if (closed_ || !line.open || !line.written.empty()) return;
  line.written = session_->TakeOutput(channel);
  if (line.written.empty()) return;
  asio::async_write(line.socket, asio::buffer(line.written),
                    [this, channel](asio::error_code error, size_t) {
                      lines_[channel].written.clear();
                      // What is broken is seen by the read.
                      if (!error) Write(channel);
                    });
}

void LegacyLink::CloseLine(Channel channel) {
  Line& line = lines_[channel];
  asio::error_code ignored;
  line.socket.close(ignored);
  line.open = line.begun = false;
}

void LegacyLink::Follow() {
  if (closed_) return;
  Add(session_->TakeItems());
  if (session_->understood()) SetUnderstood("db0");
  const LegacySession::Stage stage = session_->stage();
  if (stage == LegacySession::Stage::kFailed) return Fail(session_->status());
  if ((stage == LegacySession::Stage::kStream && !session_->verifying()) ||
      stage == LegacySession::Stage::kRoll || stage == LegacySession::Stage::kCopy) {
    SetReady({"db0", "", session_->master_end()});
  }
  for (const Channel channel : {Channel::kCommand, Channel::kHeartbeat, Channel::kBinlog}) {
    Line& line = lines_[channel];
    if (!session_->Wants(channel)) {
      if (line.open) CloseLine(channel);
    } else if (!line.begun && channel == Channel::kHeartbeat) {
      Connect(channel, {{master_, static_cast<uint16_t>(port_ + kHeartbeatPortOffset)}});
    } else if (!line.begun && channel == Channel::kBinlog) {
      Accept();
    } else {
      Write(channel);
    }
  }
}

}  // namespace lockstep::pika
