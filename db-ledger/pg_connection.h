// PgConnection: one libpq connection, owned, with the few things that the ledger's promises rest
// on.
//
//   * Conninfo is taken apart and rebuilt: one host a connection, with timeouts and the session's
//     settings unless given. What a commit depends on (synchronous_commit) is in the connection
//     string, so no reconnect can forget it.
//   * Every notice is kept with its SQLSTATE: a commit that came with a warning is not durable.
//   * A call has a deadline. After any failure other than the server's ordinary ERROR the
//     connection is broken and stays so: nothing of a session is ever used again.
//   * Binary both ways; several statements may travel in one round trip.
//
// Passwords are libpq's business (PGPASSFILE, PGPASSWORD); no message of ours contains a conninfo.
// Not thread-safe.
#ifndef LOCKSTEP_DB_LEDGER_PG_CONNECTION_H_
#define LOCKSTEP_DB_LEDGER_PG_CONNECTION_H_

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "common/model/offset_ranges.h"

struct pg_conn;
struct pg_result;

namespace lockstep {

using PgDeadline = std::chrono::steady_clock::time_point;

// ---------------------------------------------------------------- where to

// One server: libpq keywords and values, exactly one host.
struct PgHost {
  std::map<std::string, std::string> keywords;
  std::string Name() const;  // `HOST:PORT`, for messages.
};

// Takes a conninfo (keywords or URI) apart into its hosts, in order, each with what every session
// of ours needs unless the conninfo says otherwise: connect_timeout=5, keepalives,
// tcp_user_timeout, client_encoding=UTF8, application_name, and `options` with
// synchronous_commit=on, client_min_messages=warning, search_path=pg_catalog, read committed, a
// check every 5 s that the client is still there, and the server's keepalives, by which it notices
// one whose host is gone. INVALID_ARGUMENT if libpq cannot parse it.
absl::StatusOr<std::vector<PgHost>> ParsePgHosts(const std::string& conninfo,
                                                 const std::string& application_name);

enum class PgRole { kPrimary, kStandby, kAny };

// ---------------------------------------------------------------- what comes back

// A statement by name; prepared on a connection when first used there.
struct PgStatement {
  const char* name;
  const char* sql;
};

// A statement's parameters in binary form. The statement's text casts them ($1::bigint).
class PgParams {
 public:
  PgParams& Int(int64_t value);   // bigint
  PgParams& Int4(int32_t value);  // int
  PgParams& Bool(bool value);
  PgParams& Text(std::string_view value);
  PgParams& Bytes(std::string_view value);
  PgParams& Null();
  PgParams& OptionalText(const std::optional<std::string>& value);
  PgParams& OptionalInt(std::optional<int64_t> value);
  PgParams& Ints(const std::vector<int64_t>& values);                              // bigint[]
  PgParams& Texts(const std::vector<std::string>& values);                         // text[]
  PgParams& OptionalBytes(const std::vector<std::optional<std::string>>& values);  // bytea[]
  PgParams& Multiranges(const std::vector<const OffsetRanges*>& values);  // int8multirange[]

 private:
  friend class PgConnection;
  std::vector<std::optional<std::string>> values_;
};

// The rows of one statement, binary. Getters check kind and length: a mismatch is a bug of ours.
class PgRows {
 public:
  PgRows() = default;
  explicit PgRows(pg_result* result);  // Takes ownership.

  int size() const;
  bool IsNull(int row, int column) const;
  int64_t Int(int row, int column) const;  // smallint, int, bigint, pg_lsn
  bool Bool(int row, int column) const;
  std::string Text(int row, int column) const;  // text, json, bytea
  std::optional<std::string> OptionalText(int row, int column) const;
  absl::StatusOr<OffsetRanges> Multirange(int row, int column) const;

 private:
  struct Clear {
    void operator()(pg_result* result) const;
  };
  std::unique_ptr<pg_result, Clear> result_;
};

// The server's ordinary refusal of a statement: the transaction was rolled back, the connection is
// fine.
struct PgError {
  std::string sqlstate;
  std::string message;
};

// What became of a statement that was sent.
struct PgAnswer {
  enum class Kind {
    kRows,     // It was done.
    kError,    // It was rolled back; `error` says why.
    kNotSent,  // It never reached the server; nothing happened. The connection is broken.
    kLost,     // Sent, and the answer was not received in time or at all. The connection is broken.
  };
  Kind kind = Kind::kNotSent;
  PgRows rows;
  PgError error;  // kError; `message` also for kNotSent and kLost.
};

// ---------------------------------------------------------------- the connection

class PgConnection {
 public:
  // Connects to all hosts at once and keeps one that has the role, so that a dead host costs 300 ms
  // at most while another answers; of two primaries the one promoted later. UNAVAILABLE (with what
  // each host said), PERMISSION_DENIED if a host refused the credentials.
  static absl::StatusOr<std::unique_ptr<PgConnection>> Open(const std::vector<PgHost>& hosts,
                                                            PgRole role, PgDeadline deadline);
  ~PgConnection();
  PgConnection(const PgConnection&) = delete;
  PgConnection& operator=(const PgConnection&) = delete;

  const std::string& host_name() const { return host_name_; }
  bool broken() const { return broken_; }
  // Ends the session now. Later calls answer kNotSent.
  void Drop();

  // Each statement is a transaction of its own; all travel in one round trip, each is done after
  // the one before has committed. Answers in order, as many as statements.
  struct Call {
    const PgStatement* statement;
    const PgParams* params;
  };
  std::vector<PgAnswer> Run(const std::vector<Call>& calls, PgDeadline deadline);

  // One statement for its rows; a Status where the difference between the outcomes does not matter
  // (reads).
  absl::StatusOr<PgRows> Query(const PgStatement& statement, const PgParams& params,
                               PgDeadline deadline);

  // Any SQL, several statements too, as text; the first column of the last result, a row a line.
  // For set-up and tests.
  absl::StatusOr<std::string> ExecuteScript(const std::string& sql, PgDeadline deadline);

  // Notices (warning and above) since the last call of TakeNotices, as `SQLSTATE message`.
  std::vector<std::string> TakeNotices();

  // The server's setting as it reports it by itself; empty if it does not.
  std::string ParameterStatus(const char* name) const;

 private:
  struct Finish {
    void operator()(pg_conn* connection) const;
  };

  struct Attempt;  // One host of Open under way.

  PgConnection(pg_conn* connection, std::string host_name);
  static Attempt Start(const PgHost& host, PgDeadline deadline);
  static void Advance(Attempt& attempt, PgRole role);
  static absl::Status AllFailed(const std::vector<Attempt>& attempts, PgRole role);
  static std::unique_ptr<PgConnection> TakeBest(std::vector<Attempt>& attempts,
                                                PgDeadline deadline);
  static void KeepNotice(void* self, const pg_result* notice);

  // `preparing`: which of them are prepared by this very round trip.
  absl::Status Send(const std::vector<Call>& calls, std::vector<bool>& preparing);
  // Waits until the socket is readable (or writable, when data is still to be sent).
  absl::Status WaitForInput(PgDeadline deadline);
  absl::StatusOr<pg_result*> NextResult(PgDeadline deadline);
  PgAnswer ReceiveOne(const std::string& name, bool preparing, PgDeadline deadline);
  std::string Message() const;

  std::unique_ptr<pg_conn, Finish> connection_;
  const std::string host_name_;
  std::set<std::string> prepared_;
  std::vector<std::string> notices_;
  bool broken_ = false;
};

}  // namespace lockstep

#endif  // LOCKSTEP_DB_LEDGER_PG_CONNECTION_H_
