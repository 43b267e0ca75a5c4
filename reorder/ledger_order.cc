#include "reorder/ledger_order.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

#include "common/base/check.h"
#include "common/base/status_macros.h"

namespace lockstep {
namespace {

Position FirstOf(const Run& run) { return {run.epoch, run.offsets.first()}; }
Position LastOf(const Run& run) { return {run.epoch, run.offsets.end() - 1}; }

std::string Describe(const std::string& producer, const Run& run) {
  return absl::StrCat("run [", run.first_seq.value(), ",", run.last_seq.value(), "] of ", producer,
                      " in epoch ", run.epoch.value());
}

}  // namespace

LedgerOrder::LedgerOrder(Epoch epoch, std::optional<Position> after)
    : epoch_(epoch), after_(after) {}

absl::Status LedgerOrder::AddPage(StreamPage page, std::optional<Offset> passed) {
  LOCKSTEP_RETURN_IF_ERROR(status_);
  SaveNext();
  for (Producer& producer : producers_) producer.more = false;
  for (Head& head : page.heads) AddHead(std::move(head));
  for (const ProducerId id : page.more) {
    const auto found = by_id_.find(id.value());
    if (found != by_id_.end()) At(found->second).more = true;
  }
  for (Run& run : page.runs) LOCKSTEP_RETURN_IF_ERROR(AddRun(std::move(run), passed));
  unread_ = 0;
  for (int32_t index = 0; index < producer_count(); ++index) {
    Producer& producer = At(index);
    if (!producer.runs.empty()) continue;
    if (producer.more) {
      ++unread_;
    } else {
      producer.next_seq = producer.head.last_seq + 1;
      producer.next_seq_known = true;
    }
  }
  has_page_ = true;
  LoadNext();
  return status_;
}

int32_t LedgerOrder::AddHead(Head head) {
  const auto [found, added] = by_id_.try_emplace(head.producer.value(), producer_count());
  if (added) {
    by_name_[head.name] = found->second;
    producers_.emplace_back();
    names_.push_back(head.name);
  }
  At(found->second).head = std::move(head);
  return found->second;
}

absl::Status LedgerOrder::AddRun(Run run, std::optional<Offset> passed) {
  const auto found = by_id_.find(run.producer.value());
  if (found == by_id_.end()) {
    return absl::DataLossError(
        absl::StrCat("the ledger has a run of producer ", run.producer.value(), " but no head"));
  }
  Producer& producer = At(found->second);
  const auto contradiction = [&](std::string_view why) {
    return absl::DataLossError(absl::StrCat(
        "inconsistent ledger: ", Describe(producer.head.name, run), " ", std::string(why)));
  };
  if (run.offsets.empty() || run.offsets.count() != run.last_seq - run.first_seq + 1) {
    return contradiction("has not as many offsets as seqs");
  }
  if (producer.read_to.has_value() && run.first_seq != *producer.read_to + 1) {
    return contradiction(absl::StrCat("does not follow seq ", producer.read_to->value()));
  }
  if (producer.read_end.has_value() && FirstOf(run) <= *producer.read_end) {
    return contradiction(absl::StrCat("lies below ", ToString(*producer.read_end)));
  }
  const bool wanted = !after_.has_value() || FirstOf(run) > *after_;
  if (passed.has_value() && run.epoch == epoch_ && wanted && run.offsets.first() <= *passed) {
    return contradiction(absl::StrCat("names offset ", run.offsets.first().value(),
                                      ", which the log did not hold for it when it was read past"));
  }
  producer.read_to = run.last_seq;
  producer.read_end = LastOf(run);
  RunKey& mark = marks_[run.producer];
  mark = RunKey{run.epoch, run.first_seq};

  const bool idle = producer.runs.empty();
  producer.runs.push_back(std::move(run));
  if (!idle) return absl::OkStatus();
  producer.range = 0;
  producer.offset = producer.runs.front().offsets.first();
  producer.next_seq = producer.runs.front().first_seq;
  producer.next_seq_known = true;
  SkipBeforeStart(producer);
  if (!producer.runs.empty()) Push(found->second);
  return absl::OkStatus();
}

// Only a run at hand is looked at; when it is dropped whole the producer has none again.
void LedgerOrder::SkipBeforeStart(Producer& producer) {
  if (!after_.has_value()) return;
  const Run& run = producer.runs.front();
  if (LastOf(run) <= *after_) {
    producer.next_seq = run.last_seq + 1;
    producer.runs.pop_front();
    ++producer.first_run;
    return;
  }
  if (FirstOf(run) > *after_) return;
  const Offset start = after_->offset + 1;
  producer.next_seq = run.first_seq + run.offsets.CountBelow(start);
  while (run.offsets.ranges()[producer.range].end <= start) ++producer.range;
  producer.offset = std::max(start, run.offsets.ranges()[producer.range].first);
}

void LedgerOrder::Push(int32_t index) {
  const Producer& producer = At(index);
  heap_.push_back({{producer.runs.front().epoch, producer.offset}, index});
  std::push_heap(heap_.begin(), heap_.end(), std::greater<>());
}

// Puts the producer under way back among the others.
void LedgerOrder::SaveNext() {
  if (!has_next_) return;
  Producer& producer = At(next_.producer);
  producer.offset = next_.position.offset;
  producer.next_seq = next_.seq;
  Push(next_.producer);
  has_next_ = false;
}

void LedgerOrder::LoadNext() {
  has_next_ = false;
  if (heap_.empty()) return;
  std::pop_heap(heap_.begin(), heap_.end(), std::greater<>());
  const HeapItem item = heap_.back();
  heap_.pop_back();
  const Producer& producer = At(item.producer);
  const Run& run = producer.runs.front();
  range_end_ = run.offsets.ranges()[producer.range].end;
  if (!heap_.empty() && heap_.front().position < Position{run.epoch, range_end_}) {
    status_ = absl::DataLossError(absl::StrCat(
        "inconsistent ledger: position ", ToString(heap_.front().position), " is claimed by ",
        producer.head.name, " and by ", At(heap_.front().producer).head.name));
    return;
  }
  next_ = {item.producer, item.position, run.term, producer.next_seq};
  has_next_ = true;
}

void LedgerOrder::FinishRange() {
  Producer& producer = At(next_.producer);
  producer.next_seq = next_.seq;
  ++producer.range;
  if (producer.range == producer.runs.front().offsets.ranges().size()) {
    producer.runs.pop_front();
    ++producer.first_run;
    producer.range = 0;
  }
  if (!producer.runs.empty()) {
    producer.offset = producer.runs.front().offsets.ranges()[producer.range].first;
    Push(next_.producer);
  } else if (producer.more) {
    ++unread_;
  }
  LoadNext();
}

int32_t LedgerOrder::LookUp(std::string_view name) const {
  const auto found = by_name_.find(absl::string_view(name.data(), name.size()));
  if (found == by_name_.end()) return -1;
  last_found_ = found->second;
  return last_found_;
}

// The run at hand that holds `seq`, or the number of runs; the one found last and the one behind it
// are looked at first.
size_t LedgerOrder::PlaceOf(const Producer& producer, Seq seq, int64_t hint) {
  const std::deque<Run>& runs = producer.runs;
  const auto from = static_cast<size_t>(std::max<int64_t>(hint - producer.first_run, 0));
  for (size_t place = from; place < runs.size() && place <= from + 1; ++place) {
    if (seq >= runs[place].first_seq && seq <= runs[place].last_seq) return place;
  }
  const auto found = std::partition_point(runs.begin(), runs.end(),
                                          [&](const Run& run) { return run.last_seq < seq; });
  return static_cast<size_t>(found - runs.begin());
}

LedgerOrder::Found LedgerOrder::Find(int32_t index, Seq seq, int64_t& hint) const {
  const Producer& producer = At(index);
  const std::optional<Seq> next = next_seq(index);
  if (next.has_value() && seq < *next) return {Known::kBefore, nullptr};
  const size_t place = PlaceOf(producer, seq, hint);
  if (place < producer.runs.size()) {
    hint = producer.first_run + static_cast<int64_t>(place);
    return {Known::kRun, &producer.runs[place]};
  }
  if (producer.more || !next.has_value()) return {Known::kNotRead, nullptr};
  return {Known::kNothing, nullptr};
}

Position LedgerOrder::PositionOf(int32_t index, Seq seq, PlaceHint& hint) const {
  const Producer& producer = At(index);
  const size_t place = PlaceOf(producer, seq, hint.run);
  LOCKSTEP_CHECK(place < producer.runs.size(), "the seq was read");
  const Run& run = producer.runs[place];
  const int64_t nth = seq - run.first_seq;
  const int64_t number = producer.first_run + static_cast<int64_t>(place);
  if (number != hint.run || nth < hint.before) hint = {number, 0, 0};
  const std::vector<OffsetRange>& ranges = run.offsets.ranges();
  while (nth >= hint.before + ranges[hint.range].size()) {
    hint.before += ranges[hint.range].size();
    ++hint.range;
  }
  return {run.epoch, ranges[hint.range].first + (nth - hint.before)};
}

std::optional<Position> LedgerOrder::next_position(int32_t index) const {
  if (has_next_ && next_.producer == index) return next_.position;
  const Producer& producer = At(index);
  if (producer.runs.empty()) return std::nullopt;
  return Position{producer.runs.front().epoch, producer.offset};
}

}  // namespace lockstep
