#include "reorder/engine_loop.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"

#include "common/base/status_macros.h"
#include "common/log/log.h"

namespace lockstep {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

constexpr milliseconds kPollBusy{5};    // With a done to be written when nothing more comes …
constexpr milliseconds kPollIdle{200};  // … and without.
constexpr seconds kLastLook{1};         // Whether a stop leaves anything.
constexpr milliseconds kRepeatPauseMax{500};
constexpr size_t kInDoubtListMax = 1'000;

}  // namespace

EngineLoop::EngineLoop(StreamEngineOptions options, Ledger& ledger, Sink& sink,
                       StreamProgress& progress)
    : options_(std::move(options)),
      ledger_(&ledger),
      sink_(&sink),
      progress_(&progress),
      buffer_(Buffer::Make(options_.buffer, options_.reader)),
      emitted_before_(progress.emitted),
      waiting_log_(options_.reader.stream, options_.group, progress.waiting_since_ms) {}

StreamResult EngineLoop::Run(const StopRequested& stop_requested) {
  stop_requested_ = &stop_requested;
  buffer_->StopWhen(stop_requested);
  sink_->Attach(*this);
  StreamEnd end;
  end.why = Open();
  if (absl::IsUnavailable(end.why)) result_.could_not_reach = true;
  if (result_.could_not_reach && stop_requested()) {
    end.why = absl::CancelledError(
        absl::StrCat("stopped before it was open: ", std::string(end.why.message())));
  }
  end.exit_code = StreamExitCode(end.why);
  if (end.why.ok()) end = Loop();
  result_.exit_code = end.exit_code;
  result_.why = end.why;
  if (absl::IsAborted(end.why)) result_.epoch_is_over = EpochIsOver();
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
bool EngineLoop::EpochIsOver() {
  const absl::StatusOr<Ledger::Now> now = ledger_->ReadNow();
  return now.ok() && now->epoch > options_.reader.epoch;
}

// ---------------------------------------------------------------- start

absl::Status EngineLoop::Open() {
  LOCKSTEP_RETURN_IF_ERROR(buffer_->Open());
  LOCKSTEP_RETURN_IF_ERROR(OpenGate());
  LOCKSTEP_RETURN_IF_ERROR(ResolveDoubt());
  LOCKSTEP_ASSIGN_OR_RETURN(reader_, OpenReader());
  progress_->ready = true;
  return absl::OkStatus();
}

steady_clock::time_point EngineLoop::OpenBy() const {
  return steady_clock::now() + options_.open_patience;
}

bool EngineLoop::MayPass(CommitOutcome outcome, Refusal refusal) {
  return outcome == CommitOutcome::kUnknown || refusal == Refusal::kUnavailable ||
         refusal == Refusal::kNoDurableStandby;
}

bool EngineLoop::PauseBefore(steady_clock::time_point give_up) {
  if (steady_clock::now() >= give_up || stop_requested()) return false;
  std::this_thread::sleep_for(kRepeatPauseMax);
  return true;
}

absl::Status EngineLoop::WhyNotOpened(Refusal refusal, const absl::Status& why, bool create) const {
  const StreamName& stream = options_.reader.stream;
  if (refusal == Refusal::kNotFound && !create) {
    return NoCursorError(options_.group, stream, options_.mode);
  }
  return Annotate(
      why, absl::StrCat("open the gate of group ", options_.group, " on ", ToString(stream)));
}

void EngineLoop::ListDoubtful(const ReadyRecord& record) {
  ++result_.in_doubt;
  // Of a long list the first ones, and the last.
  std::vector<DoubtfulRecord>& list = result_.in_doubt_records;
  DoubtfulRecord& listed = list.size() < kInDoubtListMax ? list.emplace_back() : list.back();
  listed = {record.position, std::string(record.producer), record.term,
            record.seq,      std::string(record.view.at),  std::nullopt};
  if (record.view.key.has_value()) listed.key = std::string(*record.view.key);
}

absl::Status EngineLoop::EndListing(const absl::Status& resolved, const absl::Status& listed) {
  buffer_->parking().Clear();
  listed_whole_ = listed.ok();
  if (listed_whole_) return resolved;
  Log(LogLevel::kWarn, "in_doubt_list_incomplete",
      {{"stream", options_.reader.stream}, {"why", listed}});
  if (!absl::IsCancelled(listed)) return resolved;
  result_.held_in_doubt = false;
  return listed;
}

// ---------------------------------------------------------------- running

StreamEnd EngineLoop::Loop() {
  std::vector<ReadyRecord> records;
  absl::Status status;
  while (true) {
    status = FollowBudget();
    if (!status.ok()) break;
    status = reader_->Next(records, owes_done() ? kPollBusy : kPollIdle);
    if (!status.ok()) break;
    status = records.empty() ? WriteDone() : GiveOut(records);
    if (!status.ok()) break;
    NoteProgress();
    if (options_.until_end && reader_->read_a_page() && reader_->ReachedAll()) {
      status = WriteDone();
      if (!status.ok()) break;
      return {};
    }
    if (std::optional<StreamEnd> stalled = Stalled()) return End(*stalled);
    if (stop_requested()) {
      status = WriteDone();
      if (!status.ok()) break;
      if (!options_.until_end && Drained(records)) return {};
      return {ExitCode::kInterrupted, absl::CancelledError("stopped with work left")};
    }
  }
  return End(EndedBy(status));
}

// Whether all that there was left. A reader that has just begun, or has just given the last there
// is, does not know it yet: it looks on for a moment, and nothing that it finds goes out.
bool EngineLoop::Drained(std::vector<ReadyRecord>& records) {
  const auto give_up = steady_clock::now() + kLastLook;
  while (!reader_->nothing_left()) {
    if (reader_->waiting().has_value() || steady_clock::now() >= give_up) return false;
    if (!reader_->Next(records, kPollBusy).ok() || !records.empty()) return false;
  }
  return true;
}

// Best effort: a done only shortens the doubt.
StreamEnd EngineLoop::End(StreamEnd end) {
  ending_ = true;
  if (!absl::IsAborted(end.why)) WriteDone().IgnoreError();
  return end;
}

// Other streams of this process may have come or gone.
absl::Status EngineLoop::FollowBudget() {
  if (options_.share == nullptr || options_.share->part() == options_.buffer.budget) {
    return absl::OkStatus();
  }
  options_.buffer.budget = options_.share->part();
  return buffer_->SetBudget(options_.buffer.budget);
}

bool EngineLoop::HasEnd(const Waiting& /*waiting*/) const { return options_.until_end; }

StreamEnd EngineLoop::EndedBy(const absl::Status& status) const {
  return {StreamExitCode(status), status};
}

std::optional<StreamEnd> EngineLoop::Stalled() const {
  const std::optional<Waiting>& waiting = reader_->waiting();
  if (!waiting.has_value()) return std::nullopt;
  std::optional<StreamEnd> end =
      EndOfWaiting(options_.reader.stream, *waiting, steady_clock::now() - waiting->since,
                   HasEnd(*waiting), options_.stall_timeout);
  if (end.has_value() && absl::IsDataLoss(end->why)) end = EndedBy(end->why);
  return end;
}

absl::Status EngineLoop::CommitRepeatedly(const Attempt& attempt) {
  milliseconds pause{1};
  const auto since = steady_clock::now();
  for (bool told = false;; told = true) {
    lockstep::Commit<Moved> commit;
    switch (attempt(commit)) {
      case Gate::Answer::kGo:
        if (told) waiting_log_.WaitsForNothing();
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
    Waits(absl::StrCat("a durable cursor (", std::string(commit.why.message()), ")"), since);
    if (const auto stop_by = StopBy(); stop_by.has_value() && steady_clock::now() >= *stop_by) {
      return absl::CancelledError("stopped while a cursor commit was not durable");
    }
    std::this_thread::sleep_for(pause);
    pause = std::min(pause * 2, kRepeatPauseMax);
  }
}

// ---------------------------------------------------------------- what others ask

std::optional<steady_clock::time_point> EngineLoop::StopBy() {
  const bool stops = ending_ || (stop_requested_ != nullptr && (*stop_requested_)());
  if (!stops) return std::nullopt;
  const auto now = std::chrono::duration_cast<milliseconds>(steady_clock::now().time_since_epoch());
  int64_t stop_by_ms = 0;  // The first who sees the stop says when.
  const int64_t proposed = (now + options_.drain_timeout).count();
  if (stop_by_ms_.compare_exchange_strong(stop_by_ms, proposed)) stop_by_ms = proposed;
  return steady_clock::time_point(milliseconds(stop_by_ms));
}

void EngineLoop::Waits(const std::string& for_what, steady_clock::time_point since) {
  waiting_log_.Waits(for_what, since);
}

void EngineLoop::NoteProgress() {
  progress_->emitted = emitted_before_ + result_.emitted;
  progress_->replayed = result_.replayed;
  progress_->parked_records = buffer_->parking().stats().records;
  progress_->parked_bytes = buffer_->parking().stats().bytes;
  progress_->spill_bytes = buffer_->spill_bytes();
  if (progress_->expected == 0 && reader_->read_a_page()) {
    progress_->expected = progress_->emitted + result_.replayed + reader_->Left();
  }
  if (const std::optional<Waiting>& waiting = reader_->waiting(); waiting.has_value()) {
    waiting_log_.Waits(waiting->Describe(), waiting->since);
  } else {
    waiting_log_.WaitsForNothing();
  }
}

}  // namespace lockstep
