// lockstep-pika-master: a Pika that keeps its binlog and no data, as a program, for the drill and
// for tests of whole pipelines.
//
// It is tests/support/pika_master.h with a client port: a client writes commands there, each is
// logged as it is and answered with +OK. SELECT N changes to dbN. LOCKSTEP.END answers where the
// database's binlog ends, LOCKSTEP.FOLLOWS whether its master is there. As a --replica-of another
// one it follows that one's binlog as a real slave does, over the replication protocol and whenever
// it gets there: it numbers its entries itself, and what it has not read when its master dies is
// lost.
//
// Prints one line of JSON when it answers. Ends with SIGTERM: exit 1 if its slaves broke a master's
// rules, which it then names.
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include <CLI/CLI.hpp>
#include <rapidjson/document.h>

#include "producer/pika/dump_reader.h"
#include "producer/pika/pika_link.h"
#include "producer/pika/resp_command.h"
#include "tests/support/pika_master.h"

#include <asio/buffer.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/write.hpp>

namespace lockstep::pika {
namespace {

using asio::ip::tcp;
using std::chrono::milliseconds;

[[noreturn]] void Die(const std::string& what) {
  std::fprintf(stderr, "lockstep-pika-master: %s\n", what.c_str());
  std::_Exit(2);
}

uint32_t NowSeconds() { return static_cast<uint32_t>(std::time(nullptr)); }

std::string ReadWhole(const std::string& path) {
  std::ifstream in(path);
  if (!in) Die("cannot read " + path);
  return {std::istreambuf_iterator<char>(in), {}};
}

// DB=PATH
std::pair<std::string, std::string> SplitPair(const std::string& text) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos) Die(text + ": want DB=PATH");
  return {text.substr(0, equals), text.substr(equals + 1)};
}

void LoadDump(PikaMaster& master, const std::string& database, const std::string& directory) {
  const auto position = ParseDumpInfo(ReadWhole(directory + "/info"));
  if (!position.ok()) Die(std::string(position.status().message()));
  master.SetDump(database, directory, *position);
}

// Logs what a recording expects of a master: a JSON line an entry, with `db`, `exec_time` and
// `args_b64`.
void LoadEntries(PikaMaster& master, const std::string& path) {
  std::ifstream in(path);
  if (!in) Die("cannot read " + path);
  for (std::string line; std::getline(in, line);) {
    rapidjson::Document json;
    json.Parse(line.c_str());
    if (json.HasParseError()) Die(path + ": not JSON: " + line);
    std::vector<std::string> decoded;
    for (const auto& arg : json["args_b64"].GetArray()) {
      decoded.emplace_back();
      if (!absl::Base64Unescape(arg.GetString(), &decoded.back())) Die(path + ": not base64");
    }
    master.Append(json["db"].GetString(), {decoded.begin(), decoded.end()},
                  json["exec_time"].GetUint());
  }
}

std::atomic<bool> follows{false};

// Follows another master's binlog, for ever.
[[noreturn]] void Follow(PikaMaster& master, const std::string& database, const std::string& host,
                         int32_t port, milliseconds lag) {
  std::vector<ReceivedItem> items;
  std::vector<std::string_view> args;
  for (;;) {
    SlaveOptions slave;
    slave.database = database;
    slave.position = master.End(database);
    const std::unique_ptr<PikaLink> link =
        PikaLink::Open(Protocol::kPb, host, port, std::move(slave));
    for (absl::Status status; status.ok();) {
      items.clear();
      follows = !link->failed();
      status = link->Take(1000, milliseconds(100), items);
      if (items.empty()) continue;
      std::this_thread::sleep_for(lag);
      if (lag.count() > 0 && link->failed()) break;  // It had not arrived.
      for (const ReceivedItem& item : items) {
        const auto parsed = ParseBinlogItem(item.bytes);
        if (!parsed.ok() || !ParseRespCommand(parsed->content, args).ok()) Die("not an entry");
        master.Append(database, args, NowSeconds());
        if (master.End(database) != item.end) Die("a replica lies where its master does");
      }
    }
    follows = false;
    std::this_thread::sleep_for(milliseconds(50));
  }
}

std::string Execute(PikaMaster& master, const std::vector<std::string>& databases,
                    const std::vector<std::string_view>& args, size_t& selected) {
  const std::string name = absl::AsciiStrToUpper(std::string(args[0]));
  if (name == "PING") return "+PONG\r\n";
  if (name == "SELECT") {
    const size_t number = args.size() == 2 ? std::strtoul(std::string(args[1]).c_str(), nullptr, 10)
                                           : databases.size();
    if (number >= databases.size()) return "-ERR invalid DB index\r\n";
    selected = number;
    return "+OK\r\n";
  }
  if (name == "LOCKSTEP.END") {
    return absl::StrCat("+", ToString(master.End(databases[selected])), "\r\n");
  }
  if (name == "LOCKSTEP.FOLLOWS") return follows ? ":1\r\n" : ":0\r\n";
  master.Append(databases[selected], args, NowSeconds());
  return "+OK\r\n";
}

void ServeClient(PikaMaster& master, const std::vector<std::string>& databases,
                 tcp::socket socket) {
  std::string bytes;
  std::vector<char> chunk(64 * 1024);
  std::vector<std::string_view> args;
  size_t selected = 0;
  for (;;) {
    asio::error_code error;
    const size_t count = socket.read_some(asio::buffer(chunk), error);
    if (error) return;
    bytes.append(chunk.data(), count);
    size_t done = 0;
    std::string answers;
    for (;;) {
      const std::string_view rest = std::string_view(bytes).substr(done);
      const auto length = FindRespCommand(rest);
      if (!length.ok()) return;
      if (!*length) break;
      if (!ParseRespCommand(rest.substr(0, **length), args).ok()) return;
      answers += Execute(master, databases, args, selected);
      done += **length;
    }
    bytes.erase(0, done);
    asio::write(socket, asio::buffer(answers), error);
    if (error) return;
  }
}

bool Bind(tcp::acceptor& acceptor, int32_t port) {
  asio::error_code error;
  acceptor.open(tcp::v4());
  acceptor.bind({asio::ip::address_v4::loopback(), static_cast<uint16_t>(port)}, error);
  if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (error) acceptor.close();
  return !error;
}

struct Options {
  PikaMasterOptions master;
  std::vector<std::string> dumps;
  std::string load;
  std::string replica_of;
  int64_t lag_ms = 0;
};

Options ParseOptions(int argc, char** argv) {
  Options options;
  CLI::App app{
      "A Pika that keeps its binlog and no data, for the drill and for tests.\n\n"
      "Prints {\"port\":CLIENT_PORT}; ends with SIGTERM.",
      "lockstep-pika-master"};
  app.set_version_flag("--version", LOCKSTEP_VERSION);
  app.add_option("--database", options.master.databases, "db0, … (repeatable)");
  app.add_option("--pika", options.master.version, "Which version to be: 3.5 and later, or 3.0")
      ->capture_default_str();
  app.add_option("--binlog-file-size", options.master.binlog_file_bytes)->capture_default_str();
  app.add_option("--replication-id", options.master.replication_id)->capture_default_str();
  app.add_option("--dump", options.dumps, "DB=DIR: what a full copy gives (repeatable)");
  app.add_option("--load", options.load, "A recording's expected.jsonl, to be the binlog");
  app.add_option("--replica-of", options.replica_of, "HOST:PORT of the master's clients");
  app.add_option("--lag-ms", options.lag_ms,
                 "How late a replica is; what is younger is lost with its master")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    std::exit(app.exit(error) == 0 ? 0 : 2);
  }
  return options;
}

int Main(int argc, char** argv) {
  const Options options = ParseOptions(argc, argv);
  sigset_t termination;
  sigemptyset(&termination);
  sigaddset(&termination, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &termination, nullptr);  // Of all threads; this one waits for it.
  // From 3.1 on the client port is free for us, if nobody else has it.
  const bool has_clients = options.master.version >= "3.1";
  asio::io_context io;
  tcp::acceptor acceptor(io);
  std::unique_ptr<PikaMaster> owned;
  for (bool bound = false; !bound;) {
    owned = std::make_unique<PikaMaster>(options.master);
    bound = !has_clients || Bind(acceptor, owned->port());
  }
  PikaMaster& master = *owned;
  for (const std::string& dump : options.dumps) {
    const auto [database, directory] = SplitPair(dump);
    LoadDump(master, database, directory);
  }
  if (!options.load.empty()) LoadEntries(master, options.load);
  if (has_clients) {
    std::thread([&] {
      for (;;) {
        tcp::socket socket = acceptor.accept();
        std::thread([&master, &options, socket = std::move(socket)]() mutable {
          ServeClient(master, options.master.databases, std::move(socket));
        }).detach();
      }
    }).detach();
  }
  if (!options.replica_of.empty()) {
    const size_t colon = options.replica_of.rfind(':');
    if (colon == std::string::npos) Die("--replica-of: want HOST:PORT");
    for (const std::string& database : options.master.databases) {
      std::thread([&, colon, database] {
        Follow(master, database, options.replica_of.substr(0, colon),
               std::atoi(options.replica_of.c_str() + colon + 1), milliseconds(options.lag_ms));
      }).detach();
    }
  }
  std::cout << "{\"port\":" << master.port() << "}" << std::endl;
  int signal = 0;
  sigwait(&termination, &signal);
  const std::vector<std::string> complaints = master.Complaints();
  for (const std::string& complaint : complaints) {
    std::fprintf(stderr, "lockstep-pika-master: a slave's fault: %s\n", complaint.c_str());
  }
  std::_Exit(complaints.empty() ? 0 : 1);  // Its threads never end.
}

}  // namespace
}  // namespace lockstep::pika

int main(int argc, char** argv) { return lockstep::pika::Main(argc, argv); }
