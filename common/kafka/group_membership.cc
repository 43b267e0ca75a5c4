#include "common/kafka/group_membership.h"

#include <array>
#include <utility>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/kafka/kafka_error.h"
#include "common/kafka/kafka_handles.h"
#include "common/log/log.h"

namespace lockstep {
namespace {

using MessageHandle = CHandle<rd_kafka_message_t, rd_kafka_message_destroy>;

class KafkaMembership final : public GroupMembership {
 public:
  explicit KafkaMembership(const KafkaMembershipOptions& options)
      : what_("group " + options.group + " on topic " + options.topic) {}
  ~KafkaMembership() override { Leave(); }

  absl::Status Join(const KafkaMembershipOptions& options);
  absl::StatusOr<std::optional<Change>> Poll() override;
  absl::Status Accept() override;
  void Leave() override;

 private:
  static void OnRebalance(rd_kafka_t* handle, rd_kafka_resp_err_t error,
                          rd_kafka_topic_partition_list_t* partitions, void* opaque);
  absl::Status Judge(const rd_kafka_message_t& message) const;

  const std::string what_;
  KafkaHandle handle_;
  KafkaPartitionList pending_;  // The change under way; null: none.
  Change change_;
  bool told_ = false;     // Poll has returned it.
  bool leaving_ = false;  // Changes are accepted as they come.
};

absl::Status KafkaMembership::Join(const KafkaMembershipOptions& options) {
  const std::string accept_within = std::to_string(options.accept_within.count());
  const std::array<RoleSetting, 7> settings = {{
      {"group.id", options.group.c_str(), true},
      {"partition.assignment.strategy", "cooperative-sticky", true},
      {"enable.auto.commit", "false", true},
      {"enable.auto.offset.store", "false", true},
      {"max.poll.interval.ms", accept_within.c_str(), false},
      // A killed member's partitions are idle for so long. Heartbeats come from librdkafka's own
      // thread, whatever the member does.
      {"session.timeout.ms", "10000", false},
      {"heartbeat.interval.ms", "2000", false},
  }};
  LOCKSTEP_ASSIGN_OR_RETURN(KafkaConf conf, BuildKafkaConf(options.kafka, settings));
  rd_kafka_conf_set_rebalance_cb(conf.get(), &KafkaMembership::OnRebalance);
  rd_kafka_conf_set_opaque(conf.get(), this);
  std::array<char, 512> error{};
  handle_.reset(rd_kafka_new(RD_KAFKA_CONSUMER, conf.get(), error.data(), error.size()));
  if (handle_ == nullptr) {
    return absl::InvalidArgumentError("cannot join " + what_ + ": " + error.data());
  }
  (void)conf.release();  // The handle owns it now.
  LOCKSTEP_RETURN_IF_ERROR(KafkaStatus(rd_kafka_poll_set_consumer(handle_.get()), "join " + what_));
  const KafkaPartitionList topics(rd_kafka_topic_partition_list_new(1));
  rd_kafka_topic_partition_list_add(topics.get(), options.topic.c_str(), RD_KAFKA_PARTITION_UA);
  return KafkaStatus(rd_kafka_subscribe(handle_.get(), topics.get()), "join " + what_);
}

// On the thread that polls. Only notes the change: the group waits for the answer (Accept), not for
// this function.
void KafkaMembership::OnRebalance(rd_kafka_t* handle, rd_kafka_resp_err_t error,
                                  rd_kafka_topic_partition_list_t* partitions, void* opaque) {
  auto& self = *static_cast<KafkaMembership*>(opaque);
  self.pending_.reset(rd_kafka_topic_partition_list_copy(partitions));
  self.told_ = false;
  self.change_.partitions.clear();
  for (int i = 0; i < partitions->cnt; ++i) {
    self.change_.partitions.push_back(partitions->elems[i].partition);
  }
  if (error == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
    self.change_.kind = Change::Kind::kAssigned;
  } else {
    self.change_.kind =
        rd_kafka_assignment_lost(handle) != 0 ? Change::Kind::kLost : Change::Kind::kRevoked;
  }
  // Closing waits for the answer within rd_kafka_consumer_close.
  if (self.leaving_) self.Accept().IgnoreError();  // As above.
}

absl::StatusOr<std::optional<GroupMembership::Change>> KafkaMembership::Poll() {
  while (const MessageHandle message{rd_kafka_consumer_poll(handle_.get(), 0)}) {
    // What may have been fetched before the pause is nobody's.
    if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) LOCKSTEP_RETURN_IF_ERROR(Judge(*message));
  }
  if (pending_ == nullptr || told_) return std::nullopt;
  told_ = true;
  return change_;
}

// Brokers that are away come back, and a session that expired is begun anew by librdkafka.
absl::Status KafkaMembership::Judge(const rd_kafka_message_t& message) const {
  const KafkaErrorKind kind = KindOf(message.err);
  const absl::Status status = KafkaStatus(message.err, what_, rd_kafka_message_errstr(&message));
  const bool comes_back = kind == KafkaErrorKind::kRetriable ||
                          message.err == RD_KAFKA_RESP_ERR__MAX_POLL_EXCEEDED ||
                          message.err == RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID ||
                          message.err == RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION ||
                          message.err == RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS;
  if (!comes_back) return status;
  Log(LogLevel::kWarn, "group_membership", {{"why", status}});
  return absl::OkStatus();
}

absl::Status KafkaMembership::Accept() {
  LOCKSTEP_CHECK(pending_ != nullptr, "a change is accepted once");
  const KafkaPartitionList partitions = std::move(pending_);
  const bool assigned = change_.kind == Change::Kind::kAssigned;
  for (int i = 0; assigned && i < partitions->cnt; ++i) {
    partitions->elems[i].offset = RD_KAFKA_OFFSET_END;
  }
  const KafkaErrorHandle error(
      assigned ? rd_kafka_incremental_assign(handle_.get(), partitions.get())
               : rd_kafka_incremental_unassign(handle_.get(), partitions.get()));
  if (error != nullptr) {
    return KafkaStatus(rd_kafka_error_code(error.get()), what_, rd_kafka_error_string(error.get()));
  }
  if (!assigned) return absl::OkStatus();
  return KafkaStatus(rd_kafka_pause_partitions(handle_.get(), partitions.get()), what_);
}

void KafkaMembership::Leave() {
  if (handle_ == nullptr) return;
  if (pending_ != nullptr) Accept().IgnoreError();  // Whatever it answers, we are leaving.
  leaving_ = true;
  const rd_kafka_resp_err_t error = rd_kafka_consumer_close(handle_.get());
  if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {  // The session will expire instead.
    Log(LogLevel::kWarn, "group_left", {{"why", KafkaStatus(error, what_)}});
  }
  handle_.reset();
}

}  // namespace

absl::StatusOr<std::unique_ptr<GroupMembership>> JoinKafkaGroup(
    const KafkaMembershipOptions& options) {
  auto membership = std::make_unique<KafkaMembership>(options);
  LOCKSTEP_RETURN_IF_ERROR(membership->Join(options));
  return membership;
}

}  // namespace lockstep
