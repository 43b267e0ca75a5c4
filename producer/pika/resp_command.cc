#include "producer/pika/resp_command.h"

#include <cstdint>

#include "absl/strings/str_cat.h"

#include "common/base/status_macros.h"

namespace lockstep::pika {
namespace {

constexpr uint64_t kNumberMax = uint64_t{1} << 32;

absl::Status Bad(size_t byte, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat("command byte ", byte, ": ", what));
}

// Reads `<mark><digits>\r\n` at `at` and steps behind it.
absl::Status ReadNumber(std::string_view content, char mark, size_t& at, uint64_t& number) {
  if (at >= content.size() || content[at] != mark) {
    return Bad(at, absl::StrCat("expected '", std::string(1, mark), "'"));
  }
  const size_t begin = ++at;
  number = 0;
  for (; at < content.size() && content[at] >= '0' && content[at] <= '9'; ++at) {
    number = number * 10 + static_cast<uint64_t>(content[at] - '0');
    if (number > kNumberMax) return Bad(begin, "a number that is too large");
  }
  if (at == begin) return Bad(at, "expected a digit");
  if (content.substr(at, 2) != "\r\n") return Bad(at, "expected \\r\\n behind a number");
  at += 2;
  return absl::OkStatus();
}

}  // namespace

absl::Status ParseRespCommand(std::string_view content, std::vector<std::string_view>& args) {
  args.clear();
  size_t at = 0;
  uint64_t count = 0;
  LOCKSTEP_RETURN_IF_ERROR(ReadNumber(content, '*', at, count));
  if (count == 0) return Bad(0, "a command without a name");
  for (uint64_t i = 0; i < count; ++i) {
    uint64_t length = 0;
    LOCKSTEP_RETURN_IF_ERROR(ReadNumber(content, '$', at, length));
    if (length > content.size() - at || content.size() - at - length < 2) {
      return Bad(at, absl::StrCat("argument ", i, " of ", length, " bytes is cut"));
    }
    args.push_back(content.substr(at, length));
    at += length;
    if (content.substr(at, 2) != "\r\n") {
      return Bad(at, absl::StrCat("expected \\r\\n behind argument ", i));
    }
    at += 2;
  }
  if (at != content.size()) return Bad(at, "bytes behind the command");
  return absl::OkStatus();
}

void AppendRespCommand(std::span<const std::string_view> args, std::string& out) {
  absl::StrAppend(&out, "*", args.size(), "\r\n");
  for (const std::string_view arg : args) {
    absl::StrAppend(&out, "$", arg.size(), "\r\n");
    out.append(arg);
    out.append("\r\n");
  }
}

}  // namespace lockstep::pika
