// The ledger's schema, embedded in the program, and what puts it into a database.
//
// schema/roles.sql runs at every init; schema/NNN_*.sql once each, in order, all in one transaction
// under a lock: two inits at once are one after the other, a failed one leaves nothing behind.
#ifndef LOCKSTEP_DB_LEDGER_SCHEMA_H_
#define LOCKSTEP_DB_LEDGER_SCHEMA_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "common/model/ids.h"
#include "db-ledger/pg_connection.h"

namespace lockstep {

extern const char kRolesSql[];
extern const char kLedger001Sql[];
extern const char kLedger002Sql[];

// The version that this program's calls are for.
inline constexpr int kSchemaVersion = 2;

struct InstalledSchema {
  int version = 0;
  Epoch epoch;
  bool solo = false;
  std::vector<std::string> roles;
};

// Creates roles and schema and begins epoch 1, or finds them there, or brings them to this version.
// REQUIRES: a role that may create roles and schemas (a superuser, or CREATEROLE and CREATE on the
// database). FAILED_PRECONDITION if the ledger is not solo and no synchronous standby is connected,
// and if a standby is named that is not there: every commit would hang.
absl::StatusOr<InstalledSchema> InstallSchema(PgConnection& connection, bool solo,
                                              PgDeadline deadline);

// What is installed; version 0: nothing. Needs no privilege beyond lockstep_reader's.
absl::StatusOr<int> ReadSchemaVersion(PgConnection& connection, PgDeadline deadline);

}  // namespace lockstep

#endif  // LOCKSTEP_DB_LEDGER_SCHEMA_H_
