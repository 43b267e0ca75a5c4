// How --help looks: the program's own flags before the common ones, defaults in words, wrapped
// lines.
#ifndef LOCKSTEP_COMMON_CONFIG_HELP_FORMATTER_H_
#define LOCKSTEP_COMMON_CONFIG_HELP_FORMATTER_H_

#include <string>
#include <vector>

#include <CLI/CLI.hpp>

namespace lockstep {

class HelpFormatter : public CLI::Formatter {
 public:
  // Groups named here come last, in this order.
  explicit HelpFormatter(std::vector<std::string> common_groups);

  std::string make_description(const CLI::App* app) const override;
  std::string make_help(const CLI::App* app, std::string name,
                        CLI::AppFormatMode mode) const override;
  std::string make_option_opts(const CLI::Option* option) const override;
  std::string make_option_desc(const CLI::Option* option) const override;

 private:
  std::string Groups(const CLI::App* app) const;

  const std::vector<std::string> common_groups_;
};

// Breaks `text` at blanks so that lines have at most `width` characters.
std::string WrapText(const std::string& text, size_t width);

}  // namespace lockstep

#endif  // LOCKSTEP_COMMON_CONFIG_HELP_FORMATTER_H_
