#include "reorder/record_reader.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"

#include "common/base/status_macros.h"
#include "common/kafka/kafka_message.h"
#include "reorder/kafka_record.h"

namespace lockstep {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kPauseMin{1};
constexpr milliseconds kPauseMax{50};
constexpr milliseconds kBrokerTimeout{5'000};
constexpr milliseconds kEndTimeout{2'000};
constexpr milliseconds kEndIsFresh{1'000};
constexpr size_t kReadAheadRecords = 128;
constexpr size_t kPrefetchRecords = 8;
// Kafka that has more and gives nothing for so long is away.
constexpr milliseconds kSilence{5'000};
// While nothing arrives the ledger is looked at only to notice a new epoch.
constexpr std::chrono::seconds kIdleLedgerInterval{1};

}  // namespace

std::string Waiting::Describe() const {
  const std::string at = position == Position() ? "" : absl::StrCat(" at ", ToString(position));
  const std::string record =
      absl::StrCat("(", producer, ", term ", term.value(), ", seq ", seq.value(), ")", at);
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

absl::StatusOr<std::unique_ptr<KafkaReader>> RecordReader::OpenKafka(
    const StreamReaderOptions& options) {
  KafkaReaderOptions kafka_options;
  kafka_options.kafka = options.kafka;
  kafka_options.batch_records_max = options.batch_records_max;
  kafka_options.fetch_kbytes_max = options.ahead_kbytes_max;
  kafka_options.fetch_records_max = options.ahead_records_max;
  kafka_options.statistics_interval_ms = options.statistics_interval_ms;
  kafka_options.on_statistics = options.on_statistics;
  return KafkaReader::Open(kafka_options);
}

RecordReader::RecordReader(StreamReaderOptions options, Ledger& ledger,
                           std::unique_ptr<KafkaReader> kafka)
    : options_(std::move(options)), ledger_(&ledger), kafka_(std::move(kafka)) {}

// ---------------------------------------------------------------- the ledger

absl::StatusOr<std::optional<StreamPage>> RecordReader::AskLedger(
    const ReadStreamRequest& request) {
  auto page = ledger_->ReadStream(request);
  last_page_ = Clock::now();
  if (absl::IsUnavailable(page.status())) {
    std::string why(page.status().message());
    if (waiting_.has_value() && waiting_->what == Waiting::For::kLedgerRow) {
      waiting_->why = std::move(why);
    } else {
      Wait({.what = Waiting::For::kLedger, .why = std::move(why)});
    }
    return std::nullopt;
  }
  LOCKSTEP_RETURN_IF_ERROR(
      Annotate(page.status(), absl::StrCat("read ", ToString(options_.stream), " in the ledger")));
  StopWaitingFor(Waiting::For::kLedger);
  if (waiting_.has_value() && waiting_->what == Waiting::For::kLedgerRow) waiting_->why.clear();
  if (!read_a_page_) heads_at_start_ = page->heads;
  read_a_page_ = true;
  page_read_ = last_page_;
  return *std::move(page);
}

bool RecordReader::page_is_old() const { return Clock::now() - last_page_ > kIdleLedgerInterval; }

absl::StatusOr<std::optional<LogInfo>> RecordReader::CurrentLog() {
  LOCKSTEP_ASSIGN_OR_RETURN(const std::vector<LogInfo> logs, ledger_->ReadLogs(options_.stream_id));
  const auto log = std::find_if(logs.begin(), logs.end(),
                                [&](const LogInfo& info) { return info.epoch == options_.epoch; });
  return log == logs.end() ? std::nullopt : std::optional(*log);
}

// ---------------------------------------------------------------- the logs

absl::StatusOr<LogOffsets> RecordReader::Offsets(const StreamName& log) {
  return kafka_->Offsets(log, kBrokerTimeout);
}

absl::Status RecordReader::Begin(const StreamName& log, Offset from) {
  LOCKSTEP_RETURN_IF_ERROR(kafka_->Start(log, from));
  started_.push_back(log);
  end_.emplace_back();
  passed_to_.push_back(from);
  read_for_.reset();
  return absl::OkStatus();
}

absl::Status RecordReader::StopAll() {
  for (const StreamName& log : started_) LOCKSTEP_RETURN_IF_ERROR(kafka_->Stop(log));
  started_.clear();
  end_.clear();
  passed_to_.clear();
  read_for_.reset();
  batch_.records.clear();
  ahead_.clear();
  next_ = 0;
  return absl::OkStatus();
}

absl::Status RecordReader::Fetch(Clock::time_point deadline) {
  next_ = 0;
  ahead_.clear();
  const auto left = std::chrono::duration_cast<milliseconds>(deadline - Clock::now());
  const absl::Status polled = kafka_->Poll(std::max(left, milliseconds(0)), batch_);
  if (!batch_.records.empty()) ++polls_;
  for (const EndOfLog& end : batch_.ends) {
    for (size_t i = 0; i < started_.size(); ++i) {
      if (started_[i] == end.stream) end_[i] = end.next_offset;
    }
  }
  if (!polled.ok() && !absl::IsUnavailable(polled)) return polled;
  // Kafka says once that it is away; that it still is, only its silence says. Where there is
  // nothing to be told it is asked.
  const bool heard = !batch_.records.empty() || !batch_.ends.empty();
  if (heard) last_heard_ = Clock::now();
  const bool silent = Clock::now() - last_heard_ >= kSilence;
  if (!polled.ok()) {
    Wait({.what = Waiting::For::kBrokers, .why = std::string(polled.message())});
  } else if (silent && !at_ends()) {
    Wait({.what = Waiting::For::kBrokers, .why = "it has more and gives nothing"});
  } else if (heard || (silent && AskForEnds())) {
    StopWaitingFor(Waiting::For::kBrokers);
  }
  return absl::OkStatus();
}

bool RecordReader::ConfirmEnds() {
  if (!at_ends()) return false;
  return Clock::now() - ends_confirmed_ < kEndIsFresh || AskForEnds();
}

// A log that goes on above its end is not at its end; that its records come is waited for.
bool RecordReader::AskForEnds() {
  for (size_t i = 0; i < started_.size(); ++i) {
    const absl::StatusOr<LogOffsets> offsets = kafka_->Offsets(started_[i], kEndTimeout);
    if (!offsets.ok()) {
      Wait({.what = Waiting::For::kBrokers, .why = std::string(offsets.status().message())});
      return false;
    }
    if (end_[i].has_value() && offsets->hi_offset > *end_[i]) end_[i].reset();
  }
  last_heard_ = Clock::now();
  if (!at_ends()) return false;
  ends_confirmed_ = last_heard_;
  return true;
}

absl::StatusOr<const FetchedRecord*> RecordReader::NextRecord() {
  const bool is_read = !ahead_.empty() && next_ < ahead_first_ + ahead_.size();
  if (!is_read) LOCKSTEP_RETURN_IF_ERROR(ReadAhead());
  return &ahead_[next_ - ahead_first_];
}

// Reads the headers of the next messages. Some at a time: what was written a moment ago would be
// waited for when it is copied, and what was written long ago has left the processor's cache. Of a
// malformed header the caller hears when it is next.
absl::Status RecordReader::ReadAhead() {
  ahead_.clear();
  ahead_first_ = next_;
  const size_t end = std::min(next_ + kReadAheadRecords, batch_.records.size());
  for (size_t i = next_; i < end; ++i) {
    if (i + kPrefetchRecords < end) batch_.records[i + kPrefetchRecords].PrefetchHeaders();
    const absl::Status read = ReadFetchedRecord(batch_.records[i], ahead_.emplace_back());
    if (read.ok()) continue;
    ahead_.pop_back();
    return ahead_.empty() ? read : absl::OkStatus();
  }
  return absl::OkStatus();
}

bool RecordReader::WasReadOver(const std::optional<Waiting>& wanted) {
  if (!wanted.has_value()) {
    read_for_.reset();
    return false;
  }
  const Clock::time_point now = Clock::now();
  if (!read_for_.has_value() || !read_for_->Same(*wanted)) {
    read_for_ = wanted;
    read_for_->since = now;
    read_until_.clear();
  }
  if (now - read_for_->since < kEndIsFresh) return false;
  if (read_until_.empty()) {
    std::vector<Offset> ends;
    for (const StreamName& log : started_) {
      const absl::StatusOr<LogOffsets> offsets = kafka_->Offsets(log, kEndTimeout);
      if (!offsets.ok()) {
        read_for_->since = now;  // Again in a second; what comes says whether brokers are away.
        return false;
      }
      ends.push_back(offsets->hi_offset);
    }
    read_until_ = std::move(ends);
  }
  for (size_t i = 0; i < started_.size(); ++i) {
    const bool over = passed_to_[i] >= read_until_[i] || end_[i] >= read_until_[i];
    if (!over) return false;
  }
  return true;
}

int RecordReader::LogIndex(const KafkaMessage& message) const {
  if (started_.size() == 1) return 0;
  const std::string_view topic = message.topic();
  for (size_t i = 1; i < started_.size(); ++i) {
    if (started_[i].topic == topic) return static_cast<int>(i);
  }
  return 0;
}

void RecordReader::Passed(int log, Offset offset) {
  passed_to_[static_cast<size_t>(log)] = offset + 1;
  std::optional<Offset>& end = end_[static_cast<size_t>(log)];
  if (end.has_value() && offset >= *end) end.reset();
}

bool RecordReader::nothing_left() const {
  return read_a_page_ && !waiting_.has_value() && !started_.empty() &&
         next_ == batch_.records.size() && at_ends();
}

bool RecordReader::at_ends() const {
  return std::all_of(end_.begin(), end_.end(), [](const auto& end) { return end.has_value(); });
}

// ---------------------------------------------------------------- waiting

void RecordReader::Wait(Waiting waiting) {
  if (waiting_.has_value() && waiting_->Same(waiting)) {
    if (!waiting.why.empty()) waiting_->why = std::move(waiting.why);
    return;
  }
  waiting.since = Clock::now();
  waiting_ = std::move(waiting);
}

void RecordReader::StopWaitingFor(Waiting::For what) {
  if (waiting_.has_value() && waiting_->what == what) waiting_.reset();
}

void RecordReader::StopWaitingForRecords() {
  if (waiting_.has_value() && waiting_->what != Waiting::For::kLedger &&
      waiting_->what != Waiting::For::kBrokers) {
    waiting_.reset();
  }
}

void RecordReader::Pause(Clock::time_point deadline) {
  const auto until = std::min(deadline, Clock::now() + pause_);
  PauseMore();
  std::this_thread::sleep_until(until);
}

void RecordReader::PauseMore() { pause_ = std::min(pause_ * 2, kPauseMax); }

void RecordReader::PauseLess() { pause_ = kPauseMin; }

}  // namespace lockstep
