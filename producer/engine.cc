#include "producer/engine.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/kafka/kafka_error.h"
#include "common/log/log.h"
#include "common/model/record_header.h"
#include "producer/partitioner.h"

namespace lockstep {
namespace {

using std::chrono::milliseconds;

constexpr size_t kSourceBatchMax = 1000;
constexpr size_t kQueueRecordsMax = 16'000;
constexpr size_t kEventsARound = 1000;  // Between two looks at the delivery reports.
constexpr milliseconds kReportWait{1};
constexpr milliseconds kIdleWait{20};
constexpr milliseconds kStallAfter{10'000};
constexpr milliseconds kStallLogEvery{30'000};
constexpr milliseconds kLedgerRepeatAfter{100};
constexpr milliseconds kSourceAwayPause{200};
constexpr milliseconds kTenurePause{500};  // Between a broken tenure and the next.

}  // namespace

Producer::Engine::Engine(ProducerOptions options, std::unique_ptr<Source> source,
                         std::unique_ptr<Ledger> ledger, const std::atomic<bool>& stop)
    : options_(std::move(options)),
      source_(std::move(source)),
      ledger_(std::move(ledger)),
      stop_(stop),
      queue_(kQueueRecordsMax, options_.in_flight_bytes_max / 2) {}

Producer::Engine::~Engine() { StopSource(); }

ProducerProgress Producer::Engine::progress() const {
  ProducerProgress progress;
  {
    MutexLock lock(mu_);
    progress = progress_;
  }
  progress.source = source_->Status();
  return progress;
}

// ---------------------------------------------------------------- the source's thread

void Producer::Engine::ReadSource() {
  std::vector<SourceEvent> batch;
  Clock::time_point logged_at;
  while (!source_stop_ && !stop_) {
    absl::Status status = source_->Poll(kSourceBatchMax, milliseconds(100), batch);
    while (!batch.empty() && !source_stop_ && !queue_.Push(batch, milliseconds(100))) {
    }
    TellSource();
    if (absl::IsUnavailable(status)) {
      if (Clock::now() - logged_at >= kStallAfter) {
        logged_at = Clock::now();
        Log(LogLevel::kWarn, "source_away", {{"producer", options_.name}, {"why", status}});
      }
      std::this_thread::sleep_for(kSourceAwayPause);
      continue;
    }
    if (status.ok() && !source_->ended()) continue;
    MutexLock lock(mu_);
    source_status_ = std::move(status);
    break;
  }
  source_done_ = true;
  queue_.Wake();
}

void Producer::Engine::StopSource() {
  source_stop_ = true;
  queue_.Wake();
  if (source_thread_.joinable()) source_thread_.join();
}

void Producer::Engine::TellSource() {
  std::string checkpoint;
  {
    MutexLock lock(mu_);
    if (acknowledged_ == told_) return;
    told_ = acknowledged_;
    checkpoint = acknowledged_checkpoint_;
  }
  source_->Acknowledge(told_, checkpoint);
}

bool Producer::Engine::SourceDone() { return source_done_.load() && queue_.empty(); }

absl::Status Producer::Engine::source_status() {
  MutexLock lock(mu_);
  return source_status_;
}

// ---------------------------------------------------------------- tenures

absl::Status Producer::Engine::Run() {
  absl::Status status = RunTenures();
  StopSource();
  TellSource();
  return status;
}

absl::Status Producer::Engine::RunTenures() {
  start_deadline_ = Clock::now() + options_.kafka_timeout;
  LOCKSTEP_RETURN_IF_ERROR(CheckTopics());
  for (;;) {
    LOCKSTEP_RETURN_IF_ERROR(OpenKafka());
    LOCKSTEP_RETURN_IF_ERROR(StartTenure());
    if (!ever_started_) {
      LOCKSTEP_RETURN_IF_ERROR(StartSource());
    }
    ever_started_ = true;
    worker_ = std::make_unique<LedgerWorker>(*ledger_);
    purged_ = false;
    pending_.reset();
    last_report_at_ = Clock::now();

    const absl::Status sent = Send();
    worker_.reset();
    if (refused_.ok()) refused_ = Fence();
    kafka_.reset();
    Publish();
    if (tenure_->stage() != Tenure::Stage::kEnded) return sent;
    LOCKSTEP_RETURN_IF_ERROR(EndOfTenure());
  }
}

absl::Status Producer::Engine::EndOfTenure() {
  Log(LogLevel::kWarn, "tenure_ended",
      {{"producer", options_.name},
       {"end", std::string(ToString(tenure_->end()))},
       {"why", tenure_->why()}});
  if (!refused_.ok()) return refused_;
  if (tenure_->end() != Tenure::End::kDeliveryFailed) return ReasonOf(*tenure_);
  if (drained_out_) {
    return absl::CancelledError(
        absl::StrCat("interrupted: ", tenure_->in_flight(), " records were not durable after ",
                     options_.drain_timeout.count(), " ms; the next start finds or repeats them"));
  }
  // What the ledger has not got goes out again under the next term, unless the next start adopts
  // it.
  std::vector<SourceEvent> events = tenure_->TakeUnledgered();
  std::move(batch_.begin() + static_cast<std::ptrdiff_t>(batch_next_), batch_.end(),
            std::back_inserter(events));
  batch_ = std::move(events);
  batch_next_ = 0;
  tenure_records_ += tenure_->ledgered();
  {
    MutexLock lock(mu_);
    ++progress_.delivery_failures;
    progress_.ready = false;
  }
  std::this_thread::sleep_for(kTenurePause);
  return absl::OkStatus();
}

void Producer::Engine::Publish() {
  MutexLock lock(mu_);
  progress_.records = tenure_records_ + tenure_->ledgered();
  progress_.in_flight_records = tenure_->in_flight();
  progress_.solo = tenure_->solo();
  progress_.ready = tenure_->stage() == Tenure::Stage::kSend;
  if (tenure_->acknowledged().empty()) return;
  acknowledged_ = tenure_->acknowledged();
  acknowledged_checkpoint_ = tenure_->acknowledged_checkpoint();
}

// ---------------------------------------------------------------- sending

absl::Status Producer::Engine::Send() {
  {
    MutexLock lock(mu_);
    ++progress_.tenures;
    progress_.adopted += tenure_->adopted();
  }
  while (tenure_->stage() != Tenure::Stage::kEnded) {
    bool busy = TakeEvents();
    busy |= TakeReports(milliseconds(0));
    busy |= MoveTransaction();
    busy |= MoveGroups();
    Publish();
    if (const absl::Status fatal = kafka_->FatalError();
        !fatal.ok() && tenure_->stage() == Tenure::Stage::kSend) {
      tenure_->Break(fatal);
    }
    if (tenure_->stage() == Tenure::Stage::kBroken) {
      if (!purged_) kafka_->Purge();
      purged_ = true;
      if (kafka_->outstanding() == 0) {
        AbortTransaction();
        tenure_->AllReported();
      }
    }
    if (Finished()) break;
    WatchStalls();
    if (busy) continue;
    if (tenure_->in_flight() > 0 || tenure_->group_in_flight()) {
      TakeReports(kReportWait);
    } else if (batch_next_ == batch_.size()) {
      batch_ = queue_.Pop(kIdleWait);
      batch_next_ = 0;
    }
  }
  if (tenure_->stage() == Tenure::Stage::kEnded) return absl::OkStatus();  // EndOfTenure decides.
  if (!final_.ok()) return final_;
  return source_status();
}

SourceEvent* Producer::Engine::NextEvent() {
  if (batch_next_ == batch_.size()) {
    batch_ = queue_.Pop(std::chrono::nanoseconds(0));
    batch_next_ = 0;
    if (batch_.empty()) return nullptr;
  }
  return &batch_[batch_next_++];
}

absl::StatusOr<size_t> Producer::Engine::StreamOf(const SourceEvent& event) const {
  const bool apart = !options_.snapshot_topic.empty() && options_.is_snapshot(event);
  const size_t first = apart ? snapshot_streams_ : 0;
  if (options_.partition) return first;
  LOCKSTEP_ASSIGN_OR_RETURN(
      const int32_t partition,
      ChoosePartition(event, apart ? snapshot_partition_count_ : partition_count_));
  return first + static_cast<size_t>(partition);
}

bool Producer::Engine::TakeEvents() {
  if (pending_) ProducePending();
  if (stop_ || !final_.ok() || (transaction_ && transaction_->ending)) return false;
  size_t taken = 0;
  while (taken < kEventsARound && !pending_ && final_.ok() && tenure_->CanTake()) {
    SourceEvent* const event = NextEvent();
    if (event == nullptr) break;
    ++taken;
    const absl::StatusOr<size_t> stream = StreamOf(*event);
    if (!stream.ok()) {
      final_ = Annotate(stream.status(), "source position " + event->at);
      break;
    }
    const std::optional<Tenure::Outgoing> outgoing = tenure_->Next(*stream, std::move(*event));
    if (!outgoing) continue;
    pending_ = outgoing->number;
    ProducePending();
  }
  return taken > 0;
}

void Producer::Engine::ProducePending() {
  if (tenure_->stage() != Tenure::Stage::kSend) {
    pending_.reset();
    return;
  }
  if (transactional() && !BeginTransaction()) {
    pending_.reset();
    return;
  }
  const Tenure::Identity identity = tenure_->identity(*pending_);
  const SourceEvent& event = tenure_->event(*pending_);
  header_.clear();
  AppendRecordHeader({identity.term, identity.seq, event.at, options_.name}, header_);
  headers_.clear();
  for (const auto& [name, content] : event.payload.headers) headers_.push_back({name, content});
  if (options_.identity) headers_.push_back({kRecordHeaderKey, header_});
  KafkaRecordView record;
  record.partition = streams_[identity.stream].partition;
  record.key = event.payload.key;
  record.value = event.payload.value;
  record.value_stays = true;  // In the tenure, which outlives the handle.
  record.headers = headers_;
  record.timestamp_ms = event.payload.timestamp_ms;
  const ProducerTopic& topic = identity.stream < snapshot_streams_ ? *topic_ : *snapshot_topic_;
  const absl::StatusOr<KafkaProducer::Produced> produced =
      kafka_->Produce(topic, record, *pending_);
  if (produced.ok() && *produced == KafkaProducer::Produced::kQueueFull) return;
  if (!produced.ok()) {
    const bool for_good =
        absl::IsInvalidArgument(produced.status()) || absl::IsPermissionDenied(produced.status());
    FailRecord(*pending_, produced.status(), for_good);
  }
  pending_.reset();
}

void Producer::Engine::FailRecord(uint64_t number, const absl::Status& why, bool for_good) {
  const Tenure::Identity identity = tenure_->identity(number);
  const std::string which =
      absl::StrCat("record ", options_.name, " term ", identity.term.value(), " seq ",
                   identity.seq.value(), " of ", ToString(streams_[identity.stream]),
                   " (source position ", tenure_->event(number).at, ")");
  if (for_good && refused_.ok()) {
    refused_ = Annotate(why, which + " will never be taken; nothing behind it was ledgered");
  }
  tenure_->OnFailed(number, Annotate(why, which));
}

bool Producer::Engine::TakeReports(milliseconds timeout) {
  reports_.clear();
  if (kafka_->Poll(timeout, reports_) == 0) return false;
  last_report_at_ = Clock::now();
  for (const DeliveryReport& report : reports_) {
    if (report.persisted == Persisted::kYes && transaction_) {
      if (report.opaque != kCheckpointNumber) {
        transaction_->delivered.emplace_back(report.opaque, report.offset);
      }
      continue;
    }
    if (report.opaque == kCheckpointNumber) {
      tenure_->Break(KafkaStatus(report.error, "the checkpoint of a transaction"));
      continue;
    }
    if (report.persisted == Persisted::kYes) {
      if (tenure_->gathered() == 0) gathering_since_ = last_report_at_;
      tenure_->OnDelivered(report.opaque, report.offset);
      continue;
    }
    const KafkaErrorKind kind = KindOf(report.error);
    const bool for_good =
        report.persisted == Persisted::kNo &&
        (kind == KafkaErrorKind::kRecordPermanent || kind == KafkaErrorKind::kPermanent);
    const char* what = report.persisted == Persisted::kPossibly
                           ? "delivery failed, possibly persisted"
                           : "delivery failed";
    FailRecord(report.opaque, KafkaStatus(report.error, what), for_good);
  }
  return true;
}

bool Producer::Engine::MoveGroups() {
  const Clock::time_point now = Clock::now();
  bool moved = false;
  if (worker_->busy()) {
    const std::optional<Commit<Appended>> answer = worker_->TakeAnswer();
    if (!answer) return false;
    moved = true;
    const auto runs = static_cast<int64_t>(tenure_->group().runs.size());
    tenure_->OnAppended(*answer);
    if (tenure_->group_in_flight()) {
      // Unknown, or nothing happened: the same request again, until it is known.
      repeat_at_ = now + kLedgerRepeatAfter;
      if (ledger_stalled_since_ == Clock::time_point()) ledger_stalled_since_ = now;
      if (now - ledger_stall_logged_at_ >= kStallLogEvery) {
        ledger_stall_logged_at_ = now;
        Log(LogLevel::kWarn, "ledger_stalled",
            {{"producer", options_.name},
             {"why", answer->why},
             {"in_flight_records", tenure_->in_flight()},
             {"hint", "nothing is acknowledged to the source until the standby confirms"}});
      }
    } else if (answer->committed()) {
      if (ledger_stalled_since_ != Clock::time_point()) {
        Log(LogLevel::kInfo, "ledger_resumed",
            {{"producer", options_.name},
             {"stalled_ms",
              std::chrono::duration_cast<milliseconds>(now - ledger_stalled_since_).count()}});
        ledger_stalled_since_ = ledger_stall_logged_at_ = Clock::time_point();
      }
      {
        MutexLock lock(mu_);
        ++progress_.ledger_commits;
        progress_.runs += runs;
      }
    }
  }
  if (tenure_->group_in_flight()) {
    if (now < repeat_at_) return moved;
    worker_->Submit(tenure_->group());
    return true;
  }
  // Waiting longer gathers nothing when everything is delivered and no more will come.
  const bool last = tenure_->gathered() == tenure_->in_flight() && (stop_ || SourceDone());
  const bool due = last || tenure_->stage() == Tenure::Stage::kBroken || !tenure_->CanTake() ||
                   now - gathering_since_ >= options_.ledger_linger;
  if (tenure_->gathered() == 0 || !due || !tenure_->TakeGroup()) return moved;
  repeat_at_ = now;
  worker_->Submit(tenure_->group());
  return true;
}

bool Producer::Engine::Finished() {
  const bool nothing_left = tenure_->idle() && !pending_;
  if (tenure_->stage() == Tenure::Stage::kSend && nothing_left) {
    if (!stop_ && SourceDone() && batch_next_ == batch_.size()) {
      MutexLock lock(mu_);
      progress_.source_ended = source_status_.ok();
      return true;
    }
    if (stop_ || !final_.ok()) return true;
  }
  if (!stop_) return false;
  const Clock::time_point now = Clock::now();
  if (stopped_at_ == Clock::time_point()) stopped_at_ = now;
  if (now - stopped_at_ < options_.drain_timeout) return false;
  if (tenure_->stage() == Tenure::Stage::kSend) {
    drained_out_ = true;
    tenure_->Break(absl::DeadlineExceededError("--drain-timeout has passed"));
    return false;
  }
  // The ledger does not answer either: leave what is unknown to the next start.
  if (drained_out_ && tenure_->group_in_flight() && !worker_->busy()) {
    final_ = absl::CancelledError(
        "interrupted: the ledger has not confirmed the last group; the "
        "next start finds out");
    return true;
  }
  return false;
}

void Producer::Engine::WatchStalls() {
  const Clock::time_point now = Clock::now();
  if (kafka_->outstanding() == 0) {
    last_report_at_ = now;
    return;
  }
  if (now - last_report_at_ < kStallAfter || now - kafka_stall_logged_at_ < kStallLogEvery) return;
  kafka_stall_logged_at_ = now;
  Log(LogLevel::kWarn, "kafka_stalled",
      {{"producer", options_.name},
       {"brokers", options_.kafka.brokers},
       {"outstanding_records", kafka_->outstanding()},
       {"without_report_ms",
        std::chrono::duration_cast<milliseconds>(now - last_report_at_).count()}});
}

}  // namespace lockstep
