#include "common/model/offset_ranges.h"

#include <algorithm>

#include "common/base/check.h"
#include "common/base/status_macros.h"

namespace lockstep {

void OffsetRanges::Append(Offset offset) { Append(OffsetRange{offset, offset + 1}); }

void OffsetRanges::Append(OffsetRange range) {
  LOCKSTEP_CHECK(range.first < range.end, "a range is not empty");
  LOCKSTEP_CHECK(ranges_.empty() || range.first >= ranges_.back().end,
                 "offsets are appended in ascending order");
  count_ += range.size();
  if (!ranges_.empty() && ranges_.back().end == range.first) {
    ranges_.back().end = range.end;
  } else {
    ranges_.push_back(range);
  }
}

int64_t OffsetRanges::CountBelow(Offset offset) const {
  int64_t below = 0;
  for (const OffsetRange& range : ranges_) {
    if (range.first >= offset) break;
    below += std::min(range.end, offset) - range.first;
  }
  return below;
}

bool OffsetRanges::Contains(Offset offset) const {
  const auto after =
      std::upper_bound(ranges_.begin(), ranges_.end(), offset,
                       [](Offset o, const OffsetRange& range) { return o < range.first; });
  return after != ranges_.begin() && offset < std::prev(after)->end;
}

std::string OffsetRanges::ToString() const {
  std::string out = "{";
  for (const OffsetRange& range : ranges_) {
    if (out.size() > 1) out += ',';
    out +=
        '[' + std::to_string(range.first.value()) + ',' + std::to_string(range.end.value()) + ')';
  }
  return out + "}";
}

absl::StatusOr<OffsetRanges> OffsetRanges::Parse(std::string_view text) {
  const auto bad = [&] {
    return absl::InvalidArgumentError("offsets \"" + std::string(text.substr(0, 80)) +
                                      "\" are not like {[10,13),[15,16)}");
  };
  OffsetRanges result;
  std::string_view rest = text;
  if (rest.size() < 2 || rest.front() != '{' || rest.back() != '}') return bad();
  rest = rest.substr(1, rest.size() - 2);
  while (!rest.empty()) {
    const size_t comma = rest.find(',');
    const size_t close = rest.find(')');
    if (rest[0] != '[' || comma == std::string_view::npos || close == std::string_view::npos ||
        comma > close)
      return bad();
    const auto first = ParseDecimal(rest.substr(1, comma - 1));
    const auto end = ParseDecimal(rest.substr(comma + 1, close - comma - 1));
    if (!first.ok() || !end.ok() || *first >= *end) return bad();
    if (!result.empty() && Offset(*first) <= result.end()) return bad();  // Not the canonical form.
    result.Append(OffsetRange{Offset(*first), Offset(*end)});
    rest.remove_prefix(close + 1);
    if (rest.empty()) break;
    if (rest[0] != ',' || rest.size() == 1) return bad();
    rest.remove_prefix(1);
  }
  return result;
}

}  // namespace lockstep
