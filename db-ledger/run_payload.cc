#include "db-ledger/run_payload.h"

#include <zstd.h>

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"

#include "common/base/status_macros.h"
#include "common/base/varint.h"

namespace lockstep {
namespace {

constexpr char kVersion = 1;
constexpr int kCompressionLevel = 3;  // zstd's default: the hot path cannot afford more.

void PutBytes(const std::string& bytes, std::string& out) {
  PutVarint(bytes.size(), out);
  out += bytes;
}

// Null is 0, n bytes are n + 1.
void PutOptional(const std::optional<std::string>& bytes, std::string& out) {
  PutVarint(bytes ? bytes->size() + 1 : 0, out);
  if (bytes) out += *bytes;
}

// Takes the raw bytes apart; every Get fails rather than read past the end.
class RawReader {
 public:
  explicit RawReader(std::string_view raw) : rest_(raw) {}

  absl::StatusOr<uint64_t> GetVarint() {
    const std::optional<uint64_t> value = TakeVarint(rest_);
    if (!value) return absl::DataLossError("a number is cut off or too large");
    return *value;
  }

  absl::StatusOr<std::string> GetBytes() {
    LOCKSTEP_ASSIGN_OR_RETURN(const uint64_t size, GetVarint());
    return Take(size);
  }

  absl::StatusOr<std::optional<std::string>> GetOptional() {
    LOCKSTEP_ASSIGN_OR_RETURN(const uint64_t size, GetVarint());
    if (size == 0) return std::optional<std::string>();
    LOCKSTEP_ASSIGN_OR_RETURN(std::string bytes, Take(size - 1));
    return std::optional<std::string>(std::move(bytes));
  }

  size_t left() const { return rest_.size(); }

 private:
  absl::StatusOr<std::string> Take(uint64_t size) {
    if (size > rest_.size()) return absl::DataLossError("a length goes past the end");
    std::string bytes(rest_.substr(0, size));
    rest_.remove_prefix(size);
    return bytes;
  }

  std::string_view rest_;
};

absl::StatusOr<Payload> GetRecord(RawReader& raw, int64_t& last_timestamp_ms) {
  Payload record;
  LOCKSTEP_ASSIGN_OR_RETURN(const uint64_t step, raw.GetVarint());
  // Unsigned, so that bytes from outside cannot overflow.
  last_timestamp_ms = static_cast<int64_t>(static_cast<uint64_t>(last_timestamp_ms) +
                                           static_cast<uint64_t>(UnZigZag(step)));
  record.timestamp_ms = last_timestamp_ms;
  LOCKSTEP_ASSIGN_OR_RETURN(record.key, raw.GetOptional());
  LOCKSTEP_ASSIGN_OR_RETURN(record.value, raw.GetOptional());
  LOCKSTEP_ASSIGN_OR_RETURN(const uint64_t header_count, raw.GetVarint());
  if (header_count > raw.left()) return absl::DataLossError("more headers than bytes");
  for (uint64_t i = 0; i < header_count; ++i) {
    LOCKSTEP_ASSIGN_OR_RETURN(std::string name, raw.GetBytes());
    LOCKSTEP_ASSIGN_OR_RETURN(std::optional<std::string> value, raw.GetOptional());
    record.headers.emplace_back(std::move(name), std::move(value));
  }
  return record;
}

absl::StatusOr<std::string> Decompress(std::string_view bytes, size_t raw_bytes_max) {
  if (!bytes.empty() && bytes[0] == kRunNotesVersion) {
    return absl::NotFoundError("run payload: a Pika's notes, not the records");
  }
  if (bytes.empty() || bytes[0] != kVersion) {
    return absl::DataLossError("not a run payload of version 1");
  }
  const std::string_view frame = bytes.substr(1);
  const unsigned long long raw_size = ZSTD_getFrameContentSize(frame.data(), frame.size());
  if (raw_size == ZSTD_CONTENTSIZE_ERROR || raw_size == ZSTD_CONTENTSIZE_UNKNOWN) {
    return absl::DataLossError("not a zstd frame with its size");
  }
  if (raw_size > raw_bytes_max) {
    return absl::DataLossError(
        absl::StrCat("claims ", raw_size, " bytes, more than the ", raw_bytes_max, " allowed"));
  }
  std::string raw(raw_size, '\0');
  const size_t got = ZSTD_decompress(raw.data(), raw.size(), frame.data(), frame.size());
  if (ZSTD_isError(got) != 0) {
    return absl::DataLossError(absl::StrCat("zstd: ", ZSTD_getErrorName(got)));
  }
  if (got != raw_size) return absl::DataLossError("shorter than its frame claims");
  return raw;
}

}  // namespace

absl::StatusOr<std::string> EncodeRunPayload(std::span<const Payload> records) {
  std::string raw;
  int64_t last_timestamp_ms = 0;
  for (const Payload& record : records) {
    PutVarint(ZigZag(static_cast<int64_t>(static_cast<uint64_t>(record.timestamp_ms) -
                                          static_cast<uint64_t>(last_timestamp_ms))),
              raw);
    last_timestamp_ms = record.timestamp_ms;
    PutOptional(record.key, raw);
    PutOptional(record.value, raw);
    PutVarint(record.headers.size(), raw);
    for (const auto& [name, value] : record.headers) {
      PutBytes(name, raw);
      PutOptional(value, raw);
    }
    if (raw.size() > kRunPayloadRawBytesMax) {
      return absl::InvalidArgumentError(absl::StrCat("the payloads of one run have more than ",
                                                     kRunPayloadRawBytesMax,
                                                     " bytes; use a shorter --ledger-linger"));
    }
  }
  std::string out(1 + ZSTD_compressBound(raw.size()), '\0');
  out[0] = kVersion;
  const size_t size =
      ZSTD_compress(out.data() + 1, out.size() - 1, raw.data(), raw.size(), kCompressionLevel);
  if (ZSTD_isError(size) != 0) {
    return absl::InternalError(absl::StrCat("zstd: ", ZSTD_getErrorName(size)));
  }
  out.resize(1 + size);
  return out;
}

absl::StatusOr<std::vector<Payload>> DecodeRunPayload(std::string_view bytes, int64_t record_count,
                                                      size_t raw_bytes_max) {
  LOCKSTEP_ASSIGN_OR_RETURN(const std::string bytes_raw, Decompress(bytes, raw_bytes_max));
  RawReader raw(bytes_raw);
  std::vector<Payload> records;
  int64_t last_timestamp_ms = 0;
  while (raw.left() > 0) {
    auto record = GetRecord(raw, last_timestamp_ms);
    if (!record.ok()) {
      return Annotate(record.status(), absl::StrCat("run payload, record ", records.size()));
    }
    if (static_cast<int64_t>(records.size()) == record_count) {
      return absl::DataLossError(
          absl::StrCat("run payload: more records than the run's ", record_count));
    }
    records.push_back(std::move(*record));
  }
  if (static_cast<int64_t>(records.size()) != record_count) {
    return absl::DataLossError(
        absl::StrCat("run payload: ", records.size(), " records, the run has ", record_count));
  }
  return records;
}

}  // namespace lockstep
