#include "mirror-reconcile/session.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "common/base/status_macros.h"
#include "common/config/password_file.h"
#include "common/kafka/preflight.h"
#include "common/log/log.h"
#include "mirror-reconcile/reinject_plan.h"

namespace lockstep {
namespace {

constexpr std::chrono::milliseconds kKafkaTimeout{10'000};

// This site's logs of a stream of another topic than the session's.
absl::StatusOr<std::vector<std::unique_ptr<LogReader>>> OpenLogsOf(
    const KafkaConfig& kafka, std::chrono::milliseconds patience, const StreamInfo& stream) {
  LOCKSTEP_ASSIGN_OR_RETURN(const auto admin, KafkaAdmin::Open(kafka));
  LOCKSTEP_ASSIGN_OR_RETURN(const std::vector<TopicInfo> topics, admin->ListTopics(kKafkaTimeout));
  LOCKSTEP_ASSIGN_OR_RETURN(const TopicChoice choice,
                            ChooseTopics(topics, stream.name.topic, "", stream.partition_count));
  std::vector<std::unique_ptr<LogReader>> logs;
  for (const TopicInfo& topic : choice.present) {
    LOCKSTEP_ASSIGN_OR_RETURN(
        std::unique_ptr<KafkaLogReader> log,
        KafkaLogReader::Open(kafka, {topic.name, stream.name.partition}, patience));
    logs.push_back(std::move(log));
  }
  return logs;
}

}  // namespace

std::vector<std::string> ReconcileOptions::Validate() const {
  std::vector<std::string> complaints;
  if (const auto specs = PayloadSpecs(); !specs.ok()) {
    complaints.push_back(std::string(specs.status().message()));
  }
  if (const auto parsed = ParseReinjectOrder(order); !parsed.ok()) {
    complaints.push_back(std::string(parsed.status().message()));
  }
  if (promote_with != "pg_promote" && promote_with != "none" &&
      (!absl::StartsWith(promote_with, "exec:") || promote_with.size() == 5)) {
    complaints.push_back("--promote-with " + promote_with +
                         ": expected pg_promote, exec:COMMAND or none");
  }
  return complaints;
}

absl::StatusOr<std::vector<PayloadSpec>> ReconcileOptions::PayloadSpecs() const {
  std::vector<PayloadSpec> specs;
  for (const std::string& text : payloads) {
    LOCKSTEP_ASSIGN_OR_RETURN(specs.emplace_back(), ParsePayloadSpec(text));
  }
  return specs;
}

absl::StatusOr<std::unique_ptr<Session>> Session::Open(const CommonOptions& common,
                                                       const ReconcileOptions& options) {
  std::unique_ptr<Session> session(new Session(common, options));
  LOCKSTEP_RETURN_IF_ERROR(session->Start());
  return session;
}

absl::Status Session::Start() {
  LOCKSTEP_ASSIGN_OR_RETURN(payload_specs_, options_.PayloadSpecs());
  if (!options_.source_password_file.empty()) {
    LOCKSTEP_ASSIGN_OR_RETURN(source_password_, ReadPasswordFile("--source-password-file",
                                                                 options_.source_password_file));
  }
  PostgresLedgerOptions ledger;
  ledger.ledger = common_.ledger;
  ledger.standby_ledger = common_.standby_ledger;
  ledger.application_name = "lockstep-mirror-reconcile";
  ledger.read_only = true;
  LOCKSTEP_ASSIGN_OR_RETURN(ledger_, PostgresLedger::Connect(ledger));
  topic_ = common_.Topic();
  LOCKSTEP_ASSIGN_OR_RETURN(all_streams_, ledger_->FindStreams(topic_));
  if (all_streams_.empty()) {
    return absl::NotFoundError("the ledger knows no topic " + topic_ +
                               "; `lockstep-ledger status` lists what it knows");
  }
  LOCKSTEP_ASSIGN_OR_RETURN(producers_, ledger_->ListProducers());
  LOCKSTEP_ASSIGN_OR_RETURN(admin_, KafkaAdmin::Open(common_.Kafka()));
  LOCKSTEP_ASSIGN_OR_RETURN(cluster_id_, admin_->ClusterId(kKafkaTimeout));
  return OpenLogs();
}

absl::Status Session::ConnectForChanges() {
  PostgresLedgerOptions ledger;
  ledger.ledger = common_.ledger;
  ledger.standby_ledger = common_.standby_ledger;
  ledger.application_name = "lockstep-mirror-reconcile";
  LOCKSTEP_ASSIGN_OR_RETURN(ledger_, PostgresLedger::Connect(ledger));
  return absl::OkStatus();
}

absl::Status Session::OpenLogs() {
  LOCKSTEP_ASSIGN_OR_RETURN(const std::vector<TopicInfo> topics, admin_->ListTopics(kKafkaTimeout));
  LOCKSTEP_ASSIGN_OR_RETURN(topics_,
                            ChooseTopics(topics, topic_, common_.mirror_topic, partition_count()));
  streams_.clear();
  for (const StreamInfo& info : all_streams_) {
    const bool wanted = common_.streams.empty() ||
                        std::find(common_.streams.begin(), common_.streams.end(), info.name) !=
                            common_.streams.end();
    if (!wanted) continue;
    LOCKSTEP_ASSIGN_OR_RETURN(
        SiteLogs logs,
        SiteLogs::Open(common_.Kafka(), topics_, info.name.partition, options_.patience));
    streams_.push_back({info, std::move(logs)});
  }
  if (streams_.empty()) {
    return absl::NotFoundError("the ledger knows none of the streams given with --stream");
  }
  return absl::OkStatus();
}

absl::Status Session::CreateMissingTopics() {
  for (const std::string& name : topics_.missing) {
    int32_t replication = -1;  // The broker's default, unless the other topic shows better.
    if (!topics_.present.empty()) replication = topics_.present.front().replication;
    // For ever: nothing is removed behind the ledger's back while the sites are apart.
    const absl::Status created =
        admin_->CreateTopic(AdvisedTopic(name, partition_count(), replication, -1), kKafkaTimeout);
    if (!created.ok() && !absl::IsAlreadyExists(created)) return created;
    Log(LogLevel::kInfo, "topic_created", {{"topic", name}, {"partitions", partition_count()}});
  }
  return OpenLogs();
}

absl::StatusOr<Gap> Session::FindGapOf(OpenStream& stream, bool whole) {
  LOCKSTEP_ASSIGN_OR_RETURN(LedgerView view, LedgerView::Open(*ledger_, stream.info));
  return FindGap(view, stream.logs.logs(), cluster_id_, kAllRules, whole);
}

PayloadRouter Session::MakeRouter() const {
  PayloadRouterOptions options;
  options.specs = payload_specs_;
  options.source_db = options_.source_db.empty() ? common_.ledger : options_.source_db;
  options.source_password = source_password_;
  options.kafka = common_.Kafka();
  options.patience = options_.patience;
  options.open_logs = [kafka = options.kafka, patience = options_.patience](
                          const StreamInfo& stream) { return OpenLogsOf(kafka, patience, stream); };
  return PayloadRouter(std::move(options), *ledger_, producers_);
}

}  // namespace lockstep
