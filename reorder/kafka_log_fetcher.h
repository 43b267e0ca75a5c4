// KafkaLogFetcher reads parts of a stream's topics once more, for ChunkParking.
//
// It has consumers of its own, so that what the reader fetched ahead stays. A part that begins
// within the last batch, or a little behind it, is read on from there; else it seeks, and what was
// fetched ahead is thrown away: little, because little is fetched ahead (but a broker answers with
// whole batches of the producer's).
//
// Not thread-safe.
#ifndef LOCKSTEP_REORDER_KAFKA_LOG_FETCHER_H_
#define LOCKSTEP_REORDER_KAFKA_LOG_FETCHER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/kafka/kafka_reader.h"
#include "common/model/ids.h"
#include "reorder/parking/chunk_parking.h"

namespace lockstep {

struct KafkaLogFetcherOptions {
  KafkaConfig kafka = {};
  std::vector<std::string> topics = {};
  int32_t partition = 0;
};

class KafkaLogFetcher final : public LogFetcher {
 public:
  explicit KafkaLogFetcher(KafkaLogFetcherOptions options);
  ~KafkaLogFetcher() override;

  // UNAVAILABLE also when nothing came for ten seconds, or when it waits and is to stop.
  absl::Status Fetch(int topic, Offset first, Offset end, const Take& take) override;

  // Asked while it waits, 200 ms apart at most.
  void StopWhen(std::function<bool()> stop_requested) {
    stop_requested_ = std::move(stop_requested);
  }

  // What the brokers sent, all that was thrown away included. librdkafka says it every 200 ms, and
  // only Fetch listens: what came since its last word is missing.
  int64_t wire_bytes() const;

 private:
  struct Log;
  absl::Status Begin(Log& log, Offset first);
  absl::Status Read(Log& log, Offset first, Offset end, const Take& take);
  absl::StatusOr<bool> TakeBatch(Log& log, Offset first, Offset end, const Take& take);

  const KafkaLogFetcherOptions options_;
  std::vector<std::unique_ptr<Log>> logs_;  // In the topics' order.
  std::function<bool()> stop_requested_;    // May be empty.
};

}  // namespace lockstep

#endif  // LOCKSTEP_REORDER_KAFKA_LOG_FETCHER_H_
