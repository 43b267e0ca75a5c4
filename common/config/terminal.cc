#include "common/config/terminal.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "common/config/json_text.h"

namespace lockstep {

Summary& Summary::AddJson(std::string_view name, std::string json) {
  entries_.push_back({std::string(name), json, json});
  return *this;
}

Summary& Summary::Add(std::string_view name, std::string_view text) {
  entries_.push_back({std::string(name), JsonString(text), std::string(text)});
  return *this;
}

Summary& Summary::Add(std::string_view name, double value) {
  if (!std::isfinite(value)) return AddJson(name, "null");
  std::array<char, 32> text;
  std::snprintf(text.data(), text.size(), "%.6g", value);
  return AddJson(name, text.data());
}

std::string Summary::Json() const {
  std::string out = "{";
  for (const Entry& entry : entries_) {
    if (out.size() > 1) out += ',';
    out += JsonString(entry.name) + ":" + entry.json;
  }
  return out + "}";
}

std::string Summary::Text() const {
  size_t width = 0;
  for (const Entry& entry : entries_) width = std::max(width, entry.name.size());
  std::string out;
  for (const Entry& entry : entries_) {
    out += entry.name + std::string(width - entry.name.size() + 2, ' ') + entry.text + "\n";
  }
  return out;
}

void Summary::Print(OutputFormat format, std::FILE* out) const {
  const std::string text = format == OutputFormat::kJson ? Json() + "\n" : Text();
  std::fwrite(text.data(), 1, text.size(), out);
  std::fflush(out);
}

absl::StatusOr<Consent> AskConsent(bool execute, bool yes, std::string_view question) {
  if (!execute) return Consent::kPlanOnly;
  if (yes) return Consent::kGo;
  if (isatty(STDIN_FILENO) == 0 || isatty(STDERR_FILENO) == 0) {
    return absl::InvalidArgumentError("there is no terminal to ask; --execute needs --yes");
  }
  std::fprintf(stderr, "%s [y/N] ", std::string(question).c_str());
  std::fflush(stderr);
  std::string answer;
  for (int c = std::fgetc(stdin); c != EOF && c != '\n'; c = std::fgetc(stdin)) {
    answer += static_cast<char>(c);
  }
  return answer == "y" || answer == "Y" || answer == "yes" ? Consent::kGo : Consent::kDeclined;
}

namespace {

std::string FormatTimeLeft(double seconds) {
  constexpr int64_t kMinute = 60;
  constexpr int64_t kHour = 3'600;
  const auto left = static_cast<int64_t>(std::ceil(seconds));
  if (left < kMinute) return std::to_string(left) + " s left";
  if (left < kHour) return std::to_string((left + kMinute - 1) / kMinute) + " min left";
  return std::to_string(left / kHour) + " h " + std::to_string(left % kHour / kMinute) +
         " min left";
}

}  // namespace

std::string FormatProgress(std::string_view label, int64_t done, int64_t total, double per_second) {
  std::string out(label);
  if (total > 0) {
    constexpr int kWidth = 30;
    const double share =
        std::clamp(static_cast<double>(done) / static_cast<double>(total), 0.0, 1.0);
    const auto filled = static_cast<size_t>(share * kWidth);
    out += "  [" + std::string(filled, '#') + std::string(kWidth - filled, '.') + "]  " +
           std::to_string(static_cast<int>(share * 100)) + " %  " + std::to_string(done) + "/" +
           std::to_string(total);
  } else {
    out += "  " + std::to_string(done);
  }
  if (per_second <= 0) return out;
  out += "  " + std::to_string(std::llround(per_second)) + "/s";
  if (total > done) out += "  " + FormatTimeLeft(static_cast<double>(total - done) / per_second);
  return out;
}

ProgressBar::ProgressBar(std::string_view label, int64_t total)
    : label_(label), total_(total), shown_(isatty(STDERR_FILENO) != 0) {}

ProgressBar::~ProgressBar() {
  if (shown_ && next_draw_.time_since_epoch().count() != 0) std::fputs("\r\x1b[K", stderr);
}

void ProgressBar::Update(int64_t done) {
  if (!shown_) return;
  const auto now = std::chrono::steady_clock::now();
  if (now < next_draw_) return;
  next_draw_ = now + std::chrono::milliseconds(200);
  if (begun_ == std::chrono::steady_clock::time_point{}) {
    begun_ = now;
    done_before_ = done;
  }
  const double seconds = std::chrono::duration<double>(now - begun_).count();
  const double per_second = seconds < 1 ? 0 : static_cast<double>(done - done_before_) / seconds;
  std::fprintf(stderr, "\r%s\x1b[K", FormatProgress(label_, done, total_, per_second).c_str());
  std::fflush(stderr);
}

}  // namespace lockstep
