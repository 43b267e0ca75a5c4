// TableReader: one connection to one outbox table. It translates questions into SQL and answers
// into values; TableSource and TablePayloadSource decide.
//
// Whatever could make the same row read differently elsewhere (date style, time zone, encoding) is
// pinned for the session, because the bytes it returns are what digests are taken over.
// Any error leaves the object usable only for destruction: make a new one, and check again.
// Not thread-safe. Blocks as long as the database does.
#ifndef LOCKSTEP_PRODUCER_SOURCES_TABLE_READER_H_
#define LOCKSTEP_PRODUCER_SOURCES_TABLE_READER_H_

#include <compare>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "producer/source_event.h"
#include "producer/sources/source_spec.h"

#include <libpq-fe.h>

namespace lockstep {

// A row's place in the table's order. xid is 0 in a table that is ordered by id alone.
struct TableKey {
  uint64_t xid = 0;
  int64_t id = 0;
  auto operator<=>(const TableKey&) const = default;
};

inline constexpr int64_t kGreatestId = std::numeric_limits<int64_t>::max();

// `ID`, or `XID:ID` iff with_xid.
std::string FormatTableKey(const TableKey& key, bool with_xid);
// The empty position is the key below all rows.
absl::StatusOr<TableKey> ParseTableKey(std::string_view at, bool with_xid);

class TableReader {
 public:
  enum class Role { kPrimary, kAny };
  // Connects and looks the table and its columns up. UNAVAILABLE iff a later try may succeed.
  static absl::StatusOr<std::unique_ptr<TableReader>> Connect(const TableSpec& spec,
                                                              const std::string& conninfo,
                                                              Role role);
  ~TableReader();
  TableReader(const TableReader&) = delete;
  TableReader& operator=(const TableReader&) = delete;

  // Everything about the table that makes reading it in order unsafe, in one FAILED_PRECONDITION;
  // OK if there is nothing.
  absl::Status CheckOrder();

  // False: the application allots the ids, and nothing orders them by when they were taken.
  bool ids_from_sequence() const { return !sequences_.empty(); }

  // False iff the table's history certainly ends below `key`: no row there, and the sequence (or
  // the transaction counter) has not come that far.
  absl::StatusOr<bool> Reaches(const TableKey& key);

  // A transaction that holds RowExclusiveLock on the table or a partition of it, so may yet commit
  // rows. Known by its virtual transaction: a prepared one has no process.
  using Holder = std::string;

  struct Frontier {
    int64_t greatest_id = 0;      // 0: no row visible.
    std::vector<Holder> holders;  // Listed after greatest_id was read.
  };
  // For a table ordered by id. One round trip.
  absl::StatusOr<Frontier> ReadFrontier();
  // Those of `holders` that still hold the lock.
  absl::StatusOr<std::vector<Holder>> StillHolding(const std::vector<Holder>& holders);
  // What a person can find the holder by: `pid=… user=… application=… state=… since=…` or
  // `prepared_transaction=…`.
  absl::StatusOr<std::string> DescribeHolder(const Holder& holder);

  // For a table ordered by (xid, id): every transaction below this one has ended.
  absl::StatusOr<uint64_t> ReadXidHorizon();
  // Describes the oldest transaction that still runs, if rows at or above `horizon` wait for it.
  absl::StatusOr<std::optional<std::string>> DescribeHorizonHolder(uint64_t horizon);

  // Appends rows with after < key ≤ through, ascending, at most `limit`. Returns how many.
  absl::StatusOr<size_t> Read(const TableKey& after, const TableKey& through, size_t limit,
                              std::vector<SourceEvent>& events);
  absl::StatusOr<int64_t> Count(const TableKey& first, const TableKey& last);
  absl::StatusOr<std::vector<TableKey>> Keys(const TableKey& first, const TableKey& last);

 private:
  struct ResultDeleter {
    void operator()(PGresult* result) const { PQclear(result); }
  };
  using Result = std::unique_ptr<PGresult, ResultDeleter>;
  struct ConnectionDeleter {
    void operator()(PGconn* connection) const { PQfinish(connection); }
  };
  using Connection = std::unique_ptr<PGconn, ConnectionDeleter>;

  struct Column {
    int attnum = 0;
    std::string type;
    bool not_null = false;
  };

  TableReader(const TableSpec& spec, Connection connection);
  absl::Status LookUp();
  absl::StatusOr<std::optional<Column>> FindColumn(const std::string& name);
  // Text results; binary ones for the rows themselves.
  absl::StatusOr<Result> Query(const std::string& sql,
                               std::initializer_list<std::string> parameters = {},
                               bool binary = false);
  absl::Status Error(PGresult* result, std::string_view attempted);
  std::string Between(const TableKey& first, bool first_included, const TableKey& last) const;

  const TableSpec spec_;
  const Connection connection_;
  std::string name_;  // Quoted, with its schema.
  std::string oid_;
  std::string key_order_;   // `"id"` or `"xid", "id"`.
  std::string columns_;     // What Read selects.
  std::string filter_;      // ` AND (…)` of where=, or empty.
  std::string lock_scope_;  // SQL that lists the table's and its partitions' oids.
  bool partitioned_ = false;
  Column id_;
  Column xid_;
  std::vector<std::string> sequences_;  // Quoted names, of those that feed the id.
};

}  // namespace lockstep

#endif  // LOCKSTEP_PRODUCER_SOURCES_TABLE_READER_H_
