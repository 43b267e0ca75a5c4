#include "db-ledger/postgres_ledger.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "db-ledger/requests.h"
#include "db-ledger/schema.h"

namespace lockstep {
namespace {

using Clock = std::chrono::steady_clock;

// ---------------------------------------------------------------- the calls

constexpr PgStatement kOpenProducer{
    "open_producer",
    "select * from lockstep.open_producer($1::text, $2::text, $3::text, $4::int, $5::bigint[], "
    "$6::bigint[], $7::text, $8::text)"};
constexpr PgStatement kClose{
    "close", "select lockstep.close_earlier_terms($1::int, $2::bigint[], $3::bigint[])"};
constexpr PgStatement kAppend{
    "append",
    "select * from lockstep.append($1::int, $2::bigint[], $3::bigint[], $4::bigint[], "
    "$5::bigint[], $6::bigint[], $7::int8multirange[], $8::text[], $9::text[], $10::bigint[], "
    "$11::bytea[], $12::text)"};
constexpr PgStatement kSeal{"seal",
                            "select s, (select o_solo from lockstep.read_now()) "
                            "from lockstep.seal($1::text) s"};
constexpr PgStatement kOpenGate{
    "open_gate",
    "select * from lockstep.open_gate($1::text, $2::text[], $3::bigint[], $4::boolean)"};
constexpr PgStatement kMoveCursor{"move_cursor",
                                  "select lockstep.move_cursor($1::text, $2::bigint, $3::bigint, "
                                  "$4::bigint, $5::bigint, $6::bigint, $7::bigint)"};
constexpr PgStatement kOpenGateSeq{
    "open_gate_seq",
    "select * from lockstep.open_gate_seq($1::text, $2::text, $3::bigint, $4::boolean)"};
constexpr PgStatement kMoveCursorSeq{"move_cursor_seq",
                                     "select lockstep.move_cursor_seq($1::text, $2::bigint, "
                                     "$3::bigint, $4::bigint[], $5::bigint[], $6::bigint[])"};
constexpr PgStatement kSetCursorSeq{
    "set_cursor_seq",
    "select lockstep.set_cursor_seq($1::text, $2::bigint, $3::bigint, $4::bigint)"};
constexpr PgStatement kSetCursor{
    "set_cursor", "select lockstep.set_cursor($1::text, $2::bigint, $3::bigint, $4::bigint)"};
constexpr PgStatement kBeginEpoch{
    "begin_epoch", "select lockstep.begin_epoch($1::bigint, $2::boolean, $3::text, $4::text)"};
constexpr PgStatement kSoloOff{"solo_off", "select lockstep.solo_off()"};
constexpr PgStatement kRecordStep{
    "record_step", "select lockstep.record_step($1::bigint, $2::text, $3::text, $4::text)"};
constexpr PgStatement kPrune{"prune",
                             "select lockstep.prune($1::bigint, $2::bigint, $3::bigint), "
                             "(select o_solo from lockstep.read_now())"};

constexpr PgStatement kReadNow{"read_now", "select * from lockstep.read_now()"};
constexpr PgStatement kStreams{
    "streams", "select * from lockstep.streams($1::text) order by o_topic, o_partition"};
constexpr PgStatement kStreamsById{"streams_by_id",
                                   "select * from lockstep.streams($1::text) order by o_stream"};
constexpr PgStatement kProducers{"producers", "select * from lockstep.producers()"};
constexpr PgStatement kReadStream{
    "read_stream",
    "select * from lockstep.read_stream($1::bigint, $2::bigint[], $3::bigint[], $4::bigint[], "
    "$5::bigint, $6::boolean)"};
constexpr PgStatement kMarksAfter{
    "marks_after", "select * from lockstep.marks_after($1::bigint, $2::bigint, $3::bigint)"};
constexpr PgStatement kMarksAfterSeqs{
    "marks_after_seqs",
    "select * from lockstep.marks_after_seqs($1::bigint, $2::bigint[], $3::bigint[])"};
constexpr PgStatement kLogs{"logs", "select * from lockstep.logs($1::bigint)"};
constexpr PgStatement kCursors{"cursors", "select * from lockstep.cursors()"};
constexpr PgStatement kCursorSeqs{"cursor_seqs",
                                  "select * from lockstep.cursor_seqs() "
                                  "order by o_group collate \"C\", o_stream, o_producer"};
constexpr PgStatement kEpochs{"epochs", "select * from lockstep.epochs()"};
constexpr PgStatement kSteps{"steps", "select * from lockstep.steps($1::bigint)"};
constexpr PgStatement kStandbys{"standbys", "select * from lockstep.standbys()"};

// ---------------------------------------------------------------- translations

std::string Text(const absl::Status& status) { return std::string(status.message()); }

std::optional<Position> OptionalPosition(const PgRows& rows, int row, int column) {
  if (rows.IsNull(row, column)) return std::nullopt;
  return Position{Epoch(rows.Int(row, column)), Offset(rows.Int(row, column + 1))};
}

void AddPosition(PgParams& params, const std::optional<Position>& position) {
  if (position) {
    params.Int(position->epoch.value()).Int(position->offset.value());
  } else {
    params.Null().Null();
  }
}

// Producer 0 is the cursor's own row.
void AddMark(const PgRows& rows, int row, int column, SeqCursor& cursor) {
  const ProducerId producer(static_cast<int32_t>(rows.Int(row, column)));
  if (producer == ProducerId(0)) return;
  cursor.marks.push_back(
      {producer, Seq(rows.Int(row, column + 1)), Seq(rows.Int(row, column + 2))});
}

// The ledger keeps the digest in a signed column; the bits are the same.
int64_t SignedBits(uint64_t digest) { return static_cast<int64_t>(digest); }

}  // namespace

Refusal RefusalOf(const std::string& sqlstate) {
  // Those of the schema's refuse(), and PostgreSQL's own for the same things.
  constexpr std::pair<const char*, Refusal> kTable[] = {
      {"LS001", Refusal::kFenced},
      {"LS002", Refusal::kGap},
      {"LS003", Refusal::kDiffers},
      {"LS004", Refusal::kWrongOwner},
      {"LS005", Refusal::kNoDurableStandby},
      {"LS006", Refusal::kWrongEpoch},
      {"LS007", Refusal::kNotFound},
      {"LS008", Refusal::kSourceChanged},
      {"LS009", Refusal::kPartitionsChanged},
      {"LS010", Refusal::kLogChanged},
      {"LS011", Refusal::kInvalid},
      {"LS012", Refusal::kWrongKind},
      {"42501", Refusal::kWrongOwner},  // insufficient_privilege
      {"42883", Refusal::kNotFound},    // undefined_function: no ledger here
      {"3F000", Refusal::kNotFound},    // invalid_schema_name: no ledger here
  };
  for (const auto& [code, refusal] : kTable) {
    if (sqlstate == code) return refusal;
  }
  return Refusal::kUnavailable;
}

// ---------------------------------------------------------------- connecting

PostgresLedger::PostgresLedger(PostgresLedgerOptions options, std::vector<PgHost> hosts,
                               Witness witness)
    : options_(std::move(options)), hosts_(std::move(hosts)), witness_(std::move(witness)) {}

absl::StatusOr<std::unique_ptr<PostgresLedger>> PostgresLedger::Connect(
    PostgresLedgerOptions options) {
  LOCKSTEP_ASSIGN_OR_RETURN(auto hosts, ParsePgHosts(options.ledger, options.application_name));
  std::vector<PgHost> witness_hosts = hosts;
  if (!options.standby_ledger.empty()) {
    LOCKSTEP_ASSIGN_OR_RETURN(witness_hosts,
                              ParsePgHosts(options.standby_ledger, options.application_name));
  } else if (hosts.size() > 2 && !options.read_only) {
    return absl::InvalidArgumentError(
        "--ledger lists more than two hosts: --standby-ledger must say which standby will be "
        "promoted");
  }
  std::unique_ptr<PostgresLedger> ledger(
      new PostgresLedger(std::move(options), std::move(hosts), Witness(std::move(witness_hosts))));
  LOCKSTEP_RETURN_IF_ERROR(ledger->ConnectPrimary(ledger->In(ledger->options_.call_timeout)));
  return ledger;
}

PgDeadline PostgresLedger::In(std::chrono::milliseconds time) const { return Clock::now() + time; }

absl::Status PostgresLedger::ConnectPrimary(PgDeadline deadline) {
  if (primary_ != nullptr && !primary_->broken()) return absl::OkStatus();
  primary_.reset();
  backoff_.Wait(deadline);
  const PgRole role = options_.read_only ? PgRole::kAny : PgRole::kPrimary;
  auto opened = PgConnection::Open(hosts_, role, deadline);
  if (!opened.ok()) {
    backoff_.Failed();
    return opened.status();
  }
  LOCKSTEP_ASSIGN_OR_RETURN(const int version, ReadSchemaVersion(**opened, deadline));
  if (version != kSchemaVersion) {
    return absl::NotFoundError(absl::StrCat((*opened)->host_name(),
                                            ": the database has no ledger of version ",
                                            kSchemaVersion, "; run lockstep-ledger init"));
  }
  LOCKSTEP_ASSIGN_OR_RETURN(const PgRows now, (*opened)->Query(kReadNow, {}, deadline));
  if (now.size() != 1) return absl::DataLossError("the ledger has no epoch");
  solo_ = now.Bool(0, 1);
  backoff_.Succeeded();
  primary_ = std::move(*opened);
  return absl::OkStatus();
}

absl::StatusOr<PgConnection*> PostgresLedger::RawConnection() {
  LOCKSTEP_RETURN_IF_ERROR(ConnectPrimary(In(options_.call_timeout)));
  return primary_.get();
}

// ---------------------------------------------------------------- changes

Refusal PostgresLedger::ReadyToCommit(PgDeadline deadline, bool alone, std::string& why) {
  if (options_.read_only) {
    why = "this connection is for reading";
    return Refusal::kUnavailable;
  }
  if (const absl::Status connected = ConnectPrimary(deadline); !connected.ok()) {
    why = Text(connected);
    return Refusal::kUnavailable;
  }
  if (alone || solo_) return Refusal::kNone;
  const absl::Status witness = witness_.Connect(deadline);
  if (witness.ok()) return Refusal::kNone;
  // Perhaps a solo epoch began meanwhile.
  const auto now = ReadNow();
  if (now.ok() && now->solo) return Refusal::kNone;
  why = absl::StrCat("no witness (", Text(witness),
                     ") and the epoch is not solo: --ledger or --standby-ledger must name the "
                     "standby, and it must be up");
  return Refusal::kNoDurableStandby;
}

template <class T, class Decode>
Commit<T> PostgresLedger::Change(const PgStatement& statement, const PgParams& params,
                                 Decode decode, const ChangeManner& manner) {
  const PgDeadline deadline = manner.deadline.value_or(In(options_.durable_timeout));
  const PgParams none;
  std::vector<PgAnswer> answers;
  std::string what;
  // A session that ended while nobody looked is noticed before anything is sent: once more, then.
  for (bool again = false;; again = true) {
    std::string why;
    if (const Refusal refusal = ReadyToCommit(deadline, manner.alone, why);
        refusal != Refusal::kNone) {
      return Refused<T>(refusal, why);
    }
    what = absl::StrCat(statement.name, " at ", primary_->host_name(), ": ");
    primary_->TakeNotices();
    answers = primary_->Run({{&statement, &params}, {&kPrimaryFactsStatement, &none}}, deadline);
    if (answers[0].kind != PgAnswer::Kind::kNotSent || again) break;
  }
  const PgAnswer& answer = answers[0];
  if (answer.kind == PgAnswer::Kind::kNotSent) {
    return Refused<T>(Refusal::kUnavailable, what + answer.error.message);
  }
  if (answer.kind == PgAnswer::Kind::kLost) return Unknown<T>(what + answer.error.message);
  if (answer.kind == PgAnswer::Kind::kError) {
    const Refusal refusal = manner.refusal_of(answer.error.sqlstate);
    if (refusal == Refusal::kUnavailable) primary_.reset();
    return Refused<T>(refusal, what + answer.error.message);
  }

  T value{};
  bool solo = false;
  if (const absl::Status decoded = decode(answer.rows, value, solo); !decoded.ok()) {
    return Unknown<T>(what + Text(decoded));
  }
  solo_ = solo;
  if (const auto notices = primary_->TakeNotices(); !notices.empty()) {
    return Unknown<T>(what + "committed, but not surely at the standby: " + notices.front());
  }
  if (solo) return Committed<T>(std::move(value));
  if (answers[1].kind != PgAnswer::Kind::kRows) {
    return Unknown<T>(what + "committed, but its LSN was not received");
  }
  const Judgement judgement = witness_.Prove(ParsePrimaryFacts(answers[1].rows), deadline);
  if (judgement.testimony == Testimony::kDurable) return Committed<T>(std::move(value));
  return Unknown<T>(what + "committed, but not proven durable: " + judgement.why);
}

Commit<Moved> PostgresLedger::ChangeMoved(const PgStatement& statement, const PgParams& params) {
  return Change<Moved>(statement, params, [](const PgRows& rows, Moved& moved, bool& solo) {
    moved.solo = solo = rows.Bool(0, 0);
    return absl::OkStatus();
  });
}

Commit<Moved> PostgresLedger::MoveCursorWith(const PgStatement& statement, const PgParams& params,
                                             const ChangeManner& manner) {
  bool waits = true;
  const auto decode = [&](const PgRows& rows, Moved& moved, bool& solo) {
    waits = rows.size() > 0;
    if (!waits) return absl::UnavailableError("nothing was done");
    moved.solo = solo = rows.Bool(0, 0);
    return absl::OkStatus();
  };
  Commit<Moved> commit = Change<Moved>(statement, params, decode, manner);
  if (waits) return commit;
  return Refused<Moved>(
      Refusal::kNoDurableStandby,
      absl::StrCat(statement.name,
                   ": nothing done: synchronous_standby_names is empty, so its rows "
                   "would be seen before the standby has them; set it"));
}

Commit<OpenedProducer> PostgresLedger::OpenProducer(const OpenProducerRequest& request) {
  if (const auto valid = ValidateOpenProducer(request); !valid.ok()) {
    return Refused<OpenedProducer>(Refusal::kInvalid, Text(valid));
  }
  std::vector<int64_t> partitions, log_ends;
  for (const auto& partition : request.partitions) {
    partitions.push_back(partition.partition);
    log_ends.push_back(partition.log_end.value());
  }
  PgParams params;
  params.Text(request.producer)
      .Text(request.source)
      .Text(request.topic)
      .Int4(request.partition_count)
      .Ints(partitions)
      .Ints(log_ends)
      .Text(request.cluster_id)
      .Text(request.log_topic);
  return Change<OpenedProducer>(
      kOpenProducer, params, [](const PgRows& rows, OpenedProducer& opened, bool& solo) {
        if (rows.size() == 0) return absl::DataLossError("no stream was opened");
        opened.producer = ProducerId(static_cast<int32_t>(rows.Int(0, 0)));
        opened.epoch = Epoch(rows.Int(0, 1));
        opened.solo = solo = rows.Bool(0, 2);
        opened.checkpoint = rows.OptionalText(0, 3);
        for (int i = 0; i < rows.size(); ++i) {
          opened.streams.push_back({.stream = StreamId(rows.Int(i, 4)),
                                    .partition = static_cast<int32_t>(rows.Int(i, 5)),
                                    .term = Term(rows.Int(i, 6)),
                                    .closed = Term(rows.Int(i, 7)),
                                    .last_seq = Seq(rows.Int(i, 8)),
                                    .last_at = rows.Text(i, 9),
                                    .adopt_from = Offset(rows.Int(i, 10))});
        }
        return absl::OkStatus();
      });
}

Commit<Moved> PostgresLedger::CloseEarlierTerms(ProducerId producer,
                                                const std::vector<TermOnStream>& terms) {
  if (terms.empty()) return Refused<Moved>(Refusal::kInvalid, "no stream to close");
  std::vector<int64_t> streams, numbers;
  for (const TermOnStream& term : terms) {
    streams.push_back(term.stream.value());
    numbers.push_back(term.term.value());
  }
  return ChangeMoved(kClose, PgParams().Int4(producer.value()).Ints(streams).Ints(numbers));
}

Commit<Appended> PostgresLedger::Append(const AppendRequest& request) {
  if (const auto valid = ValidateAppend(request); !valid.ok()) {
    return Refused<Appended>(Refusal::kInvalid, Text(valid));
  }
  std::vector<const RunToAppend*> runs;  // In the order in which heads are locked.
  for (const RunToAppend& run : request.runs) runs.push_back(&run);
  std::stable_sort(runs.begin(), runs.end(), [](const RunToAppend* a, const RunToAppend* b) {
    return a->stream < b->stream;
  });
  std::vector<int64_t> streams, tenure_terms, terms, firsts, lasts, digests;
  std::vector<const OffsetRanges*> offsets;
  std::vector<std::string> ats_first, ats_last;
  std::vector<std::optional<std::string>> payloads;
  for (const RunToAppend* to_append : runs) {
    const Run& run = to_append->run;
    streams.push_back(to_append->stream.value());
    tenure_terms.push_back(to_append->tenure_term.value());
    terms.push_back(run.term.value());
    firsts.push_back(run.first_seq.value());
    lasts.push_back(run.last_seq.value());
    offsets.push_back(&run.offsets);
    ats_first.push_back(run.at_first);
    ats_last.push_back(run.at_last);
    digests.push_back(SignedBits(run.digest));
    payloads.push_back(run.payload.empty() ? std::nullopt : std::optional(run.payload));
  }
  PgParams params;
  params.Int4(request.producer.value())
      .Ints(streams)
      .Ints(tenure_terms)
      .Ints(terms)
      .Ints(firsts)
      .Ints(lasts)
      .Multiranges(offsets)
      .Texts(ats_first)
      .Texts(ats_last)
      .Ints(digests)
      .OptionalBytes(payloads)
      .OptionalText(request.checkpoint);
  return Change<Appended>(kAppend, params, [](const PgRows& rows, Appended& appended, bool& solo) {
    appended.epoch = Epoch(rows.Int(0, 0));
    appended.solo = solo = rows.Bool(0, 1);
    appended.again = rows.Bool(0, 2);
    return absl::OkStatus();
  });
}

Commit<std::vector<StreamId>> PostgresLedger::Seal(const std::string& producer) {
  return Change<std::vector<StreamId>>(
      kSeal, PgParams().Text(producer),
      [](const PgRows& rows, std::vector<StreamId>& sealed, bool& solo) {
        for (int i = 0; i < rows.size(); ++i) {
          sealed.emplace_back(rows.Int(i, 0));
          solo = rows.Bool(i, 1);
        }
        return absl::OkStatus();
      });
}

Commit<OpenedGate> PostgresLedger::OpenGate(const std::string& group,
                                            const std::vector<StreamName>& streams, bool create) {
  if (const auto valid = ValidateOpenGate(group, streams); !valid.ok()) {
    return Refused<OpenedGate>(Refusal::kInvalid, Text(valid));
  }
  std::vector<std::string> topics;
  std::vector<int64_t> partitions;
  for (const StreamName& stream : streams) {
    topics.push_back(stream.topic);
    partitions.push_back(stream.partition);
  }
  PgParams params;
  params.Text(group).Texts(topics).Ints(partitions).Bool(create);
  return Change<OpenedGate>(
      kOpenGate, params, [&group](const PgRows& rows, OpenedGate& opened, bool& solo) {
        for (int i = 0; i < rows.size(); ++i) {
          opened.epoch = Epoch(rows.Int(i, 0));
          opened.solo = solo = rows.Bool(i, 1);
          opened.cursors.push_back({group, StreamId(rows.Int(i, 2)), Term(rows.Int(i, 3)),
                                    OptionalPosition(rows, i, 4), OptionalPosition(rows, i, 6)});
        }
        return absl::OkStatus();
      });
}

Commit<Moved> PostgresLedger::MoveCursor(const MoveCursorRequest& request) {
  if (const auto valid = ValidateMoveCursor(request); !valid.ok()) {
    return Refused<Moved>(Refusal::kInvalid, Text(valid));
  }
  PgParams params;
  AddMove(request, params);
  return ChangeMoved(kMoveCursor, params);
}

void AddMove(const MoveCursorRequest& move, PgParams& params) {
  params.Text(move.group).Int(move.stream.value()).Int(move.term.value());
  AddPosition(params, move.intent);
  AddPosition(params, move.done);
}

void AddMove(const MoveSeqCursorRequest& move, PgParams& params) {
  std::vector<int64_t> producers, intents, dones;
  for (const SeqMark& mark : move.marks) {
    producers.push_back(mark.producer.value());
    intents.push_back(mark.intent.value());
    dones.push_back(mark.done.value());
  }
  params.Text(move.group).Int(move.stream.value()).Int(move.term.value());
  params.Ints(producers).Ints(intents).Ints(dones);
}

Commit<OpenedSeqGate> PostgresLedger::OpenSeqGate(const std::string& group,
                                                  const StreamName& stream, bool create) {
  if (const auto valid = ValidateOpenGate(group, {stream}); !valid.ok()) {
    return Refused<OpenedSeqGate>(Refusal::kInvalid, Text(valid));
  }
  PgParams params;
  params.Text(group).Text(stream.topic).Int(stream.partition).Bool(create);
  return Change<OpenedSeqGate>(kOpenGateSeq, params,
                               [&group](const PgRows& rows, OpenedSeqGate& opened, bool& solo) {
                                 for (int i = 0; i < rows.size(); ++i) {
                                   opened.epoch = Epoch(rows.Int(i, 0));
                                   opened.solo = solo = rows.Bool(i, 1);
                                   opened.cursor.group = group;
                                   opened.cursor.stream = StreamId(rows.Int(i, 2));
                                   opened.cursor.term = Term(rows.Int(i, 3));
                                   AddMark(rows, i, 4, opened.cursor);
                                 }
                                 return absl::OkStatus();
                               });
}

Commit<Moved> PostgresLedger::MoveSeqCursor(const MoveSeqCursorRequest& request) {
  if (const auto valid = ValidateMoveSeqCursor(request); !valid.ok()) {
    return Refused<Moved>(Refusal::kInvalid, Text(valid));
  }
  PgParams params;
  AddMove(request, params);
  return ChangeMoved(kMoveCursorSeq, params);
}

Commit<Moved> PostgresLedger::SetSeqCursor(const std::string& group, StreamId stream,
                                           ProducerId producer, Seq at) {
  if (const auto valid = ValidateSetSeqCursor(group, at); !valid.ok()) {
    return Refused<Moved>(Refusal::kInvalid, Text(valid));
  }
  PgParams params;
  params.Text(group).Int(stream.value()).Int(producer.value()).Int(at.value());
  return ChangeMoved(kSetCursorSeq, params);
}

Commit<BegunEpoch> PostgresLedger::BeginEpoch(const BeginEpochRequest& request) {
  if (const auto valid = ValidateBeginEpoch(request); !valid.ok()) {
    return Refused<BegunEpoch>(Refusal::kInvalid, Text(valid));
  }
  // The new epoch's own rule holds for its beginning already: no witness is asked for when solo.
  const bool solo = request.solo;
  const auto decode = [solo](const PgRows& rows, BegunEpoch& begun, bool& is_solo) {
    begun = {Epoch(rows.Int(0, 0)), solo};
    is_solo = solo;
    return absl::OkStatus();
  };
  PgParams params;
  params.Int(request.expected.value()).Bool(solo).Text(request.cluster_id).Text(request.reason);
  return Change<BegunEpoch>(kBeginEpoch, params, decode, {.alone = solo});
}

Commit<Moved> PostgresLedger::SoloOff() {
  solo_ = false;  // Its own commit must be proven, so a witness must be there.
  std::string why;
  const PgDeadline deadline = In(options_.durable_timeout);
  if (const absl::Status connected = ConnectPrimary(deadline); !connected.ok()) {
    return Refused<Moved>(Refusal::kUnavailable, Text(connected));
  }
  if (const absl::Status witness = witness_.Connect(deadline); !witness.ok()) {
    return Refused<Moved>(Refusal::kNoDurableStandby, "no witness: " + Text(witness));
  }
  return ChangeMoved(kSoloOff, {});
}

Commit<Moved> PostgresLedger::SetCursor(const std::string& group, StreamId stream,
                                        std::optional<Position> at) {
  if (!ValidLedgerText(group, kGroupNameMaxBytes)) {
    return Refused<Moved>(Refusal::kInvalid, "a group's name is 1 to 255 bytes of UTF-8");
  }
  PgParams params;
  params.Text(group).Int(stream.value());
  AddPosition(params, at);
  return ChangeMoved(kSetCursor, params);
}

Commit<Moved> PostgresLedger::RecordStep(const StepInfo& step) {
  if (!ValidLedgerText(step.step, 255) || !ValidLedgerText(step.state, 255)) {
    return Refused<Moved>(Refusal::kInvalid, "a step has a name and a state");
  }
  return ChangeMoved(
      kRecordStep,
      PgParams().Int(step.epoch.value()).Text(step.step).Text(step.state).Text(step.detail));
}

Commit<int64_t> PostgresLedger::Prune(StreamId stream, Position below) {
  PgParams params;
  params.Int(stream.value()).Int(below.epoch.value()).Int(below.offset.value());
  return Change<int64_t>(kPrune, params, [](const PgRows& rows, int64_t& pruned, bool& solo) {
    pruned = rows.Int(0, 0);
    solo = rows.Bool(0, 1);
    return absl::OkStatus();
  });
}

// ---------------------------------------------------------------- reads

absl::StatusOr<PgRows> PostgresLedger::Read(const PgStatement& statement, const PgParams& params) {
  const PgDeadline deadline = In(options_.call_timeout);
  for (bool again = false;; again = true) {
    LOCKSTEP_RETURN_IF_ERROR(ConnectPrimary(deadline));
    auto rows = primary_->Query(statement, params, deadline);
    if (rows.ok()) return rows;
    primary_.reset();
    // A session that ended while nobody looked: a new one is as good for a read.
    if (again || !absl::IsUnavailable(rows.status())) {
      return Annotate(rows.status(), statement.name);
    }
  }
}

absl::StatusOr<Ledger::Now> PostgresLedger::ReadNow() {
  LOCKSTEP_ASSIGN_OR_RETURN(const PgRows rows, Read(kReadNow, {}));
  if (rows.size() != 1) return absl::DataLossError("the ledger has no epoch");
  solo_ = rows.Bool(0, 1);
  return Now{Epoch(rows.Int(0, 0)), solo_};
}

namespace {

std::vector<StreamInfo> ParseStreams(const PgRows& rows) {
  std::vector<StreamInfo> streams;
  for (int i = 0; i < rows.size(); ++i) {
    streams.push_back({StreamId(rows.Int(i, 0)),
                       {rows.Text(i, 1), static_cast<int32_t>(rows.Int(i, 2))},
                       static_cast<int32_t>(rows.Int(i, 3))});
  }
  return streams;
}

}  // namespace

absl::StatusOr<std::vector<StreamInfo>> PostgresLedger::FindStreams(const std::string& topic) {
  LOCKSTEP_ASSIGN_OR_RETURN(const PgRows rows, Read(kStreams, PgParams().Text(topic)));
  return ParseStreams(rows);
}

absl::StatusOr<std::vector<StreamInfo>> PostgresLedger::ListStreams() {
  LOCKSTEP_ASSIGN_OR_RETURN(const PgRows rows, Read(kStreamsById, PgParams().Null()));
  return ParseStreams(rows);
}

absl::StatusOr<std::vector<ProducerInfo>> PostgresLedger::ListProducers() {
  LOCKSTEP_ASSIGN_OR_RETURN(const PgRows rows, Read(kProducers, {}));
  std::vector<ProducerInfo> producers;
  for (int i = 0; i < rows.size(); ++i) {
    producers.push_back({ProducerId(static_cast<int32_t>(rows.Int(i, 0))), rows.Text(i, 1),
                         rows.Text(i, 2), rows.OptionalText(i, 3)});
  }
  return producers;
}

namespace {

// The rows of read_stream(): kind, producer, epoch, term, closed, first, last, digest, text1,
// text2, offsets, payload, solo.
Head ParseHead(const PgRows& rows, int i) {
  return {ProducerId(static_cast<int32_t>(rows.Int(i, 1))),
          rows.Text(i, 8),
          Term(rows.Int(i, 3)),
          Term(rows.Int(i, 4)),
          Epoch(rows.Int(i, 2)),
          Seq(rows.Int(i, 6)),
          rows.Text(i, 9)};
}

absl::StatusOr<Run> ParseRun(const PgRows& rows, int i) {
  Run run;
  run.producer = ProducerId(static_cast<int32_t>(rows.Int(i, 1)));
  run.epoch = Epoch(rows.Int(i, 2));
  run.term = Term(rows.Int(i, 3));
  run.first_seq = Seq(rows.Int(i, 5));
  run.last_seq = Seq(rows.Int(i, 6));
  run.digest = static_cast<uint64_t>(rows.Int(i, 7));
  run.at_first = rows.Text(i, 8);
  run.at_last = rows.Text(i, 9);
  LOCKSTEP_ASSIGN_OR_RETURN(run.offsets, rows.Multirange(i, 10));
  run.payload = rows.OptionalText(i, 11).value_or("");
  // Checked when it was appended, and again here: a row that contradicts itself orders nothing.
  if (run.offsets.count() != run.last_seq - run.first_seq + 1) {
    return absl::DataLossError(
        absl::StrCat("run [", run.first_seq.value(), ",", run.last_seq.value(), "] of producer ",
                     run.producer.value(), " has ", run.offsets.count(), " offsets"));
  }
  return run;
}

}  // namespace

absl::StatusOr<StreamPage> PostgresLedger::ReadStream(const ReadStreamRequest& request) {
  std::vector<int64_t> producers, epochs, seqs;
  for (const auto& [producer, mark] : request.after) {
    producers.push_back(producer.value());
    epochs.push_back(mark.epoch.value());
    seqs.push_back(mark.first_seq.value());
  }
  PgParams params;
  params.Int(request.stream.value())
      .Ints(producers)
      .Ints(epochs)
      .Ints(seqs)
      .Int(request.runs_per_producer_max)
      .Bool(request.with_payload);
  LOCKSTEP_ASSIGN_OR_RETURN(const PgRows rows, Read(kReadStream, params));
  StreamPage page;
  bool found = false;
  int64_t of_producer = 0;
  for (int i = 0; i < rows.size(); ++i) {
    const int64_t kind = rows.Int(i, 0);
    if (kind == 0) {
      found = true;
      page.epoch = Epoch(rows.Int(i, 2));
      page.solo = rows.Bool(i, 12);
    } else if (kind == 1) {
      page.heads.push_back(ParseHead(rows, i));
    } else {
      const ProducerId producer(static_cast<int32_t>(rows.Int(i, 1)));
      const bool same = !page.runs.empty() && page.runs.back().producer == producer;
      of_producer = same ? of_producer + 1 : 1;
      if (of_producer > request.runs_per_producer_max) {  // The one that only says "more".
        page.more.push_back(producer);
        continue;
      }
      LOCKSTEP_ASSIGN_OR_RETURN(Run run, ParseRun(rows, i));
      page.runs.push_back(std::move(run));
    }
  }
  if (!found) return absl::NotFoundError(absl::StrCat("no stream ", request.stream.value()));
  return page;
}

absl::StatusOr<RunMarks> PostgresLedger::MarksAfter(StreamId stream,
                                                    std::optional<Position> after) {
  if (!after) return RunMarks();
  PgParams params;
  params.Int(stream.value()).Int(after->epoch.value()).Int(after->offset.value());
  return ReadMarks(kMarksAfter, params);
}

absl::StatusOr<RunMarks> PostgresLedger::MarksAfterSeqs(StreamId stream,
                                                        const std::map<ProducerId, Seq>& seqs) {
  std::vector<int64_t> producers, at;
  for (const auto& [producer, seq] : seqs) {
    producers.push_back(producer.value());
    at.push_back(seq.value());
  }
  return ReadMarks(kMarksAfterSeqs, PgParams().Int(stream.value()).Ints(producers).Ints(at));
}

absl::StatusOr<RunMarks> PostgresLedger::ReadMarks(const PgStatement& statement,
                                                   const PgParams& params) {
  LOCKSTEP_ASSIGN_OR_RETURN(const PgRows rows, Read(statement, params));
  RunMarks marks;
  for (int i = 0; i < rows.size(); ++i) {
    marks[ProducerId(static_cast<int32_t>(rows.Int(i, 0)))] = {Epoch(rows.Int(i, 1)),
                                                               Seq(rows.Int(i, 2))};
  }
  return marks;
}

absl::StatusOr<std::vector<LogInfo>> PostgresLedger::ReadLogs(StreamId stream) {
  LOCKSTEP_ASSIGN_OR_RETURN(const PgRows rows, Read(kLogs, PgParams().Int(stream.value())));
  std::vector<LogInfo> logs;
  for (int i = 0; i < rows.size(); ++i) {
    logs.push_back(
        {Epoch(rows.Int(i, 0)), rows.Text(i, 1), rows.Text(i, 2), Offset(rows.Int(i, 3))});
  }
  return logs;
}

absl::StatusOr<std::vector<Cursor>> PostgresLedger::ReadCursors() {
  LOCKSTEP_ASSIGN_OR_RETURN(const PgRows rows, Read(kCursors, {}));
  std::vector<Cursor> cursors;
  for (int i = 0; i < rows.size(); ++i) {
    cursors.push_back({rows.Text(i, 0), StreamId(rows.Int(i, 1)), Term(rows.Int(i, 2)),
                       OptionalPosition(rows, i, 3), OptionalPosition(rows, i, 5)});
  }
  return cursors;
}

absl::StatusOr<std::vector<SeqCursor>> PostgresLedger::ReadSeqCursors() {
  LOCKSTEP_ASSIGN_OR_RETURN(const PgRows rows, Read(kCursorSeqs, {}));
  std::vector<SeqCursor> cursors;
  for (int i = 0; i < rows.size(); ++i) {
    if (rows.Int(i, 3) == 0) {
      cursors.push_back({rows.Text(i, 0), StreamId(rows.Int(i, 1)), Term(rows.Int(i, 2)), {}});
    } else {
      AddMark(rows, i, 3, cursors.back());
    }
  }
  return cursors;
}

absl::StatusOr<std::vector<EpochInfo>> PostgresLedger::ReadEpochs() {
  LOCKSTEP_ASSIGN_OR_RETURN(const PgRows rows, Read(kEpochs, {}));
  std::vector<EpochInfo> epochs;
  for (int i = 0; i < rows.size(); ++i) {
    epochs.push_back({Epoch(rows.Int(i, 0)), rows.Bool(i, 1), rows.Text(i, 2), rows.Text(i, 3),
                      rows.Text(i, 4), rows.Int(i, 5)});
  }
  return epochs;
}

absl::StatusOr<std::vector<StepInfo>> PostgresLedger::ReadSteps(Epoch epoch) {
  LOCKSTEP_ASSIGN_OR_RETURN(const PgRows rows, Read(kSteps, PgParams().Int(epoch.value())));
  std::vector<StepInfo> steps;
  for (int i = 0; i < rows.size(); ++i) {
    steps.push_back({epoch, rows.Text(i, 0), rows.Text(i, 1), rows.Text(i, 2), rows.Int(i, 3)});
  }
  return steps;
}

absl::StatusOr<PostgresLedger::Health> PostgresLedger::ReadHealth() {
  Health health;
  LOCKSTEP_ASSIGN_OR_RETURN(const PgRows facts, Read(kPrimaryFactsStatement, {}));
  LOCKSTEP_ASSIGN_OR_RETURN(const PgRows standbys, Read(kStandbys, {}));
  health.ledger_host = primary_->host_name();
  health.primary = ParsePrimaryFacts(facts);
  for (int i = 0; i < standbys.size(); ++i) {
    health.standbys.push_back(
        {standbys.Text(i, 0), standbys.OptionalText(i, 1).value_or(""),
         standbys.OptionalText(i, 2).value_or(""),
         standbys.IsNull(i, 3) ? std::nullopt : std::optional(standbys.Int(i, 3))});
  }
  health.witness = witness_.Ask(In(options_.call_timeout));
  health.witness_host = witness_.HostName();
  if (health.witness.ok()) {
    health.judgement = JudgeWitness(health.primary, *health.witness);
  } else {
    health.judgement = {Testimony::kNotYet, "the witness does not answer: " +
                                                std::string(health.witness.status().message())};
  }
  return health;
}

}  // namespace lockstep
