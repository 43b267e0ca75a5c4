#include "tests/support/pika_master.h"

#include <algorithm>
#include <array>
#include <deque>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <utility>

#include "absl/strings/str_cat.h"

#include "common/base/check.h"
#include "producer/pika/pb_frame.h"
#include "producer/pika/replication.pb.h"
#include "producer/pika/resp_command.h"
#include "producer/pika/snapshot.pb.h"

#include <asio/buffer.hpp>
#include <asio/ip/address_v4.hpp>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>
#include <asio/write.hpp>

namespace lockstep::pika {
namespace {

namespace fs = std::filesystem;
using asio::ip::tcp;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kTickEvery{50};
constexpr int kReplicationPort = 2000;  // Above the client port.
constexpr int kSnapshotPort = 10'001;

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
      case DB_SYNC:
        OnDbSync(request.db_sync());
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
    } else if (at.filenum < log.first_file || at < log.begin) {
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

  void OnDbSync(const Request::Sync& request) ABSL_EXCLUSIVE_LOCKS_REQUIRED(master_.mu_) {
    const std::string& name = request.slot().db_name();
    LOCKSTEP_CHECK(master_.logs_.contains(name), "a wrong name here crashes a real Pika");
    Slave& slave = slaves_[name];
    slave = Slave();
    slave.session_id = master_.logs_.at(name).next_session++;
    slave.heard_at = slave.sent_at = Clock::now();
    Response response;
    response.set_type(DB_SYNC);
    response.set_status(STATUS_OK);
    response.mutable_db_sync()->mutable_slot()->set_db_name(name);
    response.mutable_db_sync()->mutable_slot()->set_slot_id(0);
    response.mutable_db_sync()->set_session_id(slave.session_id);
    Say(response);
  }

  // Number of the entry that begins at `at`; one past the last if the log ends there.
  std::optional<size_t> EntryAt(const Log& log, BinlogPosition at)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(master_.mu_) {
    if (at == log.begin) return 0;
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

// Serves files of dumps; blocking reads of small files are good enough here.
class PikaMaster::SnapshotConnection : public std::enable_shared_from_this<SnapshotConnection> {
 public:
  SnapshotConnection(PikaMaster& master, tcp::socket socket)
      : master_(master), socket_(std::move(socket)) {}

  void Read() {
    socket_.async_read_some(asio::buffer(buffer_), [this, self = shared_from_this()](
                                                       asio::error_code error, size_t bytes) {
      if (error) return;
      reader_.Append({buffer_.data(), bytes});
      for (auto frame = reader_.Next(); frame.ok() && *frame; frame = reader_.Next()) {
        SnapshotRequest request;
        if (!request.ParseFromArray((*frame)->data(), static_cast<int>((*frame)->size()))) return;
        std::string answer;
        AppendPbFrame(Answer(request).SerializeAsString(), answer);
        asio::write(socket_, asio::buffer(answer), error);
        if (error) return;
      }
      Read();
    });
  }

 private:
  static std::string ReadFile(const fs::path& path) {
    std::ifstream in(path, std::ios::binary);
    std::stringstream bytes;
    bytes << in.rdbuf();
    return bytes.str();
  }

  SnapshotResponse Answer(const SnapshotRequest& request) {
    MutexLock lock(master_.mu_);
    SnapshotResponse response;
    response.set_type(request.type());
    response.set_reader_index(request.reader_index());
    response.set_db_name(request.db_name());
    response.set_slot_id(0);
    response.set_snapshot_uuid("");
    response.set_status(SNAPSHOT_ERROR);
    const auto log = master_.logs_.find(request.db_name());
    if (log == master_.logs_.end() || log->second.dump_directory.empty()) return response;
    const fs::path directory = log->second.dump_directory;
    int& spoiled =
        request.type() == SNAPSHOT_META ? master_.spoiled_lists_ : master_.spoiled_files_;
    const bool spoil = spoiled > 0 && spoiled-- > 0;
    if (request.type() == SNAPSHOT_META && spoil) return response;
    response.set_status(SNAPSHOT_OK);
    response.set_snapshot_uuid(std::string(32, spoil ? 'b' : 'a'));
    if (request.type() == SNAPSHOT_META) {
      for (const auto& entry : fs::recursive_directory_iterator(directory)) {
        if (entry.is_directory()) continue;
        response.mutable_meta()->add_filenames(fs::relative(entry.path(), directory).string());
      }
      return response;
    }
    const std::string bytes = ReadFile(directory / request.file().filename());
    SnapshotResponse::File& file = *response.mutable_file();
    // A real master's answers end at 16 MiB of the file; these end far earlier.
    const std::string piece =
        bytes.substr(request.file().offset(), std::min<uint64_t>(request.file().count(), 100'000));
    file.set_eof(request.file().offset() + piece.size() == bytes.size() ? 1 : 0);
    file.set_count(piece.size());
    file.set_offset(request.file().offset());
    file.set_data(piece);
    file.set_checksum("");
    file.set_filename(request.file().filename());
    return response;
  }

  PikaMaster& master_;
  tcp::socket socket_;
  std::array<char, 16 * 1024> buffer_;
  PbFrameReader reader_;
};

PikaMaster::PikaMaster(PikaMasterOptions options) : options_(std::move(options)) {
  for (const std::string& name : options_.databases) logs_[name];
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
  for (int tries = 0; port_ == 0; ++tries) {
    LOCKSTEP_CHECK(tries < 1000, "some pair of ports is free");
    if (!bind(acceptor_, 0)) continue;
    const int port = acceptor_.local_endpoint().port() - kReplicationPort;
    if (port > 0 && port + kSnapshotPort < 65'536 &&
        bind(snapshot_acceptor_, port + kSnapshotPort)) {
      port_ = port;
    } else {
      acceptor_.close();
    }
  }
  AcceptSnapshot();
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

void PikaMaster::AcceptSnapshot() {
  snapshot_acceptor_.async_accept([this](asio::error_code error, tcp::socket socket) {
    if (error) return;
    std::make_shared<SnapshotConnection>(*this, std::move(socket))->Read();
    AcceptSnapshot();
  });
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

void PikaMaster::SpoilSnapshots(int lists, int files) {
  MutexLock lock(mu_);
  spoiled_lists_ = lists;
  spoiled_files_ = files;
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

BinlogPosition PikaMaster::Acknowledged(const std::string& database) {
  MutexLock lock(mu_);
  return logs_.at(database).acknowledged;
}

}  // namespace lockstep::pika
