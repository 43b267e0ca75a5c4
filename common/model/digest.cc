#include "common/model/digest.h"

#include <xxhash.h>

#include <array>

namespace lockstep {
namespace {

// Little-endian, whatever the host: the digest travels between sites.
void PutFixed64(uint64_t value, char* out) {
  for (int i = 0; i < 8; ++i) out[i] = static_cast<char>(value >> (8 * i));
}

constexpr uint64_t kNull = ~uint64_t{0};  // In place of a length.

}  // namespace

void RunDigest::Free::operator()(XXH3_state_s* state) const { XXH3_freeState(state); }

RunDigest::RunDigest() : state_(XXH3_createState()) { Reset(); }
RunDigest::~RunDigest() = default;
RunDigest::RunDigest(RunDigest&&) noexcept = default;
RunDigest& RunDigest::operator=(RunDigest&&) noexcept = default;

void RunDigest::Reset() { XXH3_64bits_reset(state_.get()); }

void RunDigest::AddBytes(std::optional<std::string_view> bytes) {
  std::array<char, 8> length;
  PutFixed64(bytes ? bytes->size() : kNull, length.data());
  XXH3_64bits_update(state_.get(), length.data(), length.size());
  if (bytes) XXH3_64bits_update(state_.get(), bytes->data(), bytes->size());
}

void RunDigest::Add(std::string_view producer, Term term, Seq seq,
                    std::optional<std::string_view> key, std::optional<std::string_view> value,
                    std::span<const HeaderView> headers) {
  std::array<char, 24> fixed;
  PutFixed64(static_cast<uint64_t>(term.value()), fixed.data());
  PutFixed64(static_cast<uint64_t>(seq.value()), fixed.data() + 8);
  PutFixed64(headers.size(), fixed.data() + 16);
  XXH3_64bits_update(state_.get(), fixed.data(), fixed.size());
  AddBytes(producer);
  AddBytes(key);
  AddBytes(value);
  for (const auto& [name, content] : headers) {
    AddBytes(name);
    AddBytes(content);
  }
}

void RunDigest::Add(std::string_view producer, Term term, Seq seq, const Payload& payload) {
  std::vector<HeaderView> headers;
  headers.reserve(payload.headers.size());
  for (const auto& [name, content] : payload.headers) headers.emplace_back(name, content);
  Add(producer, term, seq, payload.key, payload.value, headers);
}

uint64_t RunDigest::Value() const { return XXH3_64bits_digest(state_.get()); }

}  // namespace lockstep
