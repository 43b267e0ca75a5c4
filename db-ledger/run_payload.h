// Inline payloads of a run (`--payload-in-ledger`): the records' content, compressed, kept in the
// ledger row, so that a re-injection needs no other source (I6).
//
// docs/formats/run-payload.md has the bytes. The timestamp is kept, the identity is not (the run
// has it). What is read is proved by the run's digest before it is used; the decoder only promises
// that no bytes can break it.
#ifndef LOCKSTEP_DB_LEDGER_RUN_PAYLOAD_H_
#define LOCKSTEP_DB_LEDGER_RUN_PAYLOAD_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "common/model/digest.h"

namespace lockstep {

// What a run's payload begins with that holds no records, but notes of a Pika's run
// (producer/pika/run_notes.h).
inline constexpr char kRunNotesVersion = 2;

// One run's payloads may have so many bytes before compression.
inline constexpr size_t kRunPayloadRawBytesMax = size_t{256} << 20;

// The bytes to store. INVALID_ARGUMENT if the payloads have more than kRunPayloadRawBytesMax bytes.
absl::StatusOr<std::string> EncodeRunPayload(std::span<const Payload> records);

// The records, in seq order. NOT_FOUND: they are notes. DATA_LOSS, saying where, for whatever
// EncodeRunPayload could not have written and for a number of records other than `record_count`.
// Allocates at most `raw_bytes_max` for the decompressed bytes.
absl::StatusOr<std::vector<Payload>> DecodeRunPayload(
    std::string_view bytes, int64_t record_count, size_t raw_bytes_max = kRunPayloadRawBytesMax);

}  // namespace lockstep

#endif  // LOCKSTEP_DB_LEDGER_RUN_PAYLOAD_H_
