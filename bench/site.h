// Site: what the suites run on. One Kafka cluster, one PostgreSQL pair, and a distance between the
// two databases that can be set.
//
// The caller brings the parts (a private stack, see stack.py, or anything given by flags); a Site
// makes topics and ledger databases on them and removes what it made. A smoke run without brokers
// gets an in-process mock cluster, which measures nothing and keeps 5 MB a partition.
#ifndef LOCKSTEP_BENCH_SITE_H_
#define LOCKSTEP_BENCH_SITE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "common/kafka/kafka_admin.h"
#include "common/kafka/mock_cluster.h"
#include "db-ledger/pg_connection.h"
#include "db-ledger/postgres_ledger.h"

namespace lockstep::bench {

struct SiteOptions {
  std::string brokers;        // Empty: a mock cluster of our own (smoke), or none.
  std::string ledger;         // Conninfo with both hosts.
  std::string toxiproxy;      // HOST:PORT of its API; empty: no distance can be set.
  std::string standby_proxy;  // HOST:PORT at which toxiproxy passes to the standby database.
  std::string source_dir;     // Where ./dev and the tests lie.
  std::string program_dir;    // Where the programs lie.
  bool smoke = false;         // Sizes of seconds, to see that it runs at all.
  bool full = false;          // The largest sizes.
  int pairs = 5;
  std::string only;  // Figures whose name begins so; empty: those that a suite always has.
};

class Site {
 public:
  // Speaks to nobody yet.
  explicit Site(SiteOptions options);
  ~Site();
  Site(const Site&) = delete;
  Site& operator=(const Site&) = delete;

  const SiteOptions& options() const { return options_; }
  // Known after the first NewTopic.
  const std::string& brokers() const { return options_.brokers; }
  bool smoke() const { return options_.smoke; }
  int pairs() const { return options_.pairs; }
  // Whether a figure is asked for.
  bool Wants(std::string_view name) const {
    return name.substr(0, options_.only.size()) == options_.only;
  }
  // Whether one is that is not always taken: by name, or to see that it runs at all.
  bool WantsApart(std::string_view name) const {
    return Wants(name) && (smoke() || !options_.only.empty());
  }
  // The size for this kind of run.
  int64_t Scale(int64_t smoke, int64_t normal, int64_t full) const {
    return options_.smoke ? smoke : options_.full ? full : normal;
  }

  // A new topic with a name of its own.
  absl::StatusOr<std::string> NewTopic(int32_t partitions);
  // Removes it, and its disk space; so also does the destructor.
  void DropTopic(const std::string& topic);

  // A new, initialised ledger in a database of its own; its conninfo. Dropped by the destructor.
  absl::StatusOr<std::string> NewLedger();

  // SQL at the read-write host of `conninfo`; the first column of the last result, a row a line.
  absl::StatusOr<std::string> Sql(const std::string& conninfo, const std::string& sql) const;

  // The same ledger with its witness at a distance, and that distance: a round trip between primary
  // and standby, and before the witness. 0 ends it. FAILED_PRECONDITION without toxiproxy.
  absl::StatusOr<std::string> FarLedger(const std::string& ledger) const;
  absl::Status SetRoundTrip(int64_t milliseconds);

 private:
  absl::Status ConnectKafka();
  absl::StatusOr<std::unique_ptr<PgConnection>> ConnectTo(const std::string& conninfo) const;

  SiteOptions options_;
  std::unique_ptr<MockCluster> mock_;
  std::unique_ptr<KafkaAdmin> admin_;
  std::vector<std::string> topics_;
  std::vector<std::string> databases_;
  int64_t round_trip_ms_ = 0;
  int64_t serial_ = 0;
};

absl::StatusOr<std::unique_ptr<PostgresLedger>> ConnectLedger(const std::string& conninfo);

// `conninfo` (libpq's syntax, either form) with one keyword changed, in keyword form.
absl::StatusOr<std::string> WithKeyword(const std::string& conninfo, const std::string& keyword,
                                        const std::string& value);

}  // namespace lockstep::bench

#endif  // LOCKSTEP_BENCH_SITE_H_
