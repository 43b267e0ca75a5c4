// A master's protocol pb: MetaSync, TrySync, DBSync, BinlogSync on one connection.
#include <algorithm>
#include <array>
#include <deque>
#include <utility>

#include "absl/strings/str_cat.h"

#include "common/base/check.h"
#include "producer/pika/pb_frame.h"
#include "producer/pika/replication.pb.h"
#include "tests/support/pika_master.h"

#include <asio/buffer.hpp>
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
class PikaMaster::PbConnection final : public Peer,
                                       public std::enable_shared_from_this<PbConnection> {
 public:
  PbConnection(PikaMaster& master, tcp::socket socket)
      : master_(master), socket_(std::move(socket)), timer_(master.io_) {
    MutexLock lock(master_.mu_);
    cut_after_bytes_ = master_.cut_after_bytes_;
  }

  void Start() {
    Read();
    Tick();
  }

  void Close() override {
    if (closed_) return;
    closed_ = true;
    asio::error_code ignored;
    socket_.close(ignored);
    timer_.cancel();
    master_.peers_.erase(shared_from_this());
  }

  // Sends what the window has room for.
  void Wake() override {
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
    if (!master_.pushes()) {
      meta.set_run_id(std::string(40, 'a'));
      meta.set_replication_id(master_.options_.replication_id);
    }
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
    } else if (!EntryAt(log, at).exact) {
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
    if (master_.pushes()) master_.Push(name, request.node().ip(), request.node().port());
    response.set_type(DB_SYNC);
    response.set_status(STATUS_OK);
    response.mutable_db_sync()->mutable_slot()->set_db_name(name);
    response.mutable_db_sync()->mutable_slot()->set_slot_id(0);
    response.mutable_db_sync()->set_session_id(slave.session_id);
    Say(response);
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
      const FoundEntry entry = EntryAt(log, start);
      if (start != end || !entry.exact) {
        master_.Complain("first_send at " + ToString(start) + ", which is no boundary");
        return false;
      }
      slave.streaming = true;
      slave.next_entry = entry.number;
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

void PikaMaster::ServePb(tcp::socket socket) {
  CountConnection();
  const auto connection = std::make_shared<PbConnection>(*this, std::move(socket));
  peers_.insert(connection);
  connection->Start();
}

}  // namespace lockstep::pika
