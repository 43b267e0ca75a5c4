#include "bench/measure.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <iomanip>
#include <sstream>

#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include "common/base/check.h"
#include "common/base/status_macros.h"

namespace lockstep::bench {

namespace {

using Writer = rapidjson::Writer<rapidjson::StringBuffer>;

void Write(Writer& writer, std::string_view text) {
  writer.String(text.data(), static_cast<rapidjson::SizeType>(text.size()));
}

// Six significant digits say more than any of these measurements knows.
void Write(Writer& writer, double number) {
  if (!std::isfinite(number)) {
    writer.Null();
    return;
  }
  if (std::abs(number) >= 1e5 && std::abs(number) < 1e15) {
    writer.Int64(std::llround(number));
    return;
  }
  std::ostringstream text;
  text << std::setprecision(6) << number;
  writer.RawValue(text.str().data(), text.str().size(), rapidjson::kNumberType);
}

void Write(Writer& writer, const std::variant<int64_t, double, std::string>& value) {
  if (const auto* integer = std::get_if<int64_t>(&value)) {
    writer.Int64(*integer);
  } else if (const auto* number = std::get_if<double>(&value)) {
    Write(writer, *number);
  } else {
    Write(writer, std::string_view(std::get<std::string>(value)));
  }
}

// 1234567 -> "1.23 M", so that columns stay narrow.
std::string Human(double number) {
  std::ostringstream text;
  text << std::setprecision(3);
  if (number >= 1e6) {
    text << number / 1e6 << " M";
  } else if (number >= 1e4) {
    text << number / 1e3 << " k";
  } else {
    text << number;
  }
  return text.str();
}

int64_t NowNs() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace

double Figure::ratio() const { return baseline_value == 0 ? 0 : value / baseline_value; }

void PrintJson(const Figure& figure, std::ostream& out) {
  rapidjson::StringBuffer buffer;
  Writer writer(buffer);
  writer.StartObject();
  writer.Key("name");
  Write(writer, std::string_view(figure.name));
  writer.Key("value");
  Write(writer, figure.value);
  writer.Key("baseline");
  Write(writer, std::string_view(figure.baseline));
  writer.Key("baseline_value");
  Write(writer, figure.baseline_value);
  writer.Key("unit");
  Write(writer, std::string_view(figure.unit));
  writer.Key("better");
  writer.String(figure.better == Better::kHigher ? "higher" : "lower");
  writer.Key("ratio");
  Write(writer, figure.ratio());
  writer.Key("params");
  writer.StartObject();
  for (const auto& [name, value] : figure.params) {
    writer.Key(name.c_str());
    Write(writer, value);
  }
  writer.EndObject();
  writer.EndObject();
  out << buffer.GetString() << std::endl;
}

void PrintText(const Figure& figure, std::ostream& out) {
  out << std::left << std::setw(40) << figure.name << std::right << std::setw(9)
      << Human(figure.value) << " against " << std::setw(9) << Human(figure.baseline_value) << " "
      << std::left << std::setw(11) << figure.unit << " ratio " << std::setprecision(3)
      << figure.ratio() << "   (" << figure.baseline << ")" << std::endl;
}

double Median(std::vector<double> values) {
  LOCKSTEP_CHECK(!values.empty(), "a figure has at least one run");
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

double Quantile(std::vector<double> values, double fraction) {
  LOCKSTEP_CHECK(!values.empty(), "a figure has at least one run");
  std::sort(values.begin(), values.end());
  const double rank = std::ceil(fraction * static_cast<double>(values.size()));
  const size_t index = rank < 1 ? 0 : static_cast<size_t>(rank) - 1;
  return values[std::min(index, values.size() - 1)];
}

absl::StatusOr<Pair> RunPairs(int pairs, const std::function<absl::StatusOr<double>()>& ours,
                              const std::function<absl::StatusOr<double>()>& baseline) {
  Pair result;
  for (int i = 0; i < pairs; ++i) {
    for (const bool own_turn : {i % 2 == 0, i % 2 != 0}) {
      LOCKSTEP_ASSIGN_OR_RETURN(const double value, own_turn ? ours() : baseline());
      (own_turn ? result.values : result.baselines).push_back(value);
    }
  }
  result.value = Median(result.values);
  result.baseline = Median(result.baselines);
  return result;
}

Stopwatch::Stopwatch() : start_ns_(NowNs()) {}

double Stopwatch::Seconds() const { return static_cast<double>(NowNs() - start_ns_) * 1e-9; }

}  // namespace lockstep::bench
