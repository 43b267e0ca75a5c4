// Tables for people: numbers with separators, columns that line up.
#ifndef LOCKSTEP_COMMON_CONFIG_TEXT_TABLE_H_
#define LOCKSTEP_COMMON_CONFIG_TEXT_TABLE_H_

#include <cstdint>
#include <string>
#include <vector>

namespace lockstep {

// 1234567 → `1,234,567`.
std::string WithSeparators(int64_t number);
// `0.03 %`, `1.2 %`, `45 %` of `whole`; `0 %` of nothing.
std::string Percent(int64_t part, int64_t whole);
// Three digits: `0.045`, `1.23`, `45.6`, `789`.
std::string ThreeDigits(double number);

// One line, each cell right-aligned to its column's width and two spaces between.
class TextTable {
 public:
  // The first row; its cells' widths are the least ones.
  explicit TextTable(std::vector<std::string> columns);

  void Add(std::vector<std::string> row);
  // All of it, a line end after each row.
  std::string Text() const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

// What a cell takes on a screen: characters, not bytes. `text` is UTF-8.
size_t DisplayWidth(const std::string& text);

}  // namespace lockstep

#endif  // LOCKSTEP_COMMON_CONFIG_TEXT_TABLE_H_
