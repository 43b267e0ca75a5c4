// ProducerOrderReader reads one stream, ledger and Kafka together, and gives each producer's
// records in its own order: the adapter around ProducerOrder, as StreamReader is around
// Resequencer.
//
// It reads every topic from its first record on and skips by count what was sent before: no order
// is needed for that, and no place in a log can be trusted to be the same at both sites.
//
// Not thread-safe: one a thread, with a ledger connection of its own.
#ifndef LOCKSTEP_REORDER_PRODUCER_ORDER_READER_H_
#define LOCKSTEP_REORDER_PRODUCER_ORDER_READER_H_

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "common/kafka/kafka_reader.h"
#include "db-ledger/ledger.h"
#include "reorder/producer_order.h"
#include "reorder/stream_reader.h"

namespace lockstep {

class ProducerOrderReader {
 public:
  // `done`: as ProducerOrder's. `ledger` and `parking` must outlive this.
  static absl::StatusOr<std::unique_ptr<ProducerOrderReader>> Open(
      const StreamReaderOptions& options, std::map<ProducerId, Seq> done, Ledger& ledger,
      ParkingBuffer& parking);

  // As StreamReader::Next.
  absl::Status Next(std::vector<ReadyRecord>& out, std::chrono::milliseconds timeout);

  // What one producer, or all of them, wait for; known once the topics were read to their ends.
  const std::optional<Waiting>& waiting() const { return waiting_; }
  const std::vector<Head>& heads_at_start() const { return heads_at_start_; }
  bool read_a_page() const { return read_a_page_; }
  const ProducerOrder& order() const { return order_; }
  int64_t polls() const { return polls_; }

 private:
  using Clock = std::chrono::steady_clock;

  ProducerOrderReader(const StreamReaderOptions& options, std::map<ProducerId, Seq> done,
                      Ledger& ledger, ParkingBuffer& parking, std::unique_ptr<KafkaReader> kafka);
  absl::Status Step(std::vector<ReadyRecord>& out, Clock::time_point deadline);
  absl::StatusOr<bool> ReadPage(std::vector<ReadyRecord>& out);
  absl::Status Start();
  absl::Status Fetch(Clock::time_point deadline);
  absl::Status Offer(std::vector<ReadyRecord>& out);
  void NoteEnd();
  void Wait(Waiting waiting);
  void Pause(Clock::time_point deadline);

  const StreamReaderOptions options_;
  Ledger* const ledger_;
  std::unique_ptr<KafkaReader> kafka_;  // Before the batch, which points into it.
  ProducerOrder order_;
  ReaderBatch batch_;
  size_t next_ = 0;  // Of batch_.records.
  bool started_ = false;
  std::vector<std::optional<Offset>> end_;  // By topic: where it ended, nothing came since.
  bool read_a_page_ = false;
  std::vector<Head> heads_at_start_;
  absl::Status error_;  // Final.
  std::optional<Waiting> waiting_;
  Clock::time_point last_page_{};
  Clock::time_point fetched_{};
  std::chrono::milliseconds pause_{1};
  int64_t polls_ = 0;
};

}  // namespace lockstep

#endif  // LOCKSTEP_REORDER_PRODUCER_ORDER_READER_H_
