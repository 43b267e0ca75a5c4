#include "producer/tenure.h"

#include <algorithm>
#include <utility>

#include "common/base/check.h"

namespace lockstep {
namespace {

constexpr size_t kSpareBlocksMax = 16;

// Refusals after which the same call may be repeated: nothing happened and that may change.
bool Repeatable(Refusal refusal) {
  return refusal == Refusal::kUnavailable || refusal == Refusal::kNoDurableStandby;
}

}  // namespace

Tenure::Tenure(TenureOptions options) : options_(std::move(options)) {
  LOCKSTEP_CHECK(options_.in_flight_records_max >= 1, "TenureOptions REQUIRES it");
}

// ---------------------------------------------------------------- start-up

void Tenure::OnOpened(const Commit<OpenedProducer>& answer) {
  LOCKSTEP_CHECK(stage_ == Stage::kOpen, "a tenure opens once");
  if (answer.outcome == CommitOutcome::kNotCommitted) {
    EndedBy(answer.refusal, answer.why);
    return;
  }
  // An unknown open may yet be forgotten by a failover, which then hands out the same term again.
  // Without the rules (simulation only) it is taken for granted.
  if (answer.outcome == CommitOutcome::kUnknown &&
      ((options_.rules.abandon_open && options_.rules.open_sync) || answer.value.streams.empty())) {
    Finish(End::kOpenUnknown, answer.why);
    return;
  }
  opened_ = answer.value;
  solo_ = opened_.solo;
  streams_.reserve(opened_.streams.size());
  for (const OpenedStream& opened : opened_.streams) {
    streams_.push_back({.opened = opened,
                        .last_at = opened.last_at,
                        .next_seq = opened.last_seq + 1,
                        .delivered_seq = opened.last_seq,
                        .ledgered_seq = opened.last_seq,
                        .builder = RunBuilder(options_.name, opened_.producer, opened.last_seq,
                                              opened.adopt_from, options_.encode_payload)});
  }
  stage_ = options_.adopt ? Stage::kScan : Stage::kClose;
}

bool Tenure::needs_tail(size_t stream) const {
  const OpenedStream& opened = streams_[stream].opened;
  const Term oldest = options_.rules.adopt_unclosed ? opened.closed : Term(1);
  return std::max(oldest, Term(1)) < opened.term;
}

void Tenure::OnTail(size_t stream, const TailRecord& record) {
  LOCKSTEP_CHECK(stage_ == Stage::kScan, "the tail is read between open and adopt");
  Stream& s = streams_[stream];
  const RecordHeader& header = record.header;
  if (record.offset < s.opened.adopt_from || record.reinjected) return;
  if (header.producer != options_.name || header.seq != s.builder.next_seq()) return;
  // A record of a closed term is void for ever, even if it lands now (C2); one of our own term
  // cannot be there, as we have sent nothing.
  if (options_.rules.term) {
    if (header.term >= s.opened.term) return;
    if (options_.rules.adopt_unclosed && header.term < s.opened.closed) return;
  }
  s.builder.Add(header.term, header.seq, record.offset, header.at, *record.payload);
}

void Tenure::OnTailsEnd() {
  LOCKSTEP_CHECK(stage_ == Stage::kScan, "the tail is read between open and adopt");
  stage_ = MakeGroup() ? Stage::kAdopt : Stage::kClose;
}

void Tenure::RestartTails() {
  LOCKSTEP_CHECK(stage_ == Stage::kScan, "the tail is read between open and adopt");
  for (Stream& s : streams_) {
    s.builder = RunBuilder(options_.name, opened_.producer, s.opened.last_seq, s.opened.adopt_from,
                           options_.encode_payload);
  }
}

std::vector<TermOnStream> Tenure::terms() const {
  std::vector<TermOnStream> terms;
  for (const Stream& s : streams_) terms.push_back({s.opened.stream, s.opened.term});
  return terms;
}

void Tenure::OnClosed(const Commit<Moved>& answer) {
  LOCKSTEP_CHECK(stage_ == Stage::kClose, "a tenure closes once");
  if (answer.outcome == CommitOutcome::kUnknown) return;
  if (answer.outcome == CommitOutcome::kNotCommitted) {
    EndedBy(answer.refusal, answer.why);
    return;
  }
  if (streams_.size() == 1) acknowledged_ = streams_.front().last_at;
  stage_ = Stage::kSend;
}

// ---------------------------------------------------------------- sending

ResumePoint Tenure::resume_point() const {
  ResumePoint point;
  point.checkpoint = opened_.checkpoint;
  if (streams_.size() == 1) {
    point.floor = streams_.front().last_at;
  } else if (opened_.checkpoint && !options_.format_checkpoint) {
    point.floor = *opened_.checkpoint;
  }
  for (const Stream& s : streams_) {
    if (CompareSourcePositions(s.last_at, point.seen) > 0) point.seen = s.last_at;
  }
  return point;
}

bool Tenure::CanTake() const {
  return stage_ == Stage::kSend && next_number_ - first_number_ < options_.in_flight_records_max &&
         event_bytes_ < options_.in_flight_bytes_max;
}

std::optional<Tenure::Outgoing> Tenure::Next(size_t stream, SourceEvent&& event) {
  LOCKSTEP_CHECK(CanTake(), "Next REQUIRES CanTake()");
  LOCKSTEP_CHECK(CompareSourcePositions(event.at, newest_at_) > 0,
                 "a source's positions ascend; without that nothing could be resumed");
  newest_at_ = event.at;
  Stream& s = streams_[stream];
  if (CompareSourcePositions(event.at, s.last_at) <= 0) return std::nullopt;

  if (next_number_ / kBlockEvents - first_block_ == blocks_.size()) {
    if (spare_blocks_.empty()) spare_blocks_.push_back(std::make_unique<Slotted[]>(kBlockEvents));
    blocks_.push_back(std::move(spare_blocks_.back()));
    spare_blocks_.pop_back();
  }
  const Outgoing outgoing{next_number_++, s.opened.term, s.next_seq};
  Slotted& slot = At(outgoing.number);
  slot.event = std::move(event);
  event_bytes_ += ContentBytes(slot.event.payload);
  slot.stream = static_cast<uint32_t>(stream);
  slot.seq = s.next_seq;
  ++s.next_seq;
  return outgoing;
}

Tenure::Identity Tenure::identity(uint64_t number) const {
  const Slotted& slot = At(number);
  return {slot.stream, streams_[slot.stream].opened.term, slot.seq};
}

void Tenure::DropDoneBlocks() {
  for (; first_block_ < first_number_ / kBlockEvents; ++first_block_) {
    if (spare_blocks_.size() < kSpareBlocksMax) spare_blocks_.push_back(std::move(blocks_.front()));
    blocks_.pop_front();
  }
}

void Tenure::OnDelivered(uint64_t number, Offset offset) {
  LOCKSTEP_CHECK(stage_ == Stage::kSend || stage_ == Stage::kBroken, "only what was sent reports");
  LOCKSTEP_CHECK(number >= first_number_ && number < next_number_,
                 "an event is kept until its row is durable");
  const Slotted& slot = At(number);
  Stream& s = streams_[slot.stream];
  if (s.broken) return;
  // What a log says is from outside, even through an idempotent producer.
  if (slot.seq != s.delivered_seq + 1 || offset < s.builder.next_offset()) {
    s.broken = true;
    BreakOff(End::kInconsistentOffsets,
             absl::DataLossError("inconsistent-offsets: seq " + ToString(slot.seq) +
                                 " was reported at offset " + ToString(offset) + ", expected seq " +
                                 ToString(s.delivered_seq + 1) + " at or above offset " +
                                 ToString(s.builder.next_offset())));
    return;
  }
  s.builder.Add(s.opened.term, slot.seq, offset, slot.event.at, slot.event.payload);
  ++s.delivered_seq;
  ++gathered_;
}

void Tenure::OnFailed(uint64_t number, const absl::Status& why) {
  LOCKSTEP_CHECK(stage_ == Stage::kSend || stage_ == Stage::kBroken, "only what was sent reports");
  LOCKSTEP_CHECK(number >= first_number_ && number < next_number_,
                 "an event is kept until its row is durable");
  streams_[At(number).stream].broken = true;
  BreakOff(End::kDeliveryFailed, why);
}

void Tenure::Break(const absl::Status& why) { BreakOff(End::kDeliveryFailed, why); }

void Tenure::AllReported() {
  LOCKSTEP_CHECK(stage_ == Stage::kBroken || stage_ == Stage::kEnded,
                 "reports are outstanding until the end");
  all_reported_ = true;
  FinishIfDrained();
}

bool Tenure::Delivered(uint64_t number) const {
  const Slotted& slot = At(number);
  return slot.seq <= streams_[slot.stream].delivered_seq;
}

std::optional<AppendRequest> Tenure::TakeGroup() {
  if (stage_ != Stage::kSend && stage_ != Stage::kBroken) return std::nullopt;
  if (group_ || !MakeGroup()) return std::nullopt;
  return group_;
}

bool Tenure::MakeGroup() {
  AppendRequest request;
  request.producer = opened_.producer;
  group_records_ = 0;
  for (Stream& s : streams_) {
    for (Run& run : s.builder.Take()) {
      group_records_ += run.offsets.count();
      request.runs.push_back({s.opened.stream, s.opened.term, std::move(run)});
    }
  }
  gathered_ = 0;
  if (request.runs.empty()) return false;

  // What lies below the first undelivered event is in this group or in an earlier one.
  group_at_.clear();
  const uint64_t before = undelivered_number_;
  while (undelivered_number_ < next_number_ && Delivered(undelivered_number_)) {
    ++undelivered_number_;
  }
  if (undelivered_number_ > before) {
    const SourceEvent& last = At(undelivered_number_ - 1).event;
    group_at_ = last.at;
    if (options_.format_checkpoint) {
      request.checkpoint = options_.format_checkpoint(last);
    } else if (streams_.size() > 1) {
      request.checkpoint = last.at;
    }
  }
  group_ = std::move(request);
  return true;
}

void Tenure::OnAppended(const Commit<Appended>& answer) {
  LOCKSTEP_CHECK(group_.has_value(), "an answer belongs to the group in flight");
  if (answer.outcome == CommitOutcome::kUnknown) return;
  if (answer.outcome == CommitOutcome::kNotCommitted) {
    EndedBy(answer.refusal, answer.why);
    return;
  }
  solo_ = answer.value.solo;
  for (const RunToAppend& appended : group_->runs) {
    for (Stream& s : streams_) {
      if (s.opened.stream != appended.stream) continue;
      s.ledgered_seq = appended.run.last_seq;
      s.last_at = appended.run.at_last;
      if (stage_ == Stage::kAdopt) {
        s.delivered_seq = s.ledgered_seq;
        s.next_seq = s.ledgered_seq + 1;
      }
    }
  }
  const std::string checkpoint = group_->checkpoint.value_or("");
  group_.reset();
  if (stage_ == Stage::kAdopt) {
    adopted_ += group_records_;
    stage_ = Stage::kClose;
    return;
  }
  ledgered_ += group_records_;
  if (!group_at_.empty()) {
    acknowledged_ = group_at_;
    acknowledged_checkpoint_ = checkpoint;
  }
  while (first_number_ < undelivered_number_ &&
         At(first_number_).seq <= streams_[At(first_number_).stream].ledgered_seq) {
    SourceEvent& done = At(first_number_++).event;
    event_bytes_ -= ContentBytes(done.payload);
    done = SourceEvent();
  }
  DropDoneBlocks();
  FinishIfDrained();
}

// ---------------------------------------------------------------- the end

bool Tenure::EndedBy(Refusal refusal, const absl::Status& why) {
  if (Repeatable(refusal)) return false;
  // A gap or a difference under the newest term would be a bug of ours or of the ledger's; it is
  // not judged here but handed to the operator.
  Finish(refusal == Refusal::kFenced ? End::kFenced : End::kRefused, why);
  return true;
}

void Tenure::BreakOff(End end, const absl::Status& why) {
  if (stage_ == Stage::kEnded) return;
  // The first reason counts, unless a later one is graver.
  if (end_ == End::kNone || end == End::kInconsistentOffsets) {
    end_ = end;
    why_ = why;
  }
  stage_ = Stage::kBroken;
}

void Tenure::Finish(End end, const absl::Status& why) {
  end_ = end;
  why_ = why;
  group_.reset();
  stage_ = Stage::kEnded;
}

void Tenure::FinishIfDrained() {
  if (stage_ != Stage::kBroken || !all_reported_ || group_) return;
  for (const Stream& s : streams_) {
    if (!s.builder.empty()) return;
  }
  stage_ = Stage::kEnded;
}

std::vector<SourceEvent> Tenure::TakeUnledgered() {
  LOCKSTEP_CHECK(stage_ == Stage::kEnded, "events belong to the tenure until it ends");
  std::vector<SourceEvent> events;
  for (uint64_t n = first_number_; n < next_number_; ++n) {
    Slotted& slot = At(n);
    if (slot.seq > streams_[slot.stream].ledgered_seq) events.push_back(std::move(slot.event));
  }
  first_number_ = next_number_;
  event_bytes_ = 0;
  return events;
}

std::string_view ToString(Tenure::Stage stage) {
  switch (stage) {
    case Tenure::Stage::kOpen:
      return "open";
    case Tenure::Stage::kScan:
      return "scan";
    case Tenure::Stage::kAdopt:
      return "adopt";
    case Tenure::Stage::kClose:
      return "close";
    case Tenure::Stage::kSend:
      return "send";
    case Tenure::Stage::kBroken:
      return "broken";
    case Tenure::Stage::kEnded:
      return "ended";
  }
  return "?";
}

std::string_view ToString(Tenure::End end) {
  switch (end) {
    case Tenure::End::kNone:
      return "none";
    case Tenure::End::kOpenUnknown:
      return "open-unknown";
    case Tenure::End::kFenced:
      return "fenced";
    case Tenure::End::kRefused:
      return "refused";
    case Tenure::End::kDeliveryFailed:
      return "delivery-failed";
    case Tenure::End::kInconsistentOffsets:
      return "inconsistent-offsets";
  }
  return "?";
}

}  // namespace lockstep
