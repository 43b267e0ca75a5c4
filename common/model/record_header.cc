#include "common/model/record_header.h"

#include <algorithm>
#include <charconv>

#include "common/base/check.h"

namespace lockstep {
namespace {

absl::Status Malformed(std::string_view text, std::string_view why) {
  return absl::InvalidArgumentError("record header \"" + std::string(text.substr(0, 80)) +
                                    "\" is malformed: " + std::string(why));
}

// Reads a positive decimal without leading zeros up to the next '/'. Returns false iff there is
// none.
bool TakeNumber(std::string_view& rest, int64_t& value) {
  if (rest.empty() || rest[0] < '1' || rest[0] > '9') return false;
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), value);
  if (error != std::errc() || end == rest.data() + rest.size() || *end != '/') return false;
  rest.remove_prefix(static_cast<size_t>(end - rest.data()) + 1);
  return true;
}

void AppendNumber(int64_t value, std::string& out) {
  char digits[20];
  const auto end = std::to_chars(digits, digits + sizeof(digits), value).ptr;
  out.append(digits, static_cast<size_t>(end - digits));
}

}  // namespace

bool ValidProducerName(std::string_view name) {
  return !name.empty() && name.size() <= kProducerNameMaxBytes &&
         name.find('\0') == std::string_view::npos;
}

// Not find_first_of(): it would make a call for each byte, of each record that is read.
bool ValidSourcePosition(std::string_view at) {
  return at.size() <= kSourcePositionMaxBytes &&
         std::none_of(at.begin(), at.end(), [](char c) { return c == '/' || c == ',' || c == 0; });
}

absl::StatusOr<RecordHeader> ParseRecordHeader(std::string_view text) {
  std::string_view rest = text;
  int64_t term = 0;
  int64_t seq = 0;
  if (!TakeNumber(rest, term))
    return Malformed(text, "term is not a positive decimal followed by '/'");
  if (!TakeNumber(rest, seq))
    return Malformed(text, "seq is not a positive decimal followed by '/'");
  const size_t slash = rest.find('/');
  if (slash == std::string_view::npos)
    return Malformed(text, "there is no '/' after the source position");
  RecordHeader header{Term(term), Seq(seq), rest.substr(0, slash), rest.substr(slash + 1)};
  if (!ValidSourcePosition(header.at))
    return Malformed(text, "the source position has ',' or NUL or is over 255 bytes");
  if (!ValidProducerName(header.producer))
    return Malformed(text, "the producer is empty, over 255 bytes or has NUL");
  return header;
}

void AppendRecordHeader(const RecordHeader& header, std::string& out) {
  LOCKSTEP_CHECK(header.term >= Term(1) && header.seq >= Seq(1), "the ledger counts both from 1");
  AppendNumber(header.term.value(), out);
  out.push_back('/');
  AppendNumber(header.seq.value(), out);
  out.push_back('/');
  out.append(header.at);
  out.push_back('/');
  out.append(header.producer);
}

}  // namespace lockstep
