// What a Kafka error means to us: one table, used by every handle.
#ifndef LOCKSTEP_COMMON_KAFKA_KAFKA_ERROR_H_
#define LOCKSTEP_COMMON_KAFKA_KAFKA_ERROR_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include <librdkafka/rdkafka.h>

namespace lockstep {

enum class KafkaErrorKind {
  kNone,
  kRetriable,        // The broker or the way to it; the same request may succeed later.
  kRecordPermanent,  // This record will never be taken (too large, not authorised, refused by the
                     // broker's rules). Retrying is in vain; a person must act.
  kPermanent,        // The request will never succeed (no such topic, wrong credentials, …).
  kFatal,            // The handle can no longer be used; make a new one.
};

KafkaErrorKind KindOf(rd_kafka_resp_err_t error);

// `context: <what librdkafka says> (<its name>)`. The code follows the kind: UNAVAILABLE for
// retriable, INVALID_ARGUMENT, PERMISSION_DENIED, NOT_FOUND or OUT_OF_RANGE for permanent ones,
// INTERNAL for fatal, ABORTED where the broker fenced us, CANCELLED after a purge. OK for NO_ERROR.
absl::Status KafkaStatus(rd_kafka_resp_err_t error, std::string_view context,
                         std::string_view detail = {});

}  // namespace lockstep

#endif  // LOCKSTEP_COMMON_KAFKA_KAFKA_ERROR_H_
