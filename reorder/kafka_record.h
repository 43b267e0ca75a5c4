// ReadFetchedRecord shows a Kafka message as the reorderer wants it, without a copy.
#ifndef LOCKSTEP_REORDER_KAFKA_RECORD_H_
#define LOCKSTEP_REORDER_KAFKA_RECORD_H_

#include "absl/status/status.h"

#include "common/kafka/kafka_message.h"
#include "reorder/record.h"

namespace lockstep {

// Into a fresh one (it is big, and made where it is to lie). Views live as long as `message`.
// INVALID_ARGUMENT names the record whose header is malformed.
absl::Status ReadFetchedRecord(const KafkaMessage& message, FetchedRecord& record);

}  // namespace lockstep

#endif  // LOCKSTEP_REORDER_KAFKA_RECORD_H_
