#include "producer/sources/table_reader.h"

#include <array>
#include <cstring>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "common/base/status_macros.h"
#include "common/model/ids.h"

namespace lockstep {
namespace {

std::string QuoteIdentifier(std::string_view name) {
  std::string quoted = "\"";
  for (const char c : name) {
    if (c == '"') quoted += '"';
    quoted += c;
  }
  return quoted + '"';
}

// Reads a big-endian integer of PostgreSQL's binary format.
uint64_t BigEndian64(const char* bytes) {
  uint64_t value = 0;
  for (int i = 0; i < 8; ++i) value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return value;
}

std::string Text(PGresult* result, int row, int column) {
  return std::string(PQgetvalue(result, row, column),
                     static_cast<size_t>(PQgetlength(result, row, column)));
}

absl::StatusOr<int64_t> Integer(PGresult* result, int row, int column) {
  int64_t value = 0;
  if (!absl::SimpleAtoi(Text(result, row, column), &value)) {
    return absl::InternalError("the database answered '" + Text(result, row, column) +
                               "' where a number was expected");
  }
  return value;
}

// A column as bytes that are the same at every site: bytea as it is, everything else as text.
std::string ContentExpression(const std::string& name, const std::string& type) {
  return QuoteIdentifier(name) + (type == "bytea" ? "" : "::text");
}

bool StartsWith(std::string_view text, std::string_view prefix) {
  return text.substr(0, prefix.size()) == prefix;
}

constexpr char kSessionOptions[] =
    "-c default_transaction_isolation=read\\ committed "
    "-c datestyle=ISO -c timezone=UTC -c intervalstyle=postgres -c extra_float_digits=1 "
    "-c bytea_output=hex -c search_path=pg_catalog,public";

}  // namespace

std::string FormatTableKey(const TableKey& key, bool with_xid) {
  return with_xid ? absl::StrCat(key.xid, ":", key.id) : absl::StrCat(key.id);
}

absl::StatusOr<TableKey> ParseTableKey(std::string_view at, bool with_xid) {
  TableKey key;
  if (at.empty()) return key;
  const size_t colon = at.find(':');
  const bool ok = with_xid ? colon != std::string_view::npos &&
                                 absl::SimpleAtoi(std::string(at.substr(0, colon)), &key.xid) &&
                                 absl::SimpleAtoi(std::string(at.substr(colon + 1)), &key.id)
                           : absl::SimpleAtoi(std::string(at), &key.id);
  if (!ok) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the ledger's source position '", std::string(at), "' is not ",
        with_xid ? "XID:ID" : "an id", "; was this producer's source another kind of table?"));
  }
  return key;
}

// ---------------------------------------------------------------- connection

absl::StatusOr<std::unique_ptr<TableReader>> TableReader::Connect(const TableSpec& spec,
                                                                  const std::string& conninfo,
                                                                  Role role) {
  char* parse_error = nullptr;
  PQconninfoOption* parsed = PQconninfoParse(conninfo.c_str(), &parse_error);
  if (parsed == nullptr) {
    const std::string why = parse_error != nullptr ? parse_error : "out of memory";
    PQfreemem(parse_error);
    return absl::InvalidArgumentError("--source-db: " + why);
  }
  // Defaults first: of equal names libpq takes the last.
  std::vector<std::pair<std::string, std::string>> settings = {
      {"connect_timeout", "5"},
      {"keepalives", "1"},
      {"keepalives_idle", "5"},
      {"keepalives_interval", "2"},
      {"keepalives_count", "3"},
      {"tcp_user_timeout", "15000"},
      {"application_name", "lockstep-producer"}};
  // Locks and snapshots of writers show on the primary only.
  if (role == Role::kPrimary) settings.emplace_back("target_session_attrs", "primary");
  std::string options = kSessionOptions;
  for (const PQconninfoOption* o = parsed; o->keyword != nullptr; ++o) {
    if (o->val == nullptr) continue;
    if (std::string_view(o->keyword) == "options") {
      options = absl::StrCat(o->val, " ", options);
    } else {
      settings.emplace_back(o->keyword, o->val);
    }
  }
  PQconninfoFree(parsed);
  settings.emplace_back("options", options);
  settings.emplace_back("client_encoding", "UTF8");
  std::vector<const char*> names;
  std::vector<const char*> values;
  for (const auto& [name, value] : settings) {
    names.push_back(name.c_str());
    values.push_back(value.c_str());
  }
  names.push_back(nullptr);
  values.push_back(nullptr);

  Connection connection(PQconnectdbParams(names.data(), values.data(), 0));
  if (PQstatus(connection.get()) != CONNECTION_OK) {
    const std::string why = PQerrorMessage(connection.get());
    const bool for_good = why.find("authentication failed") != std::string::npos ||
                          why.find("no password supplied") != std::string::npos ||
                          why.find("does not exist") != std::string::npos ||
                          why.find("pg_hba.conf") != std::string::npos;
    const std::string message = "connect to the source database: " + why;
    return for_good ? absl::PermissionDeniedError(message) : absl::UnavailableError(message);
  }
  std::unique_ptr<TableReader> reader(new TableReader(spec, std::move(connection)));
  LOCKSTEP_RETURN_IF_ERROR(reader->LookUp());
  return reader;
}

TableReader::TableReader(const TableSpec& spec, Connection connection)
    : spec_(spec), connection_(std::move(connection)) {
  name_ = QuoteIdentifier(spec_.schema) + "." + QuoteIdentifier(spec_.table);
  // A newline before the parenthesis, so that a comment in the condition ends.
  if (spec_.where) filter_ = " AND (" + *spec_.where + "\n)";
}

TableReader::~TableReader() = default;

absl::Status TableReader::Error(PGresult* result, std::string_view attempted) {
  const char* state = result != nullptr ? PQresultErrorField(result, PG_DIAG_SQLSTATE) : nullptr;
  const std::string code = state != nullptr ? state : "";
  std::string message = absl::StrCat(std::string(attempted), " on source table ", name_, ": ",
                                     PQerrorMessage(connection_.get()));
  while (!message.empty() && message.back() == '\n') message.pop_back();
  if (PQstatus(connection_.get()) != CONNECTION_OK || code.empty() || StartsWith(code, "08") ||
      StartsWith(code, "40") || StartsWith(code, "53") || StartsWith(code, "57")) {
    return absl::UnavailableError(message);
  }
  if (code == "42501") return absl::PermissionDeniedError(message);
  return absl::InvalidArgumentError(message);
}

absl::StatusOr<TableReader::Result> TableReader::Query(
    const std::string& sql, std::initializer_list<std::string> parameters, bool binary) {
  std::vector<const char*> values;
  for (const std::string& parameter : parameters) values.push_back(parameter.c_str());
  Result result(PQexecParams(connection_.get(), sql.c_str(), static_cast<int>(values.size()),
                             nullptr, values.data(), nullptr, nullptr, binary ? 1 : 0));
  if (PQresultStatus(result.get()) != PGRES_TUPLES_OK) return Error(result.get(), "read");
  return result;
}

// ---------------------------------------------------------------- catalogue

absl::StatusOr<std::optional<TableReader::Column>> TableReader::FindColumn(
    const std::string& name) {
  LOCKSTEP_ASSIGN_OR_RETURN(
      const Result found,
      Query("SELECT attnum, format_type(atttypid, NULL), attnotnull FROM pg_attribute "
            "WHERE attrelid = $1::oid AND attname = $2 AND attnum > 0 AND NOT attisdropped",
            {oid_, name}));
  if (PQntuples(found.get()) == 0) return std::nullopt;
  LOCKSTEP_ASSIGN_OR_RETURN(const int64_t attnum, Integer(found.get(), 0, 0));
  return Column{static_cast<int>(attnum), Text(found.get(), 0, 1), Text(found.get(), 0, 2) == "t"};
}

absl::Status TableReader::LookUp() {
  LOCKSTEP_ASSIGN_OR_RETURN(
      const Result found,
      Query("SELECT c.oid, c.relkind, c.relkind = 'r' AND EXISTS (SELECT 1 FROM pg_inherits i "
            "WHERE i.inhparent = c.oid) FROM pg_class c JOIN pg_namespace n ON n.oid = "
            "c.relnamespace WHERE n.nspname = $1 AND c.relname = $2",
            {spec_.schema, spec_.table}));
  if (PQntuples(found.get()) == 0) {
    return absl::NotFoundError("the source database has no table " + name_);
  }
  const std::string kind = Text(found.get(), 0, 1);
  if ((kind != "r" && kind != "p") || Text(found.get(), 0, 2) == "t") {
    return absl::FailedPreconditionError(
        name_ +
        " is not a table of its own (a view, a foreign table or a parent by inheritance): "
        "the order of what is written to it cannot be told");
  }
  partitioned_ = kind == "p";
  oid_ = Text(found.get(), 0, 0);
  lock_scope_ = "SELECT " + oid_ + "::oid UNION SELECT relid FROM pg_partition_tree(" + oid_ + ")";

  std::vector<std::string> missing;
  const auto find = [&](const std::string& name) -> absl::StatusOr<Column> {
    LOCKSTEP_ASSIGN_OR_RETURN(const std::optional<Column> column, FindColumn(name));
    if (!column) missing.push_back(name);
    return column.value_or(Column());
  };
  LOCKSTEP_ASSIGN_OR_RETURN(id_, find(spec_.id));
  LOCKSTEP_ASSIGN_OR_RETURN(const Column value, find(spec_.value));
  Column key;
  if (spec_.key) {
    LOCKSTEP_ASSIGN_OR_RETURN(key, find(*spec_.key));
  }
  if (spec_.xid) {
    LOCKSTEP_ASSIGN_OR_RETURN(xid_, find(*spec_.xid));
  }
  if (!missing.empty()) {
    return absl::NotFoundError(name_ + " has no column " + absl::StrJoin(missing, ", "));
  }
  if (id_.type != "bigint" && id_.type != "integer" && id_.type != "smallint") {
    return absl::FailedPreconditionError("id column " + spec_.id + " of " + name_ + " is " +
                                         id_.type + "; it must be a whole number");
  }
  if (spec_.xid && xid_.type != "xid8") {
    return absl::FailedPreconditionError("xid column " + *spec_.xid + " of " + name_ + " is " +
                                         xid_.type +
                                         "; it must be xid8 NOT NULL DEFAULT "
                                         "pg_current_xact_id()");
  }
  const std::string id = QuoteIdentifier(spec_.id);
  key_order_ = spec_.xid ? QuoteIdentifier(*spec_.xid) + ", " + id : id;
  columns_ = absl::StrCat(spec_.xid ? QuoteIdentifier(*spec_.xid) : "NULL::xid8", ", ", id,
                          "::int8, ", ContentExpression(spec_.value, value.type), ", ",
                          spec_.key ? ContentExpression(*spec_.key, key.type) : "NULL::text");

  LOCKSTEP_ASSIGN_OR_RETURN(
      const Result sequences,
      Query(
          "SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) FROM pg_sequence s "
          "JOIN pg_class c ON c.oid = s.seqrelid JOIN pg_namespace n ON n.oid = c.relnamespace "
          "WHERE s.seqrelid IN (SELECT objid FROM pg_depend WHERE classid = 'pg_class'::regclass "
          "AND refclassid = 'pg_class'::regclass AND refobjid = $1::oid AND refobjsubid = $2::int "
          "AND deptype IN ('a', 'i') UNION SELECT d.refobjid FROM pg_attrdef a JOIN pg_depend d "
          "ON d.classid = 'pg_attrdef'::regclass AND d.objid = a.oid AND d.refclassid = "
          "'pg_class'::regclass WHERE a.adrelid = $1::oid AND a.adnum = $2::int)",
          {oid_, std::to_string(id_.attnum)}));
  for (int i = 0; i < PQntuples(sequences.get()); ++i) {
    sequences_.push_back(Text(sequences.get(), i, 0));
  }
  return absl::OkStatus();
}

absl::Status TableReader::CheckOrder() {
  std::vector<std::string> complaints;
  const std::string id = "column " + spec_.id;
  if (!id_.not_null) complaints.push_back(id + " is nullable: ALTER … SET NOT NULL");

  const std::string usable =
      "FROM pg_index WHERE indrelid = $1::oid AND indisvalid AND indpred IS "
      "NULL AND indexprs IS NULL AND ";
  if (!spec_.xid) {
    LOCKSTEP_ASSIGN_OR_RETURN(
        const Result index,
        Query("SELECT count(*) FILTER (WHERE indisunique AND indimmediate AND indnkeyatts = 1), "
              "count(*) " +
                  usable + "indkey[0] = $2::int",
              {oid_, std::to_string(id_.attnum)}));
    if (Text(index.get(), 0, 1) == "0") complaints.push_back(id + " has no index");
    if (Text(index.get(), 0, 0) == "0") {
      complaints.push_back(id + " is not unique: it needs a unique index on it alone");
    }
    for (const std::string& sequence : sequences_) {
      LOCKSTEP_ASSIGN_OR_RETURN(
          const Result s, Query("SELECT seqcache, seqincrement, seqcycle FROM pg_sequence WHERE "
                                "seqrelid = $1::regclass",
                                {sequence}));
      if (PQntuples(s.get()) == 0) continue;
      LOCKSTEP_ASSIGN_OR_RETURN(const int64_t cache, Integer(s.get(), 0, 0));
      LOCKSTEP_ASSIGN_OR_RETURN(const int64_t increment, Integer(s.get(), 0, 1));
      if (cache > 1) {
        complaints.push_back(absl::StrCat(
            "sequence ", sequence, " has CACHE ", cache,
            ": sessions hand out ids ahead of their transactions; ALTER SEQUENCE … CACHE 1"));
      }
      if (increment < 1) {
        complaints.push_back(
            absl::StrCat("sequence ", sequence, " counts down (INCREMENT ", increment, ")"));
      }
      if (Text(s.get(), 0, 2) == "t") {
        complaints.push_back("sequence " + sequence + " starts over (CYCLE): ALTER … NO CYCLE");
      }
    }
  } else {
    const std::string xid = "column " + *spec_.xid;
    if (!xid_.not_null) complaints.push_back(xid + " is nullable: ALTER … SET NOT NULL");
    LOCKSTEP_ASSIGN_OR_RETURN(
        const Result index,
        Query("SELECT count(*) FILTER (WHERE indisunique AND indimmediate AND (indnkeyatts = 1 AND "
              "indkey[0] = $2::int OR indnkeyatts = 2 AND indkey[0] = $3::int AND indkey[1] = "
              "$2::int)), count(*) FILTER (WHERE indkey[0] = $3::int AND indkey[1] = $2::int) " +
                  usable + "true",
              {oid_, std::to_string(id_.attnum), std::to_string(xid_.attnum)}));
    if (Text(index.get(), 0, 0) == "0") {
      complaints.push_back("neither " + id + " nor (" + *spec_.xid + ", " + spec_.id +
                           ") is unique");
    }
    if (Text(index.get(), 0, 1) == "0") {
      complaints.push_back("there is no index on (" + *spec_.xid + ", " + spec_.id + ")");
    }
  }
  LOCKSTEP_ASSIGN_OR_RETURN(const Result below,
                            Query("SELECT EXISTS (SELECT 1 FROM " + name_ + " WHERE " +
                                  QuoteIdentifier(spec_.id) + " < 1)"));
  if (Text(below.get(), 0, 0) == "t") complaints.push_back(id + " holds ids below 1");
  if (complaints.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      "source table " + name_ + " cannot be read in order: " + absl::StrJoin(complaints, "; "));
}

absl::StatusOr<bool> TableReader::Reaches(const TableKey& key) {
  if (key == TableKey()) return true;
  if (spec_.xid) {
    LOCKSTEP_ASSIGN_OR_RETURN(const Result next,
                              Query("SELECT pg_snapshot_xmax(pg_current_snapshot()) > $1::xid8",
                                    {std::to_string(key.xid)}));
    return Text(next.get(), 0, 0) == "t";
  }
  LOCKSTEP_ASSIGN_OR_RETURN(const Result row,
                            Query("SELECT EXISTS (SELECT 1 FROM " + name_ + " WHERE " +
                                      QuoteIdentifier(spec_.id) + " >= $1::int8)",
                                  {std::to_string(key.id)}));
  if (Text(row.get(), 0, 0) == "t") return true;
  for (const std::string& sequence : sequences_) {
    LOCKSTEP_ASSIGN_OR_RETURN(
        const Result last,
        Query("SELECT CASE WHEN has_sequence_privilege($1::regclass, 'USAGE, SELECT') THEN "
              "pg_sequence_last_value($1::regclass) >= $2::int8 END",
              {sequence, std::to_string(key.id)}));
    if (Text(last.get(), 0, 0) == "t") return true;
  }
  return false;
}

// ---------------------------------------------------------------- the order

absl::StatusOr<TableReader::Frontier> TableReader::ReadFrontier() {
  // Two statements, two snapshots, one round trip: the locks are listed after the greatest id was
  // read. A writer locks the table before it takes an id, so whoever may yet commit an id up to the
  // greatest one is on the list.
  const std::string sql =
      "SELECT coalesce(max(" + QuoteIdentifier(spec_.id) + "), 0) FROM " + name_ +
      "; SELECT DISTINCT virtualtransaction FROM pg_locks WHERE locktype = 'relation' AND database "
      "= (SELECT oid FROM pg_database WHERE datname = current_database()) AND mode = "
      "'RowExclusiveLock' AND granted AND relation IN (" +
      lock_scope_ + ")";
  if (PQsendQuery(connection_.get(), sql.c_str()) == 0) return Error(nullptr, "read");
  Frontier frontier;
  absl::Status status;
  for (int i = 0;; ++i) {
    const Result result(PQgetResult(connection_.get()));
    if (result == nullptr) break;
    if (PQresultStatus(result.get()) != PGRES_TUPLES_OK) {
      status.Update(Error(result.get(), "read the frontier"));
    } else if (i == 0) {
      const absl::StatusOr<int64_t> greatest = Integer(result.get(), 0, 0);
      status.Update(greatest.status());
      if (greatest.ok()) frontier.greatest_id = *greatest;
    } else {
      for (int row = 0; row < PQntuples(result.get()); ++row) {
        frontier.holders.push_back(Text(result.get(), row, 0));
      }
    }
  }
  LOCKSTEP_RETURN_IF_ERROR(status);
  return frontier;
}

absl::StatusOr<std::vector<TableReader::Holder>> TableReader::StillHolding(
    const std::vector<Holder>& holders) {
  // Virtual transactions are digits, '/' and '-', so they need no escaping in an array's text.
  LOCKSTEP_ASSIGN_OR_RETURN(
      const Result still,
      Query("SELECT DISTINCT virtualtransaction FROM pg_locks WHERE locktype = 'relation' AND "
            "database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND mode "
            "= 'RowExclusiveLock' AND granted AND relation IN (" +
                lock_scope_ + ") AND virtualtransaction = ANY ($1::text[])",
            {"{" + absl::StrJoin(holders, ",") + "}"}));
  std::vector<Holder> left;
  for (int i = 0; i < PQntuples(still.get()); ++i) left.push_back(Text(still.get(), i, 0));
  return left;
}

absl::StatusOr<std::string> TableReader::DescribeHolder(const Holder& holder) {
  LOCKSTEP_ASSIGN_OR_RETURN(
      const Result process,
      Query("SELECT a.pid, coalesce(a.usename, ''), coalesce(a.application_name, ''), "
            "coalesce(a.state, ''), coalesce(a.xact_start::timestamptz(0)::text, '') FROM pg_locks "
            "l JOIN pg_stat_activity a ON a.pid = l.pid WHERE l.virtualtransaction = $1 LIMIT 1",
            {holder}));
  if (PQntuples(process.get()) > 0) {
    return absl::StrCat("pid=", Text(process.get(), 0, 0), " user=", Text(process.get(), 0, 1),
                        " application=", Text(process.get(), 0, 2),
                        " state=", Text(process.get(), 0, 3), " since=", Text(process.get(), 0, 4));
  }
  LOCKSTEP_ASSIGN_OR_RETURN(
      const Result prepared,
      Query("SELECT p.gid, p.owner FROM pg_locks l JOIN pg_prepared_xacts p ON "
            "p.transaction = l.transactionid WHERE l.virtualtransaction = $1 AND l.locktype = "
            "'transactionid' LIMIT 1",
            {holder}));
  if (PQntuples(prepared.get()) > 0) {
    return absl::StrCat("prepared_transaction=", Text(prepared.get(), 0, 0),
                        " user=", Text(prepared.get(), 0, 1));
  }
  return "virtualtransaction=" + holder;
}

absl::StatusOr<uint64_t> TableReader::ReadXidHorizon() {
  LOCKSTEP_ASSIGN_OR_RETURN(const Result result,
                            Query("SELECT pg_snapshot_xmin(pg_current_snapshot())::text"));
  uint64_t horizon = 0;
  if (!absl::SimpleAtoi(Text(result.get(), 0, 0), &horizon)) {
    return absl::InternalError("the database gave no transaction horizon");
  }
  return horizon;
}

absl::StatusOr<std::optional<std::string>> TableReader::DescribeHorizonHolder(uint64_t horizon) {
  const std::string text = std::to_string(horizon);
  LOCKSTEP_ASSIGN_OR_RETURN(const Result waiting,
                            Query("SELECT EXISTS (SELECT 1 FROM " + name_ + " WHERE " +
                                      QuoteIdentifier(*spec_.xid) + " >= $1::xid8)",
                                  {text}));
  if (Text(waiting.get(), 0, 0) != "t") return std::nullopt;
  LOCKSTEP_ASSIGN_OR_RETURN(
      const Result holder,
      Query("SELECT virtualtransaction FROM pg_locks WHERE locktype = 'transactionid' AND granted "
            "AND transactionid = $1::xid8::xid AND mode = 'ExclusiveLock' LIMIT 1",
            {text}));
  if (PQntuples(holder.get()) == 0) return "transaction=" + text;
  LOCKSTEP_ASSIGN_OR_RETURN(std::string description, DescribeHolder(Text(holder.get(), 0, 0)));
  return description;
}

// ---------------------------------------------------------------- rows

std::string TableReader::Between(const TableKey& first, bool first_included,
                                 const TableKey& last) const {
  const auto literal = [&](const TableKey& key) {
    return spec_.xid ? absl::StrCat("('", key.xid, "'::xid8, ", key.id, "::int8)")
                     : absl::StrCat(key.id, "::int8");
  };
  const std::string key = "(" + key_order_ + ")";
  return absl::StrCat(" FROM ", name_, " WHERE ", key, first_included ? " >= " : " > ",
                      literal(first), " AND ", key, " <= ", literal(last), filter_);
}

absl::StatusOr<size_t> TableReader::Read(const TableKey& after, const TableKey& through,
                                         size_t limit, std::vector<SourceEvent>& events) {
  LOCKSTEP_ASSIGN_OR_RETURN(const Result rows,
                            Query(absl::StrCat("SELECT ", columns_, Between(after, false, through),
                                               " ORDER BY ", key_order_, " LIMIT ", limit),
                                  {}, true));
  const auto content = [&](int row, int column) -> std::optional<std::string> {
    if (PQgetisnull(rows.get(), row, column) != 0) return std::nullopt;
    return Text(rows.get(), row, column);
  };
  const int count = PQntuples(rows.get());
  events.reserve(events.size() + static_cast<size_t>(count));
  for (int row = 0; row < count; ++row) {
    TableKey key;
    if (spec_.xid) key.xid = BigEndian64(PQgetvalue(rows.get(), row, 0));
    key.id = static_cast<int64_t>(BigEndian64(PQgetvalue(rows.get(), row, 1)));
    if (key.id < 1) {
      return absl::FailedPreconditionError(absl::StrCat(
          "source table ", name_, " has a row with id ", key.id, "; ids must be 1 or greater"));
    }
    SourceEvent& event = events.emplace_back();
    event.at = FormatTableKey(key, spec_.xid.has_value());
    event.payload.value = content(row, 2);
    event.payload.key = content(row, 3);
  }
  return static_cast<size_t>(count);
}

absl::StatusOr<int64_t> TableReader::Count(const TableKey& first, const TableKey& last) {
  LOCKSTEP_ASSIGN_OR_RETURN(const Result result,
                            Query("SELECT count(*)" + Between(first, true, last)));
  return Integer(result.get(), 0, 0);
}

absl::StatusOr<std::vector<TableKey>> TableReader::Keys(const TableKey& first,
                                                        const TableKey& last) {
  LOCKSTEP_ASSIGN_OR_RETURN(
      const Result rows,
      Query(absl::StrCat("SELECT ", spec_.xid ? key_order_ : "'0'::xid8, " + key_order_,
                         Between(first, true, last), " ORDER BY ", key_order_)));
  std::vector<TableKey> keys;
  for (int row = 0; row < PQntuples(rows.get()); ++row) {
    LOCKSTEP_ASSIGN_OR_RETURN(
        const TableKey key,
        ParseTableKey(Text(rows.get(), row, 0) + ":" + Text(rows.get(), row, 1), true));
    keys.push_back(key);
  }
  return keys;
}

}  // namespace lockstep
