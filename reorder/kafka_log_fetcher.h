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
#include <memory>
#include <string>
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

  // UNAVAILABLE also when nothing came for ten seconds.
  absl::Status Fetch(int topic, Offset first, Offset end, const Take& take) override;

  // What the brokers sent, all that was thrown away included, as of at most 200 ms ago.
  int64_t wire_bytes() const;

 private:
  struct Log;
  absl::Status Begin(Log& log, Offset first);
  absl::Status Read(Log& log, Offset first, Offset end, const Take& take);
  absl::StatusOr<bool> TakeBatch(Log& log, Offset first, Offset end, const Take& take);

  const KafkaLogFetcherOptions options_;
  std::vector<std::unique_ptr<Log>> logs_;  // In the topics' order.
};

}  // namespace lockstep

#endif  // LOCKSTEP_REORDER_KAFKA_LOG_FETCHER_H_
