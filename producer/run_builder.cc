#include "producer/run_builder.h"

#include <utility>

#include "common/base/check.h"

namespace lockstep {

size_t ContentBytes(const Payload& payload) {
  const auto size = [](const std::optional<std::string>& bytes) {
    return bytes ? bytes->size() : 0;
  };
  size_t total = size(payload.key) + size(payload.value);
  for (const auto& [name, content] : payload.headers) total += name.size() + size(content);
  return total;
}

RunBuilder::RunBuilder(std::string producer, ProducerId id, Seq last_seq, Offset from,
                       EncodePayload encode)
    : producer_(std::move(producer)),
      id_(id),
      encode_(std::move(encode)),
      next_seq_(last_seq + 1),
      next_offset_(from) {}

void RunBuilder::Add(Term term, Seq seq, Offset offset, std::string_view at,
                     const Payload& payload) {
  LOCKSTEP_CHECK(seq == next_seq_, "records are added in seq order (I1)");
  LOCKSTEP_CHECK(offset >= next_offset_, "a producer's offsets ascend with its seqs (I1)");
  const auto& ranges = run_.offsets.ranges();
  const bool starts_range = ranges.empty() || ranges.back().end != offset;
  if (!ranges.empty() && (run_.term != term || payload_bytes_ >= kInlineBytesPerRunMax ||
                          (starts_range && ranges.size() == kRangesPerRunMax))) {
    Finish();
  }
  if (run_.offsets.empty()) {
    run_.producer = id_;
    run_.term = term;
    run_.first_seq = seq;
    run_.at_first = at;
  }
  run_.last_seq = seq;
  run_.at_last = at;
  run_.offsets.Append(offset);
  digest_.Add(producer_, term, seq, payload);
  if (encode_) {
    payloads_.push_back(payload);
    payload_bytes_ += ContentBytes(payload);
  }
  ++next_seq_;
  next_offset_ = offset + 1;
}

void RunBuilder::Finish() {
  run_.digest = digest_.Value();
  digest_.Reset();
  if (encode_) run_.payload = encode_(payloads_);
  payloads_.clear();
  payload_bytes_ = 0;
  finished_.push_back(std::move(run_));
  run_ = Run();
}

std::vector<Run> RunBuilder::Take() {
  if (!run_.offsets.empty()) Finish();
  return std::exchange(finished_, {});
}

}  // namespace lockstep
