#include "reorder/stream_engine.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"

#include "common/base/status_macros.h"
#include "common/log/log.h"
#include "reorder/replay_start.h"

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

}  // namespace

StreamEngine::StreamEngine(StreamEngineOptions options, Ledger& ledger, Sink& sink,
                           StreamProgress& progress)
    : options_(std::move(options)),
      ledger_(&ledger),
      sink_(&sink),
      progress_(&progress),
      buffer_(Buffer::Make(options_.buffer, options_.reader)),
      emitted_before_(progress.emitted),
      waiting_log_(options_.reader.stream, options_.group, progress.waiting_since_ms) {}

StreamResult StreamEngine::Run(const StopRequested& stop_requested) {
  Ended ended;
  stop_requested_ = &stop_requested;
  sink_->Attach(*this);
  ended.why = buffer_->Open();
  if (ended.why.ok()) ended.why = OpenGate();
  if (ended.why.ok()) ended.why = ResolveDoubt();
  if (ended.why.ok()) ended.why = CheckReplay();
  if (ended.why.ok()) ended.why = OpenReader();
  if (ended.why.ok()) {
    ended = Loop(stop_requested);
  } else {
    ended.exit_code = StreamExitCode(ended.why);
  }
  result_.exit_code = ended.exit_code;
  result_.why = ended.why;
  if (absl::IsAborted(ended.why)) result_.epoch_is_over = EpochIsOver();
  if (reader_ != nullptr) {
    result_.counts = reader_->counts();
    result_.polls = reader_->polls();
    result_.waiting = reader_->waiting().has_value();
  }
  result_.parking = buffer_->parking().stats();
  result_.wire_bytes = buffer_->wire_bytes();
  result_.spill_pause = buffer_->longest_pause();
  result_.checksum = sink_->Checksum();
  return result_;
}

// Asked of a fenced engine only; where the ledger does not answer, another gate is the likelier.
bool StreamEngine::EpochIsOver() {
  const absl::StatusOr<Ledger::Now> now = ledger_->ReadNow();
  return now.ok() && now->epoch > options_.reader.epoch;
}

void StreamResult::Add(const StreamResult& later) {
  emitted += later.emitted;
  replayed += later.replayed;
  counts.first_hits += later.counts.first_hits;
  counts.buffer_hits += later.counts.buffer_hits;
  counts.duplicates_dropped += later.counts.duplicates_dropped;
  counts.void_dropped += later.counts.void_dropped;
  counts.foreign_passed += later.counts.foreign_passed;
  parking.records_peak += later.parking.records_peak;
  parking.bytes_peak += later.parking.bytes_peak;
  parking.bytes_written += later.parking.bytes_written;
  parking.bytes_reread += later.parking.bytes_reread;
  parking.store_bytes_peak += later.parking.store_bytes_peak;
  parking.fetches += later.parking.fetches;
  parking.fetches_bound += later.parking.fetches_bound;
  parking.records_fetched += later.parking.records_fetched;
  wire_bytes += later.wire_bytes;
  spill_pause = std::max(spill_pause, later.spill_pause);
  polls += later.polls;
  in_doubt += later.in_doubt;
  exit_code = later.exit_code;
  why = later.why;
  in_doubt_records = later.in_doubt_records;
  waiting = later.waiting;
  checksum = later.checksum;
  held_in_doubt = later.held_in_doubt;
  epoch_is_over = later.epoch_is_over;
}

void StreamProgress::EndOfStream() {
  ready = false;
  parked_records = 0;
  parked_bytes = 0;
  spill_bytes = 0;
  expected = 0;
  waiting_since_ms = 0;
}

// ---------------------------------------------------------------- start

absl::Status StreamEngine::OpenGate() {
  const StreamName& stream = options_.reader.stream;
  if (options_.mode == ReorderMode::kRecover) {
    LOCKSTEP_ASSIGN_OR_RETURN(const Ledger::Now now, ledger_->ReadNow());
    if (now.epoch < Epoch(2)) {
      return absl::FailedPreconditionError(
          "recover: epoch 1 is on, no epoch was ended by a failover; use --mode gate");
    }
  }
  const bool create = options_.mode == ReorderMode::kGate || options_.from_start;
  // An open that is not known to be durable is abandoned, its term never used (C6); a new one takes
  // a new term.
  lockstep::Commit<OpenedGate> opened;
  const auto give_up = steady_clock::now() + kOpenPatience;
  while (true) {
    opened = ledger_->OpenGate(options_.group, {stream}, create);
    const bool may_pass = opened.outcome == CommitOutcome::kUnknown ||
                          opened.refusal == Refusal::kUnavailable ||
                          opened.refusal == Refusal::kNoDurableStandby;
    if (opened.committed() || !may_pass || steady_clock::now() >= give_up) break;
    std::this_thread::sleep_for(kRepeatPauseMax);
  }
  if (!opened.committed()) {
    if (opened.refusal == Refusal::kNotFound && !create) {
      return absl::FailedPreconditionError(
          absl::StrCat("group ", options_.group, " has no cursor on ", ToString(stream),
                       ": a wrong name, or a gate that never ran; ",
                       options_.mode == ReorderMode::kReplay
                           ? "nothing was sent that could be replayed, --mode gate"
                           : "--from start",
                       " begins at the first record"));
    }
    return Annotate(opened.why, absl::StrCat("open the gate of group ", options_.group, " on ",
                                             ToString(stream)));
  }
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
  const bool was_in_doubt = gate_->in_doubt();
  const std::optional<Position> done = gate_->done();
  const absl::Status resolved = gate_->Resolve(doubt);
  result_.held_in_doubt = IsInDoubt(resolved);
  if (resolved.ok() && was_in_doubt) {
    Log(LogLevel::kWarn, "in_doubt_resolved",
        {{"stream", options_.reader.stream},
         {"group", options_.group},
         {"done", gate_->done().has_value() ? ToString(*gate_->done()) : "none"},
         {"intent", ToString(*gate_->intent())}});
  }
  const bool skipped = resolved.ok() && was_in_doubt && doubt.sink == SinkKind::kBlind &&
                       options_.in_doubt == InDoubtPolicy::kSkip;
  if ((!resolved.ok() && was_in_doubt) || skipped) {
    options_.reader.after = done;
    const absl::Status listed = ListInDoubt();
    buffer_->parking().Clear();
    if (!listed.ok()) {
      Log(LogLevel::kWarn, "in_doubt_list_incomplete",
          {{"stream", options_.reader.stream}, {"why", listed}});
    }
  }
  return resolved;
}

// Reads what lies in (done, intent], for the operator to ask the outside with.
absl::Status StreamEngine::ListInDoubt() {
  LOCKSTEP_ASSIGN_OR_RETURN(const auto reader,
                            StreamReader::Open(options_.reader, *ledger_, buffer_->parking()));
  const Position intent = *gate_->intent();
  std::vector<ReadyRecord> records;
  int empty = 0;
  while (empty < 10) {
    LOCKSTEP_RETURN_IF_ERROR(reader->Next(records, milliseconds(500)));
    empty = records.empty() && reader->waiting().has_value() ? empty + 1 : 0;
    for (const ReadyRecord& record : records) {
      if (record.position > intent) return absl::OkStatus();
      ++result_.in_doubt;
      if (result_.in_doubt_records.size() < kInDoubtListMax) {
        DoubtfulRecord& listed = result_.in_doubt_records.emplace_back();
        listed = {record.position, std::string(record.producer), record.term,
                  record.seq,      std::string(record.view.at),  std::nullopt};
        if (record.view.key.has_value()) listed.key = std::string(*record.view.key);
      }
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

absl::Status StreamEngine::OpenReader() {
  options_.reader.after = gate_->done();
  if (options_.mode == ReorderMode::kReplay) {
    options_.reader.after.reset();
    if (const std::optional<Position>& from = options_.replay_from) {
      options_.reader.after = Position{from->epoch, from->offset - 1};
    }
  }
  LOCKSTEP_ASSIGN_OR_RETURN(reader_,
                            StreamReader::Open(options_.reader, *ledger_, buffer_->parking()));
  progress_->ready = true;
  return absl::OkStatus();
}

// ---------------------------------------------------------------- running

StreamEngine::Ended StreamEngine::Loop(const StopRequested& stop_requested) {
  std::vector<ReadyRecord> records;
  bool drained = false;
  absl::Status status;
  while (true) {
    status = FollowBudget();
    if (!status.ok()) break;
    status = reader_->Next(records, gate_->owes_done() ? kPollBusy : kPollIdle);
    if (!status.ok()) break;
    drained = records.empty() && !reader_->waiting().has_value();
    if (!records.empty()) {
      status = GiveOut(records, stop_requested);
    } else if (gate_->owes_done()) {
      status = WriteDone(stop_requested);
    }
    if (!status.ok()) break;
    NoteProgress();
    NoteWaiting();
    if (options_.until_end && reader_->read_a_page() &&
        reader_->resequencer().ReachedAll(reader_->heads_at_start())) {
      status = WriteDone(stop_requested);
      if (!status.ok()) break;
      return {};
    }
    if (const std::optional<Ended> stalled = Stalled()) {
      WriteDone(stop_requested).IgnoreError();  // Best effort: it only shortens the doubt.
      return *stalled;
    }
    if (stop_requested()) {
      status = WriteDone(stop_requested);
      if (!status.ok()) break;
      if (drained && !options_.until_end) return {};
      return {ExitCode::kInterrupted, absl::CancelledError("stopped with work left")};
    }
  }
  if (!absl::IsAborted(status) && gate_->owes_done()) {
    WriteDone([] { return true; }).IgnoreError();  // Best effort, as above.
  }
  return EndedBy(status);
}

// Other streams of this process may have come or gone.
absl::Status StreamEngine::FollowBudget() {
  if (options_.share == nullptr || options_.share->part() == options_.buffer.budget) {
    return absl::OkStatus();
  }
  options_.buffer.budget = options_.share->part();
  return buffer_->SetBudget(options_.buffer.budget);
}

// A hole among what was sent before is the log's start that is gone, and not a gap to be filled.
StreamEngine::Ended StreamEngine::EndedBy(const absl::Status& status) const {
  if (!Replaying() || !absl::IsDataLoss(status) || IsInconsistentOffsets(status)) {
    return {StreamExitCode(status), status};
  }
  return {ExitCode::kRefused,
          absl::FailedPreconditionError(absl::StrCat(
              "replay-is-not-whole: ", std::string(status.message()),
              ". A state rebuilt without it lacks it; if that is what you want (a snapshot covers "
              "it), say --from EPOCH:OFFSET, a position from which on all is there"))};
}

// What the outside has seen first, if it is replayed, and then what is new.
absl::Status StreamEngine::GiveOut(std::vector<ReadyRecord>& records,
                                   const StopRequested& stop_requested) {
  std::span<ReadyRecord> fresh(records);
  if (Replaying()) {
    const auto above =
        std::partition_point(records.begin(), records.end(),
                             [&](const auto& record) { return record.position <= gate_->done(); });
    const auto seen = static_cast<size_t>(above - records.begin());
    LOCKSTEP_RETURN_IF_ERROR(Replay(fresh.first(seen)));
    fresh = fresh.subspan(seen);
  }
  return fresh.empty() ? absl::OkStatus() : SendOut(fresh, stop_requested);
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

absl::Status StreamEngine::SendOut(std::span<ReadyRecord> records,
                                   const StopRequested& stop_requested) {
  const Position last = records.back().position;
  MoveCursorRequest move = gate_->Move(last);
  if (sink_->kind() == SinkKind::kTransactional) {
    move.done = last;
    LOCKSTEP_RETURN_IF_ERROR(
        Commit(move, stop_requested, [&] { return sink_->WriteWithCursor(records, move); }));
    gate_->LeftWithCursor(last);
  } else {
    LOCKSTEP_RETURN_IF_ERROR(
        Commit(move, stop_requested, [&] { return ledger_->MoveCursor(move); }));
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

absl::Status StreamEngine::WriteDone(const StopRequested& stop_requested) {
  if (!gate_->owes_done()) return absl::OkStatus();
  const MoveCursorRequest move = gate_->Move(std::nullopt);
  return Commit(move, stop_requested, [&] { return ledger_->MoveCursor(move); });
}

// Repeats a commit until its outcome is known. Nothing leaves meanwhile.
absl::Status StreamEngine::Commit(const MoveCursorRequest& move,
                                  const StopRequested& stop_requested,
                                  const std::function<lockstep::Commit<Moved>()>& call) {
  milliseconds pause{1};
  std::optional<steady_clock::time_point> give_up;
  bool told = false;
  while (true) {
    const lockstep::Commit<Moved> commit = call();
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
      told = true;
    }
    if (stop_requested()) {
      if (!give_up.has_value()) give_up = steady_clock::now() + options_.drain_timeout;
      if (steady_clock::now() >= *give_up) {
        return absl::CancelledError("stopped while a cursor commit was not durable");
      }
    }
    std::this_thread::sleep_for(pause);
    pause = std::min(pause * 2, kRepeatPauseMax);
  }
}

// ---------------------------------------------------------------- waiting

std::optional<StreamEngine::Ended> StreamEngine::Stalled() const {
  const std::optional<Waiting>& waiting = reader_->waiting();
  if (!waiting.has_value()) return std::nullopt;
  // Among what was sent before, a record that no topic has is gone, and not yet to come.
  const bool has_end =
      options_.until_end || (Replaying() && waiting->what == Waiting::For::kFrozenRecord);
  std::optional<Ended> end =
      EndOfWaiting(options_.reader.stream, *waiting, steady_clock::now() - waiting->since, has_end,
                   options_.stall_timeout);
  if (end.has_value() && absl::IsDataLoss(end->why)) end = EndedBy(end->why);
  return end;
}

void StreamEngine::NoteWaiting() {
  const std::optional<Waiting>& waiting = reader_->waiting();
  if (waiting.has_value()) {
    waiting_log_.Waits(waiting->Describe(), waiting->since);
  } else {
    waiting_log_.WaitsForNothing();
  }
}

// ---------------------------------------------------------------- what the sink asks

std::optional<steady_clock::time_point> StreamEngine::StopBy() {
  if (stop_requested_ == nullptr || !(*stop_requested_)()) return std::nullopt;
  const auto now = std::chrono::duration_cast<milliseconds>(steady_clock::now().time_since_epoch());
  int64_t stop_by_ms = 0;  // The first who sees the stop says when.
  const int64_t proposed = (now + options_.drain_timeout).count();
  if (stop_by_ms_.compare_exchange_strong(stop_by_ms, proposed)) stop_by_ms = proposed;
  return steady_clock::time_point(milliseconds(stop_by_ms));
}

void StreamEngine::Waits(const std::string& for_what, steady_clock::time_point since) {
  waiting_log_.Waits(for_what, since);
}

void StreamEngine::NoteProgress() {
  progress_->emitted = emitted_before_ + result_.emitted;
  progress_->replayed = result_.replayed;
  progress_->parked_records = buffer_->parking().stats().records;
  progress_->parked_bytes = buffer_->parking().stats().bytes;
  progress_->spill_bytes = buffer_->spill_bytes();
  if (progress_->expected == 0 && reader_->read_a_page()) {
    int64_t expected = progress_->emitted + result_.replayed;
    for (const Head& head : reader_->heads_at_start()) {
      const std::optional<Seq> next = reader_->resequencer().next_seq(head.name);
      if (next.has_value() && head.last_seq >= *next) expected += head.last_seq - *next + 1;
    }
    progress_->expected = expected;
  }
}

}  // namespace lockstep
