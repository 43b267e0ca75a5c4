#include "reorder/producer_order_reader.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

#include "common/base/status_macros.h"
#include "common/kafka/kafka_message.h"
#include "common/log/log.h"

namespace lockstep {
namespace {

using std::chrono::milliseconds;

// The epoch's first producer may open, and make its topic, long after reading began.
constexpr milliseconds kCurrentInterval{1'000};

ProducerOrderOptions OrderOptions(const StreamReaderOptions& options) {
  return {.stream = options.stream,
          .epoch = options.epoch,
          .topics = static_cast<int>(options.topics.size()),
          .foreign = options.foreign,
          .ready_max = options.batch_records_max,
          .ready_bytes_max = options.ready_bytes_max};
}

}  // namespace

absl::StatusOr<std::unique_ptr<ProducerOrderReader>> ProducerOrderReader::Open(
    const StreamReaderOptions& options, std::map<ProducerId, Seq> done, Ledger& ledger,
    SeqCursors& cursors, ParkingBuffer& parking) {
  LOCKSTEP_ASSIGN_OR_RETURN(RunMarks marks, cursors.MarksAfterSeqs(options.stream_id, done));
  LOCKSTEP_ASSIGN_OR_RETURN(std::unique_ptr<KafkaReader> kafka, OpenKafka(options));
  std::unique_ptr<ProducerOrderReader> reader(
      new ProducerOrderReader(options, std::move(done), ledger, parking, std::move(kafka)));
  reader->order_.set_marks(std::move(marks));
  return reader;
}

ProducerOrderReader::ProducerOrderReader(const StreamReaderOptions& options,
                                         std::map<ProducerId, Seq> done, Ledger& ledger,
                                         ParkingBuffer& parking, std::unique_ptr<KafkaReader> kafka)
    : RecordReader(options, ledger, std::move(kafka)),
      order_(OrderOptions(options), std::move(done), parking) {}

absl::Status ProducerOrderReader::Next(std::vector<ReadyRecord>& out, milliseconds timeout) {
  const Clock::time_point deadline = Clock::now() + timeout;
  out.clear();
  order_.Release();
  while (out.empty() && error_.ok()) {
    error_ = Step(out, deadline);
    if (Clock::now() >= deadline) break;
  }
  if (!out.empty() && waiting_.has_value() && IsOver(*waiting_)) waiting_.reset();
  return out.empty() ? error_ : absl::OkStatus();  // What was ready before an error goes out first.
}

// As far as what went out says: while others keep coming, nothing else does.
bool ProducerOrderReader::IsOver(const Waiting& waiting) const {
  switch (waiting.what) {
    case Waiting::For::kFrozenRecord:
    case Waiting::For::kLogRecord:
      return order_.WentOut(waiting.producer, waiting.seq);
    case Waiting::For::kLedgerRow:
      return !order_.IsUnsettled(waiting.producer, waiting.term, waiting.seq);
    case Waiting::For::kLedger:
    case Waiting::For::kBrokers:
      return true;
    case Waiting::For::kLog:
      break;  // Not waited for here.
  }
  return false;
}

absl::Status ProducerOrderReader::Step(std::vector<ReadyRecord>& out, Clock::time_point deadline) {
  if (order_.drain_pending()) {
    if (out.empty()) order_.Release();  // What was skipped may be all that views keep.
    return order_.DrainParked(out);
  }
  if (order_.needs_page()) {
    LOCKSTEP_ASSIGN_OR_RETURN(const bool read, ReadPage(out));
    if (!read) Pause(deadline);
    return absl::OkStatus();
  }
  if (started_.empty()) {
    const absl::Status started = Start();
    if (!absl::IsUnavailable(started)) return started;
    Wait({.what = Waiting::For::kBrokers, .why = std::string(started.message())});
    Pause(deadline);
    return absl::OkStatus();
  }
  LOCKSTEP_RETURN_IF_ERROR(FollowCurrent());
  if (next_ == batch_.records.size()) {
    // While something waits for its row, the ledger is asked again soon.
    const auto soon = order_.wants_page() ? std::min(deadline, Clock::now() + pause_) : deadline;
    LOCKSTEP_RETURN_IF_ERROR(Fetch(soon));
    fetched_ = Clock::now();
    if (batch_.records.empty()) NoteEnd();
  }
  const bool came = next_ < batch_.records.size();
  const int64_t unsettled = order_.unsettled();
  LOCKSTEP_RETURN_IF_ERROR(Offer(out, deadline));
  if (order_.unsettled() > unsettled) PauseLess();  // Its row comes in a moment.
  if (came && !order_.needs_page() && !order_.drain_pending()) {
    std::optional<Waiting> waits = WaitsForRecord();
    if (WasReadOver(waits)) Wait(*std::move(waits));
  }
  const bool ask = order_.wants_page() && Clock::now() - last_page_ >= pause_;
  if (!ask && !page_is_old()) return absl::OkStatus();
  if (ask) PauseMore();
  return ReadPage(out).status();
}

absl::StatusOr<bool> ProducerOrderReader::ReadPage(std::vector<ReadyRecord>& out) {
  LOCKSTEP_ASSIGN_OR_RETURN(std::optional<StreamPage> page,
                            AskLedger({.stream = options_.stream_id,
                                       .after = order_.MarksToRead(page_size_.runs_per_producer()),
                                       .runs_per_producer_max = page_size_.runs_per_producer()}));
  if (!page.has_value()) return false;
  page_size_.Saw(*page, order_.ProducersToRead());
  const size_t before = out.size();
  LOCKSTEP_RETURN_IF_ERROR(order_.AddPage(std::move(*page), out));
  if (out.size() > before) PauseLess();
  return true;
}

// The current epoch's log, if it is one of these brokers' topics.
absl::StatusOr<std::optional<LogInfo>> ProducerOrderReader::CurrentHere() {
  absl::StatusOr<std::optional<LogInfo>> log = CurrentLog();
  if (log.ok() && log->has_value() && (*log)->cluster_id != options_.cluster_id) log->reset();
  return log;
}

// Whether all that is wanted lies in it.
absl::StatusOr<bool> ProducerOrderReader::StartCurrent() {
  LOCKSTEP_ASSIGN_OR_RETURN(const std::optional<LogInfo> log, CurrentHere());
  if (!log.has_value()) return false;
  const std::optional<Offset> wanted = order_.FirstWanted(log->start);
  if (!wanted.has_value()) return false;
  const StreamName own{log->topic, options_.stream.partition};
  LOCKSTEP_ASSIGN_OR_RETURN(const LogOffsets offsets, Offsets(own));
  LOCKSTEP_RETURN_IF_ERROR(CheckSent(offsets));
  const Offset from = std::clamp(*wanted, offsets.lo_offset, offsets.hi_offset);
  LOCKSTEP_RETURN_IF_ERROR(BeginIn(own, from, offsets.hi_offset));
  current_ = 0;
  return true;
}

// The current epoch's log has what was sent of it (I2).
absl::Status ProducerOrderReader::CheckSent(const LogOffsets& offsets) const {
  const std::optional<Offset> last = order_.LastSent();
  if (!last.has_value() || *last < offsets.hi_offset) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(
      "inconsistent-offsets in stream ", ToString(options_.stream), ": offset ", last->value(),
      " was sent before, the log ends at ", offsets.hi_offset.value(), " now"));
}

// All topics are read that were there; the current epoch's log may not have been.
absl::Status ProducerOrderReader::FollowCurrent() {
  if (current_.has_value() || Clock::now() - current_looked_for_ < kCurrentInterval) {
    return absl::OkStatus();
  }
  current_looked_for_ = Clock::now();
  const absl::Status begun = BeginCurrent();
  // The next page says of the ledger that it is away; a topic that was just made is not known yet.
  const bool later = absl::IsUnavailable(begun) || absl::IsNotFound(begun);
  return later ? absl::OkStatus() : begun;
}

absl::Status ProducerOrderReader::BeginCurrent() {
  LOCKSTEP_ASSIGN_OR_RETURN(const std::optional<LogInfo> log, CurrentHere());
  if (!log.has_value()) return absl::OkStatus();
  const StreamName own{log->topic, options_.stream.partition};
  LOCKSTEP_ASSIGN_OR_RETURN(const LogOffsets offsets, Offsets(own));
  LOCKSTEP_RETURN_IF_ERROR(CheckSent(offsets));
  const auto found = std::find(started_.begin(), started_.end(), own);
  const auto index = static_cast<size_t>(found - started_.begin());
  if (found == started_.end()) {
    LOCKSTEP_RETURN_IF_ERROR(BeginIn(own, offsets.lo_offset, offsets.hi_offset));
    Log(LogLevel::kInfo, "reads_the_epochs_log", {{"stream", options_.stream}, {"log", own}});
  }
  current_ = index;
  return absl::OkStatus();
}

absl::Status ProducerOrderReader::Start() {
  LOCKSTEP_ASSIGN_OR_RETURN(const bool started, StartCurrent());
  if (started) return absl::OkStatus();
  std::vector<LogOffsets> ranges;
  for (const std::string& topic : options_.topics) {
    LOCKSTEP_ASSIGN_OR_RETURN(const LogOffsets offsets,
                              Offsets({topic, options_.stream.partition}));
    ranges.push_back(offsets);
  }
  for (size_t i = 0; i < ranges.size(); ++i) {
    LOCKSTEP_RETURN_IF_ERROR(BeginIn({options_.topics[i], options_.stream.partition},
                                     ranges[i].lo_offset, ranges[i].hi_offset));
  }
  return absl::OkStatus();
}

absl::Status ProducerOrderReader::BeginIn(const StreamName& log, Offset from, Offset end) {
  LOCKSTEP_RETURN_IF_ERROR(Begin(log, from));
  was_there_.push_back(from < end ? std::optional(end) : std::nullopt);
  return absl::OkStatus();
}

bool ProducerOrderReader::read_what_was_there() const {
  return !started_.empty() && !order_.drain_pending() &&
         std::none_of(was_there_.begin(), was_there_.end(),
                      [](const auto& end) { return end.has_value(); });
}

absl::Status ProducerOrderReader::Offer(std::vector<ReadyRecord>& out, Clock::time_point deadline) {
  while (next_ < batch_.records.size() && out.size() < options_.batch_records_max &&
         !order_.drain_pending()) {
    LOCKSTEP_ASSIGN_OR_RETURN(const FetchedRecord* const next, NextRecord());
    const FetchedRecord& record = *next;
    const KafkaMessage& message = batch_.records[next_];
    const bool is_new =
        !record.foreign && !order_.Knows(record.header.producer) && page_read_ < fetched_;
    if (is_new || order_.needs_page()) {
      LOCKSTEP_ASSIGN_OR_RETURN(const bool read, ReadPage(out));
      if (read) continue;
      Pause(deadline);
      return absl::OkStatus();
    }
    const int log = LogIndex(message);
    Passed(log, message.offset());
    std::optional<Offset>& was_there = was_there_[static_cast<size_t>(log)];
    if (was_there.has_value() && message.offset() + 1 >= *was_there) was_there.reset();
    LOCKSTEP_RETURN_IF_ERROR(order_.Take(log, record, out));
    ++next_;
  }
  return absl::OkStatus();
}

// Nothing came: what is missing, if anything is known to be?
void ProducerOrderReader::NoteEnd() {
  if (!at_ends()) return;
  std::fill(was_there_.begin(), was_there_.end(), std::nullopt);  // Or it ended with markers.
  std::optional<Waiting> waits = WaitsForRecord();
  if (!waits.has_value()) {
    StopWaitingForRecords();
  } else if (ConfirmEnds()) {
    Wait(*std::move(waits));
  }
}

bool ProducerOrderReader::nothing_left() const {
  return RecordReader::nothing_left() && !order_.needs_page() && !order_.drain_pending() &&
         !order_.Missing().has_value() && order_.unsettled() == 0;
}

// Whatever one producer waits for, the others go on. Only a log that has lost its end is no log to
// go on with.
std::optional<Waiting> ProducerOrderReader::WaitsForRecord() const {
  if (const auto missing = order_.Missing()) {
    const bool is_above = current_.has_value() && missing->position.epoch == options_.epoch &&
                          end_[*current_].has_value() &&
                          *end_[*current_] <= missing->position.offset;
    return Waiting{.what = is_above ? Waiting::For::kLogRecord : Waiting::For::kFrozenRecord,
                   .producer = missing->producer,
                   .term = missing->term,
                   .seq = missing->seq,
                   .position = missing->position};
  }
  const auto unnamed = order_.Unsettled();
  if (!unnamed.has_value()) return std::nullopt;
  Waiting waits{.what = Waiting::For::kLedgerRow,
                .producer = unnamed->producer,
                .term = unnamed->term,
                .seq = unnamed->seq};
  const bool in_current = current_ == static_cast<size_t>(unnamed->topic);
  if (in_current && unnamed->log_offset.has_value()) {
    waits.position = {options_.epoch, *unnamed->log_offset};
  }
  return waits;
}

}  // namespace lockstep
