#include "producer/pika/pika_link.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include <asio/buffer.hpp>
#include <asio/connect.hpp>
#include <asio/error.hpp>
#include <asio/post.hpp>
#include <asio/write.hpp>

namespace lockstep::pika {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kTickEvery{500};

}  // namespace

int64_t PikaLink::NowMs() {
  return std::chrono::duration_cast<milliseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

PikaLink::PikaLink(std::string host, int32_t port, PbSessionOptions session)
    : host_(std::move(host)), port_(port), session_options_(std::move(session)) {
  asio::post(io_, [this] { Connect(); });
  thread_ = std::thread([this] { io_.run(); });
}

PikaLink::~PikaLink() {
  io_.stop();
  thread_.join();
}

// ---------------------------------------------------------------- its owner

absl::StatusOr<PikaLink::Ready> PikaLink::AwaitReady(milliseconds timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  MutexLock lock(mu_);
  while (!ready_ && status_.ok()) {
    const auto left = deadline - std::chrono::steady_clock::now();
    if (left.count() <= 0) {
      return absl::UnavailableError(absl::StrCat("no stream from ", host_, ":", port_, " yet"));
    }
    changed_.WaitFor(mu_, left);
  }
  if (!ready_) return status_;
  return *ready_;
}

absl::Status PikaLink::Take(size_t max, milliseconds timeout,
                            std::vector<PbSession::ReceivedItem>& items) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  size_t taken = 0;
  {
    MutexLock lock(mu_);
    while (items_.empty() && status_.ok()) {
      const auto left = deadline - std::chrono::steady_clock::now();
      if (left.count() <= 0) return absl::OkStatus();
      changed_.WaitFor(mu_, left);
    }
    if (items_.empty()) return status_;
    for (; taken < max && !items_.empty(); ++taken) {
      items_bytes_ -= items_.front().bytes.size();
      items.push_back(std::move(items_.front()));
      items_.pop_front();
    }
  }
  asio::post(io_, [this, taken] {
    session_->Acknowledge(taken, NowMs());
    Write();
    Read();
  });
  return absl::OkStatus();
}

bool PikaLink::failed() {
  MutexLock lock(mu_);
  return !status_.ok();
}

std::string PikaLink::database() {
  MutexLock lock(mu_);
  return database_;
}

// ---------------------------------------------------------------- the link's thread

void PikaLink::Fail(absl::Status status) {
  {
    MutexLock lock(mu_);
    if (!status_.ok()) return;
    status_ = absl::Status(status.code(), absl::StrCat("pika://", host_, ":", port_, ": ",
                                                       std::string(status.message())));
  }
  changed_.NotifyAll();
  asio::error_code ignored;
  socket_.close(ignored);
  resolver_.cancel();
  timer_.cancel();
}

void PikaLink::Connect() {
  connect_deadline_ = std::chrono::steady_clock::now() + kConnectTimeout;
  Tick();
  resolver_.async_resolve(
      host_, std::to_string(port_ + kReplicationPortOffset),
      [this](asio::error_code error, Tcp::resolver::results_type to) {
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

void PikaLink::OnConnected() {
  asio::error_code error;
  const Tcp::endpoint self = socket_.local_endpoint(error);
  if (error) return Fail(absl::UnavailableError("the connection is gone: " + error.message()));
  socket_.set_option(Tcp::no_delay(true), error);
  session_options_.slave_ip = self.address().to_string();
  session_options_.slave_port = self.port();
  session_.emplace(std::move(session_options_), NowMs());
  Write();
  Read();
}

void PikaLink::Tick() {
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

void PikaLink::Read() {
  if (reading_ || !socket_.is_open()) return;
  {
    MutexLock lock(mu_);
    if (!status_.ok() || items_bytes_ >= kBufferedBytesMax) return;
  }
  reading_ = true;
  socket_.async_read_some(asio::buffer(read_buffer_), [this](asio::error_code error, size_t bytes) {
    reading_ = false;
    if (!error) return OnRead(bytes);
    Fail(absl::UnavailableError(error == asio::error::eof
                                    ? "the master closed the connection"
                                    : "the connection broke: " + error.message()));
  });
}

void PikaLink::OnRead(size_t bytes) {
  session_->OnBytes(std::string_view(read_buffer_.data(), bytes), NowMs());
  Publish();
  Write();
  Read();
}

void PikaLink::Publish() {
  std::vector<PbSession::ReceivedItem> received = session_->TakeItems();
  bool changed = !received.empty();
  {
    MutexLock lock(mu_);
    database_ = session_->database();
    for (PbSession::ReceivedItem& item : received) {
      items_bytes_ += item.bytes.size();
      items_.push_back(std::move(item));
    }
    if (!ready_ && (session_->stage() == PbSession::Stage::kStream ||
                    session_->stage() == PbSession::Stage::kCopy)) {
      ready_ = Ready{session_->database(), session_->replication_id(), session_->master_end()};
      changed = true;
    }
  }
  if (changed) changed_.NotifyAll();
  if (session_->stage() == PbSession::Stage::kFailed) Fail(session_->status());
}

void PikaLink::Write() {
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
