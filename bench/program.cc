#include "bench/program.h"

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>

#include "absl/status/status.h"

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

}  // namespace

absl::StatusOr<rapidjson::Document> RunProgram(const std::vector<std::string>& argv,
                                               const std::vector<int>& accepted) {
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
  pid_t child = 0;
  const int error =
      posix_spawn(&child, argv[0].c_str(), &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  if (error != 0) {
    close(ends[0]);
    return absl::NotFoundError("cannot start " + argv[0] + ", error " + std::to_string(error));
  }
  const std::string output = ReadAll(ends[0]);
  close(ends[0]);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  const int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
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
