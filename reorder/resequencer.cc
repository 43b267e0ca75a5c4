#include "reorder/resequencer.h"

#include <algorithm>
#include <span>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "common/base/check.h"
#include "common/base/status_macros.h"

namespace lockstep {
namespace {

constexpr char kInconsistentOffsets[] = "inconsistent-offsets";

std::string Identity(std::string_view producer, Term term, Seq seq) {
  return absl::StrCat("(", std::string(producer), ", term ", term.value(), ", seq ", seq.value(),
                      ")");
}

}  // namespace

bool IsInconsistentOffsets(const absl::Status& status) {
  return absl::IsDataLoss(status) && absl::StrContains(status.message(), kInconsistentOffsets);
}

Resequencer::Resequencer(ResequencerOptions options, ParkingBuffer& parking)
    : options_(std::move(options)),
      parking_(&parking),
      order_(options_.epoch, options_.after),
      last_out_(options_.after) {
  parking_->Bind(*this);
}

// Frozen epochs are over once it is certain that the next position, if any, is a current one.
void Resequencer::UpdatePhase() {
  if (phase_ == Phase::kCurrent || order_.needs_page() || !order_.status().ok()) return;
  const LedgerOrder::Next* next = order_.Peek();
  if (next == nullptr || next->position.epoch >= order_.epoch()) phase_ = Phase::kCurrent;
}

absl::Status Resequencer::AddPage(StreamPage page, std::vector<ReadyRecord>& out) {
  if (page.epoch != order_.epoch()) {
    if (options_.rules.epoch_cursor && options_.rules.cursor_fence) {
      return absl::AbortedError(absl::StrCat("epoch ", page.epoch.value(),
                                             " began; this process belongs to epoch ",
                                             order_.epoch().value(), " and is fenced"));
    }
    order_.set_epoch(page.epoch);
    phase_ = Phase::kFrozen;
    passed_.reset();
  }
  const std::optional<Offset> passed = options_.rules.complete ? passed_ : std::nullopt;
  LOCKSTEP_RETURN_IF_ERROR(
      Annotate(order_.AddPage(std::move(page), passed),
               absl::StrCat(kInconsistentOffsets, " in stream ", ToString(options_.stream))));
  queues_.resize(QueueIndex(order_.producer_count(), 0));
  return DrainParked(out);
}

// ---------------------------------------------------------------- frozen epochs

absl::StatusOr<Resequencer::Taken> Resequencer::TakeFrozen(int topic, const FetchedRecord& record,
                                                           std::vector<ReadyRecord>& out) {
  LOCKSTEP_CHECK(phase_ == Phase::kFrozen, "records are offered to the phase that is on");
  if (record.foreign) return TakeForeign(record);
  if (order_.needs_page() || drain_pending_) return Taken::kBlocked;
  const int32_t producer = order_.FindProducer(record.header.producer);
  // A producer that the ledger does not know has no frozen runs, and never will.
  if (producer < 0) return Taken::kTaken;

  Queue& queue = queues_[QueueIndex(producer, topic)];
  const Seq seq = record.header.seq;
  if (seq < queue.next_seq || order_.SteppedOver(producer, seq)) {
    return Drop(&ResequencerCounts::duplicates_dropped);
  }
  const LedgerOrder::Known known = FindRun(producer, seq, queue);
  if (known == LedgerOrder::Known::kNotRead) return Taken::kBlocked;
  // Above the frozen runs: void, or of the current epoch, which is read from its own log later.
  if (known != LedgerOrder::Known::kRun || queue.run.epoch >= order_.epoch()) {
    return Taken::kTaken;
  }
  if (options_.rules.term && queue.run.term != record.header.term) {
    return Drop(&ResequencerCounts::void_dropped);
  }
  queue.next_seq = seq + 1;
  const LedgerOrder::Next* next = order_.Peek();
  if (next->producer == producer && next->seq == seq) {
    counts_.first_hits += 1;
    Emit(record.view, out);
    // What the buffer cannot give back now is asked for again by DrainParked; this one is taken.
    if (const absl::Status drained = DrainParked(out); !absl::IsUnavailable(drained)) {
      LOCKSTEP_RETURN_IF_ERROR(drained);
    }
    return Taken::kTaken;
  }
  LOCKSTEP_RETURN_IF_ERROR(parking_->Park(QueueIndex(producer, topic), seq, record.view));
  if (next->producer == producer) LOCKSTEP_RETURN_IF_ERROR(CheckPassed());
  return Taken::kTaken;
}

// kRun: it is in queue.run. Most records are in the run of the one before.
LedgerOrder::Known Resequencer::FindRun(int32_t producer, Seq seq, Queue& queue) const {
  if (queue.run.Holds(seq)) return LedgerOrder::Known::kRun;
  const LedgerOrder::Found found = order_.Find(producer, seq, queue.run_hint);
  if (found.known == LedgerOrder::Known::kRun) {
    const Run& run = *found.run;
    queue.run = {run.first_seq, run.last_seq, run.epoch, run.term};
  }
  return found.known;
}

// False only if certainly no topic has it parked. With several topics a queue can hold what went
// out from another one, which is dropped when its turn has come.
bool Resequencer::MayBeParked(const LedgerOrder::Next& next) const {
  return options_.topics > 1 || queues_[QueueIndex(next.producer, 0)].next_seq > next.seq;
}

void Resequencer::Emit(const RecordView& view, std::vector<ReadyRecord>& out) {
  out.emplace_back().view = view;
  NameReady(std::span(&out.back(), 1));
}

// Gives records that are the next ones in a row what the ledger says of them, and steps over them.
void Resequencer::NameReady(std::span<ReadyRecord> records) {
  const LedgerOrder::Next& next = *order_.Peek();
  LOCKSTEP_CHECK(!last_out_.has_value() || *last_out_ < next.position || !options_.rules.complete,
                 "what comes out ascends (1)");
  const std::string_view producer = order_.producer_name(next.producer);
  Position position = next.position;
  Seq seq = next.seq;
  for (ReadyRecord& record : records) {
    record.position = position;
    record.producer = producer;
    record.term = next.term;
    record.seq = seq;
    ++position.offset;
    ++seq;
  }
  last_out_ = {position.epoch, position.offset - 1};
  order_.Advance(static_cast<int64_t>(records.size()));
}

// Takes out parked records as long as the next one is among them.
absl::Status Resequencer::DrainParked(std::vector<ReadyRecord>& out) {
  drain_pending_ = false;
  while (true) {
    LOCKSTEP_RETURN_IF_ERROR(order_.status());
    const LedgerOrder::Next* next = order_.Peek();
    if (next == nullptr || order_.needs_page() || next->position.epoch >= order_.epoch()) {
      UpdatePhase();
      return absl::OkStatus();
    }
    drain_pending_ = out.size() >= options_.ready_max ||
                     unparked_bytes_ >= options_.ready_bytes_max || parking_->ReleaseFirst();
    if (drain_pending_ || !MayBeParked(*next)) return absl::OkStatus();
    const absl::StatusOr<bool> found = UnparkNext(out);
    drain_pending_ = absl::IsUnavailable(found.status());
    if (!found.ok()) {
      return Annotate(found.status(), absl::StrCat("stream ", ToString(options_.stream), ": ",
                                                   Identity(order_.producer_name(next->producer),
                                                            next->term, next->seq)));
    }
    if (!*found) return CheckPassed();
  }
}

// What is next and the records behind it in a row, as far as a topic has them parked.
absl::StatusOr<bool> Resequencer::UnparkNext(std::vector<ReadyRecord>& out) {
  const LedgerOrder::Next& next = *order_.Peek();
  for (int topic = 0; topic < options_.topics; ++topic) {
    const size_t queue = QueueIndex(next.producer, topic);
    std::optional<Seq> front = parking_->Front(queue);
    while (front.has_value() && *front < next.seq) {  // It went out from another topic.
      if (parking_->ReleaseFirst()) return true;      // DrainParked sees it, too.
      LOCKSTEP_RETURN_IF_ERROR(parking_->Skip(queue));
      counts_.duplicates_dropped += 1;
      front = parking_->Front(queue);
    }
    if (!front.has_value() || *front != next.seq) continue;
    if (const int32_t after = order_.producer_after_next(); after >= 0) {
      parking_->ExpectUnpark(QueueIndex(after, topic));
    }
    const size_t before = out.size();
    const size_t room =
        std::min(options_.ready_max - before, static_cast<size_t>(order_.in_a_row()));
    LOCKSTEP_RETURN_IF_ERROR(
        parking_->UnparkRun(queue, room, options_.ready_bytes_max - unparked_bytes_, out));
    const std::span<ReadyRecord> found = std::span(out).subspan(before);
    for (const ReadyRecord& record : found) unparked_bytes_ += record.view.payload_bytes();
    counts_.buffer_hits += static_cast<int64_t>(found.size());
    NameReady(found);
    return true;
  }
  return false;
}

// The next record cannot come any more once every topic showed a later one of its producer (I1).
absl::Status Resequencer::CheckPassed() const {
  const LedgerOrder::Next& next = *order_.Peek();
  for (int topic = 0; topic < options_.topics; ++topic) {
    if (queues_[QueueIndex(next.producer, topic)].next_seq <= next.seq) return absl::OkStatus();
  }
  return absl::DataLossError(
      absl::StrCat("hole in stream ", ToString(options_.stream), ": ",
                   Identity(order_.producer_name(next.producer), next.term, next.seq),
                   ", position ", ToString(next.position),
                   ", is missing from the log; later records of this producer are there"));
}

// ---------------------------------------------------------------- the current epoch

Offset Resequencer::current_start(Offset log_start) const {
  const std::optional<Position>& after = options_.after;
  if (!after.has_value() || after->epoch != order_.epoch()) return log_start;
  return std::max(log_start, after->offset + 1);
}

absl::StatusOr<Resequencer::Taken> Resequencer::TakeCurrent(const FetchedRecord& record,
                                                            std::vector<ReadyRecord>& out) {
  LOCKSTEP_CHECK(phase_ == Phase::kCurrent, "records are offered to the phase that is on");
  const Offset offset = record.view.log_offset;
  LOCKSTEP_CHECK(!passed_.has_value() || offset > *passed_, "the log is offered in offset order");
  LOCKSTEP_RETURN_IF_ERROR(order_.status());
  const LedgerOrder::Next* row = order_.Peek();
  while (!options_.rules.complete && row != nullptr && row->position.offset < offset) {
    order_.Advance();  // Left behind unsettled: with the rule on this cannot be.
    row = order_.Peek();
  }
  if (row != nullptr && row->position.offset < offset) return Inconsistent(*row, nullptr);
  const bool named = row != nullptr && row->position.offset == offset;

  Taken taken = Taken::kTaken;
  if (named) {
    const bool same =
        !record.foreign && order_.producer_name(row->producer) == record.header.producer &&
        row->seq == record.header.seq && (row->term == record.header.term || !options_.rules.term);
    if (!same) return Inconsistent(*row, &record);
    counts_.first_hits += 1;
    Emit(record.view, out);
  } else if (record.foreign) {
    LOCKSTEP_ASSIGN_OR_RETURN(taken, TakeForeign(record));
  } else {
    LOCKSTEP_ASSIGN_OR_RETURN(taken, JudgeUnledgered(record));
  }
  if (taken == Taken::kTaken) passed_ = offset;
  return taken;
}

// A record that the ledger, as far as it is read, does not name at its offset.
absl::StatusOr<Resequencer::Taken> Resequencer::JudgeUnledgered(const FetchedRecord& record) {
  // Rule off: what the ledger names above goes out over it (C11).
  const bool passes_over = !options_.rules.complete && order_.Peek() != nullptr;
  const Taken unsettled = passes_over ? Taken::kTaken : Taken::kBlocked;
  const int32_t producer = order_.FindProducer(record.header.producer);
  if (producer < 0) return unsettled;  // It opened after the page at hand was read.
  if (!order_.next_seq(producer).has_value()) return Taken::kBlocked;
  int64_t& hint = queues_[QueueIndex(producer, 0)].run_hint;
  const LedgerOrder::Found found = order_.Find(producer, record.header.seq, hint);
  switch (found.known) {
    case LedgerOrder::Known::kNotRead:
      return Taken::kBlocked;
    case LedgerOrder::Known::kBefore:
      return Drop(&ResequencerCounts::duplicates_dropped);
    case LedgerOrder::Known::kRun:
      // The seq is taken, by this record elsewhere or by another one: this one never will be.
      return Drop(found.run->term == record.header.term ? &ResequencerCounts::duplicates_dropped
                                                        : &ResequencerCounts::void_dropped);
    case LedgerOrder::Known::kNothing:
      break;
  }
  const bool closed = record.header.term < order_.head(producer).closed;
  if (options_.rules.term && closed) return Drop(&ResequencerCounts::void_dropped);
  return unsettled;
}

absl::StatusOr<Resequencer::Taken> Resequencer::TakeForeign(const FetchedRecord& record) {
  if (options_.foreign == ForeignPolicy::kPass) return Drop(&ResequencerCounts::foreign_passed);
  return absl::FailedPreconditionError(
      absl::StrCat("stream ", ToString(options_.stream), ": the record at log offset ",
                   record.view.log_offset.value(),
                   " carries no record header; --foreign=pass steps over what others wrote"));
}

absl::Status Resequencer::Inconsistent(const LedgerOrder::Next& row,
                                       const FetchedRecord* found) const {
  std::string holds = "no record";
  if (found != nullptr) {
    holds = found->foreign
                ? "a record without a record header"
                : Identity(found->header.producer, found->header.term, found->header.seq);
  }
  return absl::DataLossError(absl::StrCat(
      kInconsistentOffsets, " in stream ", ToString(options_.stream),
      ": the ledger says that position ", ToString(row.position), " holds ",
      Identity(order_.producer_name(row.producer), row.term, row.seq), "; the log holds ", holds,
      " there. The log was truncated or is another one; the cure is a failover in "
      "place: a new epoch at this site"));
}

// ---------------------------------------------------------------- facts

Resequencer::Wanted Resequencer::Describe(const LedgerOrder::Next& next) const {
  return {order_.producer_name(next.producer), next.term, next.seq, next.position};
}

std::optional<Resequencer::Wanted> Resequencer::FrozenWanted() const {
  const LedgerOrder::Next* next = order_.Peek();
  if (next == nullptr || next->position.epoch >= order_.epoch()) return std::nullopt;
  return Describe(*next);
}

std::optional<Resequencer::Wanted> Resequencer::CurrentWanted() const {
  const LedgerOrder::Next* next = order_.Peek();
  if (next == nullptr || next->position.epoch < order_.epoch()) return std::nullopt;
  return Describe(*next);
}

std::optional<Seq> Resequencer::next_seq(std::string_view producer) const {
  const int32_t index = order_.FindProducer(producer);
  return index < 0 ? std::nullopt : order_.next_seq(index);
}

Position Resequencer::TurnOf(size_t queue, Seq seq) const {
  return order_.PositionOf(ProducerOf(queue), seq, queues_[queue].turn_hint);
}

Position Resequencer::NextTurn(size_t queue) const {
  const std::optional<Position> next = order_.next_position(ProducerOf(queue));
  LOCKSTEP_CHECK(next.has_value(), "what is parked is named by a run at hand");
  return *next;
}

std::optional<size_t> Resequencer::QueueOf(int topic, const RecordHeader& header) const {
  const int32_t producer = order_.FindProducer(header.producer);
  if (producer < 0) return std::nullopt;
  int64_t no_hint = 0;
  const LedgerOrder::Found found = order_.Find(producer, header.seq, no_hint);
  if (found.known != LedgerOrder::Known::kRun || found.run->term != header.term) {
    return std::nullopt;
  }
  return QueueIndex(producer, topic);
}

bool Resequencer::ReachedAll(const std::vector<Head>& heads) const {
  return std::all_of(heads.begin(), heads.end(), [&](const Head& head) {
    const std::optional<Seq> next = next_seq(head.name);
    return head.last_seq == Seq(0) || (next.has_value() && *next > head.last_seq);
  });
}

}  // namespace lockstep
