#include "sim/disaster.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include "sim/world.h"

namespace lockstep::sim {
namespace {

std::string ReplayCommand(const DisasterOptions& options, int64_t seed) {
  std::string command = absl::StrCat("lockstep-sim disaster --seeds 1 --from-seed ", seed);
  if (options.scenario != nullptr) {
    absl::StrAppend(&command, " --scenario ", std::string(options.scenario->name));
  }
  if (options.broken != nullptr) {
    absl::StrAppend(&command, " --break ", std::string(options.broken->name));
  }
  return command;
}

}  // namespace

const Scenario& ScenarioOf(int64_t seed) {
  const auto scenarios = AllScenarios();
  return scenarios[static_cast<size_t>(seed) % scenarios.size()];
}

DisasterReport RunDisasters(const DisasterOptions& options, const std::function<bool()>& go_on) {
  DisasterReport report;
  for (int64_t seed = options.from_seed; seed < options.from_seed + options.seeds; ++seed) {
    if (!go_on()) break;
    const Scenario& scenario = options.scenario ? *options.scenario : ScenarioOf(seed);
    World world(scenario, options.broken, static_cast<uint64_t>(seed), /*keep_trace=*/false);
    world.Run();
    ++report.seeds;
    for (size_t i = 0; i < kEventKinds; ++i) {
      report.coverage[i] += world.journal().coverage()[i];
    }
    const bool violated = world.journal().violated() &&
                          world.journal().violation().find(options.wanted) != std::string::npos;
    if (!violated && (!options.trace || report.seeds > 1)) continue;
    if ((violated && ++report.violations == 1) || !violated) {
      World again(scenario, options.broken, static_cast<uint64_t>(seed), /*keep_trace=*/true);
      again.Run();
      report.first_trace = again.journal().trace();
      if (!violated) continue;
      report.first_failing_seed = seed;
      report.first_violation = again.journal().violation();
      report.replay = ReplayCommand(options, seed);
    }
    if (options.broken != nullptr) break;
  }
  return report;
}

std::string SummaryJson(const DisasterOptions& options, const DisasterReport& report,
                        double seconds) {
  rapidjson::StringBuffer buffer;
  rapidjson::Writer<rapidjson::StringBuffer> json(buffer);
  const auto text = [&json](std::string_view value) {
    json.String(value.data(), static_cast<rapidjson::SizeType>(value.size()));
  };
  json.StartObject();
  json.Key("scenario");
  text(options.scenario != nullptr ? options.scenario->name : "all");
  if (options.broken != nullptr) {
    json.Key("break");
    text(options.broken->name);
  }
  json.Key("seeds");
  json.Int64(report.seeds);
  json.Key("from_seed");
  json.Int64(options.from_seed);
  json.Key("violations");
  json.Int64(report.violations);
  json.Key("first_failing_seed");
  report.first_failing_seed ? json.Int64(*report.first_failing_seed) : json.Null();
  json.Key("violation");
  report.violations > 0 ? text(report.first_violation) : static_cast<void>(json.Null());
  json.Key("replay");
  report.violations > 0 ? text(report.replay) : static_cast<void>(json.Null());
  json.Key("seeds_per_second");
  json.Double(seconds > 0 ? static_cast<double>(report.seeds) / seconds : 0);
  json.Key("coverage");
  json.StartObject();
  for (size_t i = 0; i < kEventKinds; ++i) {
    text(kEventNames[i]);  // As a key: RapidJSON's writer knows by the place.
    json.Int64(report.coverage[i]);
  }
  json.EndObject();
  json.EndObject();
  return buffer.GetString();
}

}  // namespace lockstep::sim
