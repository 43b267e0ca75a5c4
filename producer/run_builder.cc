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

namespace {

class GatheringEncoder final : public PayloadEncoder {
 public:
  explicit GatheringEncoder(std::function<std::string(const std::vector<Payload>&)> encode)
      : encode_(std::move(encode)) {}

  void Add(const Payload& payload) override {
    payloads_.push_back(payload);
    bytes_ += ContentBytes(payload);
  }
  size_t bytes() const override { return bytes_; }
  std::string Take() override {
    std::string encoded = encode_(payloads_);
    payloads_.clear();
    bytes_ = 0;
    return encoded;
  }

 private:
  const std::function<std::string(const std::vector<Payload>&)> encode_;
  std::vector<Payload> payloads_;
  size_t bytes_ = 0;
};

}  // namespace

MakePayloadEncoder GatherPayloads(std::function<std::string(const std::vector<Payload>&)> encode) {
  return [encode = std::move(encode)] { return std::make_unique<GatheringEncoder>(encode); };
}

RunBuilder::RunBuilder(std::string producer, ProducerId id, Seq last_seq, Offset from,
                       const MakePayloadEncoder& encode)
    : producer_(std::move(producer)),
      id_(id),
      encoder_(encode ? encode() : nullptr),
      next_seq_(last_seq + 1),
      next_offset_(from) {}

void RunBuilder::Add(Term term, Seq seq, Offset offset, std::string_view at,
                     const Payload& payload) {
  LOCKSTEP_CHECK(seq == next_seq_, "records are added in seq order (I1)");
  LOCKSTEP_CHECK(offset >= next_offset_, "a producer's offsets ascend with its seqs (I1)");
  const auto& ranges = run_.offsets.ranges();
  const bool starts_range = ranges.empty() || ranges.back().end != offset;
  if (!ranges.empty() &&
      (run_.term != term || (encoder_ && encoder_->bytes() >= kInlineBytesPerRunMax) ||
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
  if (encoder_) encoder_->Add(payload);
  ++next_seq_;
  next_offset_ = offset + 1;
}

void RunBuilder::Finish() {
  run_.digest = digest_.Value();
  digest_.Reset();
  if (encoder_) run_.payload = encoder_->Take();
  finished_.push_back(std::move(run_));
  run_ = Run();
}

std::vector<Run> RunBuilder::Take() {
  if (!run_.offsets.empty()) Finish();
  return std::exchange(finished_, {});
}

}  // namespace lockstep
