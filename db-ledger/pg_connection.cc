#include "db-ledger/pg_connection.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "db-ledger/pg_binary.h"

#include <libpq-fe.h>

namespace lockstep {
namespace {

using Clock = std::chrono::steady_clock;

// The server's keepalives end the session, and its locks, of a client whose host is gone or cut
// off, in 25 s; by default that takes hours. (A client that merely hangs answers them: its
// statement ends without it, and each is a transaction of its own.)
constexpr char kSessionOptions[] =
    "-c synchronous_commit=on -c client_min_messages=warning -c search_path=pg_catalog "
    "-c default_transaction_isolation=read\\ committed -c client_connection_check_interval=5s "
    "-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3";

// How long the first host that would do waits for the others' answers: there may be a better one.
constexpr std::chrono::milliseconds kOthersTurn{300};

constexpr char kTimelineSql[] =
    "select ('x' || substr(pg_walfile_name(pg_current_wal_flush_lsn()), 1, 8))::bit(32)::int";

std::string Trimmed(const char* text) {
  std::string out = text == nullptr ? "" : text;
  while (!out.empty() && (out.back() == '\n' || out.back() == ' ')) out.pop_back();
  std::replace(out.begin(), out.end(), '\n', ' ');
  return out;
}

int PollTimeoutMs(PgDeadline deadline) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
  return static_cast<int>(std::clamp<int64_t>(left, 0, 60'000));
}

// libpq gives no SQLSTATE for a refused log-in; the words are the server's, untranslated by
// default.
bool IsLoginRefused(const std::string& message) {
  for (const char* part : {"authentication failed", "no password supplied", "no pg_hba.conf entry",
                           "is not permitted to log in", "permission denied for database"}) {
    if (message.find(part) != std::string::npos) return true;
  }
  return message.find("role \"") != std::string::npos &&
         message.find("does not exist") != std::string::npos;
}

// The element for host number `i` of a list that libpq allows to have one element for all.
std::string ListElement(const std::vector<std::string>& list, size_t i) {
  if (list.empty()) return "";
  return list[list.size() == 1 ? 0 : std::min(i, list.size() - 1)];
}

}  // namespace

// ---------------------------------------------------------------- where to

std::string PgHost::Name() const {
  const auto get = [&](const char* key) {
    const auto found = keywords.find(key);
    return found == keywords.end() ? std::string() : found->second;
  };
  const std::string host = get("host").empty() ? get("hostaddr") : get("host");
  return absl::StrCat(host.empty() ? "localhost" : host, ":",
                      get("port").empty() ? "5432" : get("port"));
}

absl::StatusOr<std::vector<PgHost>> ParsePgHosts(const std::string& conninfo,
                                                 const std::string& application_name) {
  char* error = nullptr;
  PQconninfoOption* const options = PQconninfoParse(conninfo.c_str(), &error);
  if (options == nullptr) {
    const absl::Status status = absl::InvalidArgumentError("conninfo: " + Trimmed(error));
    PQfreemem(error);
    return status;
  }
  std::map<std::string, std::string> keywords = {
      {"connect_timeout", "5"},     {"keepalives", "1"},
      {"keepalives_idle", "10"},    {"keepalives_count", "3"},
      {"keepalives_interval", "5"}, {"tcp_user_timeout", "15000"},
      {"client_encoding", "UTF8"},  {"application_name", application_name}};
  std::string user_options;
  for (const PQconninfoOption* option = options; option->keyword != nullptr; ++option) {
    if (option->val == nullptr) continue;
    if (std::strcmp(option->keyword, "options") == 0) {
      user_options = option->val;
    } else {
      keywords[option->keyword] = option->val;
    }
  }
  PQconninfoFree(options);
  keywords["options"] = absl::StrCat(kSessionOptions, " ", user_options);  // The later wins.
  keywords.erase("target_session_attrs");                                  // Open decides.

  const auto list = [&](const char* key) -> std::vector<std::string> {
    const auto found = keywords.find(key);
    if (found == keywords.end()) return {};
    return absl::StrSplit(found->second, ',');
  };
  const auto hosts = list("host"), addresses = list("hostaddr"), ports = list("port");
  const size_t count = std::max<size_t>({1, hosts.size(), addresses.size()});
  std::vector<PgHost> result;
  for (size_t i = 0; i < count; ++i) {
    PgHost host{keywords};
    if (!hosts.empty()) host.keywords["host"] = ListElement(hosts, i);
    if (!addresses.empty()) host.keywords["hostaddr"] = ListElement(addresses, i);
    if (!ports.empty()) host.keywords["port"] = ListElement(ports, i);
    result.push_back(std::move(host));
  }
  return result;
}

// ---------------------------------------------------------------- parameters and rows

PgParams& PgParams::Int(int64_t value) {
  values_.push_back(PgInt(value));
  return *this;
}
PgParams& PgParams::Int4(int32_t value) {
  values_.push_back(PgInt4(value));
  return *this;
}
PgParams& PgParams::Bool(bool value) {
  values_.push_back(std::string(1, value ? '\1' : '\0'));
  return *this;
}
PgParams& PgParams::Text(std::string_view value) {
  values_.push_back(std::string(value));
  return *this;
}
PgParams& PgParams::Bytes(std::string_view value) { return Text(value); }
PgParams& PgParams::Null() {
  values_.push_back(std::nullopt);
  return *this;
}
PgParams& PgParams::OptionalText(const std::optional<std::string>& value) {
  values_.push_back(value);
  return *this;
}
PgParams& PgParams::OptionalInt(std::optional<int64_t> value) {
  return value ? Int(*value) : Null();
}
PgParams& PgParams::Ints(const std::vector<int64_t>& values) {
  std::vector<std::optional<std::string>> elements;
  for (const int64_t value : values) elements.push_back(PgInt(value));
  values_.push_back(PgArray(kPgInt8, elements));
  return *this;
}
PgParams& PgParams::Texts(const std::vector<std::string>& values) {
  values_.push_back(PgArray(kPgText, {values.begin(), values.end()}));
  return *this;
}
PgParams& PgParams::OptionalBytes(const std::vector<std::optional<std::string>>& values) {
  values_.push_back(PgArray(kPgBytea, values));
  return *this;
}
PgParams& PgParams::Multiranges(const std::vector<const OffsetRanges*>& values) {
  std::vector<std::optional<std::string>> elements;
  for (const OffsetRanges* ranges : values) elements.push_back(PgMultirange(*ranges));
  values_.push_back(PgArray(kPgInt8Multirange, elements));
  return *this;
}

void PgRows::Clear::operator()(pg_result* result) const { PQclear(result); }
PgRows::PgRows(pg_result* result) : result_(result) {}
int PgRows::size() const { return result_ ? PQntuples(result_.get()) : 0; }
bool PgRows::IsNull(int row, int column) const {
  return PQgetisnull(result_.get(), row, column) != 0;
}
std::string PgRows::Text(int row, int column) const {
  return std::string(PQgetvalue(result_.get(), row, column),
                     static_cast<size_t>(PQgetlength(result_.get(), row, column)));
}
int64_t PgRows::Int(int row, int column) const {
  return ParsePgInt({PQgetvalue(result_.get(), row, column),
                     static_cast<size_t>(PQgetlength(result_.get(), row, column))});
}
bool PgRows::Bool(int row, int column) const {
  LOCKSTEP_CHECK(PQgetlength(result_.get(), row, column) == 1, "the column is a boolean");
  return *PQgetvalue(result_.get(), row, column) != '\0';
}
std::optional<std::string> PgRows::OptionalText(int row, int column) const {
  if (IsNull(row, column)) return std::nullopt;
  return Text(row, column);
}
absl::StatusOr<OffsetRanges> PgRows::Multirange(int row, int column) const {
  return ParsePgMultirange({PQgetvalue(result_.get(), row, column),
                            static_cast<size_t>(PQgetlength(result_.get(), row, column))});
}

// ---------------------------------------------------------------- connecting

void PgConnection::Finish::operator()(pg_conn* connection) const { PQfinish(connection); }

PgConnection::PgConnection(pg_conn* connection, std::string host_name)
    : connection_(connection), host_name_(std::move(host_name)) {
  PQsetnonblocking(connection, 1);
  PQsetNoticeReceiver(connection, &PgConnection::KeepNotice, this);
}

PgConnection::~PgConnection() = default;

void PgConnection::KeepNotice(void* self, const pg_result* notice) {
  const char* sqlstate = PQresultErrorField(notice, PG_DIAG_SQLSTATE);
  const char* message = PQresultErrorField(notice, PG_DIAG_MESSAGE_PRIMARY);
  static_cast<PgConnection*>(self)->notices_.push_back(
      absl::StrCat(sqlstate == nullptr ? "?????" : sqlstate, " ", Trimmed(message)));
}

// One host of Open under way.
struct PgConnection::Attempt {
  std::unique_ptr<pg_conn, void (*)(pg_conn*)> connection{nullptr, PQfinish};
  std::string name;
  PostgresPollingStatusType status = PGRES_POLLING_WRITING;
  PgDeadline deadline;
  std::string failure;  // Not empty: it is over.
  bool standby = false;

  bool under_way() const { return failure.empty() && status != PGRES_POLLING_OK; }
  bool ready() const { return failure.empty() && status == PGRES_POLLING_OK; }
  void Fail(std::string why) {
    failure = std::move(why);
    connection.reset();
  }
};

PgConnection::Attempt PgConnection::Start(const PgHost& host, PgDeadline deadline) {
  std::vector<const char*> keys, values;
  for (const auto& [key, value] : host.keywords) {
    keys.push_back(key.c_str());
    values.push_back(value.c_str());
  }
  keys.push_back(nullptr);
  values.push_back(nullptr);
  Attempt attempt;
  attempt.name = host.Name();
  attempt.deadline = deadline;
  int timeout_s = std::atoi(host.keywords.at("connect_timeout").c_str());
  if (timeout_s > 0) {
    attempt.deadline = std::min(deadline, Clock::now() + std::chrono::seconds(timeout_s));
  }
  attempt.connection.reset(PQconnectStartParams(keys.data(), values.data(), 0));
  if (attempt.connection == nullptr || PQstatus(attempt.connection.get()) == CONNECTION_BAD) {
    attempt.Fail(attempt.connection == nullptr ? "out of memory"
                                               : Trimmed(PQerrorMessage(attempt.connection.get())));
  }
  return attempt;
}

void PgConnection::Advance(Attempt& attempt, PgRole role) {
  attempt.status = PQconnectPoll(attempt.connection.get());
  if (attempt.status == PGRES_POLLING_FAILED) {
    attempt.Fail(Trimmed(PQerrorMessage(attempt.connection.get())));
    return;
  }
  if (attempt.status != PGRES_POLLING_OK) return;
  const char* standby = PQparameterStatus(attempt.connection.get(), "in_hot_standby");
  if (standby == nullptr) {
    attempt.Fail("is older than PostgreSQL 14");
    return;
  }
  attempt.standby = std::strcmp(standby, "on") == 0;
  if (role == PgRole::kPrimary && attempt.standby) attempt.Fail("is a standby (read-only)");
  if (role == PgRole::kStandby && !attempt.standby) attempt.Fail("is no standby");
}

absl::Status PgConnection::AllFailed(const std::vector<Attempt>& attempts, PgRole role) {
  std::vector<std::string> parts;
  bool refused = false;
  for (const Attempt& attempt : attempts) {
    parts.push_back(attempt.name + ": " + attempt.failure);
    refused = refused || IsLoginRefused(attempt.failure);
  }
  const std::string message =
      absl::StrCat(role == PgRole::kStandby ? "no standby to ask: " : "no database: ",
                   absl::StrJoin(parts, "; "));
  return refused ? absl::PermissionDeniedError(message) : absl::UnavailableError(message);
}

// A primary rather than a standby; of two primaries the one that was promoted later. (The old one
// may have come back: nobody must go on with it.)
std::unique_ptr<PgConnection> PgConnection::TakeBest(std::vector<Attempt>& attempts,
                                                     PgDeadline deadline) {
  std::vector<std::unique_ptr<PgConnection>> primaries, standbys;
  for (Attempt& attempt : attempts) {
    if (!attempt.ready()) continue;
    auto& list = attempt.standby ? standbys : primaries;
    list.emplace_back(new PgConnection(attempt.connection.release(), attempt.name));
  }
  if (primaries.empty()) return std::move(standbys.front());
  size_t best = 0;
  int best_timeline = -1;
  for (size_t i = 0; i < primaries.size() && primaries.size() > 1; ++i) {
    const auto text = primaries[i]->ExecuteScript(kTimelineSql, deadline);
    const int timeline = text.ok() ? std::atoi(text->c_str()) : -1;
    if (timeline > best_timeline) {
      best = i;
      best_timeline = timeline;
    }
  }
  return std::move(primaries[best]);
}

absl::StatusOr<std::unique_ptr<PgConnection>> PgConnection::Open(const std::vector<PgHost>& hosts,
                                                                 PgRole role, PgDeadline deadline) {
  std::vector<Attempt> attempts;
  for (const PgHost& host : hosts) attempts.push_back(Start(host, deadline));
  PgDeadline others_turn = PgDeadline::max();
  for (;;) {
    bool under_way = false, ready = false;
    for (Attempt& attempt : attempts) {
      if (attempt.under_way() && Clock::now() >= attempt.deadline) attempt.Fail("timed out");
      under_way = under_way || attempt.under_way();
      ready = ready || attempt.ready();
    }
    if (ready) others_turn = std::min(others_turn, Clock::now() + kOthersTurn);
    if (ready && (!under_way || Clock::now() >= others_turn)) {
      return TakeBest(attempts, deadline);
    }
    if (!under_way) return AllFailed(attempts, role);

    std::vector<pollfd> polls;
    std::vector<Attempt*> polled;
    PgDeadline wake = std::min(others_turn, deadline);
    for (Attempt& attempt : attempts) {
      if (!attempt.under_way()) continue;
      const short events = attempt.status == PGRES_POLLING_READING ? POLLIN : POLLOUT;
      polls.push_back({PQsocket(attempt.connection.get()), events, 0});
      polled.push_back(&attempt);
      wake = std::min(wake, attempt.deadline);
    }
    poll(polls.data(), polls.size(), PollTimeoutMs(wake));
    for (size_t i = 0; i < polls.size(); ++i) {
      if (polls[i].revents != 0) Advance(*polled[i], role);
    }
  }
}

// ---------------------------------------------------------------- statements

void PgConnection::Drop() {
  broken_ = true;
  connection_.reset();
}

std::string PgConnection::Message() const {
  return connection_ == nullptr ? "the connection was closed"
                                : Trimmed(PQerrorMessage(connection_.get()));
}

std::string PgConnection::ParameterStatus(const char* name) const {
  const char* value = connection_ == nullptr ? nullptr : PQparameterStatus(connection_.get(), name);
  return value == nullptr ? "" : value;
}

std::vector<std::string> PgConnection::TakeNotices() { return std::exchange(notices_, {}); }

absl::Status PgConnection::Send(const std::vector<Call>& calls, std::vector<bool>& preparing) {
  pg_conn* const pg = connection_.get();
  if (PQenterPipelineMode(pg) != 1) return absl::UnavailableError(Message());
  for (const Call& call : calls) {
    const auto& values = call.params->values_;
    std::vector<const char*> bytes;
    std::vector<int> lengths, formats(values.size(), 1);
    for (const auto& value : values) {
      bytes.push_back(value ? value->data() : nullptr);
      lengths.push_back(value ? static_cast<int>(value->size()) : 0);
    }
    const bool prepare = prepared_.insert(call.statement->name).second;
    preparing.push_back(prepare);
    if (prepare && PQsendPrepare(pg, call.statement->name, call.statement->sql, 0, nullptr) != 1) {
      return absl::UnavailableError(Message());
    }
    if (PQsendQueryPrepared(pg, call.statement->name, static_cast<int>(values.size()), bytes.data(),
                            lengths.data(), formats.data(), 1) != 1 ||
        PQpipelineSync(pg) != 1) {
      return absl::UnavailableError(Message());
    }
  }
  return absl::OkStatus();
}

absl::Status PgConnection::WaitForInput(PgDeadline deadline) {
  pg_conn* const pg = connection_.get();
  const int unsent = PQflush(pg);
  if (unsent < 0) return absl::UnavailableError(Message());
  const short events = static_cast<short>(POLLIN | (unsent > 0 ? POLLOUT : 0));
  pollfd fd{PQsocket(pg), events, 0};
  const int ready = poll(&fd, 1, PollTimeoutMs(deadline));
  if (ready == 0 && Clock::now() >= deadline)
    return absl::DeadlineExceededError("no answer in time");
  if (ready > 0 && (fd.revents & (POLLIN | POLLERR | POLLHUP)) != 0 && PQconsumeInput(pg) != 1) {
    return absl::UnavailableError(Message());
  }
  return absl::OkStatus();
}

absl::StatusOr<pg_result*> PgConnection::NextResult(PgDeadline deadline) {
  // Flush first: an answer that is there already does not mean that all was sent.
  while (PQisBusy(connection_.get()) != 0) {
    LOCKSTEP_RETURN_IF_ERROR(WaitForInput(deadline));
  }
  return PQgetResult(connection_.get());
}

// The results of one statement, up to its sync.
PgAnswer PgConnection::ReceiveOne(const std::string& name, bool preparing, PgDeadline deadline) {
  PgAnswer answer;
  bool have_answer = false;
  for (;;) {
    const auto next = NextResult(deadline);
    if (!next.ok()) {
      answer.kind = PgAnswer::Kind::kLost;
      answer.error.message = std::string(next.status().message());
      return answer;
    }
    if (*next == nullptr) {  // The end of one command's results.
      if (PQstatus(connection_.get()) == CONNECTION_BAD) {
        answer.kind = PgAnswer::Kind::kLost;
        answer.error.message = Message();
        return answer;
      }
      continue;
    }
    PgRows rows(*next);
    switch (PQresultStatus(*next)) {
      case PGRES_PIPELINE_SYNC:
        LOCKSTEP_CHECK(have_answer, "every statement has a result before its sync");
        return answer;
      case PGRES_COMMAND_OK:
      case PGRES_TUPLES_OK:
        if (preparing) {
          preparing = false;
          break;
        }
        answer.kind = PgAnswer::Kind::kRows;
        answer.rows = std::move(rows);
        have_answer = true;
        break;
      case PGRES_PIPELINE_ABORTED:
        break;
      default: {
        const char* severity = PQresultErrorField(*next, PG_DIAG_SEVERITY_NONLOCALIZED);
        const char* sqlstate = PQresultErrorField(*next, PG_DIAG_SQLSTATE);
        const char* message = PQresultErrorField(*next, PG_DIAG_MESSAGE_PRIMARY);
        answer.error = {sqlstate == nullptr ? "" : sqlstate,
                        message == nullptr ? Message() : Trimmed(message)};
        // FATAL and PANIC end the session, perhaps after the commit: the outcome is not known.
        const bool rolled_back = severity != nullptr && std::strcmp(severity, "ERROR") == 0;
        answer.kind = rolled_back ? PgAnswer::Kind::kError : PgAnswer::Kind::kLost;
        if (!rolled_back) return answer;
        if (preparing) prepared_.erase(name);
        have_answer = true;
      }
    }
  }
}

std::vector<PgAnswer> PgConnection::Run(const std::vector<Call>& calls, PgDeadline deadline) {
  std::vector<PgAnswer> answers(calls.size());
  if (broken_) {
    for (PgAnswer& answer : answers) answer.error.message = "the connection was closed";
    return answers;
  }
  // libpq tries to write while it queues: after a failure some may have been sent.
  bool sent = true;
  std::vector<bool> preparing;
  absl::Status status = absl::OkStatus();
  // A server that ended the session meanwhile is noticed now, while the outcome is still certain.
  if (PQconsumeInput(connection_.get()) != 1 || PQstatus(connection_.get()) != CONNECTION_OK) {
    sent = false;
    status = absl::UnavailableError(Message());
  } else {
    status = Send(calls, preparing);
  }
  size_t received = 0;
  for (; status.ok() && received < calls.size(); ++received) {
    PgAnswer& answer = answers[received];
    answer = ReceiveOne(calls[received].statement->name, preparing[received], deadline);
    if (answer.kind == PgAnswer::Kind::kLost) {
      status = absl::UnavailableError(answer.error.message);
    }
  }
  if (status.ok() && PQexitPipelineMode(connection_.get()) == 1) return answers;
  for (size_t i = received; i < answers.size(); ++i) {
    answers[i].kind = sent ? PgAnswer::Kind::kLost : PgAnswer::Kind::kNotSent;
    answers[i].error.message = std::string(status.message());
  }
  Drop();
  return answers;
}

absl::StatusOr<PgRows> PgConnection::Query(const PgStatement& statement, const PgParams& params,
                                           PgDeadline deadline) {
  PgAnswer answer = std::move(Run({{&statement, &params}}, deadline).front());
  if (answer.kind == PgAnswer::Kind::kRows) return std::move(answer.rows);
  const std::string message =
      absl::StrCat(host_name_, ": ", answer.error.message,
                   answer.error.sqlstate.empty() ? "" : " (" + answer.error.sqlstate + ")");
  if (answer.kind != PgAnswer::Kind::kError) return absl::UnavailableError(message);
  if (answer.error.sqlstate == "42501") return absl::PermissionDeniedError(message);
  return absl::InternalError(message);
}

absl::StatusOr<std::string> PgConnection::ExecuteScript(const std::string& sql,
                                                        PgDeadline deadline) {
  if (broken_ || PQsendQuery(connection_.get(), sql.c_str()) != 1) {
    const std::string message = Message();
    Drop();
    return absl::UnavailableError(absl::StrCat(host_name_, ": ", message));
  }
  std::string out;
  absl::Status failure = absl::OkStatus();
  for (;;) {
    const auto next = NextResult(deadline);
    if (!next.ok()) {
      Drop();
      return Annotate(next.status(), host_name_);
    }
    if (*next == nullptr) break;
    const PgRows rows(*next);
    const ExecStatusType status = PQresultStatus(*next);
    if (status == PGRES_TUPLES_OK) {
      out.clear();
      for (int i = 0; i < PQntuples(*next); ++i) {
        absl::StrAppend(&out, i == 0 ? "" : "\n", PQgetvalue(*next, i, 0));
      }
    } else if (status != PGRES_COMMAND_OK && status != PGRES_EMPTY_QUERY) {
      const char* sqlstate = PQresultErrorField(*next, PG_DIAG_SQLSTATE);
      failure =
          absl::InternalError(absl::StrCat(host_name_, ": ", Trimmed(PQresultErrorMessage(*next)),
                                           " (", sqlstate == nullptr ? "" : sqlstate, ")"));
    }
  }
  if (PQstatus(connection_.get()) == CONNECTION_BAD) Drop();
  if (!failure.ok()) return failure;
  return out;
}

}  // namespace lockstep
