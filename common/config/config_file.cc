#include "common/config/config_file.h"

#include "common/base/status_macros.h"

namespace lockstep {
namespace {

bool IsKeyCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         c == '-' || c == '.';
}

// Reads one file from left to right; `line_` is for the error.
class Reader {
 public:
  explicit Reader(std::string_view text) : rest_(text) {}

  absl::StatusOr<std::vector<ConfigEntry>> Read() {
    std::vector<ConfigEntry> entries;
    std::string section;
    for (SkipBlankLines(); !rest_.empty(); SkipBlankLines()) {
      if (rest_.starts_with("[[")) return Bad("an array of tables is not supported");
      if (Take('[')) {
        LOCKSTEP_ASSIGN_OR_RETURN(section, Key());
        if (!Take(']')) return Bad("a table's name ends with ']'");
      } else {
        ConfigEntry entry{.section = section, .key = {}, .values = {}, .line = line_};
        LOCKSTEP_ASSIGN_OR_RETURN(entry.key, Key());
        if (!Take('=')) return Bad("a key is followed by '='");
        LOCKSTEP_RETURN_IF_ERROR(Value(entry.values));
        entries.push_back(std::move(entry));
      }
      if (!AtLineEnd()) return Bad("something follows where the line should end");
    }
    return entries;
  }

 private:
  absl::Status Bad(std::string_view why) const {
    return absl::InvalidArgumentError("line " + std::to_string(line_) + ": " + std::string(why));
  }

  void SkipBlanks() {
    while (!rest_.empty() && (rest_[0] == ' ' || rest_[0] == '\t' || rest_[0] == '\r')) {
      rest_.remove_prefix(1);
    }
  }

  void SkipComment() {
    if (rest_.starts_with('#')) rest_.remove_prefix(std::min(rest_.find('\n'), rest_.size()));
  }

  void SkipBlankLines() {
    while (true) {
      SkipBlanks();
      SkipComment();
      if (!rest_.starts_with('\n')) return;
      rest_.remove_prefix(1);
      ++line_;
    }
  }

  bool AtLineEnd() {
    SkipBlanks();
    SkipComment();
    return rest_.empty() || rest_[0] == '\n';
  }

  // Takes `c` and the blanks around it.
  bool Take(char c) {
    SkipBlanks();
    if (!rest_.starts_with(c)) return false;
    rest_.remove_prefix(1);
    SkipBlanks();
    return true;
  }

  std::string TakeBare() {
    size_t end = 0;
    while (end < rest_.size() && IsKeyCharacter(rest_[end])) ++end;
    std::string result(rest_.substr(0, end));
    rest_.remove_prefix(end);
    return result;
  }

  absl::StatusOr<std::string> Key() {
    if (rest_.starts_with('"') || rest_.starts_with('\'')) return Text();
    std::string key = TakeBare();
    if (key.empty()) return Bad("a key or a table's name is expected");
    SkipBlanks();
    return key;
  }

  absl::StatusOr<std::string> Text() {
    const char quote = rest_[0];
    if (rest_.starts_with("\"\"\"") || rest_.starts_with("'''")) {
      return Bad("a multi-line string is not supported");
    }
    rest_.remove_prefix(1);
    std::string result;
    while (!rest_.empty() && rest_[0] != quote && rest_[0] != '\n') {
      char c = rest_[0];
      rest_.remove_prefix(1);
      if (c == '\\' && quote == '"') {
        if (rest_.empty()) break;
        switch (rest_[0]) {
          case 'n':
            c = '\n';
            break;
          case 't':
            c = '\t';
            break;
          case '"':
          case '\\':
            c = rest_[0];
            break;
          default:
            return Bad("a string has an escape other than \\\\ \\\" \\n \\t");
        }
        rest_.remove_prefix(1);
      }
      result += c;
    }
    if (!rest_.starts_with(quote)) return Bad("a string does not end");
    rest_.remove_prefix(1);
    return result;
  }

  absl::Status Scalar(std::vector<std::string>& values) {
    if (rest_.starts_with('"') || rest_.starts_with('\'')) {
      LOCKSTEP_ASSIGN_OR_RETURN(values.emplace_back(), Text());
      return absl::OkStatus();
    }
    if (rest_.starts_with('{')) return Bad("an inline table is not supported");
    std::string word = TakeBare();
    const bool number =
        !word.empty() && word.find_first_not_of("0123456789.-") == std::string::npos;
    if (!number && word != "true" && word != "false") {
      return Bad("a value is a \"string\", a number, true or false; text needs quotes");
    }
    values.push_back(std::move(word));
    return absl::OkStatus();
  }

  absl::Status Value(std::vector<std::string>& values) {
    if (!Take('[')) return Scalar(values);
    for (SkipBlankLines(); !Take(']'); SkipBlankLines()) {
      LOCKSTEP_RETURN_IF_ERROR(Scalar(values));
      SkipBlankLines();
      if (!Take(',') && !rest_.starts_with(']')) return Bad("an array's values are parted by ','");
    }
    return absl::OkStatus();
  }

  std::string_view rest_;
  int line_ = 1;
};

}  // namespace

absl::StatusOr<std::vector<ConfigEntry>> ParseConfigFile(std::string_view text) {
  return Reader(text).Read();
}

std::string QuoteToml(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else {
      out += c;
    }
  }
  return out + "\"";
}

}  // namespace lockstep
