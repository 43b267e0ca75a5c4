#include "producer/partitioner.h"

#include <string>

#include "common/base/check.h"

namespace lockstep {

int32_t Murmur2(std::string_view bytes) {
  constexpr uint32_t kSeed = 0x9747b28c;
  constexpr uint32_t kM = 0x5bd1e995;
  constexpr int kR = 24;
  const auto byte = [&](size_t i) { return uint32_t{static_cast<unsigned char>(bytes[i])}; };

  uint32_t h = kSeed ^ static_cast<uint32_t>(bytes.size());
  size_t i = 0;
  for (; i + 4 <= bytes.size(); i += 4) {
    uint32_t k = byte(i) | byte(i + 1) << 8 | byte(i + 2) << 16 | byte(i + 3) << 24;
    k *= kM;
    k ^= k >> kR;
    k *= kM;
    h *= kM;
    h ^= k;
  }
  switch (bytes.size() - i) {
    case 3:
      h ^= byte(i + 2) << 16;
      [[fallthrough]];
    case 2:
      h ^= byte(i + 1) << 8;
      [[fallthrough]];
    case 1:
      h ^= byte(i);
      h *= kM;
      break;
    default:
      break;
  }
  h ^= h >> 13;
  h *= kM;
  h ^= h >> 15;
  return static_cast<int32_t>(h);
}

absl::StatusOr<int32_t> ChoosePartition(std::optional<int32_t> explicit_partition,
                                        std::optional<std::string_view> key, std::string_view at,
                                        int32_t count) {
  LOCKSTEP_CHECK(count >= 1, "a topic has at least one partition");
  if (explicit_partition) {
    if (*explicit_partition < 0 || *explicit_partition >= count) {
      return absl::OutOfRangeError("partition " + std::to_string(*explicit_partition) +
                                   " of a topic with " + std::to_string(count) + " partitions");
    }
    return *explicit_partition;
  }
  return (Murmur2(key ? *key : at) & 0x7fffffff) % count;
}

absl::StatusOr<int32_t> ChoosePartition(const SourceEvent& event, int32_t count) {
  return ChoosePartition(event.partition,
                         event.partition_key ? event.partition_key : event.payload.key, event.at,
                         count);
}

}  // namespace lockstep
