#include "reorder/producer_order.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"

#include "common/base/check.h"
#include "common/base/status_macros.h"

namespace lockstep {
namespace {

// The offset that a seq of the run lies at. REQUIRES: the run holds it.
Position PositionOf(const Run& run, Seq seq) {
  int64_t index = seq - run.first_seq;
  for (const OffsetRange& range : run.offsets.ranges()) {
    if (index < range.size()) return {run.epoch, range.first + index};
    index -= range.size();
  }
  return {run.epoch, run.offsets.end()};
}

}  // namespace

ProducerOrder::ProducerOrder(ProducerOrderOptions options, std::map<ProducerId, Seq> done,
                             ParkingBuffer& parking)
    : options_(std::move(options)), done_(std::move(done)), parking_(&parking) {}

// ---------------------------------------------------------------- the ledger

RunMarks ProducerOrder::MarksToRead(int64_t runs_per_producer) {
  constexpr RunKey kBehindAll{Epoch(INT64_MAX), Seq(INT64_MAX)};
  RunMarks marks = marks_;
  for (auto& [id, producer] : producers_) {
    // Half a page, so that producers that take turns are asked for together.
    producer.asked = 2 * static_cast<int64_t>(producer.runs.size()) <= runs_per_producer;
    if (!producer.asked) marks[id] = kBehindAll;
  }
  return marks;
}

int64_t ProducerOrder::ProducersToRead() const {
  return std::count_if(producers_.begin(), producers_.end(), [](const auto& one) {
    return one.second.has_more() || !one.second.runs.empty();
  });
}

int64_t ProducerOrder::runs_at_hand() const {
  int64_t runs = 0;
  for (const auto& [id, producer] : producers_) runs += static_cast<int64_t>(producer.runs.size());
  return runs;
}

absl::Status ProducerOrder::AddPage(StreamPage page, std::vector<ReadyRecord>& out) {
  if (page.epoch != options_.epoch) {
    return absl::AbortedError(absl::StrCat("epoch ", page.epoch.value(),
                                           " began; this process belongs to epoch ",
                                           options_.epoch.value(), " and is fenced"));
  }
  for (Head& head : page.heads) {
    const auto [found, added] = producers_.try_emplace(head.producer);
    if (added) {
      found->second.name = ids_.emplace(head.name, head.producer).first->first;
      found->second.next = DoneOf(head.producer) + 1;
    }
    found->second.head = std::move(head);
  }
  LOCKSTEP_RETURN_IF_ERROR(CheckWhole(page));
  for (Run& run : page.runs) LOCKSTEP_RETURN_IF_ERROR(AddRun(std::move(run)));
  LOCKSTEP_RETURN_IF_ERROR(CheckRead(page));
  has_page_ = true;
  used_up_ = std::count_if(producers_.begin(), producers_.end(),
                           [](const auto& one) { return one.second.used_up(); });
  return DrainParked(out);
}

// A group that begins after a prune, or was left behind by one. A person decides that it does not
// get what is gone; all producers are named at once.
absl::Status ProducerOrder::CheckWhole(const StreamPage& page) const {
  constexpr int kNamedMax = 20;
  std::string gone;
  std::string cure;
  int producers = 0;
  ProducerId last;
  for (const Run& run : page.runs) {
    const auto producer = producers_.find(run.producer);
    const bool is_first = run.producer != last;
    last = run.producer;
    if (!is_first || producer == producers_.end()) continue;
    if (producer->second.read_to != Seq(0) || run.first_seq <= producer->second.next) continue;
    if (++producers > kNamedMax) continue;
    const std::string& name = producer->second.head.name;
    absl::StrAppend(&gone, gone.empty() ? "" : ", ", name, " from seq ",
                    producer->second.next.value(), " to ", run.first_seq.value() - 1);
    absl::StrAppend(&cure, cure.empty() ? "" : ", ", "--producer ", name, " --to ",
                    run.first_seq.value() - 1);
  }
  if (producers == 0) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "ledger-is-pruned: stream ", ToString(options_.stream),
      " lacks what this group has not sent (", gone,
      producers > kNamedMax ? absl::StrCat(" and ", producers - kNamedMax, " more") : "",
      "). To go on without it, as if it had been sent: `lockstep-ledger cursor set --group … "
      "--stream ",
      ToString(options_.stream), "` with ", cure, ", once each"));
}

// A head and its runs are of one snapshot; were one not to reach the other, reading would never
// end.
absl::Status ProducerOrder::CheckRead(const StreamPage& page) const {
  for (const auto& [id, producer] : producers_) {
    if (!producer.asked || !producer.has_more()) continue;
    if (std::find(page.more.begin(), page.more.end(), id) != page.more.end()) continue;
    return absl::DataLossError(
        absl::StrCat("inconsistent ledger of stream ", ToString(options_.stream), ": the head of ",
                     producer.head.name, " stands at seq ", producer.head.last_seq.value(),
                     ", its runs end with ", producer.read_to.value()));
  }
  return absl::OkStatus();
}

absl::Status ProducerOrder::DrainParked(std::vector<ReadyRecord>& out) {
  drain_pending_ = false;
  for (auto& [id, producer] : producers_) {
    LOCKSTEP_RETURN_IF_ERROR(Drain(producer, out));
    if (drain_pending_) return absl::OkStatus();
    NoteUnsettled(producer);
  }
  return absl::OkStatus();
}

Seq ProducerOrder::DoneOf(ProducerId producer) const {
  const auto done = done_.find(producer);
  return done == done_.end() ? Seq(0) : done->second;
}

absl::Status ProducerOrder::AddRun(Run run) {
  const auto found = producers_.find(run.producer);
  LOCKSTEP_CHECK(found != producers_.end(), "a page has a head for each run");
  Producer& producer = found->second;
  if (run.offsets.count() != run.last_seq - run.first_seq + 1) {
    return WrongRun(run, "has not as many offsets as seqs");
  }
  if (producer.read_to != Seq(0) && run.first_seq != producer.read_to + 1) {
    return WrongRun(run, "does not follow the one before");
  }
  producer.read_to = run.last_seq;
  marks_[run.producer] = {run.epoch, run.first_seq};
  const Seq done = DoneOf(run.producer);
  if (run.first_seq <= done && done <= run.last_seq) producer.done = PositionOf(run, done);
  if (run.last_seq >= producer.next) producer.runs.push_back(std::move(run));
  return absl::OkStatus();
}

absl::Status ProducerOrder::WrongRun(const Run& run, const char* why) const {
  return absl::DataLossError(absl::StrCat(
      "inconsistent ledger of stream ", ToString(options_.stream), ": the run of ",
      producers_.at(run.producer).head.name, " from seq ", run.first_seq.value(), " on ", why));
}

// ---------------------------------------------------------------- the logs

ProducerOrder::Known ProducerOrder::Judge(const Producer& producer, Term term, Seq seq) const {
  const auto run = std::partition_point(producer.runs.begin(), producer.runs.end(),
                                        [&](const Run& one) { return one.last_seq < seq; });
  if (run != producer.runs.end()) return run->term == term ? Known::kNamed : Known::kVoid;
  if (producer.has_more()) return Known::kUnsettled;
  return term < producer.head.closed ? Known::kVoid : Known::kUnsettled;
}

absl::Status ProducerOrder::Take(int topic, const FetchedRecord& record,
                                 std::vector<ReadyRecord>& out) {
  LOCKSTEP_CHECK(!needs_page(), "the ledger is read first, as far as the next records (3)");
  LOCKSTEP_CHECK(!drain_pending_, "what is parked and next goes before what comes");
  if (record.foreign) {
    if (options_.foreign == ForeignPolicy::kPass) {
      counts_.foreign_passed += 1;
      return absl::OkStatus();
    }
    return absl::FailedPreconditionError(
        absl::StrCat("stream ", ToString(options_.stream), ": the record at log offset ",
                     record.view.log_offset.value(),
                     " carries no record header; --foreign=pass steps over what others wrote"));
  }
  const auto id = ids_.find(record.header.producer);
  // Whoever drives this has read the ledger since it saw the record, and a producer opens first.
  if (id == ids_.end()) {
    counts_.void_dropped += 1;
    return absl::OkStatus();
  }
  Producer& producer = producers_.at(id->second);
  const Seq seq = record.header.seq;
  if (seq < producer.next) {
    counts_.duplicates_dropped += 1;
    return absl::OkStatus();
  }
  const Known known = Judge(producer, record.header.term, seq);
  if (known == Known::kVoid) {
    counts_.void_dropped += 1;
    return absl::OkStatus();
  }
  if (known == Known::kUnsettled || seq != producer.next) {
    LOCKSTEP_RETURN_IF_ERROR(Park(producer, topic, record));
    if (known == Known::kUnsettled && !producer.unsettled) NoteUnsettled(producer);
    return absl::OkStatus();
  }
  counts_.first_hits += 1;
  Emit(producer, record.view, out);
  return producer.parked.empty() ? absl::OkStatus() : Drain(producer, out);
}

void ProducerOrder::Emit(Producer& producer, const RecordView& view,
                         std::vector<ReadyRecord>& out) {
  const Run& run = producer.runs.front();
  LOCKSTEP_CHECK(run.first_seq <= producer.next && producer.next <= run.last_seq,
                 "what goes out is named by the first run at hand (2)");
  if (producer.given_from == Seq(0)) {
    producer.given_from = producer.next;
    given_.push_back(run.producer);
  }
  ReadyRecord& ready = out.emplace_back();
  ready.position = PositionOfNext(producer);
  ready.producer = producer.name;
  ready.term = run.term;
  ready.seq = producer.next;
  ready.view = view;
  if (producer.next == run.last_seq) {
    producer.runs.pop_front();
    producer.range = 0;
    producer.range_index = 0;
  }
  ++producer.next;
  if (producer.used_up()) ++used_up_;
}

// Seqs only ascend, so each range of a run is stepped over once.
Position ProducerOrder::PositionOfNext(Producer& producer) {
  const Run& run = producer.runs.front();
  const auto& ranges = run.offsets.ranges();
  const int64_t index = producer.next - run.first_seq;
  while (index - producer.range_index >= ranges[producer.range].size()) {
    producer.range_index += ranges[producer.range++].size();
  }
  return {run.epoch, ranges[producer.range].first + (index - producer.range_index)};
}

std::vector<SeqRange> ProducerOrder::given() const {
  std::vector<SeqRange> ranges;
  for (const ProducerId id : given_) {
    const Producer& producer = producers_.at(id);
    ranges.push_back({id, producer.given_from, producer.next - 1});
  }
  return ranges;
}

void ProducerOrder::Release() {
  parking_->ReleaseUnparked();
  unparked_bytes_ = 0;
  for (const ProducerId id : given_) producers_.at(id).given_from = Seq(0);
  given_.clear();
}

absl::Status ProducerOrder::Park(Producer& producer, int topic, const FetchedRecord& record) {
  const Seq seq = record.header.seq;
  auto segment = std::find_if(
      producer.parked.begin(), producer.parked.end(),
      [&](const Segment& one) { return one.topic == topic && one.term == record.header.term; });
  if (segment == producer.parked.end()) {
    segment = producer.parked.insert(segment, {queues_++, topic, record.header.term, {}, {}, {}});
  }
  if (seq <= segment->last_seq) {
    counts_.duplicates_dropped += 1;
    return absl::OkStatus();
  }
  if (!parking_->Front(segment->queue).has_value()) {
    segment->first_seq = seq;
    segment->first_offset = record.view.log_offset;
  }
  LOCKSTEP_RETURN_IF_ERROR(parking_->Park(segment->queue, seq, record.view));
  segment->last_seq = seq;
  return absl::OkStatus();
}

// Enough for the sink at once, or for memory.
bool ProducerOrder::IsFull(const std::vector<ReadyRecord>& out) const {
  return out.size() >= options_.ready_max || unparked_bytes_ >= options_.ready_bytes_max ||
         parking_->ReleaseFirst();
}

// Gives out what is settled and next, and drops what turned out to be nothing, until nothing moves
// or it is enough.
absl::Status ProducerOrder::Drain(Producer& producer, std::vector<ReadyRecord>& out) {
  bool any = false;
  for (bool moved = true; moved && !drain_pending_; any = any || moved) {
    moved = false;
    for (auto it = producer.parked.begin(); it != producer.parked.end() && !drain_pending_;) {
      LOCKSTEP_ASSIGN_OR_RETURN(const bool drained, DrainSegment(producer, *it, out));
      moved = moved || drained;
      const bool over = it->term < producer.head.closed && !parking_->Front(it->queue).has_value();
      it = over ? producer.parked.erase(it) : std::next(it);
    }
  }
  if (any) NoteUnsettled(producer);
  return absl::OkStatus();
}

absl::StatusOr<bool> ProducerOrder::DrainSegment(Producer& producer, const Segment& segment,
                                                 std::vector<ReadyRecord>& out) {
  bool moved = false;
  while (const std::optional<Seq> front = parking_->Front(segment.queue)) {
    const bool again = *front < producer.next;
    const Known known = again ? Known::kVoid : Judge(producer, segment.term, *front);
    const bool is_next = known == Known::kNamed && *front == producer.next;
    if (known != Known::kVoid && !is_next) break;
    drain_pending_ = IsFull(out);
    if (drain_pending_) break;
    if (known == Known::kVoid) {
      LOCKSTEP_RETURN_IF_ERROR(parking_->Skip(segment.queue));
      (again ? counts_.duplicates_dropped : counts_.void_dropped) += 1;
    } else {
      LOCKSTEP_ASSIGN_OR_RETURN(const RecordView view, parking_->Unpark(segment.queue));
      counts_.buffer_hits += 1;
      unparked_bytes_ += view.payload_bytes();
      Emit(producer, view, out);
    }
    moved = true;
  }
  return moved;
}

std::optional<Seq> ProducerOrder::UnsettledFront(const Producer& producer,
                                                 const Segment& segment) const {
  const std::optional<Seq> front = parking_->Front(segment.queue);
  if (!front.has_value() || *front < producer.next) return std::nullopt;
  return Judge(producer, segment.term, *front) == Known::kUnsettled ? front : std::nullopt;
}

// While the ledger has more to read, that is what settles it, and not what the ledger may get.
void ProducerOrder::NoteUnsettled(Producer& producer) {
  const bool unsettled =
      !producer.has_more() &&
      std::any_of(producer.parked.begin(), producer.parked.end(), [&](const Segment& segment) {
        return UnsettledFront(producer, segment).has_value();
      });
  if (unsettled != producer.unsettled) unsettled_ += unsettled ? 1 : -1;
  producer.unsettled = unsettled;
}

// ---------------------------------------------------------------- facts

std::optional<ProducerOrder::Wanted> ProducerOrder::Missing() const {
  for (const auto& [id, producer] : producers_) {
    if (producer.runs.empty()) continue;
    // Were it parked, it would have gone out.
    const Run& run = producer.runs.front();
    return Wanted{producer.head.name, run.term, producer.next, PositionOf(run, producer.next)};
  }
  return std::nullopt;
}

std::optional<ProducerOrder::Unnamed> ProducerOrder::Unsettled() const {
  for (const auto& [id, producer] : producers_) {
    if (!producer.unsettled) continue;
    for (const Segment& segment : producer.parked) {
      const std::optional<Seq> front = UnsettledFront(producer, segment);
      if (!front.has_value()) continue;
      Unnamed unnamed{producer.head.name, segment.term, *front, segment.topic, std::nullopt};
      if (*front == segment.first_seq) unnamed.log_offset = segment.first_offset;
      return unnamed;
    }
  }
  return std::nullopt;
}

std::optional<Offset> ProducerOrder::LastSent() const {
  std::optional<Offset> last;
  for (const auto& [id, producer] : producers_) {
    if (!producer.done.has_value() || producer.done->epoch != options_.epoch) continue;
    last = std::max(last.value_or(producer.done->offset), producer.done->offset);
  }
  return last;
}

bool ProducerOrder::WentOut(std::string_view producer, Seq seq) const {
  return seq < producers_.at(id(producer)).next;
}

bool ProducerOrder::IsUnsettled(std::string_view producer, Term term, Seq seq) const {
  return !WentOut(producer, seq) &&
         Judge(producers_.at(id(producer)), term, seq) == Known::kUnsettled;
}

std::optional<Offset> ProducerOrder::FirstWanted(Offset log_start) const {
  std::optional<Offset> first;
  for (const auto& [id, producer] : producers_) {
    // In one log a producer's seqs ascend (I1), also those that no run names yet.
    Offset from = log_start;
    if (!producer.runs.empty()) {
      const Position next = PositionOf(producer.runs.front(), producer.next);
      if (next.epoch != options_.epoch) return std::nullopt;
      from = next.offset;
    } else if (producer.done.has_value() && producer.done->epoch == options_.epoch) {
      from = producer.done->offset + 1;
    }
    first = std::min(first.value_or(from), from);
  }
  return first.value_or(log_start);
}

int64_t ProducerOrder::Left(const std::vector<Head>& heads) const {
  int64_t left = 0;
  for (const Head& head : heads) {
    const auto found = producers_.find(head.producer);
    const Seq next = found == producers_.end() ? Seq(1) : found->second.next;
    left += std::max<int64_t>(0, head.last_seq - next + 1);
  }
  return left;
}

ProducerId ProducerOrder::id(std::string_view producer) const {
  const auto found = ids_.find(producer);
  LOCKSTEP_CHECK(found != ids_.end(), "what came out has a head");
  return found->second;
}

}  // namespace lockstep
