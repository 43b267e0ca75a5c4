#include "producer/pika/snapshot_fetch.h"

#include <array>
#include <chrono>
#include <filesystem>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"

#include "common/base/status_macros.h"
#include "common/io/file_system.h"
#include "common/log/log.h"

#include <asio/buffer.hpp>
#include <asio/connect.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/write.hpp>

namespace lockstep::pika {
namespace {

namespace fs = std::filesystem;
using asio::ip::tcp;
using std::chrono::milliseconds;

constexpr milliseconds kConnectTimeout{5'000};
constexpr milliseconds kTickEvery{200};
constexpr milliseconds kRateWait{20};
constexpr milliseconds kRepeatAfter{1'000};
constexpr milliseconds kLogEvery{10'000};

int64_t NowMs() {
  return std::chrono::duration_cast<milliseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace

SnapshotFetch::SnapshotFetch(std::string host, int32_t port, std::string database,
                             std::string directory, uint64_t rate)
    : host_(std::move(host)),
      port_(port + kSnapshotPortOffset),
      database_(std::move(database)),
      directory_(std::move(directory)),
      rate_(rate),
      thread_([this] { Run(); }) {}

SnapshotFetch::~SnapshotFetch() {
  stop_ = true;
  thread_.join();
}

absl::Status SnapshotFetch::status() {
  MutexLock lock(mu_);
  return status_;
}

void SnapshotFetch::Run() {
  int64_t logged_at_ms = 0;
  absl::Status status = Attempt();
  while (!stop_ && (absl::IsUnavailable(status) || absl::IsAborted(status))) {
    if (NowMs() - logged_at_ms >= kLogEvery.count()) {
      logged_at_ms = NowMs();
      Log(LogLevel::kWarn, "snapshot_repeated", {{"db", database_}, {"why", status}});
    }
    std::this_thread::sleep_for(kRepeatAfter);
    status = Attempt();
  }
  {
    MutexLock lock(mu_);
    status_ = std::move(status);
  }
  done_ = true;
}

absl::Status SnapshotFetch::Attempt() {
  received_bytes_ = 0;
  std::error_code error;
  fs::remove_all(directory_, error);
  fs::create_directories(directory_, error);
  if (error) {
    return absl::InternalError("cannot make the directory " + directory_ + ": " + error.message());
  }
  SnapshotSession session(database_, NowMs());
  LOCKSTEP_RETURN_IF_ERROR(Converse(session, [](const SnapshotSession& s) {
    return s.stage() == SnapshotSession::Stage::kDone;
  }));
  LOCKSTEP_RETURN_IF_ERROR(SyncFiles(session));
  // A master that replaces its dump may hand out new files under the old name for a moment: what a
  // second look finds unchanged was whole.
  SnapshotSession again(database_, NowMs());
  LOCKSTEP_RETURN_IF_ERROR(Converse(
      again, [](const SnapshotSession& s) { return s.stage() == SnapshotSession::Stage::kFiles; }));
  if (again.uuid() != session.uuid() || again.files() != session.files()) {
    return absl::AbortedError("the master has made another dump meanwhile");
  }
  return absl::OkStatus();
}

absl::Status SnapshotFetch::Converse(SnapshotSession& session,
                                     const std::function<bool(const SnapshotSession&)>& enough) {
  asio::io_context io;
  tcp::resolver resolver(io);
  tcp::socket socket(io);
  asio::error_code error;
  const auto endpoints = resolver.resolve(host_, std::to_string(port_), error);
  const std::string port = absl::StrCat("the snapshot port ", host_, ":", port_);
  if (error) return absl::UnavailableError(port + ": the host is not found: " + error.message());
  error = asio::error::would_block;
  asio::async_connect(socket, endpoints,
                      [&](asio::error_code result, const tcp::endpoint&) { error = result; });
  io.run_for(kConnectTimeout);
  if (error) {
    return absl::UnavailableError(
        "cannot connect to " + port + ": " +
        (error == asio::error::would_block ? "no answer" : error.message()));
  }
  std::vector<char> buffer(size_t{1} << 20);
  size_t got = 0;
  bool reading = false;
  const int64_t begun_at_ms = NowMs();
  for (;;) {
    // What was received so far takes its time; the next piece is asked for when that is over.
    while (!stop_ && rate_ > 0 &&
           static_cast<double>(NowMs() - begun_at_ms) / 1000.0 * static_cast<double>(rate_) <
               static_cast<double>(session.received_bytes())) {
      std::this_thread::sleep_for(kRateWait);
    }
    const std::string output = session.TakeOutput();
    if (!output.empty()) asio::write(socket, asio::buffer(output), error);
    LOCKSTEP_RETURN_IF_ERROR(WritePieces(session));
    if (!session.status().ok()) return Annotate(session.status(), port);
    if (enough(session)) return absl::OkStatus();
    if (stop_) return absl::CancelledError("stopped");
    if (error) return absl::UnavailableError(port + ": the connection broke: " + error.message());
    if (!std::exchange(reading, true)) {
      socket.async_read_some(asio::buffer(buffer), [&](asio::error_code result, size_t bytes) {
        reading = false;
        error = result;
        got = bytes;
      });
    }
    io.restart();
    io.run_one_for(kTickEvery);
    if (got > 0) session.OnBytes({buffer.data(), std::exchange(got, 0)}, NowMs());
    session.OnTick(NowMs());
  }
}

absl::Status SnapshotFetch::WritePieces(SnapshotSession& session) {
  for (const SnapshotSession::Piece& piece : session.TakePieces()) {
    const fs::path path = fs::path(directory_) / piece.file;
    if (piece.offset == 0) {
      std::error_code error;
      fs::create_directories(path.parent_path(), error);
      LOCKSTEP_RETURN_IF_ERROR(RealFileSystem().Write(path, piece.data));
    } else {
      LOCKSTEP_RETURN_IF_ERROR(RealFileSystem().Append(path, piece.data));
    }
    received_bytes_ += piece.data.size();
  }
  return absl::OkStatus();
}

absl::Status SnapshotFetch::SyncFiles(const SnapshotSession& session) {
  std::set<fs::path> directories;
  for (const std::string& file : session.files()) {
    const fs::path path = fs::path(directory_) / file;
    LOCKSTEP_RETURN_IF_ERROR(RealFileSystem().SyncFile(path));
    if (directories.insert(path.parent_path()).second) {
      LOCKSTEP_RETURN_IF_ERROR(RealFileSystem().SyncDirectory(path));
    }
  }
  return absl::OkStatus();
}

}  // namespace lockstep::pika
