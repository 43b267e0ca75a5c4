#include "bench/site.h"

#include <httplib.h>
#include <unistd.h>

#include <chrono>
#include <utility>

#include "common/base/status_macros.h"
#include "db-ledger/schema.h"

#include <libpq-fe.h>

namespace lockstep::bench {

namespace {

constexpr std::chrono::seconds kKafkaTimeout{30};
constexpr std::chrono::minutes kSqlTimeout{2};
// The proxies between the databases and before the witness, as the test stack names them.
constexpr const char* kDistantProxies[] = {"via_replication", "via_pg_s"};

struct OptionsFreer {
  void operator()(PQconninfoOption* options) const { PQconninfoFree(options); }
};
using ConninfoOptions = std::unique_ptr<PQconninfoOption, OptionsFreer>;

PgDeadline Deadline() { return std::chrono::steady_clock::now() + kSqlTimeout; }

std::string Quoted(const std::string& value) {
  std::string text = "'";
  for (const char c : value) {
    if (c == '\'' || c == '\\') text += '\\';
    text += c;
  }
  return text + "'";
}

absl::StatusOr<ConninfoOptions> ParseConninfo(const std::string& conninfo) {
  char* error = nullptr;
  ConninfoOptions options(PQconninfoParse(conninfo.c_str(), &error));
  if (options == nullptr) {
    const std::string message = error == nullptr ? "out of memory" : error;
    PQfreemem(error);
    return absl::InvalidArgumentError("--ledger: " + message);
  }
  return options;
}

absl::Status AddLatency(httplib::Client& client, const std::string& proxy, const char* stream,
                        int64_t milliseconds) {
  const std::string body = std::string(R"({"name":"distance_)") + stream +
                           R"(","type":"latency","stream":")" + stream +
                           R"(","attributes":{"latency":)" + std::to_string(milliseconds) + "}}";
  const httplib::Result answer =
      client.Post(("/proxies/" + proxy + "/toxics").c_str(), body, "application/json");
  if (!answer || answer->status / 100 != 2) {
    return absl::UnavailableError("toxiproxy refuses a latency before " + proxy);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<PostgresLedger>> ConnectLedger(const std::string& conninfo) {
  PostgresLedgerOptions options;
  options.ledger = conninfo;
  options.application_name = "lockstep-bench";
  return PostgresLedger::Connect(options);
}

absl::StatusOr<std::string> WithKeyword(const std::string& conninfo, const std::string& keyword,
                                        const std::string& value) {
  LOCKSTEP_ASSIGN_OR_RETURN(const ConninfoOptions options, ParseConninfo(conninfo));
  std::string text;
  for (const PQconninfoOption* option = options.get(); option->keyword != nullptr; ++option) {
    const bool changed = keyword == option->keyword;
    if (option->val == nullptr && !changed) continue;
    if (!text.empty()) text += ' ';
    text += std::string(option->keyword) + "=" + Quoted(changed ? value : option->val);
  }
  return text;
}

Site::Site(SiteOptions options) : options_(std::move(options)) {}

absl::Status Site::ConnectKafka() {
  if (admin_ != nullptr) return absl::OkStatus();
  if (options_.brokers.empty()) {
    if (!options_.smoke) return absl::InvalidArgumentError("--brokers is missing");
    LOCKSTEP_ASSIGN_OR_RETURN(mock_, MockCluster::Start());
    options_.brokers = mock_->brokers();
  }
  LOCKSTEP_ASSIGN_OR_RETURN(admin_,
                            KafkaAdmin::Open({.brokers = options_.brokers, .properties = {}}));
  return absl::OkStatus();
}

Site::~Site() {
  SetRoundTrip(0).IgnoreError();  // Best effort, as is all of the clearing up.
  while (!topics_.empty()) DropTopic(topics_.back());
  for (const std::string& database : databases_) {
    Sql(options_.ledger, "drop database if exists " + database + " with (force)").IgnoreError();
  }
}

absl::StatusOr<std::string> Site::NewTopic(int32_t partitions) {
  const std::string topic = "bench-" + std::to_string(getpid()) + "-" + std::to_string(++serial_);
  LOCKSTEP_RETURN_IF_ERROR(ConnectKafka());
  if (mock_ != nullptr) {
    LOCKSTEP_RETURN_IF_ERROR(mock_->CreateTopic(topic, partitions));
  } else {
    LOCKSTEP_RETURN_IF_ERROR(admin_->CreateTopic(
        {.name = topic, .partition_count = partitions, .replication = -1, .settings = {}},
        kKafkaTimeout));
  }
  topics_.push_back(topic);
  return topic;
}

void Site::DropTopic(const std::string& topic) {
  std::erase(topics_, topic);
  if (mock_ == nullptr) admin_->DeleteTopic(topic, kKafkaTimeout).IgnoreError();
}

absl::StatusOr<std::unique_ptr<PgConnection>> Site::ConnectTo(const std::string& conninfo) const {
  LOCKSTEP_ASSIGN_OR_RETURN(const std::vector<PgHost> hosts,
                            ParsePgHosts(conninfo, "lockstep-bench"));
  LOCKSTEP_ASSIGN_OR_RETURN(std::unique_ptr<PgConnection> connection,
                            PgConnection::Open(hosts, PgRole::kPrimary, Deadline()));
  // What is created here is there at the standby, too, when it is committed: the witness asks it.
  LOCKSTEP_RETURN_IF_ERROR(
      connection->ExecuteScript("set synchronous_commit = remote_apply", Deadline()).status());
  return connection;
}

absl::StatusOr<std::string> Site::Sql(const std::string& conninfo, const std::string& sql) const {
  LOCKSTEP_ASSIGN_OR_RETURN(const std::unique_ptr<PgConnection> connection, ConnectTo(conninfo));
  return connection->ExecuteScript(sql, Deadline());
}

absl::StatusOr<std::string> Site::NewLedger() {
  const std::string database =
      "lockstep_bench_" + std::to_string(getpid()) + "_" + std::to_string(++serial_);
  LOCKSTEP_RETURN_IF_ERROR(Sql(options_.ledger, "create database " + database).status());
  databases_.push_back(database);
  LOCKSTEP_ASSIGN_OR_RETURN(const std::string ledger,
                            WithKeyword(options_.ledger, "dbname", database));
  LOCKSTEP_ASSIGN_OR_RETURN(const std::unique_ptr<PgConnection> connection, ConnectTo(ledger));
  LOCKSTEP_RETURN_IF_ERROR(InstallSchema(*connection, /*solo=*/false, Deadline()).status());
  return ledger;
}

absl::StatusOr<std::string> Site::FarLedger(const std::string& ledger) const {
  const size_t colon = options_.standby_proxy.rfind(':');
  if (options_.toxiproxy.empty() || colon == std::string::npos) {
    return absl::FailedPreconditionError(
        "a distance needs toxiproxy between the databases; ./dev bench brings it, else "
        "--toxiproxy and --standby-proxy");
  }
  // The standby is the last host; only the way to it is the long one.
  LOCKSTEP_ASSIGN_OR_RETURN(const ConninfoOptions options, ParseConninfo(ledger));
  std::string hosts;
  std::string ports;
  for (const PQconninfoOption* option = options.get(); option->keyword != nullptr; ++option) {
    if (std::string_view(option->keyword) == "host" && option->val != nullptr) hosts = option->val;
    if (std::string_view(option->keyword) == "port" && option->val != nullptr) ports = option->val;
  }
  const size_t host_comma = hosts.rfind(',');
  const size_t port_comma = ports.rfind(',');
  if (host_comma == std::string::npos || port_comma == std::string::npos) {
    return absl::InvalidArgumentError("--ledger: two hosts and two ports are needed");
  }
  hosts = hosts.substr(0, host_comma + 1) + options_.standby_proxy.substr(0, colon);
  ports = ports.substr(0, port_comma + 1) + options_.standby_proxy.substr(colon + 1);
  LOCKSTEP_ASSIGN_OR_RETURN(const std::string with_hosts, WithKeyword(ledger, "host", hosts));
  return WithKeyword(with_hosts, "port", ports);
}

absl::Status Site::SetRoundTrip(int64_t milliseconds) {
  if (milliseconds == round_trip_ms_) return absl::OkStatus();
  const size_t colon = options_.toxiproxy.rfind(':');
  if (colon == std::string::npos) {
    return absl::FailedPreconditionError("a distance needs --toxiproxy HOST:PORT");
  }
  httplib::Client client(options_.toxiproxy.substr(0, colon),
                         std::stoi(options_.toxiproxy.substr(colon + 1)));
  for (const std::string proxy : kDistantProxies) {
    for (const char* stream : {"upstream", "downstream"}) {
      client.Delete(("/proxies/" + proxy + "/toxics/distance_" + stream).c_str());
      if (milliseconds > 0) {
        LOCKSTEP_RETURN_IF_ERROR(AddLatency(client, proxy, stream, milliseconds / 2));
      }
    }
  }
  round_trip_ms_ = milliseconds;
  return absl::OkStatus();
}

}  // namespace lockstep::bench
