// FetchedRecordOf shows a Kafka message as the reorderer wants it, without a copy.
#ifndef LOCKSTEP_REORDER_KAFKA_RECORD_H_
#define LOCKSTEP_REORDER_KAFKA_RECORD_H_

#include "absl/status/statusor.h"

#include "common/kafka/kafka_message.h"
#include "reorder/record.h"

namespace lockstep {

// Views live as long as `message`. INVALID_ARGUMENT names the record whose header is malformed.
absl::StatusOr<FetchedRecord> FetchedRecordOf(const KafkaMessage& message);
// The same into a fresh one.
absl::Status ReadFetchedRecord(const KafkaMessage& message, FetchedRecord& record);

}  // namespace lockstep

#endif  // LOCKSTEP_REORDER_KAFKA_RECORD_H_
