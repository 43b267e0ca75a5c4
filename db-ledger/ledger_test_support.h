// What every test of a ledger uses: a world to connect to, builders that make a test read like a
// transcript, and what one expects of a commit.
#ifndef LOCKSTEP_DB_LEDGER_LEDGER_TEST_SUPPORT_H_
#define LOCKSTEP_DB_LEDGER_LEDGER_TEST_SUPPORT_H_

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "db-ledger/ledger.h"
#include "db-ledger/seq_cursor.h"

namespace lockstep {

// One fresh ledger (epoch 1, with a durable standby, not solo) and connections to it.
class LedgerWorld {
 public:
  virtual ~LedgerWorld() = default;
  // A connection in the name of a database role. The world outlives it.
  virtual std::unique_ptr<Ledger> Connect(const std::string& role) = 0;
};

// Both ledgers are this, too.
inline SeqCursors& SeqsOf(Ledger& ledger) { return dynamic_cast<SeqCursors&>(ledger); }

using LedgerWorldFactory = std::function<std::unique_ptr<LedgerWorld>()>;

// Builders that make a test read like a transcript.
inline OffsetRanges Offsets(std::initializer_list<std::pair<int64_t, int64_t>> ranges) {
  OffsetRanges result;
  for (const auto& [first, end] : ranges) result.Append(OffsetRange{Offset(first), Offset(end)});
  return result;
}

inline OpenProducerRequest OpenRequest(const std::string& name,
                                       const std::vector<int32_t>& partitions = {0},
                                       int64_t log_end = 0) {
  OpenProducerRequest request{name, "table:" + name, "orders", 4, {}, "cluster-p", "orders"};
  for (const int32_t p : partitions) request.partitions.push_back({p, Offset(log_end)});
  return request;
}

// The run of seqs [first, last] at the offsets [at, …), written in `term`.
inline Run MakeRun(ProducerId producer, Term term, int64_t first, int64_t last, int64_t at) {
  Run run;
  run.producer = producer;
  run.term = term;
  run.first_seq = Seq(first);
  run.last_seq = Seq(last);
  run.offsets = Offsets({{at, at + last - first + 1}});
  run.at_first = std::to_string(100 + first);
  run.at_last = std::to_string(100 + last);
  run.digest = 0xfedcba9876543210u + static_cast<uint64_t>(first);
  return run;
}

inline AppendRequest AppendOne(const OpenedProducer& opened, size_t stream, int64_t first,
                               int64_t last, int64_t at) {
  const OpenedStream& s = opened.streams.at(stream);
  return {
      opened.producer, {{s.stream, s.term, MakeRun(opened.producer, s.term, first, last, at)}}, {}};
}

#define EXPECT_REFUSED(expected, call)                                                         \
  do {                                                                                         \
    const auto lockstep_commit_ = (call);                                                      \
    EXPECT_EQ(lockstep_commit_.outcome, CommitOutcome::kNotCommitted);                         \
    EXPECT_EQ(ToString(lockstep_commit_.refusal), ToString(expected)) << lockstep_commit_.why; \
    EXPECT_FALSE(lockstep_commit_.why.ok());                                                   \
  } while (false)

#define ASSERT_COMMITTED(call)                                                \
  do {                                                                        \
    const auto lockstep_commit_ = (call);                                     \
    ASSERT_EQ(lockstep_commit_.outcome, CommitOutcome::kCommitted)            \
        << ToString(lockstep_commit_.refusal) << " " << lockstep_commit_.why; \
  } while (false)

}  // namespace lockstep

#endif  // LOCKSTEP_DB_LEDGER_LEDGER_TEST_SUPPORT_H_
