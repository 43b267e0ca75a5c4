#include "reorder/stream_engine.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "common/base/status_macros.h"
#include "common/log/log.h"
#include "reorder/replay_start.h"

namespace lockstep {
namespace {

using std::chrono::milliseconds;

std::string PlaceOf(const std::optional<Position>& done, const std::optional<Position>& intent) {
  return absl::StrCat(done.has_value() ? ToString(*done) : "none", "..",
                      intent.has_value() ? ToString(*intent) : "none");
}

}  // namespace

// ---------------------------------------------------------------- start

// Nobody has said what became of what the engine before listed and held; no term is taken to say so
// again.
bool StreamEngine::IsHeldAsBefore() {
  const std::optional<HeldDoubt>& held = progress_->held_doubt;
  if (!held.has_value()) return false;
  const absl::StatusOr<std::vector<Cursor>> cursors = ledger_->ReadCursors();
  if (!cursors.ok()) return false;  // What opens will say it.
  return std::any_of(cursors->begin(), cursors->end(), [&](const Cursor& cursor) {
    return cursor.group == options_.group && cursor.stream == held->stream &&
           PlaceOf(cursor.done, cursor.intent) == held->place;
  });
}

absl::Status StreamEngine::OpenGate() {
  if (IsHeldAsBefore()) {
    result_.held_in_doubt = result_.held_before = true;
    return progress_->held_doubt->why;
  }
  const StreamName& stream = options_.reader.stream;
  if (options_.mode == ReorderMode::kRecover) {
    LOCKSTEP_ASSIGN_OR_RETURN(const Ledger::Now now, ledger_->ReadNow());
    if (now.epoch < Epoch(2)) {
      return absl::FailedPreconditionError(
          "recover: epoch 1 is on, no epoch was ended by a failover; use --mode gate");
    }
  }
  const bool create = options_.mode == ReorderMode::kGate || options_.from_start;
  const auto opened = OpenPatiently<OpenedGate>(
      [&] { return ledger_->OpenGate(options_.group, {stream}, create); });
  if (!opened.committed()) return WhyNotOpened(opened.refusal, opened.why, create);
  const Cursor& cursor = opened.value.cursors.at(0);
  if (options_.from_start && !options_.from_start_if_new && cursor.intent.has_value()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "group ", options_.group, " has sent ", ToString(stream), " up to ",
        ToString(*cursor.intent), "; --from start is for a group that has sent nothing"));
  }
  options_.reader.stream_id = cursor.stream;
  options_.reader.epoch = opened.value.epoch;
  gate_.emplace(Gate::Options{kAllRules, options_.group, cursor.stream, stream}, cursor);
  Log(LogLevel::kInfo, "gate_opened",
      {{"stream", stream},
       {"group", options_.group},
       {"term", cursor.term},
       {"epoch", opened.value.epoch},
       {"solo", opened.value.solo},
       {"done", cursor.done.has_value() ? ToString(*cursor.done) : "none"},
       {"intent", cursor.intent.has_value() ? ToString(*cursor.intent) : "none"}});
  return absl::OkStatus();
}

absl::Status StreamEngine::ResolveDoubt() {
  Gate::Doubt doubt{sink_->kind(), std::nullopt, options_.in_doubt, options_.old_gate_is_dead};
  if (doubt.sink != SinkKind::kBlind) {
    LOCKSTEP_ASSIGN_OR_RETURN(doubt.last, sink_->Last());
  }
  if (doubt.sink == SinkKind::kTransactional) {
    LOCKSTEP_ASSIGN_OR_RETURN(doubt.never_written, sink_->NeverWritten());
  }
  const bool was_in_doubt = gate_->in_doubt();
  const std::optional<Position> done = gate_->done();
  const absl::Status resolved = gate_->Resolve(doubt);
  result_.held_in_doubt = IsInDoubt(resolved);
  if (!was_in_doubt) return resolved;
  const bool skipped = doubt.sink == SinkKind::kBlind && options_.in_doubt == InDoubtPolicy::kSkip;
  if (!resolved.ok() || skipped) {
    options_.reader.after = done;
    const absl::Status ended = EndListing(resolved, ListInDoubt());
    LeaveHeldDoubt({options_.reader.stream_id, PlaceOf(done, gate_->intent()), ended},
                   listed_whole_, result_, *progress_);
    LOCKSTEP_RETURN_IF_ERROR(ended);
  }
  Log(LogLevel::kWarn, "in_doubt_resolved",
      {{"stream", options_.reader.stream},
       {"group", options_.group},
       {"done", gate_->done().has_value() ? ToString(*gate_->done()) : "none"},
       {"intent", ToString(*gate_->intent())}});
  return absl::OkStatus();
}

// Reads what lies in (done, intent], for the operator to ask the outside with.
absl::Status StreamEngine::ListInDoubt() {
  LOCKSTEP_ASSIGN_OR_RETURN(const auto reader,
                            StreamReader::Open(options_.reader, *ledger_, buffer_->parking()));
  const Position intent = *gate_->intent();
  std::vector<ReadyRecord> records;
  int empty = 0;
  while (empty < 10) {
    if (stop_requested()) return absl::CancelledError("stopped while what is in doubt was listed");
    LOCKSTEP_RETURN_IF_ERROR(reader->Next(records, milliseconds(500)));
    empty = records.empty() && reader->waiting().has_value() ? empty + 1 : 0;
    for (const ReadyRecord& record : records) {
      if (record.position > intent) return absl::OkStatus();
      ListDoubtful(record);
      if (record.position == intent) return absl::OkStatus();
    }
  }
  return absl::OutOfRangeError(reader->waiting()->Describe());
}

absl::Status StreamEngine::CheckReplay() {
  if (options_.mode != ReorderMode::kReplay) return absl::OkStatus();
  if (sink_->kind() == SinkKind::kTransactional) {
    return absl::FailedPreconditionError(
        "replay: this sink takes records with the cursor only, and what is replayed moves none");
  }
  LOCKSTEP_ASSIGN_OR_RETURN(
      const StreamPage first_runs,
      ledger_->ReadStream(
          {.stream = options_.reader.stream_id, .after = {}, .runs_per_producer_max = 1}));
  return CheckReplayStart(options_.reader.stream, first_runs, options_.replay_from, gate_->done());
}

// What was sent before has not all been given out again.
bool StreamEngine::Replaying() const {
  return options_.mode == ReorderMode::kReplay && replayed_to_ < gate_->done();
}

absl::StatusOr<std::unique_ptr<RecordReader>> StreamEngine::OpenReader() {
  LOCKSTEP_RETURN_IF_ERROR(CheckReplay());
  options_.reader.after =
      options_.mode == ReorderMode::kReplay ? ReplayAfter(options_.replay_from) : gate_->done();
  return StreamReader::Open(options_.reader, *ledger_, buffer_->parking());
}

// ---------------------------------------------------------------- running

// Among what was sent before, a record that no topic has is gone, and not yet to come.
bool StreamEngine::HasEnd(const Waiting& waiting) const {
  return options_.until_end || (Replaying() && waiting.what == Waiting::For::kFrozenRecord);
}

// A hole among what was sent before is the log's start that is gone, and not a gap to be filled.
StreamEnd StreamEngine::EndedBy(const absl::Status& status) const {
  if (!Replaying() || !absl::IsDataLoss(status) || IsInconsistentOffsets(status)) {
    return EngineLoop::EndedBy(status);
  }
  return {ExitCode::kRefused,
          absl::FailedPreconditionError(absl::StrCat(
              "replay-is-not-whole: ", std::string(status.message()),
              ". A state rebuilt without it lacks it; if that is what you want (a snapshot covers "
              "it), say --from EPOCH:OFFSET, a position from which on all is there"))};
}

// What the outside has seen first, if it is replayed, and then what is new.
absl::Status StreamEngine::GiveOut(std::vector<ReadyRecord>& records) {
  std::span<ReadyRecord> fresh(records);
  if (Replaying()) {
    const auto above =
        std::partition_point(records.begin(), records.end(),
                             [&](const auto& record) { return record.position <= gate_->done(); });
    const auto seen = static_cast<size_t>(above - records.begin());
    LOCKSTEP_RETURN_IF_ERROR(Replay(fresh.first(seen)));
    fresh = fresh.subspan(seen);
  }
  return fresh.empty() ? absl::OkStatus() : SendOut(fresh);
}

absl::Status StreamEngine::Replay(std::span<ReadyRecord> records) {
  if (records.empty()) return absl::OkStatus();
  for (ReadyRecord& record : records) record.replayed = true;
  LOCKSTEP_RETURN_IF_ERROR(Annotate(sink_->Write(records), "sink"));
  LOCKSTEP_RETURN_IF_ERROR(Annotate(sink_->Sync(), "sink"));
  replayed_to_ = records.back().position;
  result_.replayed += static_cast<int64_t>(records.size());
  if (!Replaying()) {
    Log(LogLevel::kInfo, "replayed",
        {{"stream", options_.reader.stream},
         {"group", options_.group},
         {"records", result_.replayed},
         {"up_to", *replayed_to_}});
  }
  return absl::OkStatus();
}

absl::Status StreamEngine::SendOut(std::span<ReadyRecord> records) {
  const Position last = records.back().position;
  MoveCursorRequest move = gate_->Move(last);
  if (sink_->kind() == SinkKind::kTransactional) {
    move.done = last;
    LOCKSTEP_RETURN_IF_ERROR(
        Commit(*gate_, move, [&] { return sink_->WriteWithCursor(records, move); }));
    gate_->LeftWithCursor(last);
  } else {
    LOCKSTEP_RETURN_IF_ERROR(Commit(*gate_, move, [&] { return ledger_->MoveCursor(move); }));
    for (ReadyRecord& record : records) {
      gate_->Leaves(record.position);
      record.in_doubt = gate_->MayHaveLeft(record.position);
      if (record.in_doubt) ++result_.in_doubt;
    }
    LOCKSTEP_RETURN_IF_ERROR(Annotate(LetOut(records), "sink"));
    gate_->Left(last);
  }
  result_.emitted += static_cast<int64_t>(records.size());
  return absl::OkStatus();
}

// Of a batch that fails in the middle, what the sink knows to be outside is not left in doubt.
absl::Status StreamEngine::LetOut(std::span<ReadyRecord> records) {
  absl::Status status = sink_->Write(records);
  if (status.ok()) status = sink_->Sync();
  if (status.ok()) return status;
  const std::optional<Position> known = sink_->KnownDone();
  if (!known.has_value() || *known < records.front().position) return status;
  gate_->Left(*known);
  result_.emitted += std::count_if(records.begin(), records.end(), [&](const ReadyRecord& record) {
    return record.position <= *known;
  });
  return status;
}

absl::Status StreamEngine::WriteDone() {
  if (!gate_->owes_done()) return absl::OkStatus();
  const MoveCursorRequest move = gate_->Move(std::nullopt);
  return Commit(*gate_, move, [&] { return ledger_->MoveCursor(move); });
}

}  // namespace lockstep
