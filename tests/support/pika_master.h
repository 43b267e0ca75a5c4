// PikaMaster stands in for a Pika master on loopback, by its version for one of 3.5 (replication
// port, snapshot port) or for one before 3.1 (client port, heartbeat port, and dialling its slaves
// back), with binlogs in memory that tests append to. It keeps a master's rules and so sees a slave
// that breaks them: a position must be a boundary, acknowledgements must name what was sent and
// come once, a slave is forgotten after silence. It also misbehaves on command.
//
// pika_master.cc is the logs and what tests do with them; _pb, _snapshot and _legacy speak.
//
// One thread of its own; every call is thread-safe. Ends with this object.
#ifndef LOCKSTEP_TESTS_SUPPORT_PIKA_MASTER_H_
#define LOCKSTEP_TESTS_SUPPORT_PIKA_MASTER_H_

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "common/base/mutex.h"
#include "producer/pika/binlog_item.h"

#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>

namespace lockstep::pika {

struct PikaMasterOptions {
  std::vector<std::string> databases = {"db0"};
  std::string password = {};
  std::string version = "3.5.5";
  std::string replication_id = "0123456789abcdef";
  size_t window_items = 9000;
  size_t frame_items_max = 100;
  uint64_t binlog_file_bytes = 1 << 20;
  uint64_t piece_bytes_max = 100'000;  // Of a dump's file, in one answer.
  std::chrono::milliseconds keep_alive_every{2'000};
  std::chrono::milliseconds forget_after{20'000};
  std::chrono::milliseconds dial_after{10};  // Before 3.1: until it dials back.
  // What a replica numbers anew. Without: term 0, before 3.1 the server's id 1; counted from 1,
  // before 3.1 from 0.
  uint32_t exec_time_s = 1'700'000'000;
  std::optional<uint32_t> term = {};
  std::optional<uint64_t> first_logic_id = {};
};

class PikaMaster {
 public:
  explicit PikaMaster(PikaMasterOptions options = {});
  ~PikaMaster();

  // The client port to name in a SOURCE. (From 3.1 on nothing listens there; the ports above do.)
  int32_t port() const { return port_; }

  // Logs a command.
  void Append(const std::string& database, const std::vector<std::string_view>& args,
              std::optional<uint32_t> exec_time_s = {});
  // Logs several commands as one record, as versions before 3.0.5 log MSET.
  void AppendTogether(const std::string& database,
                      const std::vector<std::vector<std::string_view>>& commands,
                      std::optional<uint32_t> exec_time_s = {});
  // Where the database's binlog ends.
  BinlogPosition End(const std::string& database);

  // The database's dump, as bgsave leaves it, and where its binlog was then: an empty log goes on
  // there, and has nothing below.
  void SetDump(const std::string& database, const std::string& directory, BinlogPosition position);
  // The next pushes (before 3.5) end in the middle.
  void SpoilPushes(int pushes);
  // So many requests for the list are answered with "not ready", and so many for a file with
  // another dump's uuid.
  void SpoilSnapshots(int lists, int files);

  // From now on the files below `filenum` are gone.
  void Purge(const std::string& database, uint32_t filenum);
  // Closes every connection, in the middle of a frame if one is under way.
  void Disconnect();
  // Before 3.1: closes the binlog connections only, which are then dialled again.
  void Redial();
  // Closes each connection after so many more bytes were sent on it; 0: no more of that.
  void CutAfter(size_t bytes);
  // Accepts, reads, and says nothing.
  void SetSilent(bool silent);
  // Another master at the same address, without what lies behind `end`.
  void Truncate(const std::string& database, BinlogPosition end);
  // Leaves one entry out of what it sends next.
  void SkipOne();

  // What slaves did wrong, and what happened.
  std::vector<std::string> Complaints();
  int connections();
  int dumps();  // Before 3.1: how often a wish made it dump the database.
  BinlogPosition Acknowledged(const std::string& database);

 private:
  // Somebody who is told when there is more to send. All of it on the master's thread.
  class Peer {
   public:
    virtual ~Peer() = default;
    virtual void Close() = 0;
    virtual void CloseBinlog() {}
    virtual void Wake() = 0;
  };
  class PbConnection;
  class SnapshotConnection;
  class RespConnection;
  class LegacyClient;
  class LegacySlave;
  struct Entry {
    BinlogPosition end;
    std::string bytes;  // As it travels: an item, before 3.1 perhaps several, in 2.3 commands.
  };
  struct Log {
    std::vector<Entry> entries;
    BinlogPosition begin;
    BinlogPosition end;
    std::string dump_directory;
    BinlogPosition acknowledged;
    uint64_t next_logic_id = 0;
    uint32_t first_file = 0;
    int32_t next_session = 0;
  };
  struct FoundEntry {
    size_t number = 0;  // One past the last: the log ends there.
    bool exact = false;
  };

  bool pb() const { return options_.version >= "3.1"; }
  bool pushes() const { return options_.version < "3.5"; }
  bool marked() const { return options_.version < "3.0"; }
  // The entry that begins at `at`, or the next one.
  static FoundEntry EntryAt(const Log& log, BinlogPosition at);

  using Serve = void (PikaMaster::*)(asio::ip::tcp::socket);
  void Accept(asio::ip::tcp::acceptor& acceptor, Serve serve);
  void ServePb(asio::ip::tcp::socket socket);
  void ServeSnapshot(asio::ip::tcp::socket socket);
  void ServeClient(asio::ip::tcp::socket socket);
  void ServeHeartbeat(asio::ip::tcp::socket socket);
  void CountConnection();
  // Pushes the database's dump, if it has one, to a slave that declared this address.
  void Push(const std::string& database, const std::string& ip, int32_t slave_port)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Complain(const std::string& what) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const PikaMasterOptions options_;
  asio::io_context io_;
  asio::ip::tcp::acceptor acceptor_{io_};        // 2000 above the client port.
  asio::ip::tcp::acceptor other_acceptor_{io_};  // The snapshot port, or the client port itself.
  int32_t port_ = 0;

  // Its thread only.
  std::set<std::shared_ptr<Peer>> peers_;
  std::map<int64_t, std::shared_ptr<LegacySlave>> slaves_;  // By sid; some of peers_.
  int64_t next_sid_ = 1;
  std::vector<std::thread> pushers_;

  Mutex mu_;
  std::map<std::string, Log> logs_ ABSL_GUARDED_BY(mu_);
  std::vector<std::string> complaints_ ABSL_GUARDED_BY(mu_);
  int accepted_ ABSL_GUARDED_BY(mu_) = 0;
  size_t cut_after_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  bool silent_ ABSL_GUARDED_BY(mu_) = false;
  bool skip_one_ ABSL_GUARDED_BY(mu_) = false;
  int dumps_ ABSL_GUARDED_BY(mu_) = 0;
  int spoiled_lists_ ABSL_GUARDED_BY(mu_) = 0;
  int spoiled_files_ ABSL_GUARDED_BY(mu_) = 0;
  int spoiled_pushes_ ABSL_GUARDED_BY(mu_) = 0;

  std::thread thread_;
};

}  // namespace lockstep::pika

#endif  // LOCKSTEP_TESTS_SUPPORT_PIKA_MASTER_H_
