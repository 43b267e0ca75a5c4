#include "mirror-reconcile/payload_sources.h"

#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"

#include "common/base/status_macros.h"
#include "db-ledger/run_payload.h"
#include "mirror-reconcile/ledger_view.h"

namespace lockstep {
namespace {

constexpr int64_t kRunsReadAhead = 64;

std::string Describe(const PayloadRequest& request, Seq seq) {
  return absl::StrCat("seq ", seq.value(), " of producer '", request.producer, "' on ",
                      ToString(request.stream.name), " (source positions ", request.run.at_first,
                      " to ", request.run.at_last, ")");
}

// The source position of the i-th of `count` records, where it follows from first and last.
std::string AtOf(const Run& run, int64_t i, int64_t count) {
  if (i == 0) return run.at_first;
  if (i == count - 1) return run.at_last;
  const absl::StatusOr<int64_t> first = ParseDecimal(run.at_first);
  const absl::StatusOr<int64_t> last = ParseDecimal(run.at_last);
  if (!first.ok() || !last.ok() || *last - *first != count - 1) return "";
  return std::to_string(*first + i);
}

}  // namespace

Payload CopyContent(const RecordContent& content) {
  Payload payload;
  if (const auto key = content.key()) payload.key = std::string(*key);
  if (const auto value = content.value()) payload.value = std::string(*value);
  payload.timestamp_ms = content.timestamp_ms();
  std::vector<RunDigest::HeaderView> headers;
  content.ForeignHeaders(headers);
  for (const auto& [name, value] : headers) {
    payload.headers.emplace_back(std::string(name),
                                 value ? std::optional(std::string(*value)) : std::nullopt);
  }
  return payload;
}

// ReadStream reads every producer without a mark, so all others get one behind their last run.
absl::Status RunPayloads::ReadAhead(StreamId stream, const Run& from, std::vector<Run>& ahead) {
  if (producers_.empty()) {
    LOCKSTEP_ASSIGN_OR_RETURN(const std::vector<ProducerInfo> known, ledger_.ListProducers());
    for (const ProducerInfo& producer : known) producers_.push_back(producer.id);
  }
  ReadStreamRequest request{stream, {}, kRunsReadAhead, true};
  for (const ProducerId producer : producers_) request.after[producer] = kAfterAllRuns;
  request.after[from.producer] = {from.epoch, from.first_seq - 1};
  LOCKSTEP_ASSIGN_OR_RETURN(StreamPage page, ledger_.ReadStream(request));
  ahead = std::move(page.runs);
  std::erase_if(ahead, [&from](const Run& run) { return run.producer != from.producer; });
  return absl::OkStatus();
}

absl::StatusOr<std::string> RunPayloads::Of(StreamId stream, const Run& wanted) {
  std::vector<Run>& ahead = ahead_[{stream, wanted.producer}];
  const auto find = [&] {
    return std::find_if(ahead.begin(), ahead.end(), [&wanted](const Run& run) {
      return run.epoch == wanted.epoch && run.first_seq == wanted.first_seq;
    });
  };
  auto found = find();
  if (found == ahead.end()) {
    LOCKSTEP_RETURN_IF_ERROR(ReadAhead(stream, wanted, ahead));
    found = find();
  }
  return found == ahead.end() ? "" : found->payload;
}

absl::StatusOr<std::vector<SourceEvent>> LedgerPayloadSource::Read(const PayloadRequest& request) {
  const Run& wanted = request.run;
  LOCKSTEP_ASSIGN_OR_RETURN(const std::string bytes, payloads_.Of(request.stream.id, wanted));
  if (bytes.empty() || bytes[0] == kRunNotesVersion) {
    return absl::NotFoundError(
        absl::StrCat("the ledger keeps no payload of ", Describe(request, wanted.first_seq)));
  }
  const int64_t count = wanted.last_seq - wanted.first_seq + 1;
  LOCKSTEP_ASSIGN_OR_RETURN(std::vector<Payload> payloads, DecodeRunPayload(bytes, count));
  std::vector<SourceEvent> events(payloads.size());
  for (size_t i = 0; i < payloads.size(); ++i) {
    events[i].at = AtOf(wanted, static_cast<int64_t>(i), count);
    events[i].payload = std::move(payloads[i]);
  }
  return events;
}

absl::StatusOr<std::vector<SourceEvent>> WithRunPayload::Read(const PayloadRequest& request) {
  PayloadRequest whole = request;
  LOCKSTEP_ASSIGN_OR_RETURN(whole.run.payload, payloads_.Of(request.stream.id, request.run));
  return source_->Read(whole);
}

absl::StatusOr<LogIndex*> LogPayloadSource::IndexOf(int32_t partition) {
  const auto known = indexes_.find(partition);
  if (known != indexes_.end()) return &known->second;
  LOCKSTEP_ASSIGN_OR_RETURN(std::unique_ptr<LogReader> log, open_(partition));
  return &indexes_.emplace(partition, LogIndex(std::move(log))).first->second;
}

absl::StatusOr<std::vector<SourceEvent>> LogPayloadSource::Read(const PayloadRequest& request) {
  LOCKSTEP_ASSIGN_OR_RETURN(LogIndex* const index, IndexOf(request.stream.name.partition));
  const Run& run = request.run;
  std::map<Offset, size_t> wanted;
  const auto count = static_cast<size_t>(run.last_seq - run.first_seq + 1);
  for (size_t i = 0; i < count; ++i) {
    const Seq seq = run.first_seq + static_cast<int64_t>(i);
    std::optional<Offset> offset = index->Find(request.producer, run.term, seq);
    while (!offset.has_value()) {
      LOCKSTEP_ASSIGN_OR_RETURN(const bool extended, index->Extend());
      if (!extended) {
        return absl::NotFoundError(absl::StrCat(name_, " has not ", Describe(request, seq)));
      }
      offset = index->Find(request.producer, run.term, seq);
    }
    wanted[*offset] = i;
  }
  std::vector<SourceEvent> events(count);
  LOCKSTEP_RETURN_IF_ERROR(index->log().Read(
      wanted.begin()->first, wanted.rbegin()->first + 1, [&](const LogRecord& record) {
        const auto it = wanted.find(record.offset);
        if (it == wanted.end() || record.content == nullptr) return;
        events[it->second].at = std::string(record.header.at);
        events[it->second].payload = CopyContent(*record.content);
      }));
  return events;
}

}  // namespace lockstep
