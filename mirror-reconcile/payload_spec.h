// PAYLOAD texts: where a producer's records can be had again.
//
//   [PRODUCER=]SPEC    SPEC: ledger · table:… · jsonl:FILE · pika://HOST:PORT[?db=NAME] · wal:DIR ·
//                            log:TOPIC@BROKERS
//
// `PRODUCER=` is there iff the first '=' comes before the first ':' (or there is no ':'); `%`, `=`
// and `:` in the name are percent-encoded.
#ifndef LOCKSTEP_MIRROR_RECONCILE_PAYLOAD_SPEC_H_
#define LOCKSTEP_MIRROR_RECONCILE_PAYLOAD_SPEC_H_

#include <string>
#include <string_view>
#include <variant>

#include "absl/status/statusor.h"

#include "producer/sources/source_spec.h"

namespace lockstep {

struct LedgerPayloadSpec {
  bool operator==(const LedgerPayloadSpec&) const = default;
};

// Another log that still has the records.
struct LogPayloadSpec {
  std::string topic;
  std::string brokers;
  bool operator==(const LogPayloadSpec&) const = default;
};

// The WAL of the producer.
struct WalPayloadSpec {
  std::string directory;
  bool operator==(const WalPayloadSpec&) const = default;
};

struct PayloadSpec {
  std::string producer;  // Empty: for every producer.
  std::string text;      // SPEC as typed.
  std::variant<LedgerPayloadSpec, LogPayloadSpec, WalPayloadSpec, SourceSpec> kind;
};

// INVALID_ARGUMENT says what is wrong and shows a right one.
absl::StatusOr<PayloadSpec> ParsePayloadSpec(std::string_view text);

}  // namespace lockstep

#endif  // LOCKSTEP_MIRROR_RECONCILE_PAYLOAD_SPEC_H_
