#include "producer/pika/resp_reply.h"

#include <cstdint>

#include "absl/strings/str_cat.h"

#include "common/base/status_macros.h"
#include "common/model/ids.h"

namespace lockstep::pika {
namespace {

constexpr int64_t kElementsMax = 1024;

absl::Status Bad(size_t byte, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat("reply byte ", byte, ": ", what));
}

// Reads one line or bulk at `at` and steps behind it. False: it is not all there.
absl::StatusOr<bool> ReadPart(std::string_view bytes, size_t& at, char& kind, std::string& text) {
  if (at >= bytes.size()) return false;
  kind = bytes[at];
  if (std::string_view("+-:$*").find(kind) == std::string_view::npos) {
    return Bad(at, "expected one of + - : $ *");
  }
  const size_t end = bytes.find("\r\n", at);
  if (end == std::string_view::npos) return false;
  const std::string_view line = bytes.substr(at + 1, end - at - 1);
  const size_t number_at = at + 1;
  at = end + 2;
  text = line;
  if (kind == '+' || kind == '-') return true;
  const auto number = ParseDecimal(!line.empty() && line[0] == '-' ? line.substr(1) : line);
  if (!number.ok()) return Bad(number_at, "expected a number");
  if (kind != '$') return true;
  text.clear();
  if (line[0] == '-') return true;  // The null bulk.
  const auto length = static_cast<size_t>(*number);
  if (length > kRespReplyBytesMax) {
    return Bad(number_at, absl::StrCat("a length of ", length, ", more than any reply has"));
  }
  if (bytes.size() - at < length + 2) return false;
  text = bytes.substr(at, length);
  at += length;
  if (bytes.substr(at, 2) != "\r\n") return Bad(at, "expected \\r\\n behind a bulk");
  at += 2;
  return true;
}

}  // namespace

absl::StatusOr<std::optional<RespReply>> FindRespReply(std::string_view bytes) {
  const auto cut = [&]() -> absl::StatusOr<std::optional<RespReply>> {
    if (bytes.size() < kRespReplyBytesMax) return std::nullopt;
    return Bad(kRespReplyBytesMax, "the reply has not ended yet");
  };
  RespReply reply;
  LOCKSTEP_ASSIGN_OR_RETURN(const bool whole, ReadPart(bytes, reply.bytes, reply.kind, reply.text));
  if (!whole) return cut();
  if (reply.kind != '*') return reply;
  const auto count = ParseDecimal(reply.text);
  if (!count.ok() || *count > kElementsMax) return Bad(1, "an array of " + reply.text);
  for (int64_t i = 0; i < *count; ++i) {
    const size_t begin = reply.bytes;
    char kind = 0;
    LOCKSTEP_ASSIGN_OR_RETURN(const bool there,
                              ReadPart(bytes, reply.bytes, kind, reply.elements.emplace_back()));
    if (!there) return cut();
    if (kind == '*') return Bad(begin, "an array in an array");
  }
  return reply;
}

}  // namespace lockstep::pika
