#include "reorder/stream_source.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"

#include "common/base/status_macros.h"
#include "db-ledger/kafka_sinks.h"

namespace lockstep {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kUnknownPause{200};
constexpr milliseconds kLookForRetirementEvery{5'000};

std::optional<std::string> Owned(const std::optional<std::string_view>& view) {
  if (!view.has_value()) return std::nullopt;
  return std::string(*view);
}

SourceEvent ToEvent(const ReadyRecord& record, std::vector<HeaderView>& headers) {
  SourceEvent event;
  event.at = ToString(record.position);
  event.payload.key = Owned(record.view.key);
  event.payload.value = Owned(record.view.value);
  event.payload.timestamp_ms = record.view.timestamp_ms;
  record.view.ReadHeaders(headers);
  for (const auto& [name, value] : headers) {
    event.payload.headers.emplace_back(std::string(name), Owned(value));
  }
  return event;
}

}  // namespace

StreamSource::StreamSource(StreamSourceOptions options, std::unique_ptr<Ledger> ledger,
                           std::shared_ptr<StreamSourceFacts> facts, StreamProgress& progress)
    : options_(std::move(options)),
      ledger_(std::move(ledger)),
      facts_(std::move(facts)),
      progress_(&progress),
      buffer_(Buffer::Make(options_.buffer, options_.reader)),
      waiting_log_(options_.reader.stream, options_.group, progress.waiting_since_ms) {
  if (options_.stop_requested) buffer_->StopWhen(options_.stop_requested);
}

StreamSource::~StreamSource() = default;

// The ledger that knows the resume point is the one that has the stream: it cannot be behind.
// The producer has opened: whoever retires it after this look seals what was opened.
absl::Status StreamSource::Start(const ResumePoint& point) {
  LOCKSTEP_RETURN_IF_ERROR(CheckNotRetired(*ledger_, options_.producer));
  retirement_looked_at_ = steady_clock::now();
  LOCKSTEP_RETURN_IF_ERROR(buffer_->Open());
  const std::string& from =
      point.floor.empty() && point.checkpoint ? *point.checkpoint : point.floor;
  if (from.empty()) return absl::OkStatus();
  auto position = ParsePosition(from);
  if (!position.ok()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "source position \"", from,
        "\" is no position of a stream: a producer of this name has written something else"));
  }
  options_.reader.after = *position;
  return absl::OkStatus();
}

// False: the ledger does not know the stream yet.
absl::StatusOr<bool> StreamSource::OpenReader() {
  LOCKSTEP_ASSIGN_OR_RETURN(const Ledger::Now now, ledger_->ReadNow());
  LOCKSTEP_ASSIGN_OR_RETURN(const std::vector<StreamInfo> streams,
                            ledger_->FindStreams(options_.reader.stream.topic));
  const auto known = std::find_if(streams.begin(), streams.end(), [&](const StreamInfo& info) {
    return info.name == options_.reader.stream;
  });
  if (known == streams.end()) return false;
  options_.reader.epoch = now.epoch;
  options_.reader.stream_id = known->id;
  LOCKSTEP_ASSIGN_OR_RETURN(reader_,
                            StreamReader::Open(options_.reader, *ledger_, buffer_->parking()));
  return true;
}

absl::Status StreamSource::Poll(size_t max, milliseconds timeout,
                                std::vector<SourceEvent>& events) {
  if (next_ == ready_.size()) {
    absl::Status status = CheckRetirement();
    if (status.ok()) status = Next(timeout);
    if (status.ok()) status = LookAround();
    NoteFacts();
    if (!status.ok()) {
      MutexLock lock(facts_->mu_);
      facts_->facts_.nothing_came = false;  // Nobody knows.
      return status;
    }
  }
  while (next_ < ready_.size() && events.size() < max) {
    events.push_back(ToEvent(ready_[next_++], headers_));
  }
  MutexLock lock(facts_->mu_);
  facts_->facts_.nothing_came = events.empty() && (reader_ == nullptr || reader_->nothing_left());
  if (!events.empty()) facts_->facts_.last_given = events.back().at;
  return absl::OkStatus();
}

// Replaces ready_ by what comes next, if anything does.
absl::Status StreamSource::Next(milliseconds timeout) {
  next_ = 0;
  ready_.clear();
  if (reader_ == nullptr) {
    LOCKSTEP_ASSIGN_OR_RETURN(const bool opened, OpenReader());
    if (!opened) {
      ended_ = options_.until_end;
      std::this_thread::sleep_for(std::min(timeout, kUnknownPause));
      return absl::OkStatus();
    }
  }
  const absl::Status status = reader_->Next(ready_, timeout);
  given_ += static_cast<int64_t>(ready_.size());
  if (!ready_.empty()) options_.reader.after = ready_.back().position;
  if (absl::IsUnavailable(status)) {
    // Final for this reader; another one begins where it stood.
    reader_.reset();
    buffer_->parking().Clear();
    return status;
  }
  if (absl::IsAborted(status)) {
    return absl::FailedPreconditionError(absl::StrCat("fenced: a new epoch took over stream ",
                                                      ToString(options_.reader.stream), " (",
                                                      std::string(status.message()), ")"));
  }
  if (!status.ok()) {
    MutexLock lock(facts_->mu_);
    facts_->facts_.end = StreamEnd{StreamExitCode(status), status};
  }
  return status;
}

// A ledger that does not answer says nothing about it.
absl::Status StreamSource::CheckRetirement() {
  const auto now = steady_clock::now();
  if (now - retirement_looked_at_ < kLookForRetirementEvery) return absl::OkStatus();
  retirement_looked_at_ = now;
  const absl::Status looked = CheckNotRetired(*ledger_, options_.producer);
  return absl::IsFailedPrecondition(looked) ? looked : absl::OkStatus();
}

// Has it come to its end, or does it wait for something that will not come?
absl::Status StreamSource::LookAround() {
  if (reader_ == nullptr) return absl::OkStatus();
  if (options_.until_end && ready_.empty() && reader_->read_a_page()) {
    ended_ = reader_->resequencer().ReachedAll(reader_->heads_at_start());
  }
  const std::optional<Waiting>& waiting = reader_->waiting();
  if (!waiting.has_value()) {
    waiting_log_.WaitsForNothing();
    return absl::OkStatus();
  }
  waiting_log_.Waits(waiting->Describe(), waiting->since);
  const std::optional<StreamEnd> end =
      EndOfWaiting(options_.reader.stream, *waiting, steady_clock::now() - waiting->since,
                   options_.until_end, options_.stall_timeout);
  if (!end.has_value()) return absl::OkStatus();
  MutexLock lock(facts_->mu_);
  facts_->facts_.end = end;
  // Not UNAVAILABLE: that would be asked again.
  return absl::OutOfRangeError(end->why.message());
}

void StreamSource::NoteFacts() {
  progress_->parked_records = buffer_->parking().stats().records;
  progress_->parked_bytes = buffer_->parking().stats().bytes;
  progress_->spill_bytes = buffer_->spill_bytes();
  if (progress_->expected == 0 && reader_ != nullptr && reader_->read_a_page()) {
    progress_->expected = given_ + reader_->Left();
  }
  MutexLock lock(facts_->mu_);
  StreamSourceFacts::Facts& facts = facts_->facts_;
  facts.parking = buffer_->parking().stats();
  facts.wire_bytes = buffer_->wire_bytes();
  facts.spill_pause = buffer_->longest_pause();
  facts.waiting = reader_ != nullptr && reader_->waiting().has_value();
  if (reader_ == nullptr) return;
  facts.counts = reader_->counts();
  facts.polls = reader_->polls();
}

void StreamSource::Acknowledge(std::string_view at, std::string_view /*checkpoint*/) {
  MutexLock lock(facts_->mu_);
  facts_->facts_.acknowledged = at;
}

}  // namespace lockstep
