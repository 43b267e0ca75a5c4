#include "reorder/sinks/http_target.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <fstream>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace lockstep {
namespace {

constexpr std::array<const char*, 10> kOwnHeaders = {
    "Idempotency-Key",   "Lockstep-Stream",   "Lockstep-Last", "Lockstep-Records",
    "Lockstep-In-Doubt", "Lockstep-Replayed", "Content-Type",  "Host",
    "Content-Length",    "Transfer-Encoding"};

bool Consume(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

bool IsVisible(char c) { return c > ' ' && c < '\x7f'; }

// HOST[:PORT], and nothing more; `port` is left alone if there is none.
bool ParseAuthority(std::string_view text, std::string& host, int& port) {
  std::string_view rest;
  if (Consume(text, "[")) {
    const size_t end = std::min(text.find(']'), text.size());
    host = text.substr(0, end);
    rest = text.substr(std::min(end + 1, text.size()));
    if (end == text.size()) return false;
  } else {
    const size_t end = std::min(text.find(':'), text.size());
    host = text.substr(0, end);
    rest = text.substr(end);
  }
  if (host.empty() || rest.empty()) return !host.empty();
  const char* const last = rest.data() + rest.size();
  const auto [end, error] = std::from_chars(rest.data() + 1, last, port);
  return rest.front() == ':' && error == std::errc() && end == last && port > 0 && port <= 65'535;
}

}  // namespace

absl::StatusOr<HttpTarget> ParseHttpTarget(std::string_view url) {
  std::string_view rest = url;
  const bool tls = Consume(rest, "https://");
  if (!tls && !Consume(rest, "http://")) {
    return absl::InvalidArgumentError("is not like http://HOST:PORT/PATH");
  }
  const size_t end = std::min(rest.find_first_of("/?#"), rest.size());
  const std::string_view authority = rest.substr(0, end);
  if (authority.find('@') != std::string_view::npos) {
    return absl::InvalidArgumentError(
        "has a user or password in its address, which everybody on this machine could read; put "
        "`Authorization: …` into a file and name it by --sink-header-file");
  }
  HttpTarget target;
  target.tls = tls;
  target.port = tls ? 443 : 80;
  const std::string_view path = rest.substr(end);
  if (!ParseAuthority(authority, target.host, target.port) ||
      path.find('#') != std::string_view::npos || !std::all_of(url.begin(), url.end(), IsVisible)) {
    return absl::InvalidArgumentError("is not like http://HOST:PORT/PATH");
  }
  target.path = std::string(path.starts_with("/") ? "" : "/").append(path);
  return target;
}

std::string HttpTarget::Shown() const {
  const bool ip6 = host.find(':') != std::string::npos;
  return absl::StrCat(tls ? "https://" : "http://", ip6 ? "[" : "", host, ip6 ? "]" : "", ":", port,
                      path.substr(0, path.find('?')));
}

absl::StatusOr<HttpHeaders> ReadHttpHeaders(const std::string& flag, const std::string& path) {
  std::ifstream in(path);
  if (!in) return absl::InvalidArgumentError(absl::StrCat(flag, " ", path, " is not readable"));
  HttpHeaders headers;
  int number = 0;
  for (std::string line; std::getline(in, line);) {
    ++number;
    absl::StripAsciiWhitespace(&line);
    const std::string_view text = line;
    if (text.empty() || text.front() == '#') continue;
    const size_t colon = text.find(':');
    const std::string name(text.substr(0, std::min(colon, text.size())));
    const auto is_own = [&](const char* own) { return absl::EqualsIgnoreCase(name, own); };
    const char* wrong = nullptr;
    if (colon == std::string_view::npos || name.empty() ||
        !std::all_of(name.begin(), name.end(), IsVisible)) {
      wrong = " is not like `Name: value`";
    } else if (std::any_of(kOwnHeaders.begin(), kOwnHeaders.end(), is_own)) {
      wrong = " names a header that the sink sets itself";
    }
    if (wrong != nullptr) {
      return absl::InvalidArgumentError(absl::StrCat(flag, " ", path, ": line ", number, wrong));
    }
    std::string value(text.substr(colon + 1));
    absl::StripAsciiWhitespace(&value);
    headers.emplace_back(name, std::move(value));
  }
  if (in.bad())
    return absl::InvalidArgumentError(absl::StrCat(flag, " ", path, " is not readable"));
  return headers;
}

HttpVerdict JudgeHttpStatus(int status) {
  if ((status >= 200 && status < 300) || status == 409) return HttpVerdict::kDone;
  if (status >= 500 || status == 408 || status == 429) return HttpVerdict::kRepeat;
  return HttpVerdict::kStop;
}

std::string IdempotencyKey(std::string_view stream, std::string_view producer, int64_t seq) {
  std::string key = absl::StrCat(std::string(stream), "/");
  for (const char c : producer) {
    if (IsVisible(c) && c != '%') {
      key.push_back(c);
    } else {
      absl::StrAppendFormat(&key, "%%%02X", static_cast<unsigned char>(c));
    }
  }
  absl::StrAppend(&key, "/", seq);
  return key;
}

}  // namespace lockstep
