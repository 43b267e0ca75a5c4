#include "sim/parts.h"

#include "absl/strings/str_split.h"

namespace lockstep::sim {

std::string EncodePayloads(const std::vector<Payload>& payloads) {
  std::string bytes;
  for (const Payload& payload : payloads) bytes += payload.value.value_or("") + "\n";
  return bytes;
}

std::vector<Payload> DecodePayloads(const std::string& bytes) {
  std::vector<Payload> payloads;
  for (const std::string& line : std::vector<std::string>(absl::StrSplit(bytes, '\n'))) {
    payloads.push_back({.key = {}, .value = line, .headers = {}});
  }
  payloads.pop_back();  // Behind the last line's end.
  return payloads;
}

}  // namespace lockstep::sim
