#include "db-ledger/pg_binary.h"

#include "common/base/check.h"

namespace lockstep {
namespace {

constexpr char kLowerInclusiveUpperExclusive = 0x02;  // A range's flag byte, in canonical form.
constexpr size_t kRangeBytes = 1 + 2 * (4 + 8);

void PutBigEndian(uint64_t value, int bytes, std::string& out) {
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) {
    out.push_back(static_cast<char>(value >> shift));
  }
}

void PutInt4(int64_t value, std::string& out) {
  PutBigEndian(static_cast<uint64_t>(value), 4, out);
}

}  // namespace

std::string PgInt(int64_t value) {
  std::string out;
  PutBigEndian(static_cast<uint64_t>(value), 8, out);
  return out;
}

std::string PgInt4(int32_t value) {
  std::string out;
  PutInt4(value, out);
  return out;
}

std::string PgMultirange(const OffsetRanges& ranges) {
  std::string out;
  out.reserve(4 + ranges.ranges().size() * (4 + kRangeBytes));
  PutInt4(static_cast<int64_t>(ranges.ranges().size()), out);
  for (const OffsetRange& range : ranges.ranges()) {
    PutInt4(kRangeBytes, out);
    out.push_back(kLowerInclusiveUpperExclusive);
    PutInt4(8, out);
    PutBigEndian(static_cast<uint64_t>(range.first.value()), 8, out);
    PutInt4(8, out);
    PutBigEndian(static_cast<uint64_t>(range.end.value()), 8, out);
  }
  return out;
}

std::string PgArray(uint32_t element_type,
                    const std::vector<std::optional<std::string>>& elements) {
  bool has_null = false;
  for (const auto& element : elements) has_null = has_null || !element;
  std::string out;
  PutInt4(elements.empty() ? 0 : 1, out);  // Dimensions.
  PutInt4(has_null ? 1 : 0, out);
  PutInt4(element_type, out);
  if (elements.empty()) return out;
  PutInt4(static_cast<int64_t>(elements.size()), out);
  PutInt4(1, out);  // The first index.
  for (const auto& element : elements) {
    PutInt4(element ? static_cast<int64_t>(element->size()) : -1, out);
    if (element) out += *element;
  }
  return out;
}

int64_t ParsePgInt(std::string_view bytes) {
  LOCKSTEP_CHECK(bytes.size() == 2 || bytes.size() == 4 || bytes.size() == 8,
                 "the statement's column is an integer");
  uint64_t value = (static_cast<uint8_t>(bytes[0]) & 0x80) != 0 ? ~uint64_t{0} : 0;
  for (const char c : bytes) value = (value << 8) | static_cast<uint8_t>(c);
  return static_cast<int64_t>(value);
}

absl::StatusOr<OffsetRanges> ParsePgMultirange(std::string_view bytes) {
  const absl::Status bad = absl::DataLossError("offsets are not a multirange of bounded ranges");
  if (bytes.size() < 4) return bad;
  const int64_t count = ParsePgInt(bytes.substr(0, 4));
  bytes.remove_prefix(4);
  if (count < 0 || bytes.size() != static_cast<size_t>(count) * (4 + kRangeBytes)) return bad;
  OffsetRanges ranges;
  for (; !bytes.empty(); bytes.remove_prefix(4 + kRangeBytes)) {
    if (bytes[4] != kLowerInclusiveUpperExclusive) return bad;
    const Offset first(ParsePgInt(bytes.substr(9, 8)));
    const Offset end(ParsePgInt(bytes.substr(21, 8)));
    if (first >= end || (!ranges.empty() && first <= ranges.end())) return bad;
    ranges.Append(OffsetRange{first, end});
  }
  return ranges;
}

}  // namespace lockstep
