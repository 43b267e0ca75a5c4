#include "mirror-reconcile/mm2_config.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace lockstep {
namespace {

std::string Trim(std::string_view text) {
  return std::string(absl::StripAsciiWhitespace(std::string(text)));
}

// Settings may stand bare, per cluster (`p.consumer.…`) or per flow (`p->s.consumer.…`): every one
// that ends so.
std::vector<std::pair<std::string, std::string>> Ending(const Mm2Settings& settings,
                                                        const std::string& suffix) {
  std::vector<std::pair<std::string, std::string>> found;
  for (const auto& [name, value] : settings) {
    if (name == suffix || absl::EndsWith(name, "." + suffix)) found.emplace_back(name, value);
  }
  return found;
}

Finding Isolation(const Mm2Settings& settings) {
  for (const auto& [name, value] : Ending(settings, "consumer.isolation.level")) {
    if (value == "read_committed") return {"mm2_isolation", Verdict::kOk, name + " = " + value, ""};
  }
  return {"mm2_isolation", Verdict::kWarn,
          "MirrorMaker copies uncommitted records: it reads read_uncommitted",
          "where anybody writes transactions set <source>.consumer.isolation.level=read_committed"};
}

Finding Order(const Mm2Settings& settings) {
  bool idempotent = false;
  for (const auto& [name, value] : Ending(settings, "producer.enable.idempotence")) {
    idempotent = idempotent || value == "true";
  }
  std::vector<std::pair<std::string, std::string>> in_flight =
      Ending(settings, "producer.max.in.flight.requests.per.connection");
  const auto over = Ending(settings, "producer.override.max.in.flight.requests.per.connection");
  in_flight.insert(in_flight.end(), over.begin(), over.end());
  for (const auto& [name, value] : in_flight) {
    int64_t count = 0;
    if (!idempotent && (!absl::SimpleAtoi(value, &count) || count > 1)) {
      return {"mm2_order", Verdict::kFail,
              absl::StrCat(name, " = ", value,
                           " without idempotence: a retry overtakes, the copy is out of order"),
              "remove it (the default is 1), or set producer.enable.idempotence=true"};
    }
  }
  return {"mm2_order", Verdict::kOk, "one request in flight or an idempotent producer", ""};
}

Finding Reset(const Mm2Settings& settings) {
  for (const auto& [name, value] : Ending(settings, "consumer.auto.offset.reset")) {
    if (value == "latest") {
      return {"mm2_reset", Verdict::kFail,
              name + " = latest: after a reset the mirror skips records",
              "remove it (the default, earliest, copies again, which is harmless)"};
    }
  }
  return {"mm2_reset", Verdict::kOk, "after a reset the mirror starts over at earliest", ""};
}

Finding Acls(const Mm2Settings& settings) {
  for (const auto& [name, value] : Ending(settings, "sync.topic.acls.enabled")) {
    if (value == "false") return {"mm2_acls", Verdict::kOk, name + " = false", ""};
  }
  return {"mm2_acls", Verdict::kWarn,
          "MirrorMaker copies ACLs and makes the mirrored topic read-only for everybody else",
          "grant WRITE on the mirrored topic to the user of lockstep-mirror-reconcile, or set "
          "sync.topic.acls.enabled=false"};
}

Finding Policy(const Mm2Settings& settings) {
  for (const auto& [name, value] : Ending(settings, "replication.policy.class")) {
    if (absl::EndsWith(value, "IdentityReplicationPolicy")) {
      return {"mm2_policy", Verdict::kOk,
              "identity policy: stop this direction before the other one starts, it has no loop "
              "protection",
              ""};
    }
  }
  return {"mm2_policy", Verdict::kOk, "default policy: mirrored topics are named <alias>.<topic>",
          ""};
}

}  // namespace

Mm2Settings ParseProperties(std::string_view text) {
  Mm2Settings settings;
  std::string line;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    line += Trim(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.empty() || line[0] == '#' || line[0] == '!') {
      line.clear();
      continue;
    }
    if (line.back() == '\\') {
      line.pop_back();
      continue;
    }
    const size_t split = line.find_first_of("=:");
    if (split != std::string::npos) {
      settings[Trim(line.substr(0, split))] = Trim(line.substr(split + 1));
    }
    line.clear();
  }
  return settings;
}

std::vector<Finding> CheckMm2(const std::optional<Mm2Settings>& settings) {
  if (!settings) {
    std::vector<Finding> unknown;
    for (const char* check :
         {"mm2_isolation", "mm2_order", "mm2_reset", "mm2_acls", "mm2_policy"}) {
      unknown.push_back(
          {check, Verdict::kUnknown, "MirrorMaker's settings were not given", "--mm2-config FILE"});
    }
    return unknown;
  }
  return {Isolation(*settings), Order(*settings), Reset(*settings), Acls(*settings),
          Policy(*settings)};
}

}  // namespace lockstep
