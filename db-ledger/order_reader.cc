#include "db-ledger/order_reader.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

#include "common/base/status_macros.h"

namespace lockstep {

OrderReader::OrderReader(Ledger* ledger, StreamId stream, std::optional<Position> from,
                         int64_t runs_per_page)
    : ledger_(ledger), from_(from) {
  request_.stream = stream;
  request_.runs_per_producer_max = runs_per_page;
}

// Reads on while any producer's next run is unknown.
absl::Status OrderReader::Fill() {
  if (!began_ && from_) {
    const Position before{from_->epoch, from_->offset - 1};
    LOCKSTEP_ASSIGN_OR_RETURN(request_.after, ledger_->MarksAfter(request_.stream, before));
  }
  const auto starved = [&] {
    return std::any_of(queues_.begin(), queues_.end(), [](const auto& entry) {
      return entry.second.runs.empty() && entry.second.more;
    });
  };
  while (!began_ || starved()) {
    LOCKSTEP_ASSIGN_OR_RETURN(StreamPage page, ledger_->ReadStream(request_));
    if (!began_) {
      for (const Head& head : page.heads) queues_[head.producer] = {head.name, head.last_seq, {}};
      began_ = true;
    }
    for (auto& [producer, queue] : queues_) queue.more = false;
    for (const ProducerId producer : page.more) {
      if (const auto queue = queues_.find(producer); queue != queues_.end()) {
        queue->second.more = true;
      }
    }
    for (Run& run : page.runs) {
      const auto queue = queues_.find(run.producer);
      if (queue == queues_.end()) continue;  // It came after the snapshot.
      request_.after[run.producer] = {run.epoch, run.first_seq};
      if (run.last_seq > queue->second.end) {
        queue->second.more = false;
      } else {
        queue->second.runs.push_back(std::move(run));
      }
    }
  }
  return absl::OkStatus();
}

template <class At>
absl::StatusOr<OrderReader::Queue*> OrderReader::First(At at) {
  LOCKSTEP_RETURN_IF_ERROR(Fill());
  Queue* first = nullptr;
  for (auto& [producer, queue] : queues_) {
    if (!queue.runs.empty() && (first == nullptr || at(queue) < at(*first))) first = &queue;
  }
  return first;
}

absl::StatusOr<std::optional<OrderedRange>> OrderReader::NextRange() {
  const auto at = [](const Queue& queue) {
    const Run& run = queue.runs.front();
    return Position{run.epoch, run.offsets.ranges()[queue.range].first};
  };
  for (;;) {
    LOCKSTEP_ASSIGN_OR_RETURN(Queue* const queue, First(at));
    if (queue == nullptr) return std::optional<OrderedRange>();
    const Run& run = queue->runs.front();
    const OffsetRange& range = run.offsets.ranges()[queue->range];
    OrderedRange ordered{at(*queue), range.size(), &queue->name, run.term,
                         run.first_seq + queue->taken};
    const Position last{run.epoch, range.end - 1};
    if (last_ && ordered.first <= *last_) {
      return absl::DataLossError(absl::StrCat("the ledger names position ", ToString(ordered.first),
                                              " twice, for ", queue->name, " too (I2)"));
    }
    last_ = last;
    queue->taken += range.size();
    if (++queue->range == run.offsets.ranges().size()) {
      queue->range = 0;
      queue->taken = 0;
      queue->runs.pop_front();
    }
    if (BelowFrom(last)) continue;
    if (from_ && ordered.first < *from_) {
      const int64_t below = from_->offset - ordered.first.offset;
      ordered.first = *from_;
      ordered.records -= below;
      ordered.first_seq = ordered.first_seq + below;
    }
    return std::optional<OrderedRange>(ordered);
  }
}

absl::StatusOr<std::optional<Run>> OrderReader::NextRun() {
  const auto at = [](const Queue& queue) {
    return Position{queue.runs.front().epoch, queue.runs.front().offsets.first()};
  };
  for (;;) {
    LOCKSTEP_ASSIGN_OR_RETURN(Queue* const queue, First(at));
    if (queue == nullptr) return std::optional<Run>();
    Run run = std::move(queue->runs.front());
    queue->runs.pop_front();
    if (BelowFrom({run.epoch, run.offsets.end() - 1})) continue;
    return std::optional<Run>(std::move(run));
  }
}

}  // namespace lockstep
