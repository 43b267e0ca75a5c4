#include "tests/support/pika_master.h"

#include <algorithm>
#include <array>
#include <deque>
#include <utility>

#include "absl/strings/str_cat.h"

#include "common/base/check.h"
#include "producer/pika/pb_frame.h"
#include "producer/pika/replication.pb.h"
#include "producer/pika/resp_command.h"

#include <asio/buffer.hpp>
#include <asio/ip/address_v4.hpp>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>
#include <asio/write.hpp>

namespace lockstep::pika {
namespace {

using asio::ip::tcp;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kTickEvery{50};

BinlogPosition PositionOf(const BinlogPoint& point) { return {point.filenum(), point.offset()}; }

void FillPoint(const BinlogPosition& position, BinlogPoint& point) {
  point.set_filenum(position.filenum);
  point.set_offset(position.offset);
}

}  // namespace

// One slave's connection; all of it on the master's thread.
class PikaMaster::Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(PikaMaster& master, tcp::socket socket)
      : master_(master), socket_(std::move(socket)), timer_(master.io_) {
    MutexLock lock(master_.mu_);
    cut_after_bytes_ = master_.cut_after_bytes_;
  }

  void Start() {
    Read();
    Tick();
  }

  void Close() {
    if (closed_) return;
    closed_ = true;
    asio::error_code ignored;
    socket_.close(ignored);
    timer_.cancel();
    master_.connections_.erase(shared_from_this());
  }

  // Sends what the window has room for.
  void Refill() {
    MutexLock lock(master_.mu_);
    for (auto& [name, slave] : slaves_) {
      if (slave.streaming) Send(name, slave);
    }
  }

 private:
  struct Slave {
    int32_t session_id = 0;
    bool streaming = false;
    size_t next_entry = 0;
    std::deque<BinlogPosition> window;  // Sent, not acknowledged.
    Clock::time_point heard_at;
    Clock::time_point sent_at;
  };

  void Read() {
    socket_.async_read_some(asio::buffer(buffer_), [this, self = shared_from_this()](
                                                       asio::error_code error, size_t bytes) {
      if (error) return Close();
      reader_.Append({buffer_.data(), bytes});
      for (auto frame = reader_.Next(); frame.ok() && *frame; frame = reader_.Next()) {
        Request request;
        if (!request.ParseFromArray((*frame)->data(), static_cast<int>((*frame)->size()))) {
          return Close();
        }
        MutexLock lock(master_.mu_);
        if (!master_.silent_ && !OnRequest(request)) closing_ = true;
      }
      if (closing_) return Close();
      Read();
    });
  }

  // False: the master closes the connection.
  bool OnRequest(const Request& request) ABSL_EXCLUSIVE_LOCKS_REQUIRED(master_.mu_) {
    switch (request.type()) {
      case META_SYNC:
        OnMetaSync(request.meta_sync());
        return true;
      case TRY_SYNC:
        OnTrySync(request.try_sync());
        return true;
      case BINLOG_SYNC:
        return OnBinlogSync(request.binlog_sync());
      default:
        master_.Complain("a request that a slave of the binlog does not need");
        return false;
    }
  }

  void OnMetaSync(const Request::MetaSync& request) ABSL_EXCLUSIVE_LOCKS_REQUIRED(master_.mu_) {
    Response response;
    response.set_type(META_SYNC);
    if (!master_.options_.password.empty() && request.auth() != master_.options_.password) {
      response.set_status(STATUS_ERROR);
      response.set_reply("Auth with master error, Invalid masterauth");
      return Say(response);
    }
    response.set_status(STATUS_OK);
    Response::MetaSync& meta = *response.mutable_meta_sync();
    meta.set_classic_mode(true);
    for (const std::string& name : master_.options_.databases) {
      Response::MetaSync::Database& database = *meta.add_databases();
      database.set_db_name(name);
      database.set_slot_num(1);
    }
    meta.set_run_id(std::string(40, 'a'));
    meta.set_replication_id(master_.options_.replication_id);
    Say(response);
  }

  void OnTrySync(const Request::Sync& request) ABSL_EXCLUSIVE_LOCKS_REQUIRED(master_.mu_) {
    const std::string& name = request.slot().db_name();
    Response response;
    response.set_type(TRY_SYNC);
    response.set_status(STATUS_OK);
    const auto found = master_.logs_.find(name);
    if (found == master_.logs_.end()) {
      response.set_status(STATUS_ERROR);
      response.set_reply("DB not found");
      return Say(response);
    }
    Log& log = found->second;
    Response::TrySync& answer = *response.mutable_try_sync();
    answer.mutable_slot()->set_db_name(name);
    answer.mutable_slot()->set_slot_id(0);
    FillPoint(log.end, *answer.mutable_point());
    const BinlogPosition at = PositionOf(request.point());
    if (at > log.end) {
      answer.set_answer(Response::TrySync::POINT_LARGER);
    } else if (at.filenum < log.first_file) {
      answer.set_answer(Response::TrySync::POINT_PURGED);
    } else if (!EntryAt(log, at)) {
      answer.set_answer(Response::TrySync::ERROR);
    } else {
      Slave& slave = slaves_[name];
      slave = Slave();
      slave.session_id = log.next_session++;
      slave.heard_at = slave.sent_at = Clock::now();
      answer.set_answer(Response::TrySync::OK);
      answer.set_session_id(slave.session_id);
    }
    Say(response);
  }

  // Number of the entry that begins at `at`; one past the last if the log ends there.
  std::optional<size_t> EntryAt(const Log& log, BinlogPosition at)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(master_.mu_) {
    if (at == BinlogPosition()) return 0;
    const auto found = std::lower_bound(
        log.entries.begin(), log.entries.end(), at,
        [](const Entry& entry, const BinlogPosition& end) { return entry.end < end; });
    if (found == log.entries.end() || found->end != at) return std::nullopt;
    return found - log.entries.begin() + 1;
  }

  bool OnBinlogSync(const Request::BinlogSync& request) ABSL_EXCLUSIVE_LOCKS_REQUIRED(master_.mu_) {
    const auto found = slaves_.find(request.db_name());
    if (found == slaves_.end() || found->second.session_id != request.session_id()) return true;
    Slave& slave = found->second;
    Log& log = master_.logs_.at(request.db_name());
    slave.heard_at = Clock::now();
    const BinlogPosition start = PositionOf(request.ack_start());
    const BinlogPosition end = PositionOf(request.ack_end());
    if (request.first_send()) {
      const std::optional<size_t> entry = EntryAt(log, start);
      if (start != end || !entry) {
        master_.Complain("first_send at " + ToString(start) + ", which is no boundary");
        return false;
      }
      slave.streaming = true;
      slave.next_entry = *entry;
      Send(request.db_name(), slave);
      return true;
    }
    if (start == BinlogPosition() && end == BinlogPosition()) return true;  // A ping.
    const auto last = std::find(slave.window.begin(), slave.window.end(), end);
    if (slave.window.empty() || slave.window.front() != start || last == slave.window.end()) {
      master_.Complain(absl::StrCat("ack of ", ToString(start), " to ", ToString(end),
                                    ", which is not the front of what was sent"));
      return false;
    }
    slave.window.erase(slave.window.begin(), last + 1);
    log.acknowledged = end;
    Send(request.db_name(), slave);
    return true;
  }

  void Send(const std::string& name, Slave& slave) ABSL_EXCLUSIVE_LOCKS_REQUIRED(master_.mu_) {
    Log& log = master_.logs_.at(name);
    while (slave.next_entry < log.entries.size() &&
           slave.window.size() < master_.options_.window_items) {
      Response response = Binlog();
      while (slave.next_entry < log.entries.size() &&
             slave.window.size() < master_.options_.window_items &&
             static_cast<size_t>(response.binlog_sync_size()) < master_.options_.frame_items_max) {
        const Entry& entry = log.entries[slave.next_entry++];
        if (std::exchange(master_.skip_one_, false)) continue;
        Fill(name, slave.session_id, entry, *response.add_binlog_sync());
        slave.window.push_back(entry.end);
      }
      slave.sent_at = Clock::now();
      if (response.binlog_sync_size() > 0) Say(response);
    }
  }

  static Response Binlog() {
    Response response;
    response.set_type(BINLOG_SYNC);
    response.set_status(STATUS_OK);
    return response;
  }

  static void Fill(const std::string& name, int32_t session_id, const Entry& entry,
                   Response::BinlogSync& element) {
    element.mutable_slot()->set_db_name(name);
    element.mutable_slot()->set_slot_id(0);
    FillPoint(entry.end, *element.mutable_end());
    element.set_item(entry.bytes);
    element.set_session_id(session_id);
  }

  void Tick() {
    {
      MutexLock lock(master_.mu_);
      const Clock::time_point now = Clock::now();
      for (auto it = slaves_.begin(); it != slaves_.end();) {
        Slave& slave = it->second;
        if (now - slave.heard_at >= master_.options_.forget_after) {
          master_.Complain("silence: a slave of " + it->first + " is forgotten");
          it = slaves_.erase(it);
          continue;
        }
        if (!master_.silent_ && slave.window.empty() &&
            now - slave.sent_at >= master_.options_.keep_alive_every) {
          slave.sent_at = now;
          Response response = Binlog();
          Fill(it->first, slave.session_id, {}, *response.add_binlog_sync());
          Say(response);
        }
        ++it;
      }
    }
    timer_.expires_after(kTickEvery);
    timer_.async_wait([this, self = shared_from_this()](asio::error_code error) {
      if (!error && !closed_) Tick();
    });
  }

  void Say(const Response& response) {
    AppendPbFrame(response.SerializeAsString(), output_);
    asio::post(master_.io_, [this, self = shared_from_this()] { Write(); });
  }

  void Write() {
    if (closed_ || !writing_.empty() || output_.empty()) return;
    writing_ = std::exchange(output_, {});
    if (cut_after_bytes_ > 0 && sent_bytes_ + writing_.size() > cut_after_bytes_) {
      writing_.resize(cut_after_bytes_ - sent_bytes_);
      closing_ = true;
    }
    sent_bytes_ += writing_.size();
    asio::async_write(socket_, asio::buffer(writing_),
                      [this, self = shared_from_this()](asio::error_code error, size_t) {
                        writing_.clear();
                        if (error || closing_) return Close();
                        Write();
                      });
  }

  PikaMaster& master_;
  tcp::socket socket_;
  asio::steady_timer timer_;
  std::array<char, 16 * 1024> buffer_;
  PbFrameReader reader_;
  std::map<std::string, Slave> slaves_;
  std::string output_;
  std::string writing_;
  size_t sent_bytes_ = 0;
  size_t cut_after_bytes_ = 0;
  bool closing_ = false;
  bool closed_ = false;
};

PikaMaster::PikaMaster(PikaMasterOptions options) : options_(std::move(options)) {
  for (const std::string& name : options_.databases) logs_[name];
  const tcp::endpoint loopback(asio::ip::address_v4::loopback(), 0);
  acceptor_.open(loopback.protocol());
  acceptor_.bind(loopback);
  acceptor_.listen();
  port_ = acceptor_.local_endpoint().port() - 2000;
  LOCKSTEP_CHECK(port_ > 0, "ports that a system hands out lie above 2000");
  Accept();
  thread_ = std::thread([this] { io_.run(); });
}

PikaMaster::~PikaMaster() {
  io_.stop();
  thread_.join();
}

void PikaMaster::Accept() {
  acceptor_.async_accept([this](asio::error_code error, tcp::socket socket) {
    if (error) return;
    {
      MutexLock lock(mu_);
      ++accepted_;
    }
    auto connection = std::make_shared<Connection>(*this, std::move(socket));
    connections_.insert(connection);
    connection->Start();
    Accept();
  });
}

void PikaMaster::Complain(const std::string& what) { complaints_.push_back(what); }

void PikaMaster::Append(const std::string& database, const std::vector<std::string_view>& args) {
  {
    MutexLock lock(mu_);
    Log& log = logs_.at(database);
    std::string content;
    AppendRespCommand(args, content);
    Entry entry;
    AppendBinlogItem({1'700'000'000, 0, ++log.logic_id, log.end, content}, entry.bytes);
    if (log.end.offset > options_.binlog_file_bytes) log.end = {log.end.filenum + 1, 0};
    log.end.offset = AdvanceBinlogOffset(log.end.offset, entry.bytes.size());
    entry.end = log.end;
    log.entries.push_back(std::move(entry));
  }
  asio::post(io_, [this] {
    for (const auto& connection : connections_) connection->Refill();
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
    while (!connections_.empty()) {
      const std::shared_ptr<Connection> connection = *connections_.begin();
      connection->Close();
    }
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
    --log.logic_id;
  }
  log.end = log.entries.empty() ? BinlogPosition() : log.entries.back().end;
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

BinlogPosition PikaMaster::Acknowledged(const std::string& database) {
  MutexLock lock(mu_);
  return logs_.at(database).acknowledged;
}

}  // namespace lockstep::pika
