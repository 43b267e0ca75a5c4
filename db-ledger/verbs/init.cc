// lockstep-ledger init, check: a ledger comes to be, and is fit to be used.
#include <cstdio>
#include <cstdlib>

#include "absl/strings/str_cat.h"

#include "common/base/status_macros.h"
#include "common/config/terminal.h"
#include "db-ledger/schema.h"
#include "db-ledger/verbs/verbs.h"

namespace lockstep {
namespace {

constexpr std::chrono::seconds kPatience{30};
constexpr int64_t kClockDifferenceMaxMs = 5'000;

// One thing that check looks at.
struct Finding {
  const char* what;
  bool ok;
  std::string detail;
};

int Print(const VerbContext& context, const std::vector<Finding>& findings) {
  bool ok = true;
  std::vector<std::string> rows;
  for (const Finding& finding : findings) {
    ok = ok && finding.ok;
    rows.push_back(Summary()
                       .Add("check", finding.what)
                       .Add("ok", finding.ok)
                       .Add("detail", finding.detail)
                       .Json());
    if (context.common.format == OutputFormat::kText) {
      std::printf("%-4s %-12s %s\n", finding.ok ? "ok" : "NO", finding.what,
                  finding.detail.c_str());
    }
  }
  if (context.common.format == OutputFormat::kJson) {
    Summary().Add("ok", ok).AddJson("checks", JsonArray(rows)).Print(OutputFormat::kJson);
  }
  return ok ? 0 : 1;
}

Finding CheckRole(PgConnection& connection, PgDeadline deadline) {
  const auto roles = connection.ExecuteScript(
      "select coalesce(string_agg(r, ', '), '') from unnest(array['lockstep_writer', "
      "'lockstep_gate', 'lockstep_reader', 'lockstep_admin']) r "
      "where pg_has_role(session_user, r, 'usage')",
      deadline);
  if (!roles.ok()) return {"role", false, std::string(roles.status().message())};
  return {"role", !roles->empty(), roles->empty() ? "none of lockstep_…" : *roles};
}

Finding CheckStatistics(PgConnection& connection, PgDeadline deadline) {
  const auto can = connection.ExecuteScript(
      "select pg_has_role('lockstep_owner', 'pg_read_all_stats', 'usage')::int", deadline);
  const bool ok = can.ok() && *can == "1";
  return {
      "statistics", ok,
      ok ? "lockstep_owner may ask the WAL receiver" : "grant pg_read_all_stats to lockstep_owner"};
}

Finding CheckCommit(PgConnection& connection, PgDeadline deadline) {
  const auto setting = connection.ExecuteScript("show synchronous_commit", deadline);
  const bool ok = setting.ok() && (*setting == "on" || *setting == "remote_apply");
  return {"commit", ok,
          "synchronous_commit = " + (setting.ok() ? *setting : std::string("unknown"))};
}

Finding CheckClock(PgConnection& connection, PgDeadline deadline) {
  const auto there = connection.ExecuteScript(
      "select (extract(epoch from clock_timestamp()) * 1000)::bigint", deadline);
  if (!there.ok()) return {"clock", false, std::string(there.status().message())};
  const auto here = std::chrono::duration_cast<std::chrono::milliseconds>(
      std::chrono::system_clock::now().time_since_epoch());
  const int64_t difference = std::abs(std::strtoll(there->c_str(), nullptr, 10) - here.count());
  return {"clock", difference <= kClockDifferenceMaxMs,
          absl::StrCat(difference, " ms apart (for people only; no rule rests on it)")};
}

Finding CheckStandbys(const PostgresLedger::Health& health, bool solo) {
  std::string detail;
  bool waited_for = false;
  for (const auto& standby : health.standbys) {
    absl::StrAppend(&detail, detail.empty() ? "" : "; ", standby.name, " ", standby.state, " ",
                    standby.sync_state);
    waited_for = waited_for || standby.sync_state == "sync" || standby.sync_state == "quorum";
  }
  if (detail.empty()) detail = "none connected";
  if (solo) detail += " (the epoch is solo)";
  return {"standby", waited_for || solo, detail};
}

}  // namespace

absl::StatusOr<ExitCode> RunInit(const VerbContext& context) {
  const PgDeadline deadline = std::chrono::steady_clock::now() + kPatience;
  LOCKSTEP_ASSIGN_OR_RETURN(const auto hosts,
                            ParsePgHosts(context.common.ledger, "lockstep-ledger"));
  LOCKSTEP_ASSIGN_OR_RETURN(const auto connection,
                            PgConnection::Open(hosts, PgRole::kPrimary, deadline));
  LOCKSTEP_ASSIGN_OR_RETURN(const InstalledSchema installed,
                            InstallSchema(*connection, context.arguments.solo, deadline));
  std::vector<std::string> roles;
  for (const std::string& role : installed.roles) roles.push_back(JsonString(role));
  Summary()
      .Add("schema_version", installed.version)
      .Add("epoch", installed.epoch.value())
      .Add("solo", installed.solo)
      .AddJson("roles", JsonArray(roles))
      .Print(context.common.format);
  return ExitCode::kYes;
}

absl::StatusOr<ExitCode> RunCheck(const VerbContext& context) {
  LOCKSTEP_ASSIGN_OR_RETURN(const auto ledger, ConnectLedger(context, false));
  LOCKSTEP_ASSIGN_OR_RETURN(const Ledger::Now now, ledger->ReadNow());
  LOCKSTEP_ASSIGN_OR_RETURN(const PostgresLedger::Health health, ledger->ReadHealth());
  LOCKSTEP_ASSIGN_OR_RETURN(PgConnection* const connection, ledger->RawConnection());
  const PgDeadline deadline = std::chrono::steady_clock::now() + kPatience;
  const bool durable = health.judgement.testimony == Testimony::kDurable;
  const std::vector<Finding> findings = {
      {"ledger", true,
       absl::StrCat(health.ledger_host, ", PostgreSQL ",
                    connection->ParameterStatus("server_version"), ", schema ", kSchemaVersion,
                    ", epoch ", now.epoch.value(), now.solo ? ", solo" : "")},
      CheckStandbys(health, now.solo),
      {"witness", durable || now.solo,
       durable ? health.witness_host + " has flushed all" : health.judgement.why},
      CheckCommit(*connection, deadline),
      CheckStatistics(*connection, deadline),
      CheckRole(*connection, deadline),
      CheckClock(*connection, deadline)};
  return Print(context, findings) == 0 ? ExitCode::kYes : ExitCode::kNo;
}

}  // namespace lockstep
