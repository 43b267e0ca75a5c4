#include "reorder/sinks/exec_sink.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include <rapidjson/document.h>

#include "common/base/status_macros.h"
#include "common/base/utf8.h"
#include "reorder/sinks/jsonl_sink.h"

namespace lockstep {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr size_t kAnswerBytesMax = 64 * 1024;
constexpr milliseconds kLookEvery{10};

std::string Shown(std::string_view text) {
  constexpr size_t kShownMax = 100;
  const std::string_view start = text.substr(0, kShownMax);
  return IsUtf8(start) ? absl::StrCat("\"", std::string(start), "\"") : "bytes that are no text";
}

}  // namespace

absl::StatusOr<std::unique_ptr<ExecSink>> ExecSink::Start(ExecSinkOptions options) {
  std::array<int, 2> input{};
  std::array<int, 2> output{};
  if (pipe2(input.data(), O_CLOEXEC) != 0) return absl::InternalError("no pipe for a command");
  if (pipe2(output.data(), O_CLOEXEC) != 0) {
    close(input[0]);
    close(input[1]);
    return absl::InternalError("no pipe for a command");
  }
  const std::string stream = ToString(options.stream);
  const pid_t parent = getpid();
  // Before the fork: behind it nothing may allocate.
  // (LOCKSTEP_STREAM is a flag's form in the environment.)
  std::vector<std::string> environment = {"LOCKSTEP_SINK_STREAM=" + stream};
  for (char** variable = environ; *variable != nullptr; ++variable) {
    environment.emplace_back(*variable);
  }
  std::vector<char*> env;
  for (std::string& variable : environment) env.push_back(variable.data());
  env.push_back(nullptr);
  std::array<const char*, 4> argv = {"/bin/sh", "-c", options.command.c_str(), nullptr};
  const pid_t pid = fork();
  if (pid == 0) {
    setpgid(0, 0);  // A terminal's Ctrl-C is the gate's to obey; it then closes our input.
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
    dup2(input[0], STDIN_FILENO);
    dup2(output[1], STDOUT_FILENO);
    std::signal(SIGPIPE, SIG_DFL);  // NOLINT(cert-err33-c)
    execve(argv[0], const_cast<char* const*>(argv.data()), env.data());
    _exit(127);
  }
  close(input[0]);
  close(output[1]);
  if (pid < 0) {
    close(input[1]);
    close(output[0]);
    return absl::InternalError("cannot start a process for a command");
  }
  fcntl(input[1], F_SETFL, O_NONBLOCK);
  fcntl(output[0], F_SETFL, O_NONBLOCK);
  return std::unique_ptr<ExecSink>(new ExecSink(std::move(options), pid, input[1], output[0]));
}

ExecSink::ExecSink(ExecSinkOptions options, pid_t pid, int in, int out)
    : options_(std::move(options)),
      stream_text_(ToString(options_.stream)),
      pid_(pid),
      in_(in),
      out_(out) {}

ExecSink::~ExecSink() {
  close(in_);
  Reap();
  close(out_);
}

// Waits for the command's end, or makes it. What it still answers counts.
int ExecSink::Reap() {
  int status = 0;
  if (pid_ == 0) return status;
  const Clock::time_point deadline = Clock::now() + options_.end_max;
  while (waitpid(pid_, &status, WNOHANG) == 0) {
    const bool silent = ReadRest() == 0;  // It may wait for room.
    if (Clock::now() >= deadline) kill(-pid_, SIGKILL);
    if (silent) std::this_thread::sleep_for(kLookEvery);
  }
  pid_ = 0;
  ReadRest();  // Its last words.
  return status;
}

absl::Status ExecSink::Write(std::span<const ReadyRecord> records) {
  LOCKSTEP_RETURN_IF_ERROR(broken_);
  if (records.empty()) return absl::OkStatus();
  AppendRecordLines(records, stream_text_, writer_, headers_, lines_);
  for (const ReadyRecord& record : records) unanswered_.push_back(record.position);
  sent_ = records.back().position;
  return broken_ = Pump(/*and_answered=*/false);
}

absl::Status ExecSink::Sync() {
  LOCKSTEP_RETURN_IF_ERROR(broken_);
  return broken_ = Pump(/*and_answered=*/true);
}

absl::Status ExecSink::Pump(bool and_answered) {
  const auto waits = [&] { return !lines_.empty() || (and_answered && !unanswered_.empty()); };
  Clock::time_point moved_at = Clock::now();
  while (waits()) {
    std::array<pollfd, 2> wait = {pollfd{out_, POLLIN, 0}, pollfd{in_, POLLOUT, 0}};
    const int count = poll(wait.data(), lines_.empty() ? 1 : 2, 100);
    if (count < 0 && errno != EINTR) return absl::InternalError("poll failed");
    if (count > 0) {
      moved_at = Clock::now();
      if (wait[0].revents != 0) LOCKSTEP_RETURN_IF_ERROR(ReadSome());
      if (wait[1].revents != 0) LOCKSTEP_RETURN_IF_ERROR(WriteSome());
    }
    if (waits()) LOCKSTEP_RETURN_IF_ERROR(CheckPatience(moved_at));
  }
  return absl::OkStatus();
}

// A stop is looked for each time round: a command that is slow and answers each record never lets
// us wait for long.
absl::Status ExecSink::CheckPatience(Clock::time_point moved_at) {
  const Clock::time_point now = Clock::now();
  if (now - moved_at >= options_.answer_max) {
    return absl::DeadlineExceededError(
        absl::StrCat("exec:", options_.command, ": no answer for ",
                     std::chrono::duration_cast<std::chrono::seconds>(options_.answer_max).count(),
                     " s; ", SoFar()));
  }
  if (host_ == nullptr) return absl::OkStatus();
  if (now - moved_at >= kLookEvery) {
    host_->Waits(absl::StrCat("the answer of exec:", options_.command), moved_at);
  }
  const auto stop_by = host_->StopBy();
  if (!stop_by.has_value() || now < *stop_by) return absl::OkStatus();
  ReadRest();
  LOCKSTEP_RETURN_IF_ERROR(nonsense_);
  return absl::CancelledError(
      absl::StrCat("exec:", options_.command, ": stopped before it had answered; ", SoFar()));
}

absl::Status ExecSink::WriteSome() {
  const ssize_t count = write(in_, lines_.data() + written_, lines_.size() - written_);
  if (count < 0) return errno == EAGAIN || errno == EINTR ? absl::OkStatus() : Ended();
  written_ += static_cast<size_t>(count);
  if (written_ < lines_.size()) return absl::OkStatus();
  lines_.clear();
  written_ = 0;
  return absl::OkStatus();
}

absl::Status ExecSink::ReadSome() {
  std::array<char, 16 * 1024> bytes{};
  const ssize_t count = read(out_, bytes.data(), bytes.size());
  if (count < 0) return errno == EAGAIN || errno == EINTR ? absl::OkStatus() : Ended();
  if (count == 0) return Ended();
  return TakeAnswers(std::string_view(bytes.data(), static_cast<size_t>(count)));
}

// No more than the pipe can hold: a command may write without end.
ssize_t ExecSink::ReadRest() {
  const ssize_t max = fcntl(out_, F_GETPIPE_SZ);
  std::array<char, 16 * 1024> bytes{};
  ssize_t total = 0;
  while (total < max) {
    const ssize_t count = read(out_, bytes.data(), bytes.size());
    if (count <= 0) break;
    total += count;
    TakeAnswers(std::string_view(bytes.data(), static_cast<size_t>(count))).IgnoreError();
  }
  return total;
}

absl::Status ExecSink::TakeAnswers(std::string_view bytes) {
  LOCKSTEP_RETURN_IF_ERROR(nonsense_);
  answers_.append(bytes);
  size_t begin = 0;
  for (size_t end = 0; (end = answers_.find('\n', begin)) != std::string::npos; begin = end + 1) {
    nonsense_ = TakeAnswer(std::string_view(answers_).substr(begin, end - begin));
    LOCKSTEP_RETURN_IF_ERROR(nonsense_);
  }
  answers_.erase(0, begin);
  if (answers_.size() <= kAnswerBytesMax) return absl::OkStatus();
  return nonsense_ = absl::InvalidArgumentError(absl::StrCat(
             "exec:", options_.command, ": an answer without an end: ", Shown(answers_)));
}

absl::Status ExecSink::TakeAnswer(std::string_view line) {
  const auto bad = [&](const std::string& what) {
    return absl::InvalidArgumentError(absl::StrCat(
        "exec:", options_.command, ": the answer ", Shown(line), " ", what, R"(; want {"stream":")",
        stream_text_, R"(","done":"EPOCH:OFFSET"} of a record that it got)"));
  };
  rapidjson::Document json;
  json.Parse(line.data(), line.size());
  if (json.HasParseError() || !json.IsObject()) return bad("is no JSON object");
  const auto stream = json.FindMember("stream");
  if (stream != json.MemberEnd() &&
      (!stream->value.IsString() || stream->value.GetString() != stream_text_)) {
    return bad("is another stream's");
  }
  const auto done = json.FindMember("done");
  if (done == json.MemberEnd() || !done->value.IsString()) return bad("says nothing of `done`");
  const auto position = ParsePosition(done->value.GetString());
  if (!position.ok()) return bad("has no position");
  if (done_ == *position) return absl::OkStatus();
  const auto found = std::find(unanswered_.begin(), unanswered_.end(), *position);
  if (found == unanswered_.end()) {
    return bad(done_ && *position < *done_ ? "goes back behind " + ToString(*done_)
                                           : "is of a record that was not sent");
  }
  unanswered_.erase(unanswered_.begin(), found + 1);
  done_ = *position;
  return absl::OkStatus();
}

absl::Status ExecSink::Ended() {
  // One that only closed its input or its output is given some time to end, and then killed.
  const int status = Reap();
  LOCKSTEP_RETURN_IF_ERROR(nonsense_);
  const std::string how = WIFSIGNALED(status)
                              ? absl::StrCat("was ended by signal ", WTERMSIG(status))
                              : absl::StrCat("ended with ", WEXITSTATUS(status));
  return absl::UnavailableError(
      absl::StrCat("exec:", options_.command, ": the command ", how, "; ", SoFar()));
}

std::string ExecSink::SoFar() const {
  return absl::StrCat(sent_ ? ToString(*sent_) : "nothing", " was sent, ",
                      done_ ? ToString(*done_) : "nothing", " is done");
}

}  // namespace lockstep
