// Kafka sinks as the ledger knows them: producers whose source is a stream of this same ledger
// (`lockstep-reorder --sink kafka:TOPIC`, reorder/kafka_relay.h).
//
// Such a sink has no cursor. How far it has read its input its own rows say, whose source positions
// are the input's; so `prune` of the input asks here, as it asks the cursors.
//
// **Retired** is a sink that will never come back (`lockstep-ledger seal NAME --retired`): prune
// waits for it no longer, and no start under its name is let in, for what it would have to write
// first may be gone. The ledger's journal keeps it, as a step of epoch 0 (no epoch has that
// number). It is written in two parts, around the seal: from the first on nobody may start, after
// the second nobody can be running; only then does prune go by. So a crash between them leaves a
// sink that holds up prune still, and the command is run again.
#ifndef LOCKSTEP_DB_LEDGER_KAFKA_SINKS_H_
#define LOCKSTEP_DB_LEDGER_KAFKA_SINKS_H_

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "common/model/ids.h"
#include "db-ledger/ledger.h"

namespace lockstep {

// What such a producer registers as its source: `stream:TOPIC/PARTITION?to=TOPIC`.
struct KafkaSinkSource {
  StreamName input;
  std::string output;  // A topic.
  bool operator==(const KafkaSinkSource&) const = default;
};
std::string ToString(const KafkaSinkSource& source);
// nullopt: the source of another kind of producer.
std::optional<KafkaSinkSource> ParseKafkaSinkSource(std::string_view text);

// kRetiring: its seal is not known to have been done.
enum class Retirement { kNone, kRetiring, kRetired };

struct KafkaSink {
  ProducerInfo producer;
  KafkaSinkSource source;
  std::optional<Position> sent;  // Everything of the input up to here is ledgered in the output.
  Retirement retirement = Retirement::kNone;
};

// All that the ledger knows, by producer id. Costs a read a stream of their outputs.
absl::StatusOr<std::vector<KafkaSink>> ReadKafkaSinks(Ledger& ledger);

absl::StatusOr<Retirement> ReadRetirement(Ledger& ledger, const std::string& producer);

// FAILED_PRECONDITION, with the remedy, iff the sink is retired, or is just being retired.
absl::Status CheckNotRetired(Ledger& ledger, const std::string& producer);

// The journal's entry, for RecordStep. REQUIRES: kRetiring or kRetired.
StepInfo RetirementStep(const std::string& producer, Retirement retirement);

}  // namespace lockstep

#endif  // LOCKSTEP_DB_LEDGER_KAFKA_SINKS_H_
