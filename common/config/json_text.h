// JSON values as text, for results that are put together piece by piece (terminal.h's Summary).
#ifndef LOCKSTEP_COMMON_CONFIG_JSON_TEXT_H_
#define LOCKSTEP_COMMON_CONFIG_JSON_TEXT_H_

#include <string>
#include <string_view>
#include <vector>

namespace lockstep {

// A JSON string. `text` is UTF-8.
std::string JsonString(std::string_view text);

// A JSON array; `elements` are JSON values as they stand.
std::string JsonArray(const std::vector<std::string>& elements);

}  // namespace lockstep

#endif  // LOCKSTEP_COMMON_CONFIG_JSON_TEXT_H_
