// From the SIGKILL of every process of a site to the first new effect at the other.
//
// Runs the demo on its real stack (two Kafka brokers, MirrorMaker 2, a PostgreSQL pair), as often
// as there are pairs. The baseline is the part that no order-keeping could save: promoting the
// database.
#include <map>
#include <string>
#include <vector>

#include "bench/program.h"
#include "bench/suites.h"
#include "common/base/status_macros.h"

namespace lockstep::bench {

absl::Status RunFailover(Site& site, const Report& report) {
  std::vector<std::string> argv = {
      "/usr/bin/env",     "LOCKSTEP_BIN=" + site.options().program_dir,
      "/usr/bin/python3", site.options().source_dir + "/tests/e2e/demo.py",
      "--format",         "json",
      "--records",        std::to_string(site.Scale(30'000, 120'000, 500'000))};
  if (!site.smoke()) argv.emplace_back("--real");

  std::vector<double> rto_seconds;
  std::map<std::string, std::vector<double>> parts;
  double gap_records = 0;
  for (int i = 0; i < site.pairs(); ++i) {
    LOCKSTEP_ASSIGN_OR_RETURN(const rapidjson::Document story, RunProgram(argv));
    rto_seconds.push_back(Number(story, "rto_seconds"));
    gap_records = Number(story, "mirror_lost");
    const auto found = story.FindMember("rto_parts");
    if (found == story.MemberEnd() || !found->value.IsObject()) {
      return absl::InternalError("the demo does not say what its recovery time is made of");
    }
    for (const auto& part : found->value.GetObject()) {
      parts[part.name.GetString()].push_back(part.value.GetDouble());
    }
  }
  if (!parts.contains("promote")) return absl::InternalError("the demo did not time the promotion");

  Params params = {{"runs", int64_t{site.pairs()}},
                   {"gap_records", static_cast<int64_t>(gap_records)}};
  for (const auto& [part, seconds] : parts) params.emplace_back(part + "_seconds", Median(seconds));
  report({.name = "failover/rto",
          .value = Median(rto_seconds),
          .baseline = "promotion of the database alone",
          .baseline_value = Median(parts["promote"]),
          .unit = "s",
          .better = Better::kLower,
          .params = std::move(params)});
  return absl::OkStatus();
}

}  // namespace lockstep::bench
