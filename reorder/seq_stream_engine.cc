#include "reorder/seq_stream_engine.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

#include "common/base/status_macros.h"
#include "common/log/log.h"

namespace lockstep {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kListPoll{200};

std::string PlaceOf(const std::map<ProducerId, Seq>& done,
                    const std::map<ProducerId, Seq>& intent) {
  std::string place;
  for (const auto& [producer, last] : intent) {
    absl::StrAppend(&place, producer.value(), ":", done.at(producer).value(), "..", last.value(),
                    " ");
  }
  return place;
}

}  // namespace

// ---------------------------------------------------------------- start

// As StreamEngine's.
bool SeqStreamEngine::IsHeldAsBefore() {
  const std::optional<HeldDoubt>& held = progress_->held_doubt;
  if (!held.has_value()) return false;
  const absl::StatusOr<std::vector<SeqCursor>> cursors = cursors_->ReadSeqCursors();
  if (!cursors.ok()) return false;
  return std::any_of(cursors->begin(), cursors->end(), [&](const SeqCursor& cursor) {
    if (cursor.group != options_.group || cursor.stream != held->stream) return false;
    const SeqGate gate(options_.reader.stream, cursor);
    return PlaceOf(gate.done(), gate.intent()) == held->place;
  });
}

// Whether it may be created the ledger has to say first.
Commit<OpenedSeqGate> SeqStreamEngine::OpenIfKnown(bool& create) {
  const absl::StatusOr<Ledger::Now> now = ledger_->ReadNow();
  if (now.ok()) {
    create = now->epoch == Epoch(1) || options_.from_start;
    return cursors_->OpenSeqGate(options_.group, options_.reader.stream, create);
  }
  lockstep::Commit<OpenedSeqGate> not_asked;
  not_asked.outcome = CommitOutcome::kNotCommitted;
  if (absl::IsUnavailable(now.status())) not_asked.refusal = Refusal::kUnavailable;
  not_asked.why = now.status();
  return not_asked;
}

absl::Status SeqStreamEngine::OpenGate() {
  if (IsHeldAsBefore()) {
    result_.held_in_doubt = result_.held_before = true;
    return progress_->held_doubt->why;
  }
  const StreamName& stream = options_.reader.stream;
  bool create = false;
  const auto opened = OpenPatiently<OpenedSeqGate>([&] { return OpenIfKnown(create); });
  if (!opened.committed()) return WhyNotOpened(opened.refusal, opened.why, create);
  const SeqCursor& cursor = opened.value.cursor;
  if (options_.from_start && !options_.from_start_if_new && !cursor.marks.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat("group ", options_.group, " has sent from ", ToString(stream),
                     "; --from start is for a group that has sent nothing"));
  }
  options_.reader.stream_id = cursor.stream;
  options_.reader.epoch = opened.value.epoch;
  gate_.emplace(stream, cursor);
  Log(LogLevel::kInfo, "gate_opened",
      {{"stream", stream},
       {"group", options_.group},
       {"term", cursor.term},
       {"epoch", opened.value.epoch},
       {"solo", opened.value.solo},
       {"producers", cursor.marks.size()}});
  return absl::OkStatus();
}

absl::Status SeqStreamEngine::ResolveDoubt() {
  SeqGate::Doubt doubt{sink_->kind(), {}, options_.in_doubt, options_.old_gate_is_dead};
  if (CanBeAsked(doubt.sink)) {
    LOCKSTEP_ASSIGN_OR_RETURN(doubt.last, AskOutside());
  }
  if (doubt.sink == SinkKind::kTransactional) {
    LOCKSTEP_ASSIGN_OR_RETURN(doubt.never_written, sink_->NeverWritten());
  }
  const bool was_in_doubt = gate_->in_doubt();
  const std::map<ProducerId, Seq> done = gate_->done();
  const absl::Status resolved = gate_->Resolve(doubt);
  result_.held_in_doubt = IsInDoubt(resolved);
  if (!was_in_doubt) return resolved;
  const char* by = CanBeAsked(doubt.sink) ? "sink" : gate_->resends() ? "resend" : "skip";
  const bool skipped = !CanBeAsked(doubt.sink) && !gate_->resends();
  if (!resolved.ok() || skipped) {
    const absl::Status ended = EndListing(resolved, ListInDoubt(done));
    LeaveHeldDoubt({options_.reader.stream_id, PlaceOf(done, gate_->intent()), ended},
                   listed_whole_, result_, *progress_);
    LOCKSTEP_RETURN_IF_ERROR(ended);
  }
  Log(LogLevel::kWarn, "in_doubt_resolved",
      {{"stream", options_.reader.stream}, {"group", options_.group}, {"by", by}});
  return absl::OkStatus();
}

absl::StatusOr<std::vector<SeqGate::Outside>> SeqStreamEngine::AskOutside() {
  LOCKSTEP_ASSIGN_OR_RETURN(auto last, sink_->LastSeqs());
  LOCKSTEP_ASSIGN_OR_RETURN(const std::vector<ProducerInfo> producers, ledger_->ListProducers());
  std::vector<SeqGate::Outside> outside;
  for (const ProducerInfo& producer : producers) {
    outside.push_back({producer.id, producer.name, last[producer.name]});
    last.erase(producer.name);
  }
  if (last.empty()) return outside;
  return absl::FailedPreconditionError(
      absl::StrCat("sink-is-not-the-outside: the sink holds records of producer ",
                   last.begin()->first, ", of which the ledger knows nothing"));
}

// Reads what lies in (done, intent] of each producer, for the operator to ask the outside with.
absl::Status SeqStreamEngine::ListInDoubt(const std::map<ProducerId, Seq>& done) {
  LOCKSTEP_ASSIGN_OR_RETURN(const auto reader, ReaderAfter(done));
  std::map<ProducerId, int64_t> left;  // Records of each producer that has any.
  for (const auto& [producer, last] : gate_->intent()) {
    if (last > done.at(producer)) left[producer] = last - done.at(producer);
  }
  std::vector<ReadyRecord> records;
  for (auto since = steady_clock::now(); !left.empty();) {
    if (stop_requested()) return absl::CancelledError("stopped while what is in doubt was listed");
    LOCKSTEP_RETURN_IF_ERROR(reader->Next(records, kListPoll));
    const bool came = ListDoubtfulOf(records, reader->order(), left);
    // Whatever others send meanwhile.
    const bool may_be_gone = reader->waiting().has_value() || reader->read_what_was_there();
    if (came || !may_be_gone) since = steady_clock::now();
    if (steady_clock::now() - since >= options_.listing_patience) break;
  }
  if (left.empty()) return absl::OkStatus();
  int64_t missing = 0;
  for (const auto& [producer, count] : left) missing += count;
  return absl::OutOfRangeError(
      absl::StrCat(missing, " records of ", left.size(), " producers were not found"));
}

// Returns whether any was in doubt. A producer's come in order, so the first ones are.
bool SeqStreamEngine::ListDoubtfulOf(const std::vector<ReadyRecord>& records,
                                     const ProducerOrder& order,
                                     std::map<ProducerId, int64_t>& left) {
  bool came = false;
  for (const ReadyRecord& record : records) {
    const auto found = left.find(order.id(record.producer));
    if (found == left.end()) continue;
    ListDoubtful(record);
    came = true;
    if (--found->second == 0) left.erase(found);
  }
  return came;
}

absl::StatusOr<std::unique_ptr<ProducerOrderReader>> SeqStreamEngine::ReaderAfter(
    const std::map<ProducerId, Seq>& done) {
  return ProducerOrderReader::Open(options_.reader, done, *ledger_, *cursors_, buffer_->parking());
}

absl::StatusOr<std::unique_ptr<RecordReader>> SeqStreamEngine::OpenReader() {
  LOCKSTEP_ASSIGN_OR_RETURN(auto reader, ReaderAfter(gate_->done()));
  order_reader_ = reader.get();
  return reader;
}

// ---------------------------------------------------------------- running

absl::Status SeqStreamEngine::GiveOut(std::vector<ReadyRecord>& records) {
  const std::vector<SeqRange> batch = order_reader_->order().given();
  if (sink_->kind() == SinkKind::kTransactional) {
    const MoveSeqCursorRequest move = gate_->MoveDone(batch);
    LOCKSTEP_RETURN_IF_ERROR(
        Commit(*gate_, move, [&] { return sink_->WriteWithSeqCursor(records, move); }));
    gate_->LeftWithCursor(batch);
  } else {
    const MoveSeqCursorRequest move = gate_->Move(batch);
    LOCKSTEP_RETURN_IF_ERROR(Commit(*gate_, move, [&] { return cursors_->MoveSeqCursor(move); }));
    gate_->Leaves(batch);
    if (gate_->resends()) MarkResent(records);
    LOCKSTEP_RETURN_IF_ERROR(Annotate(LetOut(records), "sink"));
    gate_->Left();
  }
  result_.emitted += static_cast<int64_t>(records.size());
  return absl::OkStatus();
}

void SeqStreamEngine::MarkResent(std::vector<ReadyRecord>& records) {
  for (ReadyRecord& record : records) {
    record.in_doubt = gate_->MayHaveLeft(order_reader_->order().id(record.producer), record.seq);
    if (record.in_doubt) ++result_.in_doubt;
  }
}

// Of a batch that fails in the middle, what the sink knows to be outside is not left in doubt.
absl::Status SeqStreamEngine::LetOut(const std::vector<ReadyRecord>& records) {
  absl::Status status = sink_->Write(records);
  if (status.ok()) status = sink_->Sync();
  if (status.ok()) return status;
  const std::optional<Position> known = sink_->KnownDone();
  const auto last = std::find_if(records.begin(), records.end(), [&](const ReadyRecord& record) {
    return known == record.position;
  });
  if (last == records.end()) return status;
  for (auto record = records.begin(); record <= last; ++record) {
    gate_->LeftUpTo(order_reader_->order().id(record->producer), record->seq);
    ++result_.emitted;
  }
  return status;
}

absl::Status SeqStreamEngine::WriteDone() {
  if (!gate_->owes_done()) return absl::OkStatus();
  const MoveSeqCursorRequest move = gate_->Move({});
  return Commit(*gate_, move, [&] { return cursors_->MoveSeqCursor(move); });
}

}  // namespace lockstep
