// SiteDatabase: the standby's PostgreSQL as a server, not as a ledger: is it a standby, promote it,
// will its inherited settings hang every commit.
#ifndef LOCKSTEP_MIRROR_RECONCILE_SITE_DATABASE_H_
#define LOCKSTEP_MIRROR_RECONCILE_SITE_DATABASE_H_

#include <chrono>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "db-ledger/pg_connection.h"

namespace lockstep {

class SiteDatabase {
 public:
  struct State {
    bool in_recovery = false;
    bool streaming = false;          // A standby that still receives from its primary.
    std::string sync_standby_names;  // synchronous_standby_names
    bool sync_standby_here = false;  // A synchronous standby of *this* server is connected.
    // A promoted server whose commits would wait for a standby that is not there.
    bool commits_would_hang() const {
      return !in_recovery && !sync_standby_names.empty() && !sync_standby_here;
    }
  };

  // `conninfo` names this site's server (or several; the first that answers is taken).
  static absl::StatusOr<std::unique_ptr<SiteDatabase>> Connect(const std::string& conninfo,
                                                               std::chrono::milliseconds timeout);

  absl::StatusOr<State> Read();
  // `how`: pg_promote, exec:COMMAND (run by sh) or none. Returns when the server has left recovery;
  // DEADLINE_EXCEEDED when it has not in time. Nothing happens when it is promoted already.
  absl::Status Promote(const std::string& how, std::chrono::milliseconds timeout);
  // Empties synchronous_standby_names and waits until sessions see it. PERMISSION_DENIED says what
  // a superuser has to type.
  absl::Status ClearSyncStandbyNames(std::chrono::milliseconds timeout);

  const std::string& host_name() const { return connection_->host_name(); }

 private:
  explicit SiteDatabase(std::unique_ptr<PgConnection> connection)
      : connection_(std::move(connection)) {}
  absl::StatusOr<std::string> Ask(const std::string& sql);
  absl::StatusOr<bool> IsTrue(const std::string& sql);

  std::unique_ptr<PgConnection> connection_;
};

}  // namespace lockstep

#endif  // LOCKSTEP_MIRROR_RECONCILE_SITE_DATABASE_H_
