#include "sim/log_index.h"

#include <algorithm>
#include <numeric>

namespace lockstep::sim {

LogIndex::LogIndex(const Bursts& log, int64_t writers)
    : log_(&log),
      offset_(log.size()),
      seq_(log.size()),
      by_writer_(log.size()),
      first_(static_cast<size_t>(writers) + 1) {
  std::vector<int64_t> next_seq(static_cast<size_t>(writers), 1);
  for (size_t i = 0; i < log.size(); ++i) {
    const auto writer = static_cast<size_t>(log[i].writer);
    offset_[i] = static_cast<uint32_t>(records_);
    seq_[i] = static_cast<uint32_t>(next_seq[writer]);
    next_seq[writer] += log[i].count;
    records_ += log[i].count;
    ++first_[writer + 1];
  }
  std::partial_sum(first_.begin(), first_.end(), first_.begin());
  std::vector<size_t> place(first_.begin(), first_.end() - 1);
  for (size_t i = 0; i < log.size(); ++i) {
    by_writer_[place[static_cast<size_t>(log[i].writer)]++] = static_cast<uint32_t>(i);
  }
}

size_t LogIndex::At(int64_t offset) const {
  const auto above =
      std::upper_bound(offset_.begin(), offset_.end(), static_cast<uint32_t>(offset));
  return static_cast<size_t>(above - offset_.begin()) - 1;
}

size_t LogIndex::Find(int32_t writer, int64_t seq, size_t& hint) const {
  const size_t begin = first_[static_cast<size_t>(writer)];
  const size_t end = first_[static_cast<size_t>(writer) + 1];
  for (; begin + hint < end; ++hint) {
    const size_t burst = by_writer_[begin + hint];
    if (seq < this->seq(burst) + count(burst)) return burst;
  }
  return bursts();
}

}  // namespace lockstep::sim
