// RunDigest proves that a payload from elsewhere is what the producer wrote, before it is
// re-injected.
//
// XXH3-64 over each record in seq order: producer, term, seq, key, value and the headers other than
// ours, each with its length and a null flag. Not the timestamp, nor `at`: a digest covers what a
// replica of the source can reproduce. docs/formats/digest.md has the bytes.
#ifndef LOCKSTEP_COMMON_MODEL_DIGEST_H_
#define LOCKSTEP_COMMON_MODEL_DIGEST_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/model/ids.h"

struct XXH3_state_s;

namespace lockstep {

// A record's content, opaque to everything but the source adapters. nullopt is Kafka's null (an
// absent key, a tombstone).
struct Payload {
  std::optional<std::string> key = {};
  std::optional<std::string> value = {};
  std::vector<std::pair<std::string, std::optional<std::string>>> headers =
      {};  // Without Lockstep's own; in order; names may repeat.
  int64_t timestamp_ms = 0;
  bool operator==(const Payload&) const = default;
};

class RunDigest {
 public:
  using HeaderView = std::pair<std::string_view, std::optional<std::string_view>>;

  RunDigest();
  ~RunDigest();
  RunDigest(RunDigest&&) noexcept;
  RunDigest& operator=(RunDigest&&) noexcept;

  void Add(std::string_view producer, Term term, Seq seq, std::optional<std::string_view> key,
           std::optional<std::string_view> value, std::span<const HeaderView> headers);
  void Add(std::string_view producer, Term term, Seq seq, const Payload& payload);

  // The digest of what was added so far.
  uint64_t Value() const;
  void Reset();

 private:
  void AddBytes(std::optional<std::string_view> bytes);

  struct Free {
    void operator()(XXH3_state_s* state) const;
  };
  std::unique_ptr<XXH3_state_s, Free> state_;
};

}  // namespace lockstep

#endif  // LOCKSTEP_COMMON_MODEL_DIGEST_H_
