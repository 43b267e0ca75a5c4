#include "producer/pika/pb_link.h"

#include <utility>

#include "absl/strings/str_cat.h"

#include <asio/buffer.hpp>
#include <asio/connect.hpp>
#include <asio/error.hpp>
#include <asio/write.hpp>

namespace lockstep::pika {

PbLink::PbLink(std::string host, int32_t port, SlaveOptions slave)
    : PikaLink(std::move(host), port), slave_(std::move(slave)) {
  StartThread();
}

PbLink::~PbLink() { StopThread(); }

void PbLink::OnTaken(size_t items) {
  session_->Acknowledge(items, NowMs());
  Write();
  Read();
}

void PbLink::Close() {
  asio::error_code ignored;
  socket_.close(ignored);
  resolver_.cancel();
  timer_.cancel();
}

void PbLink::Begin() {
  connect_deadline_ = std::chrono::steady_clock::now() + kConnectTimeout;
  Tick();
  resolver_.async_resolve(
      host_, std::to_string(port_ + kReplicationPortOffset),
      [this](asio::error_code error, const Tcp::resolver::results_type& to) {
        if (error) {
          return Fail(
              absl::UnavailableError(absl::StrCat("the host is not found: ", error.message())));
        }
        asio::async_connect(socket_, to, [this](asio::error_code failed, const Tcp::endpoint&) {
          if (failed) {
            return Fail(absl::UnavailableError(
                absl::StrCat("cannot connect to the replication port ",
                             port_ + kReplicationPortOffset, ": ", failed.message())));
          }
          OnConnected();
        });
      });
}

void PbLink::OnConnected() {
  SetConnected();
  asio::error_code error;
  const Tcp::endpoint self = socket_.local_endpoint(error);
  if (error) return Fail(absl::UnavailableError("the connection is gone: " + error.message()));
  socket_.set_option(Tcp::no_delay(true), error);
  slave_.slave_ip = self.address().to_string();
  if (slave_.slave_port == 0) slave_.slave_port = self.port();
  session_.emplace(std::move(slave_), NowMs());
  Write();
  Read();
}

void PbLink::Tick() {
  if (session_) {
    session_->OnTick(NowMs());
    Publish();
    Write();
  } else if (std::chrono::steady_clock::now() >= connect_deadline_) {
    return Fail(absl::UnavailableError(absl::StrCat("no connection to the replication port ",
                                                    port_ + kReplicationPortOffset, " within ",
                                                    kConnectTimeout.count(), " ms")));
  }
  timer_.expires_after(kTickEvery);
  timer_.async_wait([this](asio::error_code error) {
    if (!error) Tick();
  });
}

void PbLink::Read() {
  if (reading_ || !socket_.is_open() || !HasRoom()) return;
  reading_ = true;
  socket_.async_read_some(asio::buffer(read_buffer_), [this](asio::error_code error, size_t bytes) {
    reading_ = false;
    if (error) {
      return Fail(absl::UnavailableError(
          absl::StrCat(error == asio::error::eof ? "the master closed the connection"
                                                 : "the connection broke: " + error.message(),
                       session_->understood() ? "" : "; a Pika before 3.1 wants protocol=legacy")));
    }
    session_->OnBytes(std::string_view(read_buffer_.data(), bytes), NowMs());
    Publish();
    Write();
    Read();
  });
}

void PbLink::Publish() {
  const PbSession::Stage stage = session_->stage();
  Add(session_->TakeItems());
  if (session_->understood()) SetUnderstood(session_->database());
  if ((stage == PbSession::Stage::kStream && !session_->verifying()) ||
      stage == PbSession::Stage::kCopy) {
    SetReady({session_->database(), session_->replication_id(), session_->master_end()});
  }
  if (stage == PbSession::Stage::kFailed) Fail(session_->status());
}

void PbLink::Write() {
  if (!written_.empty() || !socket_.is_open()) return;
  written_ = session_->TakeOutput();
  if (written_.empty()) return;
  asio::async_write(socket_, asio::buffer(written_), [this](asio::error_code error, size_t) {
    written_.clear();
    if (error) {
      return Fail(absl::UnavailableError("the connection broke: " + error.message()));
    }
    Write();
  });
}

}  // namespace lockstep::pika
