// OrderReader walks a stream's ledger in the primary's order, from one snapshot.
//
// The first page's heads are the snapshot: runs never change and each producer's are contiguous, so
// leaving out what lies above those heads gives the same answer however long the walk takes.
// Memory: the runs read ahead of the walk. Not thread-safe.
#ifndef LOCKSTEP_DB_LEDGER_ORDER_READER_H_
#define LOCKSTEP_DB_LEDGER_ORDER_READER_H_

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>

#include "absl/status/statusor.h"

#include "db-ledger/ledger.h"

namespace lockstep {

// Consecutive records of one run at consecutive offsets.
struct OrderedRange {
  Position first;
  int64_t records = 0;
  const std::string* producer = nullptr;  // Valid while the reader lives.
  Term term;
  Seq first_seq;
};

class OrderReader {
 public:
  // From the first position at or above `from`. `ledger` must outlive it.
  OrderReader(Ledger* ledger, StreamId stream, std::optional<Position> from,
              int64_t runs_per_page = 1000);

  // The next range in (epoch, offset) order; nullopt at the snapshot's end. DATA_LOSS if two
  // producers claim one offset (I2).
  absl::StatusOr<std::optional<OrderedRange>> NextRange();

  // The next run, by its first offset; runs that end below `from` are left out. Do not mix with
  // NextRange.
  absl::StatusOr<std::optional<Run>> NextRun();

  // REQUIRES: NextRange or NextRun was called, `producer` is in the stream.
  const std::string& NameOf(ProducerId producer) const { return queues_.at(producer).name; }

 private:
  struct Queue {
    std::string name;
    Seq end;  // The snapshot's last seq.
    std::deque<Run> runs;
    bool more = true;
    // Within the front run: where the walk is.
    size_t range = 0;
    int64_t taken = 0;  // Records of earlier ranges.
  };

  absl::Status Fill();
  // The queue whose front comes first by the position that `at` gives; nullptr: none left.
  template <class At>
  absl::StatusOr<Queue*> First(At at);
  bool BelowFrom(const Position& last) const { return from_ && last < *from_; }

  Ledger* const ledger_;
  const std::optional<Position> from_;
  ReadStreamRequest request_;
  bool began_ = false;
  std::map<ProducerId, Queue> queues_;
  std::optional<Position> last_;
};

}  // namespace lockstep

#endif  // LOCKSTEP_DB_LEDGER_ORDER_READER_H_
