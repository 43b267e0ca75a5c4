#include "common/config/text_table.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_format.h"

namespace lockstep {

std::string WithSeparators(int64_t number) {
  std::string text = std::to_string(number);
  const size_t first = number < 0 ? 1 : 0;
  for (size_t at = text.size(); at > first + 3;) {
    at -= 3;
    text.insert(at, 1, ',');
  }
  return text;
}

std::string Percent(int64_t part, int64_t whole) {
  const double percent =
      whole == 0 ? 0 : 100 * static_cast<double>(part) / static_cast<double>(whole);
  if (percent == 0 || percent >= 10) return absl::StrFormat("%.0f %%", percent);
  if (percent < 1) return absl::StrFormat("%.2f %%", percent);
  return absl::StrFormat("%.1f %%", percent);
}

std::string ThreeDigits(double number) {
  if (number < 1) return absl::StrFormat("%.3f", number);
  if (number < 10) return absl::StrFormat("%.2f", number);
  if (number < 100) return absl::StrFormat("%.1f", number);
  return absl::StrFormat("%.0f", number);
}

size_t DisplayWidth(const std::string& text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char byte) {
    return (static_cast<unsigned char>(byte) & 0xC0U) != 0x80U;
  }));
}

TextTable::TextTable(std::vector<std::string> columns) { rows_.push_back(std::move(columns)); }

void TextTable::Add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }

std::string TextTable::Text() const {
  std::vector<size_t> widths;
  for (const std::vector<std::string>& row : rows_) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], DisplayWidth(row[i]));
  }
  std::string text;
  for (const std::vector<std::string>& row : rows_) {
    for (size_t i = 0; i < row.size(); ++i) {
      if (i > 0) text += "  ";
      text += std::string(widths[i] - DisplayWidth(row[i]), ' ') + row[i];
    }
    text += '\n';
  }
  return text;
}

}  // namespace lockstep
