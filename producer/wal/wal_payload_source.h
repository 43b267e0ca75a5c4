// A producer's WAL as a source of payloads for re-injection.
#ifndef LOCKSTEP_PRODUCER_WAL_WAL_PAYLOAD_SOURCE_H_
#define LOCKSTEP_PRODUCER_WAL_WAL_PAYLOAD_SOURCE_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"

#include "producer/sources/payload_source.h"

namespace lockstep {

// Reads what the WAL has now; stop its producer first, or open it again for what comes later.
// NOT_FOUND: there is no WAL. The runs of another producer are NOT_FOUND, too.
absl::StatusOr<std::unique_ptr<PayloadSource>> OpenWalPayloadSource(const std::string& directory);

}  // namespace lockstep

#endif  // LOCKSTEP_PRODUCER_WAL_WAL_PAYLOAD_SOURCE_H_
