#include "common/config/json_text.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

namespace lockstep {

std::string JsonString(std::string_view text) {
  rapidjson::StringBuffer buffer;
  rapidjson::Writer<rapidjson::StringBuffer> writer(buffer);
  writer.String(text.data(), static_cast<rapidjson::SizeType>(text.size()));
  return {buffer.GetString(), buffer.GetSize()};
}

std::string JsonArray(const std::vector<std::string>& elements) {
  return absl::StrCat("[", absl::StrJoin(elements, ","), "]");
}

}  // namespace lockstep
