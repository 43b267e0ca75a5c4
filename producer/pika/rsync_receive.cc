#include "producer/pika/rsync_receive.h"

#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "common/base/status_macros.h"
#include "common/io/file_system.h"

#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/ip/udp.hpp>

namespace lockstep::pika {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

// Beside the dump's directory.
constexpr char kIncoming[] = ".incoming";
constexpr char kDaemon[] = ".rsync";

constexpr int32_t kPbOffset = 1000;  // Of the daemon's port above the declared one.
constexpr int32_t kLegacyOffset = 3000;
constexpr std::chrono::milliseconds kMeasureEvery{1'000};
constexpr int kTries = 20;

// How the master and we see each other.
struct Addresses {
  asio::ip::address master;
  asio::ip::address self;
};

absl::StatusOr<Addresses> FindAddresses(const std::string& host, int32_t port) {
  asio::io_context io;
  asio::error_code error;
  asio::ip::udp::resolver resolver(io);
  const auto found = resolver.resolve(host, std::to_string(port), error);
  for (const auto& entry : found) {
    // A datagram socket that is connected has sent nothing, and knows where it would send from.
    asio::ip::udp::socket socket(io);
    socket.connect(entry.endpoint(), error);
    if (error) continue;
    const auto self = socket.local_endpoint(error).address();
    if (!error) return Addresses{entry.endpoint().address(), self};
  }
  return absl::UnavailableError("the host is not found: " + error.message());
}

// rsync goes on without what it cannot write, and the master pushes again for ever.
bool SaysDiskIsFull(const std::string& log) {
  for (const int error : {ENOSPC, EDQUOT, EFBIG}) {
    if (absl::StrContains(log, std::generic_category().message(error))) return true;
  }
  return false;
}

// One that nobody listens at, though somebody may before we do.
int32_t FreePort(const asio::ip::address& at) {
  asio::io_context io;
  asio::error_code error;
  asio::ip::tcp::acceptor acceptor(io);
  acceptor.open(asio::ip::tcp::endpoint(at, 0).protocol(), error);
  acceptor.bind({at, 0}, error);
  return error ? 0 : acceptor.local_endpoint(error).port();
}

}  // namespace

RsyncReceive::RsyncReceive(RsyncReceiveOptions options)
    : options_(std::move(options)), measured_at_(Clock::now()), grown_at_(Clock::now()) {}

absl::StatusOr<std::unique_ptr<RsyncReceive>> RsyncReceive::Begin(RsyncReceiveOptions options) {
  std::unique_ptr<RsyncReceive> receive(new RsyncReceive(std::move(options)));
  LOCKSTEP_RETURN_IF_ERROR(receive->StartDaemon());
  return receive;
}

void RsyncReceive::RemoveRemains(const std::string& directory) {
  std::error_code ignored;
  fs::remove_all(directory + kIncoming, ignored);
  fs::remove_all(directory + kDaemon, ignored);
}

std::string RsyncReceive::Incoming() const { return options_.directory + kIncoming; }
std::string RsyncReceive::IncomingDump() const { return Incoming() + "/" + options_.database; }

absl::Status RsyncReceive::StartDaemon() {
  const bool legacy = options_.protocol == Protocol::kLegacy;
  std::error_code error;
  fs::remove_all(Incoming(), error);
  // rsync makes only the last directory of a path.
  for (const char* type : {"strings", "hashes", "lists", "sets", "zsets"}) {
    fs::create_directories(IncomingDump() + "/" + type, error);
    if (error) {
      return absl::InternalError("cannot make the directory " + IncomingDump() + ": " +
                                 error.message());
    }
  }
  LOCKSTEP_ASSIGN_OR_RETURN(const Addresses addresses, FindAddresses(options_.host, options_.port));
  RsyncDaemonOptions daemon;
  daemon.directory = options_.directory + kDaemon;
  daemon.address = addresses.self.to_string();
  daemon.from = addresses.master.to_string();
  if (legacy) {
    daemon.module = absl::StrCat("document_", daemon.from, ":", options_.port);
    daemon.path = IncomingDump();
  } else {
    daemon.module = "document";
    daemon.path = Incoming();
    daemon.user = "rsync_user";
    daemon.password = options_.password.empty() ? "default" : options_.password;
  }
  const int32_t offset = legacy ? kLegacyOffset : kPbOffset;
  const int32_t fixed = options_.slave_port;
  absl::Status status;
  for (int i = 0; i < (fixed == 0 ? kTries : 1); ++i) {
    daemon.port = fixed == 0 ? FreePort(addresses.self) : fixed + offset;
    options_.slave_port = daemon.port - offset;
    if (options_.slave_port <= 0) continue;
    auto started = RsyncDaemon::Start(daemon);
    status = started.status();
    if (started.ok()) {
      daemon_ = *std::move(started);
      daemon_port_ = daemon.port;
      return absl::OkStatus();
    }
    if (!absl::IsUnavailable(status)) break;
  }
  return status;
}

bool RsyncReceive::done() {
  if (done_) return true;
  std::error_code ignored;
  if (fs::exists(IncomingDump() + "/info", ignored)) {
    status_ = Finish();
    done_ = true;
  } else if (!daemon_->running()) {
    status_ = absl::UnavailableError("rsync has ended: " + daemon_->LogTail());
    done_ = true;
  } else if (Clock::now() - measured_at_ >= kMeasureEvery) {
    Measure();
    if (const std::string said = daemon_->LogTail(); SaysDiskIsFull(said)) {
      status_ = absl::ResourceExhaustedError("there is no room for the copy in " +
                                             options_.directory + ", rsync says: " + said);
      return done_ = true;
    }
    const auto idle_max = options_.idle_max * (received_bytes_ == 0 ? kFirstByteFactor : 1);
    if (Clock::now() - grown_at_ >= idle_max) {
      status_ = absl::UnavailableError(absl::StrCat(
          "the master has pushed nothing for ",
          std::chrono::duration_cast<std::chrono::seconds>(idle_max).count(),
          " s; can it reach port ", daemon_port_, " here? rsync says: ", daemon_->LogTail()));
      done_ = true;
    }
  }
  return done_;
}

void RsyncReceive::Measure() {
  uint64_t bytes = 0;
  std::error_code error;  // Files come and go meanwhile.
  for (auto it = fs::recursive_directory_iterator(Incoming(), error);
       !error && it != fs::recursive_directory_iterator(); it.increment(error)) {
    std::error_code gone;
    const uint64_t size = it->is_regular_file(gone) ? it->file_size(gone) : 0;
    if (!gone) bytes += size;
  }
  measured_at_ = Clock::now();
  if (bytes != received_bytes_) grown_at_ = measured_at_;
  received_bytes_ = bytes;
}

absl::Status RsyncReceive::Finish() {
  daemon_.reset();  // `info` comes last: nobody writes any more.
  Measure();
  std::error_code error;
  for (auto it = fs::recursive_directory_iterator(IncomingDump(), error);
       !error && it != fs::recursive_directory_iterator(); it.increment(error)) {
    const fs::path& path = it->path();
    std::error_code gone;
    if (it->is_symlink(gone) || (!it->is_regular_file(gone) && !it->is_directory(gone))) {
      return absl::DataLossError("the dump has something that is no file: " + path.string());
    }
    LOCKSTEP_RETURN_IF_ERROR(it->is_directory(gone) ? RealFileSystem().SyncDirectory(path / ".")
                                                    : RealFileSystem().SyncFile(path));
  }
  if (error) {
    return absl::InternalError("cannot read the directory " + IncomingDump() + ": " +
                               error.message());
  }
  LOCKSTEP_RETURN_IF_ERROR(RealFileSystem().SyncDirectory(IncomingDump() + "/info"));
  fs::remove_all(options_.directory, error);
  LOCKSTEP_RETURN_IF_ERROR(RealFileSystem().Rename(IncomingDump(), options_.directory));
  LOCKSTEP_RETURN_IF_ERROR(RealFileSystem().SyncDirectory(options_.directory));
  fs::remove_all(Incoming(), error);
  return absl::OkStatus();
}

}  // namespace lockstep::pika
