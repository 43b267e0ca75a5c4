// LogIndex: where in a log a writer's seq lies.
#ifndef LOCKSTEP_SIM_LOG_INDEX_H_
#define LOCKSTEP_SIM_LOG_INDEX_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "sim/bursts.h"

namespace lockstep::sim {

// 12 B a burst. REQUIRES: fewer than 2^31 records.
class LogIndex {
 public:
  // `log` must outlive it.
  LogIndex(const Bursts& log, int64_t writers);

  size_t bursts() const { return log_->size(); }
  int32_t writer(size_t burst) const { return (*log_)[burst].writer; }
  int64_t count(size_t burst) const { return (*log_)[burst].count; }
  // Of the burst's first record.
  int64_t offset(size_t burst) const { return offset_[burst]; }
  int64_t seq(size_t burst) const { return seq_[burst]; }
  int64_t records() const { return records_; }

  // The burst that holds an offset. REQUIRES: 0 ≤ offset < records(). O(log bursts)
  size_t At(int64_t offset) const;

  // The burst that holds a seq of a writer; bursts(): there is none. `hint` is the caller's, one a
  // writer, starts at 0, and makes ascending look-ups O(1). REQUIRES: no lower seq was asked for
  // with it.
  size_t Find(int32_t writer, int64_t seq, size_t& hint) const;

 private:
  const Bursts* log_;
  std::vector<uint32_t> offset_;
  std::vector<uint32_t> seq_;
  std::vector<uint32_t> by_writer_;  // The bursts of writer 0, then those of writer 1, …
  std::vector<size_t> first_;        // Where in it each writer's begin; one more at the end.
  int64_t records_ = 0;
};

}  // namespace lockstep::sim

#endif  // LOCKSTEP_SIM_LOG_INDEX_H_
