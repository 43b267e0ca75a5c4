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

// Walks along a command's bytes. Where they end too early `cut` says so, beside the error.
class Walker {
 public:
  explicit Walker(std::string_view bytes) : bytes_(bytes) {}

  // One command; its arguments are appended to `args` unless that is null.
  absl::Status Walk(std::vector<std::string_view>* args) {
    uint64_t count = 0;
    LOCKSTEP_RETURN_IF_ERROR(ReadNumber('*', count));
    if (count == 0) return Bad(0, "a command without a name");
    for (uint64_t i = 0; i < count; ++i) {
      uint64_t length = 0;
      LOCKSTEP_RETURN_IF_ERROR(ReadNumber('$', length));
      const size_t left = bytes_.size() - at_;
      if (length > left || left - length < 2) {
        cut_ = true;
        return Bad(at_, absl::StrCat("argument ", i, " of ", length, " bytes is cut"));
      }
      if (args != nullptr) args->push_back(bytes_.substr(at_, length));
      at_ += length;
      if (bytes_.substr(at_, 2) != "\r\n") {
        return Bad(at_, absl::StrCat("expected \\r\\n behind argument ", i));
      }
      at_ += 2;
    }
    return absl::OkStatus();
  }

  size_t at() const { return at_; }
  bool cut() const { return cut_; }

 private:
  // Reads `<mark><digits>\r\n` and steps behind it.
  absl::Status ReadNumber(char mark, uint64_t& number) {
    if (at_ >= bytes_.size() || bytes_[at_] != mark) {
      cut_ = at_ >= bytes_.size();
      return Bad(at_, absl::StrCat("expected '", std::string(1, mark), "'"));
    }
    const size_t begin = ++at_;
    number = 0;
    for (; at_ < bytes_.size() && bytes_[at_] >= '0' && bytes_[at_] <= '9'; ++at_) {
      number = number * 10 + static_cast<uint64_t>(bytes_[at_] - '0');
      if (number > kNumberMax) return Bad(begin, "a number that is too large");
    }
    const std::string_view behind = bytes_.substr(at_, 2);
    if (behind != "\r\n") cut_ = behind.empty() || behind == "\r";
    if (at_ == begin) return Bad(at_, "expected a digit");
    if (behind != "\r\n") return Bad(at_, "expected \\r\\n behind a number");
    at_ += 2;
    return absl::OkStatus();
  }

  const std::string_view bytes_;
  size_t at_ = 0;
  bool cut_ = false;
};

}  // namespace

absl::Status ParseRespCommand(std::string_view content, std::vector<std::string_view>& args) {
  args.clear();
  Walker walker(content);
  LOCKSTEP_RETURN_IF_ERROR(walker.Walk(&args));
  if (walker.at() != content.size()) return Bad(walker.at(), "bytes behind the command");
  return absl::OkStatus();
}

absl::StatusOr<std::optional<size_t>> FindRespCommand(std::string_view bytes) {
  Walker walker(bytes);
  const absl::Status status = walker.Walk(nullptr);
  if (walker.cut()) return std::nullopt;
  LOCKSTEP_RETURN_IF_ERROR(status);
  return walker.at();
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
