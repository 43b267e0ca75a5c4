// A consumer in C++: the gate runs in this very process and calls Take for every record of a
// stream.
//
//   callback_gate BROKERS LEDGER TOPIC/PARTITION GROUP FILE [recover]
//
// The outside is a file, a line `EPOCH:OFFSET VALUE` a record. It can be asked what it has (its
// last line), and only the process that holds its lock writes to it: after a crash, or at the other
// site with the same file, it is started again with the same arguments and nobody is asked
// anything.
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <fstream>
#include <string>

#include "reorder/callback.h"

static_assert(lockstep::kCallbackVersion == 1, "written for version 1 of reorder/callback.h");

namespace {

class Outbox final : public lockstep::Outside {
 public:
  // False: it cannot be opened, or another process holds it.
  bool Open(const std::string& path) {
    fd_ = open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    return fd_ >= 0 && flock(fd_, LOCK_EX | LOCK_NB) == 0 && FindLast(path);
  }

  lockstep::SinkKind kind() const override { return lockstep::SinkKind::kQueryableFencing; }
  absl::StatusOr<std::optional<lockstep::Position>> Last() override { return last_; }

  absl::Status Take(const lockstep::EmittedRecordView& record) override {
    lines_ += lockstep::ToString(lockstep::Position{record.epoch, record.offset});
    lines_ += ' ';
    lines_ += record.value.value_or("");  // One line, please: this is an example.
    lines_ += '\n';
    return absl::OkStatus();
  }

  // Once this returns OK the records are there for good.
  absl::Status Sync() override {
    const ssize_t written = write(fd_, lines_.data(), lines_.size());
    if (written != static_cast<ssize_t>(lines_.size()) || fsync(fd_) != 0) {
      return absl::ResourceExhaustedError("the outbox cannot be written; start again when it can");
    }
    lines_.clear();
    return absl::OkStatus();
  }

 private:
  // What a crash left of a last line is cut off; the line before it is what the outside has.
  bool FindLast(const std::string& path) {
    std::ifstream file(path);
    off_t whole = 0;
    for (std::string line; std::getline(file, line) && !file.eof();) {
      whole += static_cast<off_t>(line.size()) + 1;
      const auto position = lockstep::ParsePosition(line.substr(0, line.find(' ')));
      if (!position.ok()) return false;  // Somebody else's file.
      last_ = *position;
    }
    return ftruncate(fd_, whole) == 0 && fsync(fd_) == 0;
  }

  int fd_ = -1;
  std::optional<lockstep::Position> last_;
  std::string lines_;  // Taken, not yet written.
};

// NOLINTNEXTLINE(cppcoreguidelines-avoid-non-const-global-variables): for the signal handler.
lockstep::CallbackGate* running = nullptr;

}  // namespace

int main(int argc, char** argv) {
  if (argc < 6) {
    std::fprintf(stderr, "usage: %s BROKERS LEDGER TOPIC/PARTITION GROUP FILE [recover]\n",
                 argv[0]);
    return 2;
  }
  const auto stream = lockstep::ParseStreamName(argv[3]);
  Outbox outbox;
  if (!stream.ok() || !outbox.Open(argv[5])) {
    std::fprintf(stderr, "%s: no stream, or %s is another's\n", argv[3], argv[5]);
    return 2;
  }
  lockstep::CallbackOptions options;
  options.brokers = argv[1];
  options.ledger = argv[2];
  options.stream = *stream;
  options.group = argv[4];
  if (argc > 6) options.mode = lockstep::ReorderMode::kRecover;

  lockstep::CallbackGate gate(options, outbox);
  running = &gate;
  std::signal(SIGTERM, [](int) { running->Stop(); });
  const lockstep::StreamResult result = gate.Run();
  if (!result.why.ok()) std::fprintf(stderr, "%s\n", result.why.ToString().c_str());
  std::printf("%lld records taken\n", static_cast<long long>(result.emitted));
  return lockstep::ToInt(result.exit_code);
}
