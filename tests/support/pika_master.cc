#include "tests/support/pika_master.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"

#include "common/base/check.h"
#include "producer/pika/legacy_wire.h"
#include "producer/pika/resp_command.h"

#include <asio/ip/address_v4.hpp>
#include <asio/post.hpp>

namespace lockstep::pika {
namespace {

using asio::ip::tcp;

constexpr int kReplicationPort = 2000;  // Above the client port.
constexpr int kSnapshotPort = 10'001;

}  // namespace

PikaMaster::PikaMaster(PikaMasterOptions options) : options_(std::move(options)) {
  for (const std::string& name : options_.databases) {
    logs_[name].next_logic_id = options_.first_logic_id.value_or(pb() ? 1 : 0);
  }
  // Two ports in a fixed distance, both free.
  const auto bind = [](tcp::acceptor& acceptor, int port) {
    asio::error_code error;
    const tcp::endpoint at(asio::ip::address_v4::loopback(), static_cast<uint16_t>(port));
    acceptor.open(at.protocol());
    acceptor.bind(at, error);
    if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
    if (error) acceptor.close();
    return !error;
  };
  const int other_port = pb() ? kSnapshotPort : 0;
  for (int tries = 0; port_ == 0; ++tries) {
    LOCKSTEP_CHECK(tries < 1000, "some pair of ports is free");
    if (!bind(acceptor_, 0)) continue;
    const int port = acceptor_.local_endpoint().port() - kReplicationPort;
    if (port > 0 && port + other_port < 65'536 && bind(other_acceptor_, port + other_port)) {
      port_ = port;
    } else {
      acceptor_.close();
    }
  }
  Accept(acceptor_, pb() ? &PikaMaster::ServePb : &PikaMaster::ServeHeartbeat);
  Accept(other_acceptor_, pb() ? &PikaMaster::ServeSnapshot : &PikaMaster::ServeClient);
  thread_ = std::thread([this] { io_.run(); });
}

PikaMaster::~PikaMaster() {
  io_.stop();
  thread_.join();
  for (std::thread& pusher : pushers_) pusher.join();
}

void PikaMaster::Accept(tcp::acceptor& acceptor, Serve serve) {
  acceptor.async_accept([this, &acceptor, serve](asio::error_code error, tcp::socket socket) {
    if (error) return;
    (this->*serve)(std::move(socket));
    Accept(acceptor, serve);
  });
}

void PikaMaster::CountConnection() {
  MutexLock lock(mu_);
  ++accepted_;
}

PikaMaster::FoundEntry PikaMaster::EntryAt(const Log& log, BinlogPosition at) {
  const auto entry = std::upper_bound(
      log.entries.begin(), log.entries.end(), at,
      [](const BinlogPosition& position, const Entry& e) { return position < e.end; });
  const BinlogPosition begin = entry == log.entries.begin() ? log.begin : std::prev(entry)->end;
  const auto number = static_cast<size_t>(entry - log.entries.begin());
  if (entry == log.entries.end()) return {number, at == begin};
  // Where an entry lies that found its file full has two names.
  const BinlogPosition lies =
      entry->end.filenum == begin.filenum ? begin : BinlogPosition{entry->end.filenum};
  if (at <= lies) return {number, at == begin || at == lies};
  return {number + 1, false};
}

void PikaMaster::SetDump(const std::string& database, const std::string& directory,
                         BinlogPosition position) {
  MutexLock lock(mu_);
  Log& log = logs_.at(database);
  log.dump_directory = directory;
  if (!log.entries.empty()) return;
  log.begin = log.end = position;
  log.first_file = position.filenum;
}

void PikaMaster::SpoilPushes(int pushes) {
  MutexLock lock(mu_);
  spoiled_pushes_ = pushes;
}

void PikaMaster::SpoilSnapshots(int lists, int files) {
  MutexLock lock(mu_);
  spoiled_lists_ = lists;
  spoiled_files_ = files;
}

void PikaMaster::Complain(const std::string& what) { complaints_.push_back(what); }

void PikaMaster::Append(const std::string& database, const std::vector<std::string_view>& args,
                        std::optional<uint32_t> exec_time_s) {
  AppendTogether(database, {args}, exec_time_s);
}

void PikaMaster::AppendTogether(const std::string& database,
                                const std::vector<std::vector<std::string_view>>& commands,
                                std::optional<uint32_t> exec_time_s) {
  LOCKSTEP_CHECK(commands.size() == 1 || !pb(), "from 3.1 on a record is one command");
  {
    MutexLock lock(mu_);
    Log& log = logs_.at(database);
    const uint64_t logic_id = log.next_logic_id++;
    const uint32_t term = options_.term.value_or(pb() ? 0 : 1);
    Entry entry;
    for (const auto& args : commands) {
      std::string content;
      AppendRespCommand(args, content);
      const BinlogItem item{exec_time_s.value_or(options_.exec_time_s), term, logic_id, log.end,
                            content};
      if (marked()) {
        AppendMarkedCommand(item, entry.bytes);
      } else {
        AppendBinlogItem(item, entry.bytes);
      }
    }
    if (log.end.offset > options_.binlog_file_bytes) log.end = {log.end.filenum + 1, 0};
    log.end.offset = AdvanceBinlogOffset(log.end.offset, entry.bytes.size());
    entry.end = log.end;
    log.entries.push_back(std::move(entry));
  }
  asio::post(io_, [this] {
    for (const auto& peer : std::set(peers_)) peer->Wake();
  });
}

BinlogPosition PikaMaster::End(const std::string& database) {
  MutexLock lock(mu_);
  return logs_.at(database).end;
}

void PikaMaster::Purge(const std::string& database, uint32_t filenum) {
  MutexLock lock(mu_);
  logs_.at(database).first_file = filenum;
}

void PikaMaster::Disconnect() {
  asio::post(io_, [this] {
    for (const auto& peer : std::set(peers_)) peer->Close();
  });
}

void PikaMaster::Redial() {
  asio::post(io_, [this] {
    for (const auto& peer : std::set(peers_)) peer->CloseBinlog();
  });
}

void PikaMaster::CutAfter(size_t bytes) {
  MutexLock lock(mu_);
  cut_after_bytes_ = bytes;
}

void PikaMaster::SetSilent(bool silent) {
  MutexLock lock(mu_);
  silent_ = silent;
}

void PikaMaster::Truncate(const std::string& database, BinlogPosition end) {
  MutexLock lock(mu_);
  Log& log = logs_.at(database);
  while (!log.entries.empty() && log.entries.back().end > end) {
    log.entries.pop_back();
    --log.next_logic_id;
  }
  log.end = log.entries.empty() ? log.begin : log.entries.back().end;
}

void PikaMaster::SkipOne() {
  MutexLock lock(mu_);
  skip_one_ = true;
}

std::vector<std::string> PikaMaster::Complaints() {
  MutexLock lock(mu_);
  return complaints_;
}

int PikaMaster::connections() {
  MutexLock lock(mu_);
  return accepted_;
}

int PikaMaster::dumps() {
  MutexLock lock(mu_);
  return dumps_;
}

BinlogPosition PikaMaster::Acknowledged(const std::string& database) {
  MutexLock lock(mu_);
  return logs_.at(database).acknowledged;
}

}  // namespace lockstep::pika
