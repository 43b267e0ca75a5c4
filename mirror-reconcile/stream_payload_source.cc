#include "mirror-reconcile/stream_payload_source.h"

#include <algorithm>
#include <cstdint>
#include <map>

#include "absl/strings/str_cat.h"

#include "common/base/status_macros.h"
#include "db-ledger/order_reader.h"
#include "mirror-reconcile/payload_sources.h"

namespace lockstep {
namespace {

constexpr int64_t kRunsPerPage = 16;  // A run of the output comes of a few of the input's.

}  // namespace

absl::Status StreamPayloadSource::Open() {
  if (id_.has_value()) return absl::OkStatus();
  LOCKSTEP_ASSIGN_OR_RETURN(const std::vector<StreamInfo> streams,
                            ledger_.FindStreams(input_.topic));
  const auto known = std::find_if(streams.begin(), streams.end(),
                                  [&](const StreamInfo& info) { return info.name == input_; });
  if (known == streams.end()) {
    return absl::NotFoundError("the ledger knows no stream " + ToString(input_));
  }
  if (!open_) return absl::NotFoundError("its input cannot be read here");
  LOCKSTEP_ASSIGN_OR_RETURN(std::vector<std::unique_ptr<LogReader>> logs, open_(*known));
  if (logs.empty()) {
    return absl::NotFoundError(absl::StrCat(
        "no topic at these brokers holds its input ", ToString(input_),
        "; name another source, --payload log:TOPIC@BROKERS, if the input is elsewhere"));
  }
  for (std::unique_ptr<LogReader>& log : logs) logs_.emplace_back(std::move(log));
  id_ = known->id;
  return absl::OkStatus();
}

// What the input's ledger names from `first` to `last`, in its order.
absl::StatusOr<std::vector<StreamPayloadSource::Wanted>> StreamPayloadSource::Named(
    const Position& first, const Position& last) {
  OrderReader order(&ledger_, *id_, first, kRunsPerPage);
  std::vector<Wanted> records;
  while (true) {
    LOCKSTEP_ASSIGN_OR_RETURN(const std::optional<OrderedRange> range, order.NextRange());
    if (!range.has_value() || range->first > last) return records;
    for (int64_t i = 0; i < range->records; ++i) {
      const Position at{range->first.epoch, range->first.offset + i};
      if (at > last) return records;
      records.push_back({at, *range->producer, range->term, range->first_seq + i});
    }
  }
}

absl::Status StreamPayloadSource::Missing(const Wanted& record) const {
  return absl::NotFoundError(absl::StrCat(
      "its input has not (", record.producer, ", term ", record.term.value(), ", seq ",
      record.seq.value(), ") at ", ToString(record.at), " here; fill the input's gap first: ",
      "lockstep-mirror-reconcile failover --topic ", input_.topic));
}

// Every log is indexed as far down as the records lie, and no further.
absl::Status StreamPayloadSource::Locate(std::vector<Wanted>& records) {
  for (Wanted& record : records) {
    while (true) {
      for (size_t i = 0; i < logs_.size() && !record.offset.has_value(); ++i) {
        record.log = i;
        record.offset = logs_[i].Find(record.producer, record.term, record.seq);
      }
      if (record.offset.has_value()) break;
      bool extended = false;
      for (LogIndex& log : logs_) {
        LOCKSTEP_ASSIGN_OR_RETURN(const bool more, log.Extend());
        extended = extended || more;
      }
      if (!extended) return Missing(record);
    }
  }
  return absl::OkStatus();
}

// One pass through each log. REQUIRES: located.
absl::StatusOr<std::vector<SourceEvent>> StreamPayloadSource::Fetch(
    const std::vector<Wanted>& records) {
  std::vector<SourceEvent> events(records.size());
  for (size_t i = 0; i < logs_.size(); ++i) {
    std::map<Offset, size_t> here;
    for (size_t j = 0; j < records.size(); ++j) {
      if (records[j].log == i) here[*records[j].offset] = j;
    }
    if (here.empty()) continue;
    LOCKSTEP_RETURN_IF_ERROR(logs_[i].log().Read(
        here.begin()->first, here.rbegin()->first + 1, [&](const LogRecord& record) {
          const auto found = here.find(record.offset);
          if (found == here.end() || record.content == nullptr) return;
          events[found->second].at = ToString(records[found->second].at);
          events[found->second].payload = CopyContent(*record.content);
        }));
  }
  return events;
}

absl::StatusOr<std::vector<SourceEvent>> StreamPayloadSource::Read(const PayloadRequest& request) {
  const auto first = ParsePosition(request.run.at_first);
  const auto last = ParsePosition(request.run.at_last);
  if (!first.ok() || !last.ok()) {
    return absl::NotFoundError(absl::StrCat("\"", request.run.at_first, "\" to \"",
                                            request.run.at_last, "\" are no positions of ",
                                            ToString(input_)));
  }
  LOCKSTEP_RETURN_IF_ERROR(Open());
  LOCKSTEP_ASSIGN_OR_RETURN(std::vector<Wanted> records, Named(*first, *last));
  LOCKSTEP_RETURN_IF_ERROR(Locate(records));
  LOCKSTEP_ASSIGN_OR_RETURN(std::vector<SourceEvent> events, Fetch(records));
  return SelectRunEvents(request, std::move(events), "the stream " + ToString(input_));
}

}  // namespace lockstep
