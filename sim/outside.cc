#include "sim/outside.h"

#include "absl/strings/str_cat.h"

#include "common/base/check.h"

namespace lockstep::sim {

Seq SimSource::SeqOf(int64_t at) const { return LastSeq(PartitionOf(at), at); }

Seq SimSource::LastSeq(int32_t partition, int64_t at) const {
  int64_t seq = 0;
  for (int64_t i = 1; i <= at; ++i) seq += PartitionOf(i) == partition ? 1 : 0;
  return Seq(seq);
}

int64_t SimSource::AtOf(int32_t partition, Seq seq) const {
  for (int64_t at = 1; at <= size(); ++at) {
    if (PartitionOf(at) == partition && SeqOf(at) == seq) return at;
  }
  LOCKSTEP_CHECK(false, "every ledgered seq is an event of its source");
}

std::string SimSource::ValueOf(int64_t at, const std::string& attempt) const {
  return attempt.empty() ? absl::StrCat(producer_, "#", at)
                         : absl::StrCat(producer_, "#", at, " by ", attempt);
}

}  // namespace lockstep::sim
