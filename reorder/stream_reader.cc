#include "reorder/stream_reader.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/kafka/kafka_message.h"
#include "common/log/log.h"
#include "reorder/kafka_record.h"

namespace lockstep {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kProbeTimeout{2'000};
// Reading so many records costs no more than looking further.
constexpr int64_t kBisectedEnough = 10'000;

}  // namespace

absl::StatusOr<std::unique_ptr<StreamReader>> StreamReader::Open(StreamReaderOptions options,
                                                                 Ledger& ledger,
                                                                 ParkingBuffer& parking) {
  LOCKSTEP_ASSIGN_OR_RETURN(std::unique_ptr<KafkaReader> kafka, OpenKafka(options));
  std::unique_ptr<StreamReader> reader(
      new StreamReader(std::move(options), ledger, parking, std::move(kafka)));
  LOCKSTEP_ASSIGN_OR_RETURN(RunMarks marks,
                            ledger.MarksAfter(reader->options_.stream_id, reader->options_.after));
  reader->resequencer_->set_marks(std::move(marks));
  return reader;
}

StreamReader::StreamReader(StreamReaderOptions options, Ledger& ledger, ParkingBuffer& parking,
                           std::unique_ptr<KafkaReader> kafka)
    : RecordReader(std::move(options), ledger, std::move(kafka)),
      parking_(&parking),
      resequencer_(MakeResequencer(options_, options_.after, parking)),
      last_given_(options_.after) {}

std::unique_ptr<Resequencer> StreamReader::MakeResequencer(const StreamReaderOptions& options,
                                                           std::optional<Position> after,
                                                           ParkingBuffer& parking) {
  ResequencerOptions resequencer;
  resequencer.stream = options.stream;
  resequencer.epoch = options.epoch;
  resequencer.after = after;
  resequencer.topics = static_cast<int>(options.topics.size());
  resequencer.foreign = options.foreign;
  resequencer.ready_max = options.batch_records_max;
  resequencer.ready_bytes_max = options.ready_bytes_max;
  return std::make_unique<Resequencer>(std::move(resequencer), parking);
}

absl::Status StreamReader::Next(std::vector<ReadyRecord>& out, milliseconds timeout) {
  const Clock::time_point deadline = Clock::now() + timeout;
  out.clear();
  resequencer_->Release();
  while (out.empty()) {
    if (MayStartOver(error_)) {
      const absl::Status started = StartOver();
      if (absl::IsUnavailable(started)) {
        Wait({.what = Waiting::For::kLedger, .why = std::string(started.message())});
        Pause(deadline);
        if (Clock::now() >= deadline) break;
        continue;
      }
      error_ = started;
    }
    if (!error_.ok()) return error_;
    error_ = Step(out, deadline);
    if (Clock::now() >= deadline) break;
  }
  // What was ready before an error goes out first; the error is looked at by the next call.
  if (out.empty()) return MayStartOver(error_) ? absl::OkStatus() : error_;
  last_given_ = out.back().position;
  waiting_.reset();
  return absl::OkStatus();
}

int64_t StreamReader::Left() const {
  int64_t left = 0;
  for (const Head& head : heads_at_start_) {
    const std::optional<Seq> next = resequencer_->next_seq(head.name);
    if (next.has_value() && head.last_seq >= *next) left += head.last_seq - *next + 1;
  }
  return left;
}

ResequencerCounts StreamReader::counts() const {
  ResequencerCounts counts = resequencer_->counts();
  counts.first_hits += counts_before_.first_hits;
  counts.buffer_hits += counts_before_.buffer_hits;
  counts.duplicates_dropped += counts_before_.duplicates_dropped;
  counts.void_dropped += counts_before_.void_dropped;
  counts.foreign_passed += counts_before_.foreign_passed;
  return counts;
}

// One step towards the next record.
absl::Status StreamReader::Step(std::vector<ReadyRecord>& out, Clock::time_point deadline) {
  if (resequencer_->drain_pending()) {
    if (out.empty()) resequencer_->Release();  // What was skipped may be all that views keep.
    const absl::Status drained = resequencer_->DrainParked(out);
    if (!absl::IsUnavailable(drained)) return drained;
    Wait({.what = Waiting::For::kBrokers, .why = std::string(drained.message())});
    if (out.empty()) Pause(deadline);
    return absl::OkStatus();
  }
  if (!read_a_page_ || resequencer_->needs_page()) {
    LOCKSTEP_ASSIGN_OR_RETURN(const bool read, ReadPage(out));
    if (!read) Pause(deadline);
    return absl::OkStatus();
  }
  const bool current = resequencer_->phase() == Resequencer::Phase::kCurrent;
  if (started_.empty() || current != reads_current_) {
    const absl::Status started = current ? StartCurrent() : StartFrozen();
    if (absl::IsUnavailable(started)) {
      Wait({.what = Waiting::For::kBrokers, .why = std::string(started.message())});
    } else {
      LOCKSTEP_RETURN_IF_ERROR(started);
    }
    if (!started_.empty() && current == reads_current_) return absl::OkStatus();
    Pause(deadline);
    return page_is_old() ? ReadPage(out).status() : absl::OkStatus();
  }
  if (next_ == batch_.records.size()) {
    LOCKSTEP_RETURN_IF_ERROR(FetchInRange(deadline));
    if (started_.empty()) return absl::OkStatus();
    if (batch_.records.empty()) {
      LOCKSTEP_RETURN_IF_ERROR(NoteEnd());
      // While nothing arrives nothing has to be settled.
      if (page_is_old()) LOCKSTEP_RETURN_IF_ERROR(ReadPage(out).status());
      return absl::OkStatus();
    }
  }
  LOCKSTEP_ASSIGN_OR_RETURN(const bool blocked, Offer(out));
  if (!out.empty()) return absl::OkStatus();
  if (!blocked) return NoteMissing();
  // The first look is at once; after that the ledger is asked less and less often.
  if (asked_for_blocked_) Pause(deadline);
  asked_for_blocked_ = true;
  return ReadPage(out).status();
}

absl::StatusOr<bool> StreamReader::ReadPage(std::vector<ReadyRecord>& out) {
  LOCKSTEP_ASSIGN_OR_RETURN(std::optional<StreamPage> page,
                            AskLedger({.stream = options_.stream_id,
                                       .after = resequencer_->marks(),
                                       .runs_per_producer_max = page_size_.runs_per_producer()}));
  if (!page.has_value()) return false;
  page_size_.Saw(*page);
  // A parked record that the buffer cannot give back now is asked for again by Step.
  const absl::Status added = resequencer_->AddPage(std::move(*page), out);
  if (!absl::IsUnavailable(added)) LOCKSTEP_RETURN_IF_ERROR(added);
  return true;
}

// ---------------------------------------------------------------- Kafka

// A hole, or a record that is nowhere, may only mean that reading began too late.
bool StreamReader::MayStartOver(const absl::Status& error) const {
  return bisected_ && absl::IsDataLoss(error) && !IsInconsistentOffsets(error);
}

// UNAVAILABLE: nothing was done yet.
absl::Status StreamReader::StartOver() {
  LOCKSTEP_ASSIGN_OR_RETURN(RunMarks marks, ledger_->MarksAfter(options_.stream_id, last_given_));
  StopWaitingFor(Waiting::For::kLedger);
  Log(LogLevel::kInfo, "reads_from_the_start", {{"stream", options_.stream}});
  LOCKSTEP_RETURN_IF_ERROR(StopAll());
  bisected_ = false;
  counts_before_ = counts();
  parking_->Clear();
  resequencer_ = MakeResequencer(options_, last_given_, *parking_);
  resequencer_->set_marks(std::move(marks));
  options_.bisect_records_min = INT64_MAX;
  return absl::OkStatus();
}

// Whether the first record at or above `offset` was sent before; false also at the log's end.
absl::StatusOr<bool> StreamReader::WasSent(const StreamName& log, Offset offset) {
  LOCKSTEP_RETURN_IF_ERROR(kafka_->Seek(log, offset));
  ReaderBatch batch;
  LOCKSTEP_RETURN_IF_ERROR(kafka_->Poll(kProbeTimeout, batch));
  for (const KafkaMessage& message : batch.records) {
    if (message.topic() != log.topic || message.offset() < offset) continue;
    FetchedRecord record;
    LOCKSTEP_RETURN_IF_ERROR(ReadFetchedRecord(message, record));
    if (record.foreign) continue;
    const std::optional<Seq> next = resequencer_->next_seq(record.header.producer);
    return next.has_value() && record.header.seq < *next;
  }
  return false;
}

// A place in the topic before which all was sent, as far as bisection can tell; near enough.
absl::StatusOr<Offset> StreamReader::FindStart(const StreamName& log) {
  LOCKSTEP_ASSIGN_OR_RETURN(const LogOffsets offsets, Offsets(log));
  Offset sent = offsets.lo_offset;
  Offset unsent = offsets.hi_offset;
  if (!options_.after.has_value() || unsent - sent < options_.bisect_records_min) return sent;
  LOCKSTEP_RETURN_IF_ERROR(kafka_->Start(log, sent));
  absl::Status status;
  while (status.ok() && unsent - sent > std::min(kBisectedEnough, options_.bisect_records_min)) {
    const Offset middle = sent + (unsent - sent) / 2;
    const absl::StatusOr<bool> was_sent = WasSent(log, middle);
    status = was_sent.status();
    if (status.ok()) (*was_sent ? sent : unsent) = middle;
  }
  LOCKSTEP_RETURN_IF_ERROR(kafka_->Stop(log));
  LOCKSTEP_RETURN_IF_ERROR(status);
  if (sent != offsets.lo_offset) bisected_ = true;
  return sent;
}

absl::Status StreamReader::StartFrozen() {
  std::vector<Offset> starts;
  for (const std::string& topic : options_.topics) {
    LOCKSTEP_ASSIGN_OR_RETURN(const Offset start, FindStart({topic, options_.stream.partition}));
    starts.push_back(start);
  }
  for (size_t i = 0; i < starts.size(); ++i) {
    LOCKSTEP_RETURN_IF_ERROR(Begin({options_.topics[i], options_.stream.partition}, starts[i]));
  }
  return absl::OkStatus();
}

// From all topics to the current epoch's log alone, or nothing yet if it has none.
absl::Status StreamReader::StartCurrent() {
  LOCKSTEP_ASSIGN_OR_RETURN(const std::optional<LogInfo> log, CurrentLog());
  has_no_log_ = !log.has_value();
  if (has_no_log_) {
    // Of a stream that nobody ever wrote to nothing is expected.
    if (!heads_at_start().empty()) Wait({.what = Waiting::For::kLog});
    return absl::OkStatus();
  }
  if (log->cluster_id != options_.cluster_id) {
    return absl::FailedPreconditionError(
        absl::StrCat("epoch ", options_.epoch.value(), " of ", ToString(options_.stream),
                     " is written on Kafka cluster ", log->cluster_id, "; --brokers reach cluster ",
                     options_.cluster_id, ". A gate reads the log where its offsets are true"));
  }
  const StreamName own{log->topic, options_.stream.partition};
  LOCKSTEP_ASSIGN_OR_RETURN(const LogOffsets offsets, Offsets(own));
  const Offset start = resequencer_->current_start(log->start);
  LOCKSTEP_RETURN_IF_ERROR(CheckRange(start, offsets));
  LOCKSTEP_RETURN_IF_ERROR(StopAll());
  next_offset_ = std::max(start, offsets.lo_offset);
  LOCKSTEP_RETURN_IF_ERROR(Begin(own, next_offset_));
  bisected_ = false;
  reads_current_ = true;
  return absl::OkStatus();
}

// Whether the log still holds what lies at `from` and above, as far as the ledger names it.
absl::Status StreamReader::CheckRange(Offset from, const LogOffsets& offsets) const {
  const std::optional<Resequencer::Wanted> wanted = resequencer_->CurrentWanted();
  if (from > offsets.hi_offset) {
    return absl::DataLossError(absl::StrCat(
        "inconsistent-offsets in stream ", ToString(options_.stream), ": offset ", from.value() - 1,
        " was read before, the log ends at ", offsets.hi_offset.value(), " now"));
  }
  if (from < offsets.lo_offset && wanted.has_value() &&
      wanted->position.offset < offsets.lo_offset) {
    return absl::DataLossError(
        absl::StrCat("hole in stream ", ToString(options_.stream), ": (", wanted->producer,
                     ", term ", wanted->term.value(), ", seq ", wanted->seq.value(), "), position ",
                     ToString(wanted->position), ", was removed by retention: the log begins at ",
                     offsets.lo_offset.value()));
  }
  return absl::OkStatus();
}

absl::Status StreamReader::FetchInRange(Clock::time_point deadline) {
  const absl::Status fetched = Fetch(deadline);
  if (absl::IsOutOfRange(fetched) && reads_current_) {
    LOCKSTEP_ASSIGN_OR_RETURN(const LogOffsets offsets, Offsets(started_[0]));
    LOCKSTEP_RETURN_IF_ERROR(CheckRange(next_offset_, offsets));
  }
  if (absl::IsOutOfRange(fetched) && !reads_current_) {
    // What is gone may have been a copy of what another topic has. If not, what lies behind it
    // shows a hole, which has a name.
    Log(LogLevel::kWarn, "reads_from_the_start",
        {{"stream", options_.stream},
         {"why", "retention or truncation removed what was to be read next"}});
    return StopAll();
  }
  return fetched;
}

// Offers what was fetched until something is blocked, enough is ready, or the frozen epochs are
// over. Returns whether a record is blocked.
absl::StatusOr<bool> StreamReader::Offer(std::vector<ReadyRecord>& out) {
  while (next_ < batch_.records.size() && out.size() < options_.batch_records_max) {
    LOCKSTEP_ASSIGN_OR_RETURN(const FetchedRecord* const next, NextRecord());
    const FetchedRecord& record = *next;
    KafkaMessage& message = batch_.records[next_];
    const int topic = LogIndex(message);
    const Offset offset = record.view.log_offset;
    const size_t ready_before = out.size();
    const auto taken = reads_current_ ? resequencer_->TakeCurrent(record, out)
                                      : resequencer_->TakeFrozen(topic, record, out);
    LOCKSTEP_RETURN_IF_ERROR(taken.status());
    if (*taken == Resequencer::Taken::kBlocked) {
      if (reads_current_) {
        Wait({.what = Waiting::For::kLedgerRow,
              .producer = std::string(record.header.producer),
              .term = record.header.term,
              .seq = record.header.seq,
              .position = {options_.epoch, offset}});
      }
      return true;
    }
    // Parked (a copy) or dropped: it goes back while it is in the processor's cache.
    if (out.size() == ready_before) const KafkaMessage done = std::move(message);
    ++next_;
    ++records_read_;
    asked_for_blocked_ = false;
    PauseLess();
    Passed(topic, offset);
    if (reads_current_) {
      next_offset_ = offset + 1;
    } else if (resequencer_->phase() == Resequencer::Phase::kCurrent) {
      break;
    }
  }
  return false;
}

// ---------------------------------------------------------------- waiting

std::optional<Waiting> StreamReader::WantedRecord() const {
  const std::optional<Resequencer::Wanted> wanted =
      reads_current_ ? resequencer_->CurrentWanted() : resequencer_->FrozenWanted();
  if (!wanted.has_value()) return std::nullopt;
  return Waiting{.what = reads_current_ ? Waiting::For::kLogRecord : Waiting::For::kFrozenRecord,
                 .producer = wanted->producer,
                 .term = wanted->term,
                 .seq = wanted->seq,
                 .position = wanted->position};
}

// Nothing came: what is missing, if anything is known to be?
absl::Status StreamReader::NoteEnd() {
  if (!at_ends()) return absl::OkStatus();
  std::optional<Waiting> wanted = WantedRecord();
  if (!wanted.has_value()) {
    StopWaitingForRecords();
  } else if (ConfirmEnds()) {
    if (bisected_) return absl::DataLossError("reading began too late");  // MayStartOver.
    Wait(*std::move(wanted));
  }
  return absl::OkStatus();
}

// The same where records of the new epoch keep coming into a topic.
absl::Status StreamReader::NoteMissing() {
  if (reads_current_ || resequencer_->needs_page() || resequencer_->drain_pending()) {
    return absl::OkStatus();
  }
  std::optional<Waiting> wanted = WantedRecord();
  if (!WasReadOver(wanted)) return absl::OkStatus();
  if (bisected_) return absl::DataLossError("reading began too late");  // MayStartOver.
  Wait(*std::move(wanted));
  return absl::OkStatus();
}

bool StreamReader::nothing_left() const {
  if (resequencer_->needs_page() || resequencer_->drain_pending()) return false;
  if (has_no_log_) return true;
  const bool current = resequencer_->phase() == Resequencer::Phase::kCurrent;
  return RecordReader::nothing_left() && current == reads_current_ && !WantedRecord().has_value();
}

}  // namespace lockstep
