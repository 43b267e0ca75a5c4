#include "reorder/seq_stream_engine.h"

#include <algorithm>
#include <map>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"

#include "common/base/status_macros.h"
#include "common/log/log.h"
#include "reorder/stream_end.h"

namespace lockstep {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

constexpr milliseconds kPollBusy{5};    // With a done to be written when nothing more comes …
constexpr milliseconds kPollIdle{200};  // … and without.
constexpr milliseconds kRepeatPauseMax{500};
constexpr seconds kOpenPatience{10};
constexpr size_t kInDoubtListMax = 1'000;

bool MayPass(Refusal refusal) {
  return refusal == Refusal::kUnavailable || refusal == Refusal::kNoDurableStandby;
}

}  // namespace

SeqStreamEngine::SeqStreamEngine(StreamEngineOptions options, Ledger& ledger, SeqCursors& cursors,
                                 Sink& sink, StreamProgress& progress)
    : options_(std::move(options)),
      ledger_(&ledger),
      cursors_(&cursors),
      sink_(&sink),
      progress_(&progress),
      buffer_(Buffer::Make(options_.buffer, options_.reader)),
      emitted_before_(progress.emitted),
      waiting_log_(options_.reader.stream, options_.group, progress.waiting_since_ms) {}

StreamResult SeqStreamEngine::Run(const StopRequested& stop_requested) {
  stop_requested_ = &stop_requested;
  sink_->Attach(*this);
  StreamEnd end;
  end.why = Open();
  end.exit_code = StreamExitCode(end.why);
  if (end.why.ok()) end = Loop();
  result_.exit_code = end.exit_code;
  result_.why = end.why;
  if (absl::IsAborted(end.why)) {
    const auto now = ledger_->ReadNow();
    result_.epoch_is_over = now.ok() && now->epoch > options_.reader.epoch;
  }
  if (reader_ != nullptr) {
    result_.counts = reader_->order().counts();
    result_.polls = reader_->polls();
    result_.waiting = reader_->waiting().has_value();
  }
  result_.parking = buffer_->parking().stats();
  result_.checksum = sink_->Checksum();
  return result_;
}

// ---------------------------------------------------------------- start

absl::Status SeqStreamEngine::Open() {
  if (sink_->kind() != SinkKind::kBlind) {
    return absl::FailedPreconditionError(
        "per-producer: this sink tells how far it is by position, and a cursor of seqs has none");
  }
  LOCKSTEP_RETURN_IF_ERROR(buffer_->Open());
  LOCKSTEP_RETURN_IF_ERROR(OpenGate());
  LOCKSTEP_RETURN_IF_ERROR(ResolveDoubt());
  return OpenReader();
}

absl::Status SeqStreamEngine::OpenGate() {
  const StreamName& stream = options_.reader.stream;
  LOCKSTEP_ASSIGN_OR_RETURN(const Ledger::Now now, ledger_->ReadNow());
  const bool create = now.epoch == Epoch(1) || options_.from_start;
  // An open that is not known to be durable is abandoned, its term never used (C6).
  lockstep::Commit<OpenedSeqGate> opened;
  const auto give_up = steady_clock::now() + kOpenPatience;
  while (true) {
    opened = cursors_->OpenSeqGate(options_.group, stream, create);
    const bool again = opened.outcome == CommitOutcome::kUnknown || MayPass(opened.refusal);
    if (opened.committed() || !again || steady_clock::now() >= give_up) break;
    std::this_thread::sleep_for(kRepeatPauseMax);
  }
  if (opened.refusal == Refusal::kNotFound && !create) {
    return absl::FailedPreconditionError(absl::StrCat(
        "group ", options_.group, " has no cursor on ", ToString(stream),
        ": a wrong name, or a gate that never ran; --from start begins at the first record"));
  }
  if (!opened.committed()) {
    return Annotate(opened.why, absl::StrCat("open the gate of group ", options_.group, " on ",
                                             ToString(stream)));
  }
  const SeqCursor& cursor = opened.value.cursor;
  if (options_.from_start && !cursor.marks.empty()) {
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
  if (!gate_->in_doubt()) return absl::OkStatus();
  const absl::Status listed = ListInDoubt();
  buffer_->parking().Clear();
  if (!listed.ok()) {
    Log(LogLevel::kWarn, "in_doubt_list_incomplete",
        {{"stream", options_.reader.stream}, {"why", listed}});
  }
  const absl::Status resolved = gate_->Resolve(options_.in_doubt, options_.old_gate_is_dead);
  result_.held_in_doubt = IsInDoubt(resolved);
  if (resolved.ok()) {
    const bool resent = options_.in_doubt == InDoubtPolicy::kResend;
    if (resent) result_.in_doubt = 0;  // Counted as they leave.
    if (resent) result_.in_doubt_records.clear();
    Log(LogLevel::kWarn, "in_doubt_resolved",
        {{"stream", options_.reader.stream},
         {"group", options_.group},
         {"by", resent ? "resend" : "skip"}});
  }
  return resolved;
}

// Reads what lies in (done, intent] of each producer, for the operator to ask the outside with.
absl::Status SeqStreamEngine::ListInDoubt() {
  LOCKSTEP_ASSIGN_OR_RETURN(
      const auto reader,
      ProducerOrderReader::Open(options_.reader, gate_->done(), *ledger_, buffer_->parking()));
  const std::map<ProducerId, Seq> intent = gate_->intent();
  int64_t left = 0;
  for (const auto& [producer, done] : gate_->done()) left += intent.at(producer) - done;
  std::vector<ReadyRecord> records;
  for (int empty = 0; left > 0 && empty < 10;) {
    LOCKSTEP_RETURN_IF_ERROR(reader->Next(records, milliseconds(500)));
    empty = records.empty() ? empty + 1 : 0;
    for (const ReadyRecord& record : records) {
      const auto last = intent.find(reader->order().id(record.producer));
      if (last == intent.end() || record.seq > last->second) continue;
      --left;
      ++result_.in_doubt;
      if (result_.in_doubt_records.size() >= kInDoubtListMax) continue;
      DoubtfulRecord& listed = result_.in_doubt_records.emplace_back();
      listed = {record.position, std::string(record.producer), record.term,
                record.seq,      std::string(record.view.at),  std::nullopt};
      if (record.view.key.has_value()) listed.key = std::string(*record.view.key);
    }
  }
  if (left == 0) return absl::OkStatus();
  return absl::OutOfRangeError(absl::StrCat(left, " records were not found"));
}

absl::Status SeqStreamEngine::OpenReader() {
  LOCKSTEP_ASSIGN_OR_RETURN(reader_, ProducerOrderReader::Open(options_.reader, gate_->done(),
                                                               *ledger_, buffer_->parking()));
  progress_->ready = true;
  return absl::OkStatus();
}

// ---------------------------------------------------------------- running

StreamEnd SeqStreamEngine::Loop() {
  std::vector<ReadyRecord> records;
  absl::Status status;
  while (true) {
    status = reader_->Next(records, gate_->owes_done() ? kPollBusy : kPollIdle);
    if (!status.ok()) break;
    const bool drained = records.empty() && !reader_->waiting().has_value();
    status = records.empty() ? WriteDone() : SendOut(records);
    if (!status.ok()) break;
    NoteProgress();
    if (options_.until_end && reader_->read_a_page() &&
        reader_->order().ReachedAll(reader_->heads_at_start())) {
      status = WriteDone();
      if (!status.ok()) break;
      return {};
    }
    if (const std::optional<Waiting>& waiting = reader_->waiting(); waiting.has_value()) {
      const auto end =
          EndOfWaiting(options_.reader.stream, *waiting, steady_clock::now() - waiting->since,
                       options_.until_end, options_.stall_timeout);
      if (end.has_value()) {
        WriteDone().IgnoreError();  // Best effort: it only shortens the doubt.
        return *end;
      }
    }
    if ((*stop_requested_)()) {
      status = WriteDone();
      if (!status.ok()) break;
      if (drained && !options_.until_end) return {};
      return {ExitCode::kInterrupted, absl::CancelledError("stopped with work left")};
    }
  }
  if (!absl::IsAborted(status) && gate_->owes_done()) WriteDone().IgnoreError();  // As above.
  return {StreamExitCode(status), status};
}

absl::Status SeqStreamEngine::SendOut(std::vector<ReadyRecord>& records) {
  std::map<ProducerId, Seq> batch;
  for (const ReadyRecord& record : records) {
    batch[reader_->order().id(record.producer)] = record.seq;  // Ascending: the last one stays.
  }
  LOCKSTEP_RETURN_IF_ERROR(Commit(gate_->Move(batch)));
  for (ReadyRecord& record : records) {
    const ProducerId producer = reader_->order().id(record.producer);
    gate_->Leaves(producer, record.seq);
    record.in_doubt = gate_->MayHaveLeft(producer, record.seq);
    if (record.in_doubt) ++result_.in_doubt;
  }
  LOCKSTEP_RETURN_IF_ERROR(Annotate(sink_->Write(records), "sink"));
  LOCKSTEP_RETURN_IF_ERROR(Annotate(sink_->Sync(), "sink"));
  gate_->Left();
  result_.emitted += static_cast<int64_t>(records.size());
  return absl::OkStatus();
}

absl::Status SeqStreamEngine::WriteDone() {
  return gate_->owes_done() ? Commit(gate_->Move({})) : absl::OkStatus();
}

// Repeats a commit until its outcome is known. Nothing leaves meanwhile.
absl::Status SeqStreamEngine::Commit(const MoveSeqCursorRequest& move) {
  milliseconds pause{1};
  for (bool told = false;; told = true) {
    const lockstep::Commit<Moved> commit = cursors_->MoveSeqCursor(move);
    switch (gate_->Moved(move, commit)) {
      case Gate::Answer::kGo:
        return absl::OkStatus();
      case Gate::Answer::kFenced:
        return absl::AbortedError(absl::StrCat(
            "fenced: another gate of group ", options_.group, " or a new epoch took over stream ",
            ToString(options_.reader.stream), " (", std::string(commit.why.message()), ")"));
      case Gate::Answer::kRefused:
        return Annotate(commit.why, absl::StrCat("cursor of group ", options_.group));
      case Gate::Answer::kRepeat:
        break;
    }
    if (!told) {
      Log(LogLevel::kWarn, "cursor_not_durable",
          {{"stream", options_.reader.stream},
           {"group", options_.group},
           {"outcome", ToString(commit.outcome)},
           {"why", commit.why}});
    }
    if (const auto stop_by = StopBy(); stop_by.has_value() && steady_clock::now() >= *stop_by) {
      return absl::CancelledError("stopped while a cursor commit was not durable");
    }
    std::this_thread::sleep_for(pause);
    pause = std::min(pause * 2, kRepeatPauseMax);
  }
}

// ---------------------------------------------------------------- what others ask

std::optional<steady_clock::time_point> SeqStreamEngine::StopBy() {
  if (stop_requested_ == nullptr || !(*stop_requested_)()) return std::nullopt;
  const auto now = std::chrono::duration_cast<milliseconds>(steady_clock::now().time_since_epoch());
  int64_t stop_by_ms = 0;  // The first who sees the stop says when.
  const int64_t proposed = (now + options_.drain_timeout).count();
  if (stop_by_ms_.compare_exchange_strong(stop_by_ms, proposed)) stop_by_ms = proposed;
  return steady_clock::time_point(milliseconds(stop_by_ms));
}

void SeqStreamEngine::Waits(const std::string& for_what, steady_clock::time_point since) {
  waiting_log_.Waits(for_what, since);
}

void SeqStreamEngine::NoteProgress() {
  const ProducerOrder& order = reader_->order();
  progress_->emitted = emitted_before_ + result_.emitted;
  progress_->parked_records = buffer_->parking().stats().records;
  progress_->parked_bytes = buffer_->parking().stats().bytes;
  progress_->spill_bytes = buffer_->spill_bytes();
  if (progress_->expected == 0 && reader_->read_a_page()) {
    progress_->expected = progress_->emitted + order.Left(reader_->heads_at_start());
  }
  if (const std::optional<Waiting>& waiting = reader_->waiting(); waiting.has_value()) {
    waiting_log_.Waits(waiting->Describe(), waiting->since);
  } else {
    waiting_log_.WaitsForNothing();
  }
}

}  // namespace lockstep
