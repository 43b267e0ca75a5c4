// LedgerWriter fills a ledger as a producer would, without Kafka: for suites that measure the
// ledger alone, or need one that matches a log they have written themselves.
#ifndef LOCKSTEP_BENCH_LEDGER_WRITER_H_
#define LOCKSTEP_BENCH_LEDGER_WRITER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "common/model/ids.h"
#include "common/model/offset_ranges.h"
#include "db-ledger/ledger.h"

namespace lockstep::bench {

// One producer on one stream. Not thread-safe; the
// ledger must outlive it.
class LedgerWriter {
 public:
  // Opens `producer` on one partition of `topic`, which has `partition_count`, and closes all
  // earlier terms. `cluster_id` names the log's cluster.
  static absl::StatusOr<LedgerWriter> Open(Ledger& ledger, const std::string& producer,
                                           const std::string& topic, const std::string& cluster_id,
                                           int32_t partition = 0, int32_t partition_count = 1);

  Term term() const { return term_; }
  StreamId stream() const { return stream_; }
  Seq last_seq() const { return last_seq_; }

  // Appends the next offsets.count() seqs at `offsets` in one commit, as several runs if one may
  // not name so many ranges. Anything but a durable commit is an error.
  absl::Status Append(const OffsetRanges& offsets);

 private:
  LedgerWriter(Ledger& ledger, ProducerId producer, StreamId stream, Term term)
      : ledger_(&ledger), producer_(producer), stream_(stream), term_(term) {}

  Ledger* ledger_;
  ProducerId producer_;
  StreamId stream_;
  Term term_;
  Seq last_seq_{0};
};

// Cuts `offsets` into consecutive pieces of at most `ranges_max` ranges.
std::vector<OffsetRanges> CutRanges(const OffsetRanges& offsets, size_t ranges_max);

}  // namespace lockstep::bench

#endif  // LOCKSTEP_BENCH_LEDGER_WRITER_H_
