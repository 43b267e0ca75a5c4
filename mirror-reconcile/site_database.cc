#include "mirror-reconcile/site_database.h"

#include <cstdlib>
#include <thread>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

#include "common/base/status_macros.h"

namespace lockstep {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kCallTimeout{10};
constexpr std::chrono::milliseconds kPollPause{20};

}  // namespace

absl::StatusOr<std::unique_ptr<SiteDatabase>> SiteDatabase::Connect(
    const std::string& conninfo, std::chrono::milliseconds timeout) {
  LOCKSTEP_ASSIGN_OR_RETURN(const std::vector<PgHost> hosts,
                            ParsePgHosts(conninfo, "lockstep-mirror-reconcile"));
  LOCKSTEP_ASSIGN_OR_RETURN(std::unique_ptr<PgConnection> connection,
                            PgConnection::Open(hosts, PgRole::kAny, Clock::now() + timeout));
  return std::unique_ptr<SiteDatabase>(new SiteDatabase(std::move(connection)));
}

absl::StatusOr<std::string> SiteDatabase::Ask(const std::string& sql) {
  absl::StatusOr<std::string> answer = connection_->ExecuteScript(sql, Clock::now() + kCallTimeout);
  if (answer.ok()) absl::StripAsciiWhitespace(&*answer);
  return answer;
}

absl::StatusOr<bool> SiteDatabase::IsTrue(const std::string& sql) {
  const absl::StatusOr<std::string> answer = Ask(sql);
  if (!answer.ok()) return answer.status();
  return *answer == "t";
}

absl::StatusOr<SiteDatabase::State> SiteDatabase::Read() {
  State state;
  LOCKSTEP_ASSIGN_OR_RETURN(state.in_recovery, IsTrue("select pg_is_in_recovery()"));
  LOCKSTEP_ASSIGN_OR_RETURN(
      state.streaming,
      IsTrue("select exists (select from pg_stat_wal_receiver where status = 'streaming')"));
  LOCKSTEP_ASSIGN_OR_RETURN(state.sync_standby_names,
                            Ask("select current_setting('synchronous_standby_names')"));
  LOCKSTEP_ASSIGN_OR_RETURN(
      state.sync_standby_here,
      IsTrue("select exists (select from pg_stat_replication where sync_state in ('sync', "
             "'quorum'))"));
  return state;
}

absl::Status SiteDatabase::Promote(const std::string& how, std::chrono::milliseconds timeout) {
  const Clock::time_point deadline = Clock::now() + timeout;
  LOCKSTEP_ASSIGN_OR_RETURN(const State before, Read());
  if (!before.in_recovery) return absl::OkStatus();
  if (how == "none") {
    return absl::FailedPreconditionError(
        absl::StrCat(host_name(),
                     " is still a standby, and --promote-with none leaves its "
                     "promotion to you: promote it and start over"));
  }
  if (how == "pg_promote") {
    const absl::Status asked = Ask("select pg_promote(wait => false)").status();
    if (!asked.ok()) {
      return Annotate(asked, absl::StrCat("promote ", host_name(),
                                          " (the role needs EXECUTE on pg_promote, or "
                                          "--promote-with exec:COMMAND)"));
    }
  } else {
    const int code = std::system(how.substr(5).c_str());  // NOLINT(concurrency-mt-unsafe)
    if (code != 0) {
      return absl::InternalError(absl::StrCat("--promote-with ", how, " ended with status ", code));
    }
  }
  while (Clock::now() < deadline) {
    LOCKSTEP_ASSIGN_OR_RETURN(const bool in_recovery, IsTrue("select pg_is_in_recovery()"));
    if (!in_recovery) return absl::OkStatus();
    std::this_thread::sleep_for(kPollPause);
  }
  return absl::DeadlineExceededError(
      absl::StrCat(host_name(), " has not left recovery in ", timeout.count() / 1000, " s"));
}

absl::Status SiteDatabase::ClearSyncStandbyNames(std::chrono::milliseconds timeout) {
  const Clock::time_point deadline = Clock::now() + timeout;
  const absl::Status set = Ask("alter system set synchronous_standby_names = ''").status();
  if (!set.ok()) {
    return absl::PermissionDeniedError(absl::StrCat(
        "synchronous_standby_names at ", host_name(),
        " names a standby that is not there: every "
        "commit would hang. As superuser: ALTER SYSTEM SET synchronous_standby_names = ''; SELECT "
        "pg_reload_conf(); then start over (",
        std::string(set.message()), ")"));
  }
  LOCKSTEP_RETURN_IF_ERROR(Ask("select pg_reload_conf()").status());
  while (Clock::now() < deadline) {
    LOCKSTEP_ASSIGN_OR_RETURN(const bool cleared,
                              IsTrue("select current_setting('synchronous_standby_names') = ''"));
    if (cleared) return absl::OkStatus();
    std::this_thread::sleep_for(kPollPause);
  }
  return absl::DeadlineExceededError(
      absl::StrCat("synchronous_standby_names at ", host_name(),
                   " is still set after a reload: "
                   "something else sets it (Patroni, the server's command line)"));
}

}  // namespace lockstep
