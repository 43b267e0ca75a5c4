#include "reorder/producer_order_reader.h"

#include <algorithm>
#include <string>
#include <thread>
#include <utility>

#include "common/base/status_macros.h"
#include "common/kafka/kafka_message.h"
#include "reorder/kafka_record.h"

namespace lockstep {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kPauseMin{1};
constexpr milliseconds kPauseMax{50};
constexpr milliseconds kBrokerTimeout{5'000};
constexpr std::chrono::seconds kIdleLedgerInterval{1};  // To notice a new epoch.

ProducerOrderOptions OrderOptions(const StreamReaderOptions& options) {
  return {options.stream, options.epoch, static_cast<int>(options.topics.size()), options.foreign};
}

}  // namespace

absl::StatusOr<std::unique_ptr<ProducerOrderReader>> ProducerOrderReader::Open(
    const StreamReaderOptions& options, std::map<ProducerId, Seq> done, Ledger& ledger,
    ParkingBuffer& parking) {
  KafkaReaderOptions kafka_options;
  kafka_options.kafka = options.kafka;
  kafka_options.batch_records_max = options.batch_records_max;
  kafka_options.fetch_kbytes_max = options.ahead_kbytes_max;
  LOCKSTEP_ASSIGN_OR_RETURN(std::unique_ptr<KafkaReader> kafka, KafkaReader::Open(kafka_options));
  return std::unique_ptr<ProducerOrderReader>(
      new ProducerOrderReader(options, std::move(done), ledger, parking, std::move(kafka)));
}

ProducerOrderReader::ProducerOrderReader(const StreamReaderOptions& options,
                                         std::map<ProducerId, Seq> done, Ledger& ledger,
                                         ParkingBuffer& parking, std::unique_ptr<KafkaReader> kafka)
    : options_(options),
      ledger_(&ledger),
      kafka_(std::move(kafka)),
      order_(OrderOptions(options), std::move(done), parking),
      end_(options.topics.size()) {}

absl::Status ProducerOrderReader::Next(std::vector<ReadyRecord>& out, milliseconds timeout) {
  const Clock::time_point deadline = Clock::now() + timeout;
  out.clear();
  order_.Release();
  while (out.empty() && error_.ok()) {
    error_ = Step(out, deadline);
    if (Clock::now() >= deadline) break;
  }
  const bool was_away = waiting_.has_value() && (waiting_->what == Waiting::For::kBrokers ||
                                                 waiting_->what == Waiting::For::kLedger);
  if (!out.empty() && was_away) waiting_.reset();
  return out.empty() ? error_ : absl::OkStatus();  // What was ready before an error goes out first.
}

absl::Status ProducerOrderReader::Step(std::vector<ReadyRecord>& out, Clock::time_point deadline) {
  if (order_.has_more()) {
    LOCKSTEP_ASSIGN_OR_RETURN(const bool read, ReadPage(out));
    if (!read) Pause(deadline);
    return absl::OkStatus();
  }
  if (!started_) {
    const absl::Status started = Start();
    if (!absl::IsUnavailable(started)) return started;
    Wait({.what = Waiting::For::kBrokers, .why = std::string(started.message())});
    Pause(deadline);
    return absl::OkStatus();
  }
  if (next_ == batch_.records.size()) {
    // While something waits for its row, the ledger is asked again soon.
    const auto soon = order_.wants_page() ? std::min(deadline, Clock::now() + pause_) : deadline;
    LOCKSTEP_RETURN_IF_ERROR(Fetch(soon));
    if (batch_.records.empty()) NoteEnd();
  }
  LOCKSTEP_RETURN_IF_ERROR(Offer(out));
  const bool idle = Clock::now() - last_page_ > kIdleLedgerInterval;
  const bool ask = order_.wants_page() && Clock::now() - last_page_ >= pause_;
  if (!idle && !ask) return absl::OkStatus();
  pause_ = std::min(pause_ * 2, kPauseMax);
  return ReadPage(out).status();
}

absl::StatusOr<bool> ProducerOrderReader::ReadPage(std::vector<ReadyRecord>& out) {
  auto page = ledger_->ReadStream({.stream = options_.stream_id, .after = order_.marks()});
  last_page_ = Clock::now();
  if (absl::IsUnavailable(page.status())) {
    Wait({.what = Waiting::For::kLedger, .why = std::string(page.status().message())});
    return false;
  }
  LOCKSTEP_RETURN_IF_ERROR(Annotate(page.status(), "read " + ToString(options_.stream)));
  if (!read_a_page_) heads_at_start_ = page->heads;
  read_a_page_ = true;
  const size_t before = out.size();
  LOCKSTEP_RETURN_IF_ERROR(order_.AddPage(std::move(*page), out));
  if (out.size() > before) pause_ = kPauseMin;
  return true;
}

absl::Status ProducerOrderReader::Start() {
  std::vector<Offset> starts;
  for (const std::string& topic : options_.topics) {
    LOCKSTEP_ASSIGN_OR_RETURN(const LogOffsets offsets,
                              kafka_->Offsets({topic, options_.stream.partition}, kBrokerTimeout));
    starts.push_back(offsets.lo_offset);
  }
  for (size_t i = 0; i < starts.size(); ++i) {
    LOCKSTEP_RETURN_IF_ERROR(
        kafka_->Start({options_.topics[i], options_.stream.partition}, starts[i]));
  }
  started_ = true;
  return absl::OkStatus();
}

absl::Status ProducerOrderReader::Fetch(Clock::time_point deadline) {
  next_ = 0;
  const auto left = std::chrono::duration_cast<milliseconds>(deadline - Clock::now());
  const absl::Status polled = kafka_->Poll(std::max(left, milliseconds(0)), batch_);
  fetched_ = Clock::now();
  if (!batch_.records.empty()) ++polls_;
  for (const EndOfLog& end : batch_.ends) {
    const auto topic = std::find(options_.topics.begin(), options_.topics.end(), end.stream.topic);
    end_[static_cast<size_t>(topic - options_.topics.begin())] = end.next_offset;
  }
  if (!absl::IsUnavailable(polled)) return polled;
  Wait({.what = Waiting::For::kBrokers, .why = std::string(polled.message())});
  return absl::OkStatus();
}

absl::Status ProducerOrderReader::Offer(std::vector<ReadyRecord>& out) {
  while (next_ < batch_.records.size() && out.size() < options_.batch_records_max) {
    const KafkaMessage& message = batch_.records[next_];
    LOCKSTEP_ASSIGN_OR_RETURN(const FetchedRecord record, FetchedRecordOf(message));
    if (!record.foreign && !order_.Knows(record.header.producer) && last_page_ < fetched_) {
      LOCKSTEP_ASSIGN_OR_RETURN(const bool read, ReadPage(out));
      if (!read || order_.has_more()) return absl::OkStatus();
    }
    const auto found = std::find(options_.topics.begin(), options_.topics.end(), message.topic());
    const auto topic = found - options_.topics.begin();
    std::optional<Offset>& end = end_[static_cast<size_t>(topic)];
    if (end.has_value() && message.offset() >= *end) end.reset();
    LOCKSTEP_RETURN_IF_ERROR(order_.Take(static_cast<int>(topic), record, out));
    ++next_;
  }
  return absl::OkStatus();
}

// Nothing came: what is missing, if anything is known to be?
void ProducerOrderReader::NoteEnd() {
  const bool at_end =
      std::all_of(end_.begin(), end_.end(), [](const auto& end) { return end.has_value(); });
  if (!at_end) return;
  const auto missing = order_.Missing();
  const auto wanted = missing.has_value() ? missing : order_.Unsettled();
  if (!wanted.has_value()) {
    waiting_.reset();
    return;
  }
  // Whatever one producer waits for, the others go on: nothing here ends a follower.
  Wait({.what = missing.has_value() ? Waiting::For::kFrozenRecord : Waiting::For::kLedgerRow,
        .producer = wanted->producer,
        .term = wanted->term,
        .seq = wanted->seq,
        .position = wanted->position});
}

void ProducerOrderReader::Wait(Waiting waiting) {
  if (waiting_.has_value() && waiting_->Same(waiting)) {
    if (!waiting.why.empty()) waiting_->why = std::move(waiting.why);
    return;
  }
  waiting.since = Clock::now();
  waiting_ = std::move(waiting);
}

void ProducerOrderReader::Pause(Clock::time_point deadline) {
  const auto until = std::min(deadline, Clock::now() + pause_);
  pause_ = std::min(pause_ * 2, kPauseMax);
  std::this_thread::sleep_until(until);
}

}  // namespace lockstep
