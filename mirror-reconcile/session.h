// Session: what every command needs of a site: its ledger, its Kafka, the topic's streams.
#ifndef LOCKSTEP_MIRROR_RECONCILE_SESSION_H_
#define LOCKSTEP_MIRROR_RECONCILE_SESSION_H_

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "common/config/program.h"
#include "common/kafka/kafka_admin.h"
#include "db-ledger/postgres_ledger.h"
#include "mirror-reconcile/gap.h"
#include "mirror-reconcile/payload_router.h"
#include "mirror-reconcile/site_topics.h"

namespace lockstep {

// What was typed besides the common flags.
struct ReconcileOptions {
  std::vector<std::string> payloads;
  std::string source_db;             // Empty: the ledger's database.
  std::string source_password_file;  // Of a Pika; empty: it wants none.
  std::string order = "ledger";
  bool allow_data_loss = false;
  bool accept_source_loss = false;
  bool in_place = false;  // failover: of the primary, whose own log lost records.
  bool whole = false;     // gap: read the logs from end to start.
  bool watch = false;
  std::string mm2_config;
  std::string source_brokers;
  std::string promote_with = "pg_promote";
  std::chrono::milliseconds patience{30'000};
  std::chrono::milliseconds interval{2'000};

  // All complaints.
  std::vector<std::string> Validate() const;
  absl::StatusOr<std::vector<PayloadSpec>> PayloadSpecs() const;
};

// One stream with its logs open. A view of the ledger is opened when it is needed.
struct OpenStream {
  StreamInfo info;
  SiteLogs logs;
};

class Session {
 public:
  // Reads only: a standby's database will do.
  static absl::StatusOr<std::unique_ptr<Session>> Open(const CommonOptions& common,
                                                       const ReconcileOptions& options);

  // From now on changes go to the ledger too (after a promotion): connects anew.
  absl::Status ConnectForChanges();
  // Looks at the site's topics again, creates nothing; opens the logs of the streams asked for.
  absl::Status OpenLogs();
  // Creates the topics that are missing, with the ledger's partition count.
  absl::Status CreateMissingTopics();

  absl::StatusOr<Gap> FindGapOf(OpenStream& stream, bool whole);
  PayloadRouter MakeRouter() const;

  PostgresLedger& ledger() { return *ledger_; }
  KafkaAdmin& admin() { return *admin_; }
  const std::string& cluster_id() const { return cluster_id_; }
  const std::string& topic() const { return topic_; }
  // A topic that only a gate has opened has no count in the ledger yet (0); then the streams that
  // it opened are all there are.
  int32_t partition_count() const {
    const int32_t known = all_streams_.front().partition_count;
    return known > 0 ? known : static_cast<int32_t>(all_streams_.size());
  }
  const TopicChoice& topics() const { return topics_; }
  // Every stream of the topic that the ledger knows.
  const std::vector<StreamInfo>& all_streams() const { return all_streams_; }
  // Those asked for by --stream, or all.
  std::vector<OpenStream>& streams() { return streams_; }
  const std::vector<ProducerInfo>& producers() const { return producers_; }
  const CommonOptions& common() const { return common_; }
  const ReconcileOptions& options() const { return options_; }

 private:
  Session(const CommonOptions& common, const ReconcileOptions& options)
      : common_(common), options_(options) {}
  absl::Status Start();

  const CommonOptions common_;
  const ReconcileOptions options_;
  std::unique_ptr<PostgresLedger> ledger_;
  std::unique_ptr<KafkaAdmin> admin_;
  std::string cluster_id_;
  std::string topic_;
  std::vector<StreamInfo> all_streams_;
  std::vector<OpenStream> streams_;
  std::vector<ProducerInfo> producers_;
  std::vector<PayloadSpec> payload_specs_;
  std::string source_password_;
  TopicChoice topics_;
};

}  // namespace lockstep

#endif  // LOCKSTEP_MIRROR_RECONCILE_SESSION_H_
