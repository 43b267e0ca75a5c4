// StreamReader reads one stream, ledger and Kafka together, and gives its records in ledger order.
//
// It is the adapter around Resequencer: it fetches pages and messages, keeps them alive while they
// are in use, and knows what it waits for. It sends nothing and changes nothing, so --plan and the
// list of what is in doubt are this class alone.
//
// After a failover most of a topic was sent long ago. It looks for the first record that was not,
// by bisection, and begins there; should that turn out too late (an unordered re-injection can hide
// an earlier one), it goes back to the topic's start and on after the last record given. What it
// gives is the ledger's order in any case.
//
// Not thread-safe: one a thread, with a ledger connection of its own.
#ifndef LOCKSTEP_REORDER_STREAM_READER_H_
#define LOCKSTEP_REORDER_STREAM_READER_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "common/model/ids.h"
#include "db-ledger/ledger.h"
#include "reorder/page_size.h"
#include "reorder/parking/parking_buffer.h"
#include "reorder/record.h"
#include "reorder/record_reader.h"
#include "reorder/resequencer.h"

namespace lockstep {

class StreamReader final : public RecordReader {
 public:
  // `ledger` and `parking` must outlive this.
  static absl::StatusOr<std::unique_ptr<StreamReader>> Open(StreamReaderOptions options,
                                                            Ledger& ledger, ParkingBuffer& parking);

  // For errors see Resequencer (4).
  absl::Status Next(std::vector<ReadyRecord>& out, std::chrono::milliseconds timeout) override;

  int64_t Left() const override;
  bool ReachedAll() const override { return resequencer_->ReachedAll(heads_at_start_); }
  bool nothing_left() const override;
  ResequencerCounts counts() const override;
  // Until the next call of Next.
  const Resequencer& resequencer() const { return *resequencer_; }
  int64_t records_read() const { return records_read_; }

 private:
  StreamReader(StreamReaderOptions options, Ledger& ledger, ParkingBuffer& parking,
               std::unique_ptr<KafkaReader> kafka);

  static std::unique_ptr<Resequencer> MakeResequencer(const StreamReaderOptions& options,
                                                      std::optional<Position> after,
                                                      ParkingBuffer& parking);
  bool MayStartOver(const absl::Status& error) const;
  absl::Status StartOver();
  absl::StatusOr<Offset> FindStart(const StreamName& log);
  absl::StatusOr<bool> WasSent(const StreamName& log, Offset offset);
  absl::Status StartFrozen();
  absl::Status StartCurrent();
  absl::Status Step(std::vector<ReadyRecord>& out, Clock::time_point deadline);
  absl::StatusOr<bool> ReadPage(std::vector<ReadyRecord>& out);
  absl::Status FetchInRange(Clock::time_point deadline);
  absl::StatusOr<bool> Offer(std::vector<ReadyRecord>& out);
  absl::Status CheckRange(Offset from, const LogOffsets& offsets) const;
  std::optional<Waiting> WantedRecord() const;
  absl::Status NoteEnd();
  absl::Status NoteMissing();

  ParkingBuffer* const parking_;
  std::unique_ptr<Resequencer> resequencer_;
  ResequencerCounts counts_before_;  // Of resequencers given up.
  std::optional<Position> last_given_;
  bool bisected_ = false;  // A frozen topic is being read from later than its start.
  bool reads_current_ = false;
  bool has_no_log_ = false;  // kCurrent: no producer has opened in this epoch yet.
  Offset next_offset_;       // kCurrent: everything below was offered or is not there.

  absl::Status error_;  // Final.
  PageSize page_size_;
  bool asked_for_blocked_ = false;  // The record that is blocked was blocked before the last page.
  int64_t records_read_ = 0;
};

}  // namespace lockstep

#endif  // LOCKSTEP_REORDER_STREAM_READER_H_
