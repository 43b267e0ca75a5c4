#include "producer/sources/payload_source.h"

#include <string>
#include <utility>

#include "common/base/status_macros.h"
#include "producer/partitioner.h"
#include "producer/sources/jsonl_source.h"
#include "producer/sources/pika_payload_source.h"
#include "producer/sources/table_source.h"

namespace lockstep {

absl::StatusOr<std::vector<SourceEvent>> SelectRunEvents(const PayloadRequest& request,
                                                         std::vector<SourceEvent> events,
                                                         std::string_view source) {
  const auto wanted = static_cast<size_t>(request.run.last_seq - request.run.first_seq + 1);
  std::vector<size_t> ours;
  for (size_t i = 0; i < events.size(); ++i) {
    const SourceEvent& event = events[i];
    LOCKSTEP_ASSIGN_OR_RETURN(const int32_t partition,
                              ChoosePartition(event, request.stream.partition_count));
    if (partition == request.stream.name.partition) ours.push_back(i);
  }
  if (ours.size() == wanted) {
    std::vector<SourceEvent> selected;
    selected.reserve(wanted);
    for (const size_t i : ours) selected.push_back(std::move(events[i]));
    return selected;
  }
  if (events.size() == wanted) return events;
  return absl::NotFoundError(std::string(source) + " has " + std::to_string(ours.size()) +
                             " of the " + std::to_string(wanted) + " events of producer '" +
                             request.producer + "' on " + ToString(request.stream.name) +
                             ", seqs " + ToString(request.run.first_seq) + " to " +
                             ToString(request.run.last_seq) + " (source positions " +
                             request.run.at_first + " to " + request.run.at_last + ")");
}

absl::StatusOr<std::unique_ptr<PayloadSource>> OpenPayloadSource(
    const SourceSpec& spec, const PayloadSourceOptions& options) {
  if (const auto* jsonl = std::get_if<JsonlSpec>(&spec.kind)) {
    return OpenJsonlPayloadSource(*jsonl);
  }
  if (const auto* pika = std::get_if<PikaSpec>(&spec.kind)) {
    return OpenPikaPayloadSource(*pika, options);
  }
  return OpenTablePayloadSource(std::get<TableSpec>(spec.kind), options.source_db);
}

}  // namespace lockstep
