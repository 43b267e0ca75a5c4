#include "mirror-reconcile/site_preflight.h"

#include <chrono>
#include <fstream>
#include <iterator>
#include <memory>
#include <utility>

#include "mirror-reconcile/mm2_config.h"

namespace lockstep {
namespace {

constexpr std::chrono::milliseconds kTimeout{5'000};

void CheckOne(KafkaAdmin& admin, const std::string& site, const std::string& topic,
              int32_t partition_count, std::vector<SiteFinding>& findings) {
  const absl::StatusOr<TopicInfo> info = admin.DescribeTopic(topic, kTimeout);
  if (!info.ok()) {
    const bool absent = absl::IsNotFound(info.status());
    findings.push_back({site,
                        topic,
                        {"topic", absent ? Verdict::kWarn : Verdict::kUnknown,
                         std::string(info.status().message()),
                         absent ? "failover creates it here; at the primary a producer needs it"
                                : "give brokers that answer"}});
    return;
  }
  TopicPreflight facts;
  facts.topic = *info;
  facts.partition_count_expected = partition_count;
  const absl::StatusOr<KafkaSettings> settings = admin.TopicSettings(topic, kTimeout);
  if (settings.ok()) facts.settings = *settings;
  for (Finding& finding : CheckTopic(facts)) findings.push_back({site, topic, std::move(finding)});
}

std::optional<Mm2Settings> ReadMm2(const std::string& path, std::vector<SiteFinding>& findings) {
  if (path.empty()) return std::nullopt;
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    findings.push_back({"mirror",
                        "",
                        {"mm2_config", Verdict::kUnknown, "cannot read " + path,
                         "give a readable file with --mm2-config"}});
    return std::nullopt;
  }
  return ParseProperties(std::string(std::istreambuf_iterator<char>(file), {}));
}

}  // namespace

std::vector<SiteFinding> PreflightSites(Session& session) {
  std::vector<SiteFinding> findings;
  for (const TopicInfo& topic : session.topics().present) {
    CheckOne(session.admin(), "here", topic.name, session.partition_count(), findings);
  }
  for (const std::string& topic : session.topics().missing) {
    CheckOne(session.admin(), "here", topic, session.partition_count(), findings);
  }
  if (session.options().source_brokers.empty()) {
    findings.push_back({"primary",
                        session.topic(),
                        {"topic", Verdict::kUnknown, "the primary's brokers were not given",
                         "--source-brokers HOST:PORT"}});
  } else {
    KafkaConfig kafka = session.common().Kafka();
    kafka.brokers = session.options().source_brokers;
    const auto admin = KafkaAdmin::Open(kafka);
    if (admin.ok()) {
      CheckOne(**admin, "primary", session.topic(), session.partition_count(), findings);
    } else {
      findings.push_back({"primary",
                          session.topic(),
                          {"topic", Verdict::kUnknown, std::string(admin.status().message()), ""}});
    }
  }
  for (Finding& finding : CheckMm2(ReadMm2(session.options().mm2_config, findings))) {
    findings.push_back({"mirror", "", std::move(finding)});
  }
  return findings;
}

}  // namespace lockstep
