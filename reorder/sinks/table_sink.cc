#include "reorder/sinks/table_sink.h"

#include <algorithm>
#include <cctype>
#include <chrono>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include "common/base/status_macros.h"
#include "common/base/utf8.h"
#include "db-ledger/postgres_ledger.h"

namespace lockstep {
namespace {

constexpr std::chrono::seconds kConnectTimeout{10};
constexpr std::chrono::seconds kReadTimeout{60};
constexpr char kApplicationName[] = "lockstep-reorder";

// Parameters $1…$10 are the rows' columns, one array each.
std::string InsertSql(const std::string& table, const char* condition = "") {
  return absl::StrCat(
      "insert into ", table,
      " (stream, epoch, \"offset\", producer, term, seq, key, value, headers, ts) "
      "select $1::text, r.epoch, r.\"offset\", r.producer, r.term, r.seq, r.key, r.value, "
      "r.headers::jsonb, to_timestamp(r.ts / 1000.0) "
      "from unnest($2::bigint[], $3::bigint[], $4::text[], $5::bigint[], $6::bigint[], "
      "$7::bytea[], $8::bytea[], $9::text[], $10::bigint[]) "
      "as r (epoch, \"offset\", producer, term, seq, key, value, headers, ts) ",
      condition, "on conflict do nothing");
}

// The cursor's refusal ends the statement, and with it the rows: whatever a gate takes an answer
// for, one that was replaced writes none. Nor does one whose commit the primary would show at once.
std::string InsertWithCursorSql(const std::string& table, const char* move) {
  return absl::StrCat(
      "with waits as (select from lockstep.read_now() "
      "where o_solo or current_setting('synchronous_standby_names') <> ''), rows as (",
      InsertSql(table, "where exists (select from waits) "), ") select lockstep.", move,
      " from waits");
}
constexpr char kMoveCursor[] =
    "move_cursor($11::text, $12::bigint, $13::bigint, $14::bigint, $15::bigint, $16::bigint, "
    "$17::bigint)";
constexpr char kMoveCursorSeq[] =
    "move_cursor_seq($11::text, $12::bigint, $13::bigint, $14::bigint[], $15::bigint[], "
    "$16::bigint[])";

// One script is one transaction. Gates that start at once create one after the other: without the
// lock "if not exists" lets the second run into the first one's catalogue rows.
std::string CreateSql(const std::string& table) {
  return absl::StrCat(
      "select pg_advisory_xact_lock(hashtext('lockstep.sink')); "
      "create table if not exists ",
      table,
      " (stream text not null, epoch bigint not null, \"offset\" bigint not null, "
      "producer text not null, term bigint not null, seq bigint not null, "
      "key bytea, value bytea, headers jsonb, ts timestamptz, "
      "emitted bigserial, primary key (stream, epoch, \"offset\"))");
}

using JsonWriter = rapidjson::Writer<rapidjson::StringBuffer>;

void WriteText(JsonWriter& writer, std::string_view text) {
  writer.String(text.data(), static_cast<rapidjson::SizeType>(text.size()));
}

// jsonb knows neither bytes outside UTF-8 nor NUL.
void WriteBytes(JsonWriter& writer, const std::optional<std::string_view>& bytes) {
  if (!bytes.has_value()) {
    writer.Null();
  } else if (IsUtf8(*bytes) && bytes->find('\0') == std::string_view::npos) {
    WriteText(writer, *bytes);
  } else {
    writer.StartObject();
    writer.Key("b64");
    WriteText(writer, absl::Base64Escape(absl::string_view(bytes->data(), bytes->size())));
    writer.EndObject();
  }
}

std::string HeadersJson(const std::vector<HeaderView>& headers) {
  if (headers.empty()) return "{}";
  std::vector<std::string_view> names;
  for (const HeaderView& header : headers) names.push_back(header.first);
  std::sort(names.begin(), names.end());
  const bool repeat = std::adjacent_find(names.begin(), names.end()) != names.end();
  rapidjson::StringBuffer buffer;
  JsonWriter writer(buffer);
  repeat ? writer.StartArray() : writer.StartObject();
  for (const auto& [name, value] : headers) {
    if (repeat) writer.StartArray();
    WriteText(writer, name);
    WriteBytes(writer, value);
    if (repeat) writer.EndArray();
  }
  repeat ? writer.EndArray() : writer.EndObject();
  return buffer.GetString();
}

// Serialisation, resources, a lock that was not to be had, an operator's shutdown, a server that is
// a standby now.
bool MayPass(const std::string& sqlstate) {
  return absl::StartsWith(sqlstate, "40") || absl::StartsWith(sqlstate, "53") ||
         absl::StartsWith(sqlstate, "57") || sqlstate == "55P03" || sqlstate == "25006";
}

// The statement holds more than the ledger's call: what is wrong with table or rows stays wrong.
Refusal RefusalOfInsert(const std::string& sqlstate) {
  const Refusal refusal = RefusalOf(sqlstate);
  return refusal != Refusal::kUnavailable || MayPass(sqlstate) ? refusal : Refusal::kInvalid;
}

}  // namespace

absl::StatusOr<std::string> QuoteTableName(std::string_view name) {
  std::string quoted;
  std::string part;
  int parts = 0;
  for (const char c : std::string(name) + ".") {
    if (c == '.') {
      if (part.empty() || ++parts > 2) {
        parts = 3;
        break;
      }
      quoted += (quoted.empty() ? "\"" : ".\"") + part + "\"";
      part.clear();
    } else if (std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_') {
      part += c;
    } else {
      parts = 3;
      break;
    }
  }
  if (parts < 1 || parts > 2 || !part.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "\"", std::string(name), "\" is not like schema.table (letters, digits and _)"));
  }
  return parts == 1 ? "\"public\"." + quoted : quoted;
}

absl::StatusOr<std::unique_ptr<TableSink>> TableSink::Open(TableSinkOptions options) {
  LOCKSTEP_ASSIGN_OR_RETURN(std::vector<PgHost> hosts,
                            ParsePgHosts(options.conninfo, kApplicationName));
  std::unique_ptr<TableSink> sink(new TableSink(std::move(options), std::move(hosts)));
  if (sink->options_.with_cursor) {
    LOCKSTEP_ASSIGN_OR_RETURN(
        sink->ledger_, PostgresLedger::Connect({.ledger = sink->options_.conninfo,
                                                .standby_ledger = sink->options_.standby_ledger,
                                                .application_name = kApplicationName,
                                                .call_timeout = kConnectTimeout}));
  }
  LOCKSTEP_RETURN_IF_ERROR(sink->CreateTable());
  return sink;
}

// Asking first: creating needs a right that a gate may do without once the table is there.
absl::Status TableSink::CreateTable() {
  LOCKSTEP_ASSIGN_OR_RETURN(PgConnection* const connection, Connection());
  const std::string& table = options_.table;
  const std::string exists = absl::StrCat("select to_regclass('", table, "') is not null");
  const PgDeadline deadline = std::chrono::steady_clock::now() + kReadTimeout;
  LOCKSTEP_ASSIGN_OR_RETURN(const std::string there, connection->ExecuteScript(exists, deadline));
  if (absl::StartsWith(there, "t")) return absl::OkStatus();
  return Annotate(connection->ExecuteScript(CreateSql(table), deadline).status(),
                  absl::StrCat("create table ", table));
}

TableSink::TableSink(TableSinkOptions options, std::vector<PgHost> hosts)
    : options_(std::move(options)),
      hosts_(std::move(hosts)),
      stream_text_(ToString(options_.stream)),
      insert_sql_(InsertSql(options_.table)),
      insert_with_cursor_sql_(InsertWithCursorSql(options_.table, kMoveCursor)),
      insert_with_seq_cursor_sql_(InsertWithCursorSql(options_.table, kMoveCursorSeq)),
      last_sql_(absl::StrCat("select epoch, \"offset\" from ", options_.table,
                             " where stream = $1::text order by epoch desc, \"offset\" desc "
                             "limit 1")),
      last_seqs_sql_(absl::StrCat("select producer, max(seq) from ", options_.table,
                                  " where stream = $1::text group by producer")),
      never_written_sql_(absl::StrCat("select s is not null and pg_sequence_last_value(s) is null "
                                      "from (select case when exists (select from pg_attribute "
                                      "where attrelid = to_regclass('",
                                      options_.table,
                                      "') and attname = 'emitted') "
                                      "then pg_get_serial_sequence('",
                                      options_.table, "', 'emitted')::regclass end) as q (s)")),
      repeats_(
          {options_.stream, "table " + options_.table, options_.pause_min, options_.pause_max}) {}

absl::StatusOr<PgConnection*> TableSink::Connection() {
  if (ledger_ != nullptr) return ledger_->RawConnection();
  if (connection_ == nullptr || connection_->broken()) {
    connection_.reset();
    LOCKSTEP_ASSIGN_OR_RETURN(
        connection_,
        PgConnection::Open(
            hosts_, PgRole::kPrimary,
            std::min<PgDeadline>(std::chrono::steady_clock::now() + kConnectTimeout, AnswerBy())));
  }
  return connection_.get();
}

absl::StatusOr<PgRows> TableSink::Ask(const PgStatement& statement, const PgParams& params) {
  LOCKSTEP_ASSIGN_OR_RETURN(PgConnection* const connection, Connection());
  return connection->Query(statement, params, std::chrono::steady_clock::now() + kReadTimeout);
}

void TableSink::Attach(SinkHost& host) {
  host_ = &host;
  repeats_.Attach(host);
}

// A stop's time is not waited beyond.
PgDeadline TableSink::AnswerBy() const {
  const PgDeadline deadline = std::chrono::steady_clock::now() + options_.answer_max;
  const auto stop_by = host_ == nullptr ? std::nullopt : host_->StopBy();
  return std::min(deadline, stop_by.value_or(deadline));
}

absl::StatusOr<std::optional<Position>> TableSink::Last() {
  LOCKSTEP_ASSIGN_OR_RETURN(const PgRows rows,
                            Ask({"last", last_sql_.c_str()}, PgParams().Text(stream_text_)));
  if (rows.size() == 0) return std::nullopt;
  return Position{Epoch(rows.Int(0, 0)), Offset(rows.Int(0, 1))};
}

absl::StatusOr<std::map<std::string, Seq>> TableSink::LastSeqs() {
  LOCKSTEP_ASSIGN_OR_RETURN(
      const PgRows rows, Ask({"last_seqs", last_seqs_sql_.c_str()}, PgParams().Text(stream_text_)));
  std::map<std::string, Seq> seqs;
  for (int i = 0; i < rows.size(); ++i) seqs[rows.Text(i, 0)] = Seq(rows.Int(i, 1));
  return seqs;
}

absl::StatusOr<bool> TableSink::NeverWritten() {
  LOCKSTEP_ASSIGN_OR_RETURN(const PgRows rows,
                            Ask({"never_written", never_written_sql_.c_str()}, {}));
  return rows.Bool(0, 0);
}

PgParams TableSink::RowParams(std::span<const ReadyRecord> records) {
  std::vector<int64_t> epochs, offsets, terms, seqs, timestamps;
  std::vector<std::string> producers, headers;
  std::vector<std::optional<std::string>> keys, values;
  const auto owned = [](const std::optional<std::string_view>& bytes) {
    return bytes.has_value() ? std::optional<std::string>(*bytes) : std::nullopt;
  };
  for (const ReadyRecord& record : records) {
    epochs.push_back(record.position.epoch.value());
    offsets.push_back(record.position.offset.value());
    producers.emplace_back(record.producer);
    terms.push_back(record.term.value());
    seqs.push_back(record.seq.value());
    keys.push_back(owned(record.view.key));
    values.push_back(owned(record.view.value));
    record.view.ReadHeaders(headers_);
    headers.push_back(HeadersJson(headers_));
    timestamps.push_back(record.view.timestamp_ms);
  }
  PgParams params;
  params.Text(stream_text_).Ints(epochs).Ints(offsets).Texts(producers).Ints(terms).Ints(seqs);
  params.OptionalBytes(keys).OptionalBytes(values).Texts(headers).Ints(timestamps);
  return params;
}

template <class Move>
Commit<Moved> TableSink::WriteAndMove(const PgStatement& statement,
                                      std::span<const ReadyRecord> records, const Move& move) {
  PgParams params = RowParams(records);
  AddMove(move, params);
  return ledger_->MoveCursorWith(statement, params,
                                 {.deadline = AnswerBy(), .refusal_of = RefusalOfInsert});
}

Commit<Moved> TableSink::WriteWithCursor(std::span<const ReadyRecord> records,
                                         const MoveCursorRequest& move) {
  return WriteAndMove({"insert_with_cursor", insert_with_cursor_sql_.c_str()}, records, move);
}

Commit<Moved> TableSink::WriteWithSeqCursor(std::span<const ReadyRecord> records,
                                            const MoveSeqCursorRequest& move) {
  return WriteAndMove({"insert_with_seq_cursor", insert_with_seq_cursor_sql_.c_str()}, records,
                      move);
}

absl::Status TableSink::Write(std::span<const ReadyRecord> records) {
  const PgParams params = RowParams(records);
  const std::string request =
      absl::StrCat(ToString(records.front().position), " to ", ToString(records.back().position));
  while (true) {
    LOCKSTEP_ASSIGN_OR_RETURN(const std::optional<std::string> why_not, Insert(params));
    if (!why_not.has_value()) break;
    LOCKSTEP_RETURN_IF_ERROR(repeats_.Again(request, *why_not));
  }
  repeats_.Done(request);
  return absl::OkStatus();
}

// Whatever became of an attempt, the next one meets its rows.
absl::StatusOr<std::optional<std::string>> TableSink::Insert(const PgParams& params) {
  const absl::StatusOr<PgConnection*> connection = Connection();
  if (absl::IsUnavailable(connection.status())) return std::string(connection.status().message());
  LOCKSTEP_RETURN_IF_ERROR(Annotate(connection.status(), "insert into " + options_.table));
  const PgStatement statement{"insert", insert_sql_.c_str()};
  const std::vector<PgAnswer> answers = (*connection)->Run({{&statement, &params}}, AnswerBy());
  const PgAnswer& answer = answers.at(0);
  if (answer.kind == PgAnswer::Kind::kRows) return std::nullopt;
  if (answer.kind == PgAnswer::Kind::kError) {
    if (!MayPass(answer.error.sqlstate)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "insert into ", options_.table, ": ", answer.error.message, " (", answer.error.sqlstate,
          "); mend the table, then start again with "
          "--old-gate-is-dead"));
    }
    (*connection)->Drop();  // A server that turned standby, or is going down, is not asked again.
  }
  return answer.error.message;
}

}  // namespace lockstep
