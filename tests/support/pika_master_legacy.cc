// A master before 3.1: commands on the client port, heartbeats, and the binlog pushed to whoever
// asked for it.
#include <algorithm>
#include <array>
#include <functional>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

#include "common/base/check.h"
#include "producer/pika/legacy_wire.h"
#include "producer/pika/resp_command.h"
#include "tests/support/pika_master.h"

#include <asio/buffer.hpp>
#include <asio/ip/address.hpp>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>
#include <asio/write.hpp>

namespace lockstep::pika {
namespace {

using asio::ip::tcp;
using Args = std::vector<std::string_view>;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kTickEvery{50};
constexpr int kBinlogPort = 1000;  // Above the port that the slave declares.
constexpr char kDatabase[] = "db0";

std::string Bulk(const std::string& text) {
  return absl::StrCat("$", text.size(), "\r\n", text, "\r\n");
}

}  // namespace

// A connection that takes commands and answers each.
class PikaMaster::RespConnection : public Peer,
                                   public std::enable_shared_from_this<RespConnection> {
 public:
  RespConnection(PikaMaster& master, tcp::socket socket)
      : master_(master), socket_(std::move(socket)) {}

  void Read() {
    socket_.async_read_some(asio::buffer(buffer_),
                            [this, self = shared_from_this()](asio::error_code error, size_t size) {
                              if (error) return Close();
                              input_.append(buffer_.data(), size);
                              if (!TakeCommands()) return Close();
                              Read();
                            });
  }

  void Close() override {
    asio::error_code ignored;
    socket_.close(ignored);
    master_.peers_.erase(shared_from_this());
  }
  void Wake() override {}

 protected:
  // What to answer; empty: nothing.
  virtual std::string Answer(const Args& args) = 0;

  PikaMaster& master_;

 private:
  bool TakeCommands() {
    for (;;) {
      const auto length = FindRespCommand(input_);
      if (!length.ok()) return false;
      if (!*length) return true;
      Args args;
      LOCKSTEP_CHECK(ParseRespCommand(std::string_view(input_).substr(0, **length), args).ok(),
                     "what was found parses");
      const std::string answer = Answer(args);
      input_.erase(0, **length);
      asio::error_code error;
      asio::write(socket_, asio::buffer(answer), error);  // A few bytes: they fit.
      if (error) return false;
    }
  }

  tcp::socket socket_;
  std::array<char, 16 * 1024> buffer_;
  std::string input_;
};

// A slave that trysync has registered: its heartbeat, and the connection that we make to it.
class PikaMaster::LegacySlave final : public Peer,
                                      public std::enable_shared_from_this<LegacySlave> {
 public:
  LegacySlave(PikaMaster& master, int64_t sid, tcp::endpoint to, size_t next_entry)
      : master_(master), sid_(sid), to_(std::move(to)), next_entry_(next_entry) {}

  int64_t sid() const { return sid_; }
  const tcp::endpoint& to() const { return to_; }
  void Heard() { heard_at_ = Clock::now(); }

  void Start() {
    Dial();
    Tick();
  }

  void Close() override {
    if (std::exchange(closed_, true)) return;
    CloseSocket();
    dial_timer_.cancel();
    tick_timer_.cancel();
    master_.slaves_.erase(sid_);
    master_.peers_.erase(shared_from_this());
  }

  void CloseBinlog() override {
    if (connected_) Redial();
  }

  // Sends the next entry, and then the one behind it.
  void Wake() override {
    if (closed_ || !connected_ || writing_) return;
    bool cut = false;
    {
      MutexLock lock(master_.mu_);
      if (master_.silent_) return;
      const Log& log = master_.logs_.at(kDatabase);
      if (next_entry_ < log.entries.size() && std::exchange(master_.skip_one_, false)) {
        ++next_entry_;
      }
      if (next_entry_ >= log.entries.size()) return;
      written_.clear();
      if (master_.marked()) {
        written_ = log.entries[next_entry_].bytes;
      } else {
        AppendTransferFrame(false, log.entries[next_entry_].bytes, written_);
      }
      const size_t limit = master_.cut_after_bytes_;
      if (limit > 0 && sent_bytes_ + written_.size() > limit) {
        written_.resize(limit - std::min(limit, sent_bytes_));
        cut = true;
      }
    }
    Send([this, cut] {
      if (cut) return Redial();
      ++next_entry_;
      Wake();
    });
  }

 private:
  void Tick() {
    bool silence = false;
    {
      MutexLock lock(master_.mu_);
      silence = Clock::now() - heard_at_ >= master_.options_.forget_after;
      if (silence) master_.Complain("silence: a slave is forgotten");
    }
    if (silence) return Close();
    tick_timer_.expires_after(kTickEvery);
    tick_timer_.async_wait([this, self = shared_from_this()](asio::error_code error) {
      if (!error && !closed_) Tick();
    });
  }

  void Dial() {
    dial_timer_.expires_after(master_.options_.dial_after);
    dial_timer_.async_wait([this, self = shared_from_this()](asio::error_code error) {
      if (error || closed_) return;
      socket_ = tcp::socket(master_.io_);
      socket_.async_connect(to_, [this, self](asio::error_code failed) {
        if (closed_) return;
        if (failed) return Dial();
        connected_ = true;
        sent_bytes_ = 0;
        master_.CountConnection();
        Greet();
      });
    });
  }

  void Greet() {
    if (master_.options_.version < "2.3.3") return Wake();
    const std::string sid = absl::StrCat(sid_);
    std::string command;
    AppendRespCommand(Args{"auth", sid}, command);
    written_.clear();
    if (master_.marked()) {
      written_ = command;
    } else {
      AppendTransferFrame(true, command, written_);
    }
    Send([this] { Wake(); });
  }

  void Send(const std::function<void()>& then) {
    writing_ = true;
    sent_bytes_ += written_.size();
    const int64_t dial = dials_;
    asio::async_write(
        socket_, asio::buffer(written_),
        [this, self = shared_from_this(), then, dial](asio::error_code error, size_t) {
          writing_ = false;
          if (closed_ || dial != dials_) return;
          if (error) return Redial();
          then();
        });
  }

  void CloseSocket() {
    asio::error_code ignored;
    socket_.close(ignored);
    connected_ = false;
    ++dials_;
  }

  void Redial() {
    CloseSocket();
    Dial();
  }

  PikaMaster& master_;
  const int64_t sid_;
  const tcp::endpoint to_;
  size_t next_entry_;
  tcp::socket socket_{master_.io_};
  asio::steady_timer dial_timer_{master_.io_};
  asio::steady_timer tick_timer_{master_.io_};
  Clock::time_point heard_at_ = Clock::now();
  std::string written_;
  size_t sent_bytes_ = 0;  // On this connection.
  int64_t dials_ = 0;
  bool connected_ = false;
  bool writing_ = false;
  bool closed_ = false;
};

// A connection to the client port.
class PikaMaster::LegacyClient final : public RespConnection {
 public:
  LegacyClient(PikaMaster& master, tcp::socket socket, bool heartbeat)
      : RespConnection(master, std::move(socket)), heartbeat_(heartbeat) {}

  void Close() override {
    // A heartbeat that ends unregisters its slave.
    if (const auto slave = Slave()) slave->Close();
    RespConnection::Close();
  }

 private:
  std::string Answer(const Args& args) override {
    if (heartbeat_) return Heartbeat(args);
    MutexLock lock(master_.mu_);
    if (master_.silent_) return "";
    const std::string& password = master_.options_.password;
    if (args[0] == "auth") {
      if (password.empty()) return "-ERR Client sent AUTH, but no password is set\r\n";
      authenticated_ = args.at(1) == password;
      return authenticated_ ? "+OK\r\n" : "-ERR invalid password\r\n";
    }
    if (!password.empty() && !authenticated_) return "-ERR NOAUTH Authentication required.\r\n";
    if (args[0] == "info") return Info();
    if (args[0] == "config") {
      return "*2\r\n" + Bulk("binlog-file-size") +
             Bulk(absl::StrCat(master_.options_.binlog_file_bytes));
    }
    if (args[0] == "trysync" && args.size() == 5) return TrySync(args);
    master_.Complain(absl::StrCat("a command that a slave does not need: ", std::string(args[0])));
    return "-ERR unknown command\r\n";
  }

  std::string Info() ABSL_EXCLUSIVE_LOCKS_REQUIRED(master_.mu_) {
    const BinlogPosition end = master_.logs_.at(kDatabase).end;
    return Bulk(absl::StrCat("# Server\r\npika_version:", master_.options_.version,
                             "\r\n\r\n# Log\r\nbinlog_offset:", end.filenum, " ", end.offset,
                             "\r\n\r\n# Replication(MASTER)\r\nrole:master\r\n"));
  }

  std::string TrySync(const Args& args) ABSL_EXCLUSIVE_LOCKS_REQUIRED(master_.mu_) {
    int32_t port = 0;
    BinlogPosition wish;
    asio::error_code error;
    const auto address = asio::ip::make_address(std::string(args[1]), error);
    if (error || !absl::SimpleAtoi(std::string(args[2]), &port) ||
        !absl::SimpleAtoi(std::string(args[3]), &wish.filenum) ||
        !absl::SimpleAtoi(std::string(args[4]), &wish.offset)) {
      return "-ERR value is not an integer or out of range\r\n";
    }
    const tcp::endpoint to(address, static_cast<uint16_t>(port + kBinlogPort));
    for (const auto& [sid, slave] : master_.slaves_) {
      if (slave->to() == to) return "-ERR AlreadyExist\r\n";
    }
    const Log& log = master_.logs_.at(kDatabase);
    const bool force = wish.filenum == 0xffffffff;
    if (wish.offset > master_.options_.binlog_file_bytes || (!force && wish > log.end)) {
      return "-ERR InvalidOffset\r\n";
    }
    if (force || wish.filenum < log.first_file || wish.filenum > log.end.filenum ||
        wish < log.begin) {
      ++master_.dumps_;
      master_.Push(kDatabase, std::string(args[1]), port);
      return Bulk("wait");
    }
    const FoundEntry entry = EntryAt(log, wish);
    if (!entry.exact) master_.Complain("trysync at " + ToString(wish) + ", which is no boundary");
    const int64_t sid = master_.next_sid_++;
    const auto slave = std::make_shared<LegacySlave>(master_, sid, to, entry.number);
    master_.slaves_[sid] = slave;
    master_.peers_.insert(slave);
    asio::post(master_.io_, [slave] { slave->Start(); });
    return absl::StrCat(":", sid, "\r\n");
  }

  std::string Heartbeat(const Args& args) {
    {
      MutexLock lock(master_.mu_);
      if (master_.silent_) return "";
    }
    int64_t sid = 0;
    if (args[0] == "spci" && args.size() == 2 && absl::SimpleAtoi(std::string(args[1]), &sid)) {
      sid_ = sid;
    }
    const auto slave = Slave();
    if (slave == nullptr || (args[0] != "spci" && args[0] != "ping")) return "-ERR\r\n";
    slave->Heard();
    return args[0] == "spci" ? "+OK\r\n" : "+PONG\r\n";
  }

  std::shared_ptr<LegacySlave> Slave() const {
    const auto found = master_.slaves_.find(sid_);
    return found == master_.slaves_.end() ? nullptr : found->second;
  }

  const bool heartbeat_;
  bool authenticated_ = false;
  int64_t sid_ = 0;  // Of the heartbeat's slave.
};

void PikaMaster::ServeClient(tcp::socket socket) {
  const auto connection = std::make_shared<LegacyClient>(*this, std::move(socket), false);
  peers_.insert(connection);
  connection->Read();
}

void PikaMaster::ServeHeartbeat(tcp::socket socket) {
  if (slaves_.empty()) return;  // Nobody whose address this could be: closed at once.
  const auto connection = std::make_shared<LegacyClient>(*this, std::move(socket), true);
  peers_.insert(connection);
  connection->Read();
}

}  // namespace lockstep::pika
