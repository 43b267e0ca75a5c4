// LogIndex finds records of one log by their identity.
//
// What is looked for lies near the log's end, as a rule (the tail that a mirror lost): the log is
// indexed from its end down, in blocks that double, as far as somebody asks. 16 B a record of ours.
//
// Not thread-safe.
#ifndef LOCKSTEP_MIRROR_RECONCILE_LOG_INDEX_H_
#define LOCKSTEP_MIRROR_RECONCILE_LOG_INDEX_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

#include "common/model/ids.h"
#include "mirror-reconcile/log_reader.h"

namespace lockstep {

inline constexpr int64_t kFirstIndexBlock = 100'000;  // Offsets.

class LogIndex {
 public:
  explicit LogIndex(std::unique_ptr<LogReader> log, int64_t first_block = kFirstIndexBlock)
      : log_(std::move(log)), block_size_(first_block) {}

  // Where a record lies, in what was indexed so far.
  std::optional<Offset> Find(const std::string& producer, Term term, Seq seq) const;

  // Indexes the next block down. False: all of the log is indexed.
  absl::StatusOr<bool> Extend();

  LogReader& log() { return *log_; }

 private:
  // Ascending seqs of one producer and term, and the offset of each one's first occurrence in the
  // block (I1: a log holds them in order, but for repeats).
  struct Place {
    Seq seq;
    Offset offset;
  };
  using Block = std::map<std::pair<std::string, Term>, std::vector<Place>>;

  std::unique_ptr<LogReader> log_;
  int64_t block_size_;
  Offset lo_;
  std::optional<Offset> indexed_from_;
  std::vector<Block> blocks_;
};

}  // namespace lockstep

#endif  // LOCKSTEP_MIRROR_RECONCILE_LOG_INDEX_H_
