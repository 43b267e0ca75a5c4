// A reply of a Redis-like server: `+text`, `-text`, `:number`, `$length` and bytes, or an array of
// such. What a Pika's client port answers.
#ifndef LOCKSTEP_PRODUCER_PIKA_RESP_REPLY_H_
#define LOCKSTEP_PRODUCER_PIKA_RESP_REPLY_H_

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace lockstep::pika {

inline constexpr size_t kRespReplyBytesMax = size_t{1} << 20;

struct RespReply {
  char kind = 0;  // `+` `-` `:` `$` `*`
  std::string text;
  std::vector<std::string> elements;  // Of an array; none of them is an array.
  size_t bytes = 0;                   // Its length on the wire.
};

// The reply that `bytes` begin with; nullopt: it is not all there yet. INVALID_ARGUMENT names what
// is wrong and its byte; a reply above kRespReplyBytesMax is wrong. Total.
absl::StatusOr<std::optional<RespReply>> FindRespReply(std::string_view bytes);

}  // namespace lockstep::pika

#endif  // LOCKSTEP_PRODUCER_PIKA_RESP_REPLY_H_
