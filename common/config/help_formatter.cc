#include "common/config/help_formatter.h"

#include <algorithm>

namespace lockstep {
namespace {

constexpr size_t kFlagColumns = 34;
constexpr size_t kHelpColumns = 100 - kFlagColumns;

// CLI11 says `TEXT:{stop,skip}` and `INT:INT in [1 - 9]`; we say `stop|skip` and `INT`.
std::string PlainType(const std::string& type) {
  const size_t colon = type.find(':');
  if (colon == std::string::npos || !(type.starts_with("TEXT:") || type.starts_with("INT:") ||
                                      type.starts_with("UINT:") || type.starts_with("FLOAT:"))) {
    return type;
  }
  if (type.size() > colon + 3 && type[colon + 1] == '{' && type.back() == '}') {
    std::string choices = type.substr(colon + 2, type.size() - colon - 3);
    std::replace(choices.begin(), choices.end(), ',', '|');
    return choices;
  }
  return type.substr(0, colon);
}

}  // namespace

std::string WrapText(const std::string& text, size_t width) {
  std::string out;
  size_t column = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find(' ', at), text.size());
    if (column > 0 && column + 1 + (end - at) > width) {
      out += '\n';
      column = 0;
    } else if (column > 0) {
      out += ' ';
      ++column;
    }
    out += text.substr(at, end - at);
    column += end - at;
    at = end + 1;
  }
  return out;
}

HelpFormatter::HelpFormatter(std::vector<std::string> common_groups)
    : common_groups_(std::move(common_groups)) {
  column_width(kFlagColumns);
}

std::string HelpFormatter::make_description(const CLI::App* app) const {
  return app->get_description() + "\n\n";
}

std::string HelpFormatter::make_help(const CLI::App* app, std::string name,
                                     CLI::AppFormatMode mode) const {
  if (mode == CLI::AppFormatMode::Sub) return make_expanded(app);
  return make_description(app) + make_usage(app, std::move(name)) + make_positionals(app) +
         make_subcommands(app, mode) + Groups(app) + make_footer(app);
}

std::string HelpFormatter::Groups(const CLI::App* app) const {
  std::vector<std::string> groups = app->get_groups();
  const auto rank = [&](const std::string& group) {
    return std::find(common_groups_.begin(), common_groups_.end(), group) - common_groups_.begin();
  };
  const auto own = static_cast<std::ptrdiff_t>(common_groups_.size());
  std::stable_sort(groups.begin(), groups.end(), [&](const auto& a, const auto& b) {
    return (rank(a) == own ? -1 : rank(a)) < (rank(b) == own ? -1 : rank(b));
  });
  std::string out;
  for (const std::string& group : groups) {
    const auto options = app->get_options([&](const CLI::Option* option) {
      return option->get_group() == group && option->nonpositional();
    });
    if (!group.empty() && !options.empty()) out += make_group(group, false, options);
  }
  return out;
}

std::string HelpFormatter::make_option_opts(const CLI::Option* option) const {
  std::string out;
  if (option->get_type_size() != 0 && !option->get_type_name().empty()) {
    out += " " + PlainType(option->get_type_name());
  }
  return out;
}

std::string HelpFormatter::make_option_desc(const CLI::Option* option) const {
  std::string text = option->get_description();
  const std::string fallback = option->get_default_str();
  if (option->get_required()) {
    text += " (required)";
  } else if (option->get_type_size() != 0 && !fallback.empty() && fallback != "[]") {
    text += " (default " + fallback + ")";
  }
  return WrapText(text, kHelpColumns);
}

}  // namespace lockstep
