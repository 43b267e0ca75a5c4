#include "producer/source_event.h"

#include <algorithm>

namespace lockstep {
namespace {

// Takes the digits up to ':' off the front, without leading zeros.
std::string_view TakeNumber(std::string_view& rest) {
  const size_t colon = rest.find(':');
  std::string_view number = rest.substr(0, colon);
  rest = colon == std::string_view::npos ? std::string_view() : rest.substr(colon + 1);
  while (number.size() > 1 && number.front() == '0') number.remove_prefix(1);
  return number;
}

}  // namespace

std::strong_ordering CompareSourcePositions(std::string_view a, std::string_view b) {
  // Without leading zeros the longer number is the greater one, whatever its size (xid8 and LSNs
  // use all 64 bits).
  while (!a.empty() && !b.empty()) {
    const std::string_view x = TakeNumber(a);
    const std::string_view y = TakeNumber(b);
    if (const auto order = x.size() <=> y.size(); order != 0) return order;
    if (const auto order = x.compare(y) <=> 0; order != 0) return order;
  }
  return a.size() <=> b.size();
}

}  // namespace lockstep
