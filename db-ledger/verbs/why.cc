// lockstep-ledger why: what holds up the gate, whose it is, since when, and which command ends it;
// or what became of one record (--producer, --seq).
#include <cstdio>

#include "absl/strings/str_cat.h"

#include "common/base/status_macros.h"
#include "common/config/terminal.h"
#include "common/kafka/kafka_admin.h"
#include "common/kafka/kafka_reader.h"
#include "common/model/record_header.h"
#include "db-ledger/holdup.h"
#include "db-ledger/order_reader.h"
#include "db-ledger/verbs/asked_record.h"
#include "db-ledger/verbs/verbs.h"

namespace lockstep {
namespace {

// What is found, in the order in which it is looked for; the first that applies is the answer.
struct Answer {
  std::optional<Cursor> cursor;
  std::optional<SeqCursor> seq_cursor;  // Where there is no `cursor`.
  std::optional<AskedRecord> asked;
  std::optional<Position> next;  // The first ledgered position after the cursor.
  std::string holder = "null";   // JSON of the record that holds up the gate.
  std::string why;
  std::string command;
};

// The gate furthest behind, or the group's own.
std::optional<Cursor> PickCursor(const std::vector<Cursor>& cursors, StreamId stream,
                                 const std::string& group) {
  std::optional<Cursor> picked;
  for (const Cursor& cursor : cursors) {
    if (cursor.stream != stream || (!group.empty() && cursor.group != group)) continue;
    if (!picked || cursor.done < picked->done) picked = cursor;
  }
  return picked;
}

// The group's own, or the first.
std::optional<SeqCursor> PickSeqCursor(const std::vector<SeqCursor>& cursors, StreamId stream,
                                       const std::string& group) {
  for (const SeqCursor& cursor : cursors) {
    if (cursor.stream == stream && (group.empty() || cursor.group == group)) return cursor;
  }
  return std::nullopt;
}

std::optional<LogInfo> LogOf(const std::vector<LogInfo>& logs, Epoch epoch) {
  for (const LogInfo& log : logs) {
    if (log.epoch == epoch) return log;
  }
  return std::nullopt;
}

std::string RecordJson(const KafkaMessage& record, const std::string& what) {
  Summary json;
  json.Add("offset", record.offset().value());
  const auto header = record.Header(kRecordHeaderKey);
  if (header) {
    if (const auto parsed = ParseRecordHeader(*header); parsed.ok()) {
      json.Add("producer", parsed->producer)
          .Add("term", parsed->term.value())
          .Add("seq", parsed->seq.value())
          .Add("at", parsed->at);
    }
  }
  return json.Add("since", UtcTime(record.timestamp_ms())).Add("what", what).Json();
}

// Reads the epoch's log from `from` to the first record that the heads, read again after it, do not
// settle. False: there is none, and the answer is as it was.
absl::StatusOr<bool> LookAtLog(Ledger& ledger, const VerbContext& context, const StreamInfo& stream,
                               const LogInfo& log, Offset from, Answer& answer) {
  const auto timeout = context.arguments.look_timeout;
  LOCKSTEP_ASSIGN_OR_RETURN(const auto admin, KafkaAdmin::Open(context.common.Kafka()));
  LOCKSTEP_ASSIGN_OR_RETURN(const std::string cluster, admin->ClusterId(timeout));
  if (cluster != log.cluster_id) {
    return absl::FailedPreconditionError(
        absl::StrCat("--brokers is cluster ", cluster, ", the epoch's log is on ", log.cluster_id));
  }
  LOCKSTEP_ASSIGN_OR_RETURN(const auto reader,
                            KafkaReader::Open({.kafka = context.common.Kafka()}));
  const StreamName name{log.topic, stream.name.partition};
  LOCKSTEP_ASSIGN_OR_RETURN(const LogOffsets offsets, reader->Offsets(name, timeout));
  if (from < offsets.lo_offset) {
    answer.why = absl::StrCat("offset ", from.value(), " is gone from the log, which begins at ",
                              offsets.lo_offset.value(), ": retention removed what was not sent");
    answer.command = absl::StrCat(
        "if the standby's mirror still has it, fail over to it; else bring it outside by hand, "
        "from "
        "the source, and then lockstep-ledger cursor set --group ",
        answer.cursor->group, " --stream ", ToString(stream.name), " --to ",
        ToString(Position{log.epoch, offsets.lo_offset - 1}));
    return true;
  }
  if (from >= offsets.hi_offset) return false;
  LOCKSTEP_RETURN_IF_ERROR(reader->Start(name, from));
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  while (std::chrono::steady_clock::now() < deadline) {
    ReaderBatch batch;
    LOCKSTEP_RETURN_IF_ERROR(reader->Poll(std::chrono::milliseconds(100), batch));
    // After the records: whoever was ledgered meanwhile is settled.
    LOCKSTEP_ASSIGN_OR_RETURN(const StreamPage page, ledger.ReadStream({stream.id, {}, 0, false}));
    for (const KafkaMessage& record : batch.records) {
      const auto header = record.Header(kRecordHeaderKey);
      const HoldUp found = JudgeRecord(page.heads, header.value_or(""), !header.has_value());
      if (found.settled) continue;
      answer.holder = RecordJson(record, found.what);
      answer.why = absl::StrCat("offset ", record.offset().value(), ", written ",
                                UtcTime(record.timestamp_ms()), ": ", found.what);
      answer.command = found.command;
      return true;
    }
    if (!batch.ends.empty()) return false;
  }
  return absl::DeadlineExceededError("the log is longer than --look-timeout allows to look at");
}

// What the ledger knows. `looked`: the log was looked at, and every record in it is settled.
void ExplainByLedger(const StreamPage& page, bool looked, Answer& answer) {
  if (!answer.cursor) {
    answer.why = "no gate has ever opened a cursor on this stream";
    answer.command = "lockstep-reorder --mode gate";
    return;
  }
  for (const Head& head : page.heads) {
    if (HasOpenTerms(head) && !looked) {
      answer.why =
          absl::StrCat("producer ", head.name, " is starting: its terms from ",
                       std::max<int64_t>(head.closed.value(), 1), " to ", head.term.value() - 1,
                       " are open, and a record of theirs holds up the gate");
      answer.command =
          absl::StrCat("start producer ", head.name,
                       " again; if it will not come back: lockstep-ledger seal ", head.name);
      return;
    }
  }
  const std::string settled = looked ? "; every record up to the log's end is settled"
                                     : ". With --brokers the log is looked at, too";
  if (answer.cursor->intent != answer.cursor->done) {
    answer.why =
        absl::StrCat("what lies after ", TextPosition(answer.cursor->done), " up to ",
                     TextPosition(answer.cursor->intent), " is in doubt, or just being sent");
    answer.command = "if the gate is down, start it; it says which --in-doubt it needs";
  } else if (answer.next) {
    answer.why = absl::StrCat("the gate has not sent ", ToString(*answer.next),
                              ", which is ledgered", settled);
    answer.command =
        "if the gate is down: lockstep-reorder --mode gate --group " + answer.cursor->group;
  } else {
    answer.why = "nothing: all that is in the ledger was sent" + settled;
  }
}

// Finds the record that is asked for; where nobody asks and the cursor is one of seqs, the next one
// of the producer of whom most is still to be sent.
absl::Status Ask(PostgresLedger& ledger, const LedgerArguments& arguments, const StreamInfo& stream,
                 const std::vector<Head>& heads, Answer& answer) {
  std::string producer = arguments.producer;
  Seq seq(arguments.seq);
  if (producer.empty()) {
    if (!answer.seq_cursor) return absl::OkStatus();
    const auto behind = FurthestBehind(*answer.seq_cursor, heads);
    if (!behind || behind->mark.done == behind->head.last_seq) return absl::OkStatus();
    producer = behind->head.name;
    seq = behind->mark.done + 1;
  }
  LOCKSTEP_ASSIGN_OR_RETURN(answer.asked, FindRecord(ledger, stream, heads, producer, seq));
  if (answer.seq_cursor) {
    answer.asked->PlaceBefore(MarkOf(*answer.seq_cursor, answer.asked->id));
  } else {
    answer.asked->PlaceBefore(answer.cursor.value_or(Cursor{}));
  }
  return absl::OkStatus();
}

// Returns whether that is the whole answer: a record that waits in a gate's order waits for
// whatever holds up the gate.
bool ExplainAsked(Answer& answer) {
  if (!answer.asked) {
    if (!answer.seq_cursor) return false;
    answer.why = "nothing: of every producer all that is in the ledger was sent";
    return true;
  }
  const AskedRecord& asked = *answer.asked;
  const std::string group = answer.cursor       ? answer.cursor->group
                            : answer.seq_cursor ? answer.seq_cursor->group
                                                : "";
  switch (asked.fate) {
    case Fate::kNotLedgered:
      answer.why = absl::StrCat(asked.Text(), " is not in the ledger, which has producer ",
                                asked.producer, " up to seq ", asked.last_seq.value());
      answer.command = absl::StrCat("if producer ", asked.producer,
                                    " does not run, start it: it goes on behind what is ledgered");
      return true;
    case Fate::kSent:
      answer.why =
          absl::StrCat(asked.Text(), " was sent",
                       asked.pruned() ? ": its row was pruned, as only what every group has sent is"
                                      : " by group " + group);
      return true;
    case Fate::kInDoubt:
      answer.why =
          absl::StrCat(asked.Text(), " is in doubt in group ", group, ", or just being sent");
      answer.command = "if the gate is down, start it; it says which --in-doubt it needs";
      return true;
    case Fate::kWaits:
      break;
  }
  if (!answer.seq_cursor) return false;
  answer.why = absl::StrCat(asked.Text(), " is ledgered, and group ", group, " has not sent it");
  answer.command =
      absl::StrCat("if the gate is down: lockstep-reorder --mode per-producer --group ", group,
                   "; if it runs, its log says what it waits for");
  return true;
}

// What holds up the gate of a cursor of positions.
absl::Status ExplainGate(Ledger& ledger, const VerbContext& context, const StreamInfo& stream,
                         const StreamPage& page, Answer& answer) {
  LOCKSTEP_ASSIGN_OR_RETURN(const auto logs, ledger.ReadLogs(stream.id));
  // Before everything, if nothing was sent yet.
  Position after{Epoch(0), Offset(-1)};
  if (answer.cursor) after = answer.cursor->done.value_or(after);
  OrderReader order(&ledger, stream.id, Position{after.epoch, after.offset + 1});
  LOCKSTEP_ASSIGN_OR_RETURN(const auto range, order.NextRange());
  if (range) answer.next = range->first;

  const auto log = LogOf(logs, page.epoch);
  const bool look = !context.common.brokers.empty() && answer.cursor && log;
  bool explained = false;
  if (look && answer.next && answer.next->epoch < page.epoch) {
    answer.why = absl::StrCat("records of epoch ", answer.next->epoch.value(),
                              " are still to be sent, from ", ToString(*answer.next), " on");
    answer.command = "lockstep-reorder --mode recover --group " + answer.cursor->group;
    explained = true;
  } else if (look) {
    const Offset look_from = after.epoch == page.epoch ? after.offset + 1 : log->start;
    LOCKSTEP_ASSIGN_OR_RETURN(explained,
                              LookAtLog(ledger, context, stream, *log, look_from, answer));
  }
  if (!explained) ExplainByLedger(page, look, answer);
  return absl::OkStatus();
}

void Print(const StreamInfo& stream, Epoch epoch, const Answer& answer, OutputFormat format) {
  Summary summary;
  summary.Add("stream", ToString(stream.name)).Add("epoch", epoch.value());
  if (answer.cursor) {
    summary.Add("group", answer.cursor->group)
        .AddJson("intent", JsonPosition(answer.cursor->intent))
        .AddJson("done", JsonPosition(answer.cursor->done));
  } else if (answer.seq_cursor) {
    summary.Add("group", answer.seq_cursor->group);
  }
  if (answer.asked) summary.AddJson("asked", answer.asked->Json());
  summary.AddJson("next", JsonPosition(answer.next))
      .AddJson("holder", answer.holder)
      .Add("why", answer.why)
      .Add("command", answer.command)
      .Print(format);
}

}  // namespace

absl::StatusOr<ExitCode> RunWhy(const VerbContext& context) {
  const LedgerArguments& arguments = context.arguments;
  LOCKSTEP_ASSIGN_OR_RETURN(const auto ledger, ConnectLedger(context, true));
  LOCKSTEP_ASSIGN_OR_RETURN(const StreamInfo stream, NamedStream(*ledger, context.common));
  LOCKSTEP_ASSIGN_OR_RETURN(const StreamPage page, ledger->ReadStream({stream.id, {}, 0, false}));
  LOCKSTEP_ASSIGN_OR_RETURN(const auto cursors, ledger->ReadCursors());
  LOCKSTEP_ASSIGN_OR_RETURN(const auto seq_cursors, ledger->ReadSeqCursors());

  Answer answer;
  answer.cursor = PickCursor(cursors, stream.id, arguments.group);
  if (!answer.cursor) answer.seq_cursor = PickSeqCursor(seq_cursors, stream.id, arguments.group);
  LOCKSTEP_RETURN_IF_ERROR(Ask(*ledger, arguments, stream, page.heads, answer));
  if (!ExplainAsked(answer)) {
    LOCKSTEP_RETURN_IF_ERROR(ExplainGate(*ledger, context, stream, page, answer));
  }
  Print(stream, page.epoch, answer, context.common.format);
  return ExitCode::kYes;
}

}  // namespace lockstep
