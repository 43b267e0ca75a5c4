#include "reorder/kafka_log_fetcher.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"

#include "common/base/status_macros.h"
#include "reorder/kafka_record.h"

namespace lockstep {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kPoll{200};
constexpr int32_t kStatisticsMs = 200;
constexpr std::chrono::seconds kPatience{10};
// Reading over so many records is cheaper than a seek.
constexpr int64_t kReadOverMax = 1'000;
// A part is 10,000 records at most.
constexpr int32_t kAheadKbytesMax = 1024;
constexpr int32_t kAnswerBytesMax = 256 * 1024;

absl::Status Gone(const StreamName& log, Offset first, Offset end) {
  return absl::DataLossError(absl::StrCat("offsets [", first.value(), ",", end.value(), ") of ",
                                          ToString(log),
                                          ", read before, are not in the log any more: removed by "
                                          "retention or truncated"));
}

}  // namespace

struct KafkaLogFetcher::Log {
  StreamName name;
  std::unique_ptr<KafkaReader> kafka;  // Opened when needed; before the batch.
  ReaderBatch batch;
  size_t at = 0;               // Of batch.records.
  std::optional<Offset> next;  // Where Poll reads on; nullopt: nowhere yet, or after an error.
  bool started = false;
  int64_t wire_bytes = 0;
};

KafkaLogFetcher::KafkaLogFetcher(KafkaLogFetcherOptions options) : options_(std::move(options)) {
  for (const std::string& topic : options_.topics) {
    logs_.push_back(std::make_unique<Log>());
    logs_.back()->name = {topic, options_.partition};
  }
}

KafkaLogFetcher::~KafkaLogFetcher() = default;

int64_t KafkaLogFetcher::wire_bytes() const {
  int64_t bytes = 0;
  for (const auto& log : logs_) bytes += log->wire_bytes;
  return bytes;
}

absl::Status KafkaLogFetcher::Fetch(int topic, Offset first, Offset end, const Take& take) {
  Log& log = *logs_[static_cast<size_t>(topic)];
  absl::Status status = Begin(log, first);
  if (status.ok()) status = Read(log, first, end, take);
  if (!status.ok()) log.next.reset();
  return Annotate(status, absl::StrCat("fetch a part of ", ToString(log.name), " again"));
}

absl::Status KafkaLogFetcher::Begin(Log& log, Offset first) {
  if (log.kafka == nullptr) {
    KafkaReaderOptions reader;
    reader.kafka = options_.kafka;
    reader.fetch_kbytes_max = kAheadKbytesMax;
    reader.answer_bytes_max = kAnswerBytesMax;
    reader.statistics_interval_ms = kStatisticsMs;
    reader.on_statistics = [&log](const KafkaStatistics& now) {
      log.wire_bytes = now.received_bytes;
    };
    LOCKSTEP_ASSIGN_OR_RETURN(log.kafka, KafkaReader::Open(reader));
  }
  const std::vector<KafkaMessage>& batch = log.batch.records;
  if (log.next.has_value() && first < *log.next + kReadOverMax &&
      first >= (batch.empty() ? *log.next : batch.front().offset())) {
    const auto from = std::partition_point(
        batch.begin(), batch.end(), [&](const auto& message) { return message.offset() < first; });
    log.at = static_cast<size_t>(from - batch.begin());
    return absl::OkStatus();
  }
  log.batch.records.clear();
  log.at = 0;
  log.next = first;
  if (log.started) return log.kafka->Seek(log.name, first);
  LOCKSTEP_RETURN_IF_ERROR(log.kafka->Start(log.name, first));
  log.started = true;
  return absl::OkStatus();
}

absl::Status KafkaLogFetcher::Read(Log& log, Offset first, Offset end, const Take& take) {
  auto give_up = steady_clock::now() + kPatience;
  while (true) {
    LOCKSTEP_ASSIGN_OR_RETURN(const bool whole, TakeBatch(log, first, end, take));
    if (whole) return absl::OkStatus();
    log.kafka->WakeFetcher();
    log.at = 0;
    const absl::Status polled = log.kafka->Poll(kPoll, log.batch);
    if (absl::IsOutOfRange(polled)) return Gone(log.name, first, end);
    LOCKSTEP_RETURN_IF_ERROR(polled);
    if (!log.batch.records.empty()) {
      log.next = log.batch.records.back().offset() + 1;
      give_up = steady_clock::now() + kPatience;
    } else if (!log.batch.ends.empty()) {
      return Gone(log.name, first, end);
    } else if (stop_requested_ && stop_requested_()) {
      return absl::UnavailableError("stopped while nothing came");
    } else if (steady_clock::now() >= give_up) {
      return absl::UnavailableError("nothing came for ten seconds");
    }
  }
}

// Whether the part was read to its end.
absl::StatusOr<bool> KafkaLogFetcher::TakeBatch(Log& log, Offset first, Offset end,
                                                const Take& take) {
  for (; log.at < log.batch.records.size(); ++log.at) {
    const KafkaMessage& message = log.batch.records[log.at];
    if (message.offset() < first) continue;
    if (message.offset() >= end) return Gone(log.name, first, end);
    FetchedRecord record;
    LOCKSTEP_RETURN_IF_ERROR(ReadFetchedRecord(message, record));
    LOCKSTEP_RETURN_IF_ERROR(take(record));
    if (message.offset() + 1 == end) return true;
  }
  return false;
}

}  // namespace lockstep
