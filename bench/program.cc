#include "bench/program.h"

#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <string_view>

#include "absl/status/status.h"

#include "bench/measure.h"
#include "common/base/status_macros.h"

namespace lockstep::bench {

namespace {

std::string ReadAll(int descriptor) {
  std::string text;
  std::array<char, 4096> buffer{};
  while (true) {
    const ssize_t size = read(descriptor, buffer.data(), buffer.size());
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) return text;
    text.append(buffer.data(), static_cast<size_t>(size));
  }
}

std::string_view LastLine(std::string_view text) {
  while (!text.empty() && text.back() == '\n') text.remove_suffix(1);
  const size_t line_end = text.rfind('\n');
  return line_end == std::string_view::npos ? text : text.substr(line_end + 1);
}

struct Child {
  pid_t process = 0;
  int output = -1;
};

absl::StatusOr<Child> Start(const std::vector<std::string>& argv) {
  std::array<int, 2> ends{};
  if (pipe(ends.data()) != 0) return absl::InternalError("cannot make a pipe");
  std::vector<char*> arguments;
  for (const std::string& argument : argv) arguments.push_back(const_cast<char*>(argument.data()));
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  posix_spawn_file_actions_addclose(&actions, ends[0]);
  posix_spawn_file_actions_addclose(&actions, ends[1]);
  Child child{.process = 0, .output = ends[0]};
  const int error =
      posix_spawn(&child.process, argv[0].c_str(), &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  if (error != 0) {
    close(ends[0]);
    return absl::NotFoundError("cannot start " + argv[0] + ", error " + std::to_string(error));
  }
  return child;
}

// The exit code; of a signal, 128 and its number.
int WaitFor(const Child& child) {
  close(child.output);
  int status = 0;
  while (waitpid(child.process, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace

absl::StatusOr<double> SecondsToFirstOutput(const std::vector<std::string>& argv,
                                            double seconds_max) {
  const Stopwatch watch;
  LOCKSTEP_ASSIGN_OR_RETURN(const Child child, Start(argv));
  pollfd output{.fd = child.output, .events = POLLIN, .revents = 0};
  const int ready = poll(&output, 1, static_cast<int>(1000 * seconds_max));
  const double seconds = watch.Seconds();
  kill(child.process, SIGTERM);
  ReadAll(child.output);  // Or it would wait for a reader.
  WaitFor(child);
  if (ready == 1 && (output.revents & POLLIN) != 0) return seconds;
  return absl::DeadlineExceededError(argv[0] + " printed nothing");
}

absl::StatusOr<rapidjson::Document> RunProgram(const std::vector<std::string>& argv,
                                               const std::vector<int>& accepted) {
  LOCKSTEP_ASSIGN_OR_RETURN(const Child child, Start(argv));
  const std::string output = ReadAll(child.output);
  const int code = WaitFor(child);
  const std::string line(LastLine(output));
  if (std::find(accepted.begin(), accepted.end(), code) == accepted.end()) {
    return absl::InternalError(argv[0] + " ended with " + std::to_string(code) + ": " + line);
  }
  rapidjson::Document object;
  object.Parse(line.c_str());
  if (object.HasParseError() || !object.IsObject()) {
    return absl::InternalError(argv[0] + " did not end with a JSON object: " + line);
  }
  return object;
}

double Number(const rapidjson::Document& object, const char* name) {
  const auto member = object.FindMember(name);
  return member != object.MemberEnd() && member->value.IsNumber() ? member->value.GetDouble() : 0;
}

}  // namespace lockstep::bench
