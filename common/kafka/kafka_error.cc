#include "common/kafka/kafka_error.h"

namespace lockstep {
namespace {

struct Row {
  rd_kafka_resp_err_t error;
  KafkaErrorKind kind;
  absl::StatusCode code;
};

using enum KafkaErrorKind;
using absl::StatusCode;

// Whatever is not here is retriable: for a producer with message.timeout.ms=0, librdkafka itself
// retries what can be retried, and a caller that retries in vain is seen, one that gives up wrongly
// loses data.
constexpr Row kRows[] = {
    {RD_KAFKA_RESP_ERR_NO_ERROR, kNone, StatusCode::kOk},
    // This record.
    {RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, kRecordPermanent, StatusCode::kInvalidArgument},
    {RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE, kRecordPermanent, StatusCode::kInvalidArgument},
    {RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE, kRecordPermanent, StatusCode::kInvalidArgument},
    {RD_KAFKA_RESP_ERR_INVALID_RECORD, kRecordPermanent, StatusCode::kInvalidArgument},
    {RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP, kRecordPermanent, StatusCode::kInvalidArgument},
    {RD_KAFKA_RESP_ERR_POLICY_VIOLATION, kRecordPermanent, StatusCode::kInvalidArgument},
    {RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, kRecordPermanent, StatusCode::kPermissionDenied},
    {RD_KAFKA_RESP_ERR_INVALID_REQUIRED_ACKS, kRecordPermanent, StatusCode::kInvalidArgument},
    {RD_KAFKA_RESP_ERR_UNSUPPORTED_COMPRESSION_TYPE, kRecordPermanent,
     StatusCode::kInvalidArgument},
    {RD_KAFKA_RESP_ERR_UNSUPPORTED_FOR_MESSAGE_FORMAT, kRecordPermanent,
     StatusCode::kInvalidArgument},
    // The request.
    {RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION, kPermanent, StatusCode::kInvalidArgument},
    {RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS, kPermanent, StatusCode::kAlreadyExists},
    {RD_KAFKA_RESP_ERR_INVALID_PARTITIONS, kPermanent, StatusCode::kInvalidArgument},
    {RD_KAFKA_RESP_ERR_INVALID_REPLICATION_FACTOR, kPermanent, StatusCode::kInvalidArgument},
    {RD_KAFKA_RESP_ERR_INVALID_CONFIG, kPermanent, StatusCode::kInvalidArgument},
    {RD_KAFKA_RESP_ERR_INVALID_REQUEST, kPermanent, StatusCode::kInvalidArgument},
    {RD_KAFKA_RESP_ERR_UNSUPPORTED_VERSION, kPermanent, StatusCode::kUnimplemented},
    {RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE, kPermanent, StatusCode::kOutOfRange},
    {RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET, kPermanent, StatusCode::kOutOfRange},
    {RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED, kPermanent, StatusCode::kPermissionDenied},
    {RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED, kPermanent, StatusCode::kPermissionDenied},
    {RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED, kPermanent,
     StatusCode::kPermissionDenied},
    {RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED, kPermanent, StatusCode::kUnauthenticated},
    {RD_KAFKA_RESP_ERR__AUTHENTICATION, kPermanent, StatusCode::kUnauthenticated},
    {RD_KAFKA_RESP_ERR__SSL, kPermanent, StatusCode::kUnauthenticated},
    {RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, kPermanent, StatusCode::kNotFound},
    {RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC, kPermanent, StatusCode::kNotFound},
    {RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION, kPermanent, StatusCode::kNotFound},
    {RD_KAFKA_RESP_ERR__INVALID_ARG, kPermanent, StatusCode::kInvalidArgument},
    {RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE, kPermanent, StatusCode::kUnimplemented},
    {RD_KAFKA_RESP_ERR__BAD_COMPRESSION, kPermanent, StatusCode::kDataLoss},
    {RD_KAFKA_RESP_ERR__BAD_MSG, kPermanent, StatusCode::kDataLoss},
    // The handle.
    {RD_KAFKA_RESP_ERR__FATAL, kFatal, StatusCode::kInternal},
    {RD_KAFKA_RESP_ERR__FENCED, kFatal, StatusCode::kAborted},
    {RD_KAFKA_RESP_ERR__GAPLESS_GUARANTEE, kFatal, StatusCode::kInternal},
    {RD_KAFKA_RESP_ERR__INCONSISTENT, kFatal, StatusCode::kInternal},
    {RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER, kFatal, StatusCode::kInternal},
    {RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID, kFatal, StatusCode::kInternal},
    {RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH, kFatal, StatusCode::kAborted},
    {RD_KAFKA_RESP_ERR_PRODUCER_FENCED, kFatal, StatusCode::kAborted},
    {RD_KAFKA_RESP_ERR__PURGE_QUEUE, kFatal, StatusCode::kCancelled},
    {RD_KAFKA_RESP_ERR__PURGE_INFLIGHT, kFatal, StatusCode::kCancelled},
    {RD_KAFKA_RESP_ERR__DESTROY, kFatal, StatusCode::kCancelled},
};

const Row& RowOf(rd_kafka_resp_err_t error) {
  static constexpr Row kOther{RD_KAFKA_RESP_ERR_UNKNOWN, kRetriable, StatusCode::kUnavailable};
  for (const Row& row : kRows) {
    if (row.error == error) return row;
  }
  return kOther;
}

}  // namespace

KafkaErrorKind KindOf(rd_kafka_resp_err_t error) { return RowOf(error).kind; }

absl::Status KafkaStatus(rd_kafka_resp_err_t error, std::string_view context,
                         std::string_view detail) {
  if (error == RD_KAFKA_RESP_ERR_NO_ERROR) return absl::OkStatus();
  std::string message(context);
  message += ": ";
  message += detail.empty() ? std::string_view(rd_kafka_err2str(error)) : detail;
  message += " (";
  message += rd_kafka_err2name(error);
  message += ')';
  return absl::Status(RowOf(error).code, message);
}

}  // namespace lockstep
