// ProducerOrderReader reads one stream, ledger and Kafka together, and gives each producer's
// records in its own order: the adapter around ProducerOrder, as StreamReader is around
// Resequencer.
//
// What was sent before is skipped by count. Once nothing is wanted of earlier epochs only the
// current one's log is read, from the lowest offset that any producer wants; before that every
// topic from its first record on, since no place in a log can be trusted to be the same at both
// sites. A topic that the epoch's first producer made after that is read, too, once the ledger
// names it.
//
// The ledger is read as records come: what it names beyond them takes no memory.
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

#include "db-ledger/ledger.h"
#include "db-ledger/seq_cursor.h"
#include "reorder/page_size.h"
#include "reorder/producer_order.h"
#include "reorder/record_reader.h"

namespace lockstep {

class ProducerOrderReader final : public RecordReader {
 public:
  // `done`: as ProducerOrder's. `ledger` and `cursors` are one; they and `parking` must outlive
  // this.
  static absl::StatusOr<std::unique_ptr<ProducerOrderReader>> Open(
      const StreamReaderOptions& options, std::map<ProducerId, Seq> done, Ledger& ledger,
      SeqCursors& cursors, ParkingBuffer& parking);

  // What waiting() names is what one producer, or all of them, wait for; it is known once the
  // topics were read to their ends.
  absl::Status Next(std::vector<ReadyRecord>& out, std::chrono::milliseconds timeout) override;

  // Every log was read up to where it ended when reading began, whatever comes since.
  bool read_what_was_there() const;

  int64_t Left() const override { return order_.Left(heads_at_start_); }
  bool ReachedAll() const override { return Left() == 0; }
  bool nothing_left() const override;
  ResequencerCounts counts() const override { return order_.counts(); }
  // Until the next call of Next.
  const ProducerOrder& order() const { return order_; }

 private:
  ProducerOrderReader(const StreamReaderOptions& options, std::map<ProducerId, Seq> done,
                      Ledger& ledger, ParkingBuffer& parking, std::unique_ptr<KafkaReader> kafka);
  absl::Status Step(std::vector<ReadyRecord>& out, Clock::time_point deadline);
  absl::StatusOr<bool> ReadPage(std::vector<ReadyRecord>& out);
  absl::Status Start();
  absl::StatusOr<bool> StartCurrent();
  absl::Status FollowCurrent();
  absl::Status BeginCurrent();
  absl::StatusOr<std::optional<LogInfo>> CurrentHere();
  absl::Status Offer(std::vector<ReadyRecord>& out, Clock::time_point deadline);
  absl::Status BeginIn(const StreamName& log, Offset from, Offset end);
  absl::Status CheckSent(const LogOffsets& offsets) const;
  void NoteEnd();
  std::optional<Waiting> WaitsForRecord() const;
  bool IsOver(const Waiting& waiting) const;

  ProducerOrder order_;
  // Per started_: what lies below was there, and is still to be read.
  std::vector<std::optional<Offset>> was_there_;
  absl::Status error_;  // Final.
  PageSize page_size_;
  std::optional<size_t>
      current_;  // Of started_: the current epoch's log, if it is on these brokers.
  Clock::time_point current_looked_for_{};  // Last.
  Clock::time_point fetched_{};
};

}  // namespace lockstep

#endif  // LOCKSTEP_REORDER_PRODUCER_ORDER_READER_H_
