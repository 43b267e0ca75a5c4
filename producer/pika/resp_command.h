// A command as Pika logs it: one RESP array of bulk strings, `*N\r\n$len\r\n…\r\n…`.
#ifndef LOCKSTEP_PRODUCER_PIKA_RESP_COMMAND_H_
#define LOCKSTEP_PRODUCER_PIKA_RESP_COMMAND_H_

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace lockstep::pika {

// Takes exactly one command of at least one argument; `args` are views of `content`. Lengths may
// have leading zeros, as Pika's own filler has. INVALID_ARGUMENT names what is wrong and its byte;
// `args` is then unspecified. Total. O(bytes), and the memory follows the bytes, not the count that
// they claim.
absl::Status ParseRespCommand(std::string_view content, std::vector<std::string_view>& args);

// The length of the command that `bytes` begin with; nullopt: it is not all there yet.
// INVALID_ARGUMENT as ParseRespCommand: no further byte makes a command of it. O(arguments).
absl::StatusOr<std::optional<size_t>> FindRespCommand(std::string_view bytes);

void AppendRespCommand(std::span<const std::string_view> args, std::string& out);

}  // namespace lockstep::pika

#endif  // LOCKSTEP_PRODUCER_PIKA_RESP_COMMAND_H_
