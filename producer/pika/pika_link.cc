#include "producer/pika/pika_link.h"

#include <utility>

#include "absl/strings/str_cat.h"

#include "producer/pika/legacy_link.h"
#include "producer/pika/pb_link.h"

#include <asio/post.hpp>

namespace lockstep::pika {

using std::chrono::milliseconds;

std::unique_ptr<PikaLink> PikaLink::Open(Protocol protocol, const std::string& host, int32_t port,
                                         SlaveOptions slave) {
  if (protocol == Protocol::kLegacy) {
    return std::make_unique<LegacyLink>(host, port, std::move(slave));
  }
  return std::make_unique<PbLink>(host, port, std::move(slave));
}

PikaLink::PikaLink(std::string host, int32_t port) : host_(std::move(host)), port_(port) {}

PikaLink::~PikaLink() = default;

int64_t PikaLink::NowMs() {
  return std::chrono::duration_cast<milliseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

void PikaLink::StartThread() {
  asio::post(io_, [this] { Begin(); });
  thread_ = std::thread([this] { io_.run(); });
}

void PikaLink::StopThread() {
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

absl::Status PikaLink::Take(size_t max, milliseconds timeout, std::vector<ReceivedItem>& items) {
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
  asio::post(io_, [this, taken] { OnTaken(taken); });
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

bool PikaLink::connected() {
  MutexLock lock(mu_);
  return connected_;
}

bool PikaLink::understood() {
  MutexLock lock(mu_);
  return understood_;
}

BinlogPosition PikaLink::received_end() {
  MutexLock lock(mu_);
  return received_end_;
}

// ---------------------------------------------------------------- the link's thread

void PikaLink::Fail(const absl::Status& status) {
  {
    MutexLock lock(mu_);
    if (!status_.ok()) return;
    status_ = absl::Status(status.code(), absl::StrCat("pika://", host_, ":", port_, ": ",
                                                       std::string(status.message())));
  }
  changed_.NotifyAll();
  Close();
}

void PikaLink::SetConnected() {
  MutexLock lock(mu_);
  connected_ = true;
}

void PikaLink::SetUnderstood(const std::string& database) {
  MutexLock lock(mu_);
  understood_ = true;
  database_ = database;
}

void PikaLink::SetReady(Ready ready) {
  {
    MutexLock lock(mu_);
    if (ready_) return;
    ready_ = std::move(ready);
  }
  changed_.NotifyAll();
}

void PikaLink::Add(std::vector<ReceivedItem> items) {
  if (items.empty()) return;
  {
    MutexLock lock(mu_);
    received_end_ = items.back().end;
    for (ReceivedItem& item : items) {
      items_bytes_ += item.bytes.size();
      items_.push_back(std::move(item));
    }
  }
  changed_.NotifyAll();
}

bool PikaLink::HasRoom() {
  MutexLock lock(mu_);
  return status_.ok() && items_bytes_ < kBufferedBytesMax;
}

}  // namespace lockstep::pika
