#include "mirror-reconcile/kafka_record_sink.h"

#include <utility>

#include "absl/strings/str_cat.h"

#include "common/base/status_macros.h"

namespace lockstep {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kPollTimeout{100};
constexpr int64_t kPollEvery = 1024;

}  // namespace

absl::StatusOr<std::unique_ptr<KafkaRecordSink>> KafkaRecordSink::Open(
    const KafkaConfig& config, const StreamName& topic_partition,
    std::chrono::milliseconds patience) {
  KafkaProducerOptions options;
  options.kafka = config;
  LOCKSTEP_ASSIGN_OR_RETURN(std::unique_ptr<KafkaProducer> producer, KafkaProducer::Open(options));
  LOCKSTEP_ASSIGN_OR_RETURN(const ProducerTopic topic, producer->Topic(topic_partition.topic));
  return std::unique_ptr<KafkaRecordSink>(
      new KafkaRecordSink(std::move(producer), topic, topic_partition, patience));
}

absl::Status KafkaRecordSink::ServeReports(std::chrono::milliseconds timeout) {
  reports_.clear();
  if (producer_->Poll(timeout, reports_) > 0) last_delivery_ = Clock::now();
  for (const DeliveryReport& report : reports_) {
    ++delivered_;
    if (report.persisted == Persisted::kYes) continue;
    return KafkaStatus(
        report.error,
        absl::StrCat("re-inject seq ", report.opaque, " into ", ToString(topic_partition_),
                     ": not delivered; run it again to go on from there"));
  }
  LOCKSTEP_RETURN_IF_ERROR(producer_->FatalError());
  if (Clock::now() - last_delivery_ < patience_ || queued_ == delivered_) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat(
      "write to ", ToString(topic_partition_), ": no record was taken for ",
      patience_.count() / 1000, " s, ", queued_ - delivered_, " wait; run it again to go on"));
}

absl::Status KafkaRecordSink::Write(const RecordHeader& header, Epoch reinjected,
                                    const Payload& payload) {
  header_text_.clear();
  AppendRecordHeader(header, header_text_);
  epoch_text_ = ToString(reinjected);
  headers_.clear();
  headers_.push_back({kRecordHeaderKey, header_text_});
  headers_.push_back({kReinjectedHeaderKey, epoch_text_});
  for (const auto& [name, value] : payload.headers) headers_.push_back({name, value});
  const KafkaRecordView record{topic_partition_.partition, payload.key, payload.value, headers_,
                               payload.timestamp_ms};
  if (queued_ == delivered_) last_delivery_ = Clock::now();
  for (;;) {
    LOCKSTEP_ASSIGN_OR_RETURN(
        const KafkaProducer::Produced produced,
        producer_->Produce(topic_, record, static_cast<uint64_t>(header.seq.value())));
    if (produced == KafkaProducer::Produced::kQueued) break;
    LOCKSTEP_RETURN_IF_ERROR(ServeReports(kPollTimeout));
  }
  if (++queued_ % kPollEvery == 0) return ServeReports(std::chrono::milliseconds(0));
  return absl::OkStatus();
}

absl::Status KafkaRecordSink::Flush() {
  while (delivered_ < queued_) LOCKSTEP_RETURN_IF_ERROR(ServeReports(kPollTimeout));
  return absl::OkStatus();
}

}  // namespace lockstep
