// RunBuilder gathers one stream's delivered records into runs, ready for the ledger.
//
// A run is one producer's consecutive seqs of one term with the offsets they lie at, and a digest
// over their content. Records come in seq order. A run is cut when it is taken, when the term
// changes (adoption), and when it would name more than kRangesPerRunMax ranges.
//
// Invariants:
//   (1) Seqs are consecutive over all runs ever built.
//   (2) Offsets ascend over all runs ever built.
// Not thread-safe. No I/O. Add is O(1) and allocates only when a new range begins.
#ifndef LOCKSTEP_PRODUCER_RUN_BUILDER_H_
#define LOCKSTEP_PRODUCER_RUN_BUILDER_H_

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/model/digest.h"
#include "common/model/ids.h"
#include "db-ledger/ledger.h"

namespace lockstep {

// What a run keeps of its records in Run::payload.
class PayloadEncoder {
 public:
  virtual ~PayloadEncoder() = default;
  // The run's next record.
  virtual void Add(const Payload& payload) = 0;
  // What was added, as far as it fills a ledger row: a run is cut above kInlineBytesPerRunMax.
  virtual size_t bytes() const = 0;
  // Run::payload of what was added; the next run begins.
  virtual std::string Take() = 0;
};
using MakePayloadEncoder = std::function<std::unique_ptr<PayloadEncoder>()>;

// The encoder that gathers a run's payloads whole and has `encode` make Run::payload of them.
MakePayloadEncoder GatherPayloads(std::function<std::string(const std::vector<Payload>&)> encode);

class RunBuilder {
 public:
  // `encode`: null keeps nothing of the payloads.
  // `last_seq`: the last one already ledgered. Offsets must be at or above `from`.
  RunBuilder(std::string producer, ProducerId id, Seq last_seq, Offset from,
             const MakePayloadEncoder& encode);

  // The record at `offset` is the next one. REQUIRES: seq == next_seq(), offset >= next_offset().
  void Add(Term term, Seq seq, Offset offset, std::string_view at, const Payload& payload);

  Seq next_seq() const { return next_seq_; }
  Offset next_offset() const { return next_offset_; }
  bool empty() const { return finished_.empty() && run_.offsets.empty(); }

  // All runs built since the last call, in seq order.
  std::vector<Run> Take();

 private:
  void Finish();

  std::string producer_;
  ProducerId id_;
  std::unique_ptr<PayloadEncoder> encoder_;  // Null: nothing is kept.

  Seq next_seq_;
  Offset next_offset_;
  Run run_;           // Growing; empty iff its offsets are.
  RunDigest digest_;  // Of run_.
  std::vector<Run> finished_;
};

// Key, value and headers together.
size_t ContentBytes(const Payload& payload);

// With payloads in the ledger a run is also cut at about this many bytes of payload, so that one
// row stays far from PostgreSQL's limit of 1 GB a value.
inline constexpr size_t kInlineBytesPerRunMax = 4 << 20;

}  // namespace lockstep

#endif  // LOCKSTEP_PRODUCER_RUN_BUILDER_H_
