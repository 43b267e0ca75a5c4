// The producer's Kafka transactions (`--transactional`): the records of some time and the
// checkpoint behind them appear together or not at all. The tenure is told of deliveries once they
// are committed; to it an aborted transaction is a failed delivery.
#include <chrono>
#include <string>

#include "absl/strings/str_cat.h"

#include "common/base/status_macros.h"
#include "common/log/log.h"
#include "producer/engine.h"

namespace lockstep {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kTransactionMax{200};  // What a consumer may wait for its commit.
constexpr milliseconds kCommitWait{1'000};    // A look, not a deadline.
constexpr milliseconds kAbortWait{5'000};

}  // namespace

absl::Status Producer::Engine::Fence() const {
  const absl::Status fatal = kafka_->FatalError();
  if (!transactional() || !absl::IsAborted(fatal)) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("fenced: another process named '", options_.name,
                   "' began to write transactions: ", std::string(fatal.message())));
}

// False: the tenure is broken.
bool Producer::Engine::BeginTransaction() {
  if (!transaction_) {
    if (const absl::Status begun = kafka_->BeginTransaction(); !begun.ok()) {
      tenure_->Break(begun);
      return false;
    }
    transaction_.emplace(OpenTransaction{.begun_at = Clock::now()});
  }
  transaction_->last = *pending_;
  return true;
}

bool Producer::Engine::MoveTransaction() {
  if (!transaction_ || tenure_->stage() != Tenure::Stage::kSend) return false;
  const bool no_more =
      stop_ || !final_.ok() || (SourceDone() && batch_next_ == batch_.size() && !pending_);
  transaction_->ending = transaction_->ending || no_more || !tenure_->CanTake() ||
                         Clock::now() - transaction_->begun_at >= kTransactionMax;
  if (!transaction_->ending || pending_ || kafka_->outstanding() > 0) return false;
  if (!transaction_->checkpoint) {
    if (const absl::Status produced = ProduceCheckpoint(); !produced.ok()) {
      tenure_->Break(produced);
    }
    transaction_->checkpoint = true;
    return true;
  }
  transaction_->commit_asked = true;
  const absl::Status committed = kafka_->CommitTransaction(kCommitWait);
  if (absl::IsUnavailable(committed)) return true;  // Not known yet: ask again.
  if (!committed.ok()) {
    tenure_->Break(committed);
    return true;
  }
  if (tenure_->gathered() == 0) gathering_since_ = Clock::now();
  for (const auto& [number, offset] : transaction_->delivered) {
    tenure_->OnDelivered(number, offset);
  }
  transaction_.reset();
  return true;
}

absl::Status Producer::Engine::ProduceCheckpoint() {
  const ProducerOptions::KeyedRecord mark =
      options_.checkpoint_record(source_->FormatCheckpoint()(tenure_->event(transaction_->last)));
  LOCKSTEP_ASSIGN_OR_RETURN(const ProducerTopic topic, kafka_->Topic(mark.topic));
  KafkaRecordView record;
  record.key = mark.key;
  record.value = mark.value;
  LOCKSTEP_ASSIGN_OR_RETURN(const KafkaProducer::Produced produced,
                            kafka_->Produce(topic, record, kCheckpointNumber));
  return produced == KafkaProducer::Produced::kQueued
             ? absl::OkStatus()
             : absl::InternalError("an empty queue has no room");
}

// REQUIRES: nothing is outstanding.
void Producer::Engine::AbortTransaction() {
  if (!transaction_) return;
  const absl::Status aborted = kafka_->AbortTransaction(kAbortWait);
  if (!aborted.ok() && transaction_->commit_asked && refused_.ok()) {
    refused_ = absl::UnavailableError(absl::StrCat(
        "whether the last transaction was committed is not known (", std::string(aborted.message()),
        "); start again: the checkpoint topic tells where to go on"));
  } else if (!aborted.ok()) {
    Log(LogLevel::kWarn, "transaction_not_aborted",
        {{"producer", options_.name},
         {"why", aborted},
         {"hint", "the next start, or the broker after transaction.timeout.ms, ends it"}});
  }
  const absl::Status why = absl::AbortedError("its transaction was aborted");
  for (const auto& [number, offset] : transaction_->delivered) tenure_->OnFailed(number, why);
  transaction_.reset();
}

}  // namespace lockstep
