// HttpTarget: where an HTTP sink sends to, as typed, and what the answers mean. Pure, but for the
// header file.
#ifndef LOCKSTEP_REORDER_SINKS_HTTP_TARGET_H_
#define LOCKSTEP_REORDER_SINKS_HTTP_TARGET_H_

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace lockstep {

struct HttpTarget {
  bool tls = false;
  std::string host = {};  // Of an IPv6 address: without its brackets.
  int port = 0;
  std::string path = {};  // With the query; begins with `/`.
  bool operator==(const HttpTarget&) const = default;

  // For messages: without the query, which may hold a token.
  std::string Shown() const;
};

// `http://HOST[:PORT][/PATH][?QUERY]`, `https://…` (ports 80 and 443); an IPv6 address stands in
// brackets. Refuses a user and password: a command line is no place for them.
absl::StatusOr<HttpTarget> ParseHttpTarget(std::string_view url);

using HttpHeaders = std::vector<std::pair<std::string, std::string>>;

// A file of lines `Name: value`; empty lines and such that begin with `#` are skipped. Refuses what
// the sink sets itself. Errors name `flag`, the file and the line, never a value.
absl::StatusOr<HttpHeaders> ReadHttpHeaders(const std::string& flag, const std::string& path);

enum class HttpVerdict {
  kDone,    // 2xx; 409: it had this key already.
  kRepeat,  // 5xx; 408 and 429, which say *later*. The same request again.
  kStop,    // Everything else: repeating would not help.
};
HttpVerdict JudgeHttpStatus(int status);

// `STREAM/PRODUCER/SEQ`: visible ASCII, other bytes of the producer's name and `%` as %XX. The same
// record has the same key at both sites and for ever, and no other record has it.
std::string IdempotencyKey(std::string_view stream, std::string_view producer, int64_t seq);

}  // namespace lockstep

#endif  // LOCKSTEP_REORDER_SINKS_HTTP_TARGET_H_
