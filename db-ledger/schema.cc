#include "db-ledger/schema.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#include "common/base/status_macros.h"

namespace lockstep {
namespace {

// '' if a commit will be waited for by a connected standby, else what is wrong.
constexpr char kWhatIsWrong[] = R"sql(
select case
  when exists (select from pg_stat_replication where sync_state in ('sync', 'quorum')) then ''
  when current_setting('synchronous_standby_names') = '' then 'none'
  else 'absent' end)sql";

constexpr char kFacts[] = R"sql(
select concat_ws(' ', (select max(version) from lockstep.schema_version), n.epoch, e.solo::int)
from lockstep.now n join lockstep.epoch e using (epoch))sql";

absl::Status CheckStandby(PgConnection& connection, bool solo, PgDeadline deadline) {
  LOCKSTEP_ASSIGN_OR_RETURN(const std::string wrong,
                            connection.ExecuteScript(kWhatIsWrong, deadline));
  if (wrong == "none" && !solo) {
    return absl::FailedPreconditionError(
        "no synchronous standby: set synchronous_standby_names = 'FIRST 1 (…)' and connect it, or "
        "begin the ledger with --solo");
  }
  if (wrong == "absent") {
    return absl::FailedPreconditionError(
        "synchronous_standby_names names a standby that is not connected, every commit would hang: "
        "start it, or set it to '' and use --solo");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<int> ReadSchemaVersion(PgConnection& connection, PgDeadline deadline) {
  // Of each version one function: functions are what every reader may see.
  const auto found = connection.ExecuteScript(
      "select count(*) from pg_proc p join pg_namespace n on n.oid = p.pronamespace "
      "where n.nspname = 'lockstep' and p.proname in ('witness_facts', 'cursor_seqs')",
      deadline);
  LOCKSTEP_RETURN_IF_ERROR(found.status());
  int version = 0;
  if (!absl::SimpleAtoi(*found, &version)) return absl::DataLossError("no version: " + *found);
  return version;
}

namespace {

// What brings a schema of `version` to ours; empty: nothing is missing.
std::string MissingSteps(int version, bool solo) {
  std::string steps;
  if (version < 1) {
    absl::StrAppend(&steps, kLedger001Sql,
                    "insert into lockstep.now (epoch) values (1);"
                    "insert into lockstep.epoch (epoch, solo, reason, role) values (1, ",
                    solo ? "true" : "false", ", 'init', session_user);");
  }
  if (version < 2) absl::StrAppend(&steps, kLedger002Sql);
  return steps;
}

// Again under the lock: another init may have done it meanwhile.
absl::Status Upgrade(PgConnection& connection, bool solo, PgDeadline deadline) {
  LOCKSTEP_ASSIGN_OR_RETURN(const int version, ReadSchemaVersion(connection, deadline));
  return connection.ExecuteScript(MissingSteps(version, solo) + "commit", deadline).status();
}

}  // namespace

absl::StatusOr<InstalledSchema> InstallSchema(PgConnection& connection, bool solo,
                                              PgDeadline deadline) {
  LOCKSTEP_ASSIGN_OR_RETURN(const int version, ReadSchemaVersion(connection, deadline));
  if (version < kSchemaVersion) {
    if (version == 0) LOCKSTEP_RETURN_IF_ERROR(CheckStandby(connection, solo, deadline));
    const std::string lock = "select pg_advisory_xact_lock(hashtext('lockstep.init'));";
    LOCKSTEP_RETURN_IF_ERROR(
        connection.ExecuteScript(absl::StrCat("begin;", lock, kRolesSql, "commit"), deadline)
            .status());
    // Replayed at the standby before it returns: the next to come asks the witness there.
    LOCKSTEP_RETURN_IF_ERROR(
        connection
            .ExecuteScript("begin; set local synchronous_commit = remote_apply;" + lock, deadline)
            .status());
    if (const absl::Status upgraded = Upgrade(connection, solo, deadline); !upgraded.ok()) {
      connection.ExecuteScript("rollback", deadline).IgnoreError();  // The error says it all.
      return upgraded;
    }
  }
  LOCKSTEP_ASSIGN_OR_RETURN(const std::string facts, connection.ExecuteScript(kFacts, deadline));
  InstalledSchema result;
  int64_t epoch = 0, is_solo = 0;
  const std::vector<std::string> parts = absl::StrSplit(facts, ' ');
  if (parts.size() != 3 || !absl::SimpleAtoi(parts[0], &result.version) ||
      !absl::SimpleAtoi(parts[1], &epoch) || !absl::SimpleAtoi(parts[2], &is_solo)) {
    return absl::DataLossError("the schema lockstep is there, but it has no epoch");
  }
  result.epoch = Epoch(epoch);
  result.solo = is_solo != 0;
  result.roles = {"lockstep_writer", "lockstep_gate", "lockstep_reader", "lockstep_admin"};
  return result;
}

}  // namespace lockstep
