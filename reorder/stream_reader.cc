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

constexpr milliseconds kPauseMin{1};
constexpr milliseconds kPauseMax{50};
constexpr milliseconds kBrokerTimeout{5'000};
constexpr milliseconds kProbeTimeout{2'000};
// Reading so many records costs no more than looking further.
constexpr int64_t kBisectedEnough = 10'000;
// While nothing arrives nothing has to be settled; the ledger is looked at only to notice a new
// epoch.
constexpr std::chrono::seconds kIdleLedgerInterval{1};

}  // namespace

std::string Waiting::Describe() const {
  const std::string record = absl::StrCat("(", producer, ", term ", term.value(), ", seq ",
                                          seq.value(), ") at ", ToString(position));
  std::string text;
  switch (what) {
    case For::kFrozenRecord:
      text = absl::StrCat(record, ": in no topic here, read to the end");
      break;
    case For::kLedgerRow:
      text = absl::StrCat(record, ": in the log, not settled by the ledger");
      break;
    case For::kLogRecord:
      text = absl::StrCat(record, ": in the ledger, above the end of the log");
      break;
    case For::kLedger:
      text = "the ledger";
      break;
    case For::kBrokers:
      text = "Kafka";
      break;
    case For::kLog:
      text = "the first producer of this epoch";
      break;
  }
  return why.empty() ? text : absl::StrCat(text, " (", why, ")");
}

absl::StatusOr<std::unique_ptr<StreamReader>> StreamReader::Open(StreamReaderOptions options,
                                                                 Ledger& ledger,
                                                                 ParkingBuffer& parking) {
  KafkaReaderOptions kafka_options;
  kafka_options.kafka = options.kafka;
  kafka_options.batch_records_max = options.batch_records_max;
  kafka_options.fetch_kbytes_max = options.ahead_kbytes_max;
  kafka_options.statistics_interval_ms = options.statistics_interval_ms;
  kafka_options.on_statistics = options.on_statistics;
  LOCKSTEP_ASSIGN_OR_RETURN(std::unique_ptr<KafkaReader> kafka, KafkaReader::Open(kafka_options));
  std::unique_ptr<StreamReader> reader(
      new StreamReader(std::move(options), ledger, parking, std::move(kafka)));
  LOCKSTEP_ASSIGN_OR_RETURN(RunMarks marks,
                            ledger.MarksAfter(reader->options_.stream_id, reader->options_.after));
  reader->resequencer_->set_marks(std::move(marks));
  return reader;
}

StreamReader::StreamReader(StreamReaderOptions options, Ledger& ledger, ParkingBuffer& parking,
                           std::unique_ptr<KafkaReader> kafka)
    : options_(std::move(options)),
      ledger_(&ledger),
      parking_(&parking),
      kafka_(std::move(kafka)),
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

StreamReader::~StreamReader() = default;

absl::Status StreamReader::Next(std::vector<ReadyRecord>& out, milliseconds timeout) {
  const Clock::time_point deadline = Clock::now() + timeout;
  out.clear();
  resequencer_->Release();
  while (out.empty()) {
    if (MayStartOver(error_)) error_ = StartOver();
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
    return Clock::now() - last_page_ > kIdleLedgerInterval ? ReadPage(out).status()
                                                           : absl::OkStatus();
  }
  if (next_ == batch_.records.size()) {
    LOCKSTEP_RETURN_IF_ERROR(Fetch(deadline));
    if (batch_.records.empty()) {
      LOCKSTEP_RETURN_IF_ERROR(NoteEnd());
      if (Clock::now() - last_page_ > kIdleLedgerInterval) {
        LOCKSTEP_RETURN_IF_ERROR(ReadPage(out).status());
      }
      return absl::OkStatus();
    }
  }
  LOCKSTEP_ASSIGN_OR_RETURN(const bool blocked, Offer(out));
  if (!blocked || !out.empty()) return absl::OkStatus();
  // The first look is at once; after that the ledger is asked less and less often.
  if (asked_for_blocked_) Pause(deadline);
  asked_for_blocked_ = true;
  return ReadPage(out).status();
}

absl::StatusOr<bool> StreamReader::ReadPage(std::vector<ReadyRecord>& out) {
  auto page = ledger_->ReadStream({.stream = options_.stream_id,
                                   .after = resequencer_->marks(),
                                   .runs_per_producer_max = page_size_.runs_per_producer()});
  last_page_ = Clock::now();
  if (absl::IsUnavailable(page.status())) {
    const std::string why(page.status().message());
    if (waiting_.has_value() && waiting_->what == Waiting::For::kLedgerRow) {
      waiting_->why = why;
    } else {
      Wait({.what = Waiting::For::kLedger, .why = why});
    }
    return false;
  }
  LOCKSTEP_RETURN_IF_ERROR(
      Annotate(page.status(), absl::StrCat("read ", ToString(options_.stream), " in the ledger")));
  page_size_.Saw(*page);
  if (!read_a_page_) {
    read_a_page_ = true;
    heads_at_start_ = page->heads;
  }
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

absl::Status StreamReader::StartOver() {
  Log(LogLevel::kInfo, "reads_from_the_start", {{"stream", options_.stream}});
  for (const StreamName& log : started_) LOCKSTEP_RETURN_IF_ERROR(kafka_->Stop(log));
  started_.clear();
  batch_.records.clear();
  next_ = 0;
  bisected_ = false;
  counts_before_ = counts();
  parking_->Clear();
  resequencer_ = MakeResequencer(options_, last_given_, *parking_);
  LOCKSTEP_ASSIGN_OR_RETURN(RunMarks marks, ledger_->MarksAfter(options_.stream_id, last_given_));
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
    LOCKSTEP_ASSIGN_OR_RETURN(const FetchedRecord record, FetchedRecordOf(message));
    if (record.foreign) continue;
    const std::optional<Seq> next = resequencer_->next_seq(record.header.producer);
    return next.has_value() && record.header.seq < *next;
  }
  return false;
}

// A place in the topic before which all was sent, as far as bisection can tell; near enough.
absl::StatusOr<Offset> StreamReader::FindStart(const StreamName& log) {
  LOCKSTEP_ASSIGN_OR_RETURN(const LogOffsets offsets, kafka_->Offsets(log, kBrokerTimeout));
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
    const StreamName log{options_.topics[i], options_.stream.partition};
    LOCKSTEP_RETURN_IF_ERROR(kafka_->Start(log, starts[i]));
    started_.push_back(log);
  }
  end_.assign(started_.size(), std::nullopt);
  return absl::OkStatus();
}

// From all topics to the current epoch's log alone, or nothing yet if it has none.
absl::Status StreamReader::StartCurrent() {
  LOCKSTEP_ASSIGN_OR_RETURN(const std::vector<LogInfo> logs, ledger_->ReadLogs(options_.stream_id));
  const auto log = std::find_if(logs.begin(), logs.end(),
                                [&](const LogInfo& info) { return info.epoch == options_.epoch; });
  if (log == logs.end()) {
    Wait({.what = Waiting::For::kLog});
    return absl::OkStatus();
  }
  if (log->cluster_id != options_.cluster_id) {
    return absl::FailedPreconditionError(
        absl::StrCat("epoch ", options_.epoch.value(), " of ", ToString(options_.stream),
                     " is written on Kafka cluster ", log->cluster_id, "; --brokers reach cluster ",
                     options_.cluster_id, ". A gate reads the log where its offsets are true"));
  }
  const StreamName own{log->topic, options_.stream.partition};
  LOCKSTEP_ASSIGN_OR_RETURN(const LogOffsets offsets, kafka_->Offsets(own, kBrokerTimeout));
  const Offset start = resequencer_->current_start(log->start);
  LOCKSTEP_RETURN_IF_ERROR(CheckRange(start, offsets));
  for (const StreamName& started : started_) LOCKSTEP_RETURN_IF_ERROR(kafka_->Stop(started));
  batch_.records.clear();
  next_ = 0;
  next_offset_ = std::max(start, offsets.lo_offset);
  LOCKSTEP_RETURN_IF_ERROR(kafka_->Start(own, next_offset_));
  bisected_ = false;
  started_ = {own};
  end_ = {std::nullopt};
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

absl::Status StreamReader::Fetch(Clock::time_point deadline) {
  next_ = 0;
  const auto left = std::chrono::duration_cast<milliseconds>(deadline - Clock::now());
  const absl::Status polled = kafka_->Poll(std::max(left, milliseconds(0)), batch_);
  if (!batch_.records.empty()) ++polls_;
  for (const EndOfLog& end : batch_.ends) {
    for (size_t i = 0; i < started_.size(); ++i) {
      if (started_[i] == end.stream) end_[i] = end.next_offset;
    }
  }
  if (polled.ok()) return absl::OkStatus();
  if (absl::IsUnavailable(polled)) {
    Wait({.what = Waiting::For::kBrokers, .why = std::string(polled.message())});
    return absl::OkStatus();
  }
  if (absl::IsOutOfRange(polled) && reads_current_) {
    LOCKSTEP_ASSIGN_OR_RETURN(const LogOffsets offsets,
                              kafka_->Offsets(started_[0], kBrokerTimeout));
    LOCKSTEP_RETURN_IF_ERROR(CheckRange(next_offset_, offsets));
  }
  return polled;
}

int StreamReader::TopicIndex(const KafkaMessage& message) const {
  if (started_.size() == 1) return 0;
  const std::string_view topic = message.topic();
  for (size_t i = 1; i < started_.size(); ++i) {
    if (started_[i].topic == topic) return static_cast<int>(i);
  }
  return 0;
}

// Offers what was fetched until something is blocked, enough is ready, or the frozen epochs are
// over. Returns whether a record is blocked.
absl::StatusOr<bool> StreamReader::Offer(std::vector<ReadyRecord>& out) {
  while (next_ < batch_.records.size() && out.size() < options_.batch_records_max) {
    KafkaMessage& message = batch_.records[next_];
    LOCKSTEP_ASSIGN_OR_RETURN(const FetchedRecord record, FetchedRecordOf(message));
    const int topic = TopicIndex(message);
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
    pause_ = kPauseMin;
    std::optional<Offset>& end = end_[static_cast<size_t>(topic)];
    if (end.has_value() && offset >= *end) end.reset();
    if (reads_current_) {
      next_offset_ = offset + 1;
    } else if (resequencer_->phase() == Resequencer::Phase::kCurrent) {
      break;
    }
  }
  return false;
}

// ---------------------------------------------------------------- waiting

// Nothing came: what is missing, if anything is known to be?
absl::Status StreamReader::NoteEnd() {
  const bool at_end =
      std::all_of(end_.begin(), end_.end(), [](const auto& end) { return end.has_value(); });
  if (!at_end) return absl::OkStatus();
  const std::optional<Resequencer::Wanted> wanted =
      reads_current_ ? resequencer_->CurrentWanted() : resequencer_->FrozenWanted();
  if (wanted.has_value() && bisected_) return StartOver();
  if (wanted.has_value()) {
    Wait({.what = reads_current_ ? Waiting::For::kLogRecord : Waiting::For::kFrozenRecord,
          .producer = wanted->producer,
          .term = wanted->term,
          .seq = wanted->seq,
          .position = wanted->position});
  } else {
    waiting_.reset();
  }
  return absl::OkStatus();
}

void StreamReader::Wait(Waiting waiting) {
  if (waiting_.has_value() && waiting_->Same(waiting)) {
    if (!waiting.why.empty()) waiting_->why = std::move(waiting.why);
    return;
  }
  waiting.since = Clock::now();
  waiting_ = std::move(waiting);
}

void StreamReader::Pause(Clock::time_point deadline) {
  const auto until = std::min(deadline, Clock::now() + pause_);
  pause_ = std::min(pause_ * 2, kPauseMax);
  std::this_thread::sleep_until(until);
}

}  // namespace lockstep
