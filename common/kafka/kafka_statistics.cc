#include "common/kafka/kafka_statistics.h"

#include <algorithm>
#include <string>

#include <rapidjson/document.h>

namespace lockstep {
namespace {

int64_t Number(const rapidjson::Value& object, const char* name) {
  const auto member = object.FindMember(name);
  return member != object.MemberEnd() && member->value.IsInt64() ? member->value.GetInt64() : 0;
}

}  // namespace

absl::StatusOr<KafkaStatistics> ParseKafkaStatistics(std::string_view json) {
  rapidjson::Document document;
  document.Parse(json.data(), json.size());
  if (document.HasParseError() || !document.IsObject()) {
    return absl::InvalidArgumentError("librdkafka's statistics are not a JSON object");
  }
  KafkaStatistics statistics{.queued_records = Number(document, "msg_cnt"),
                             .queued_bytes = Number(document, "msg_size"),
                             .sent_bytes = Number(document, "tx_bytes"),
                             .received_bytes = Number(document, "rx_bytes"),
                             .sent_records = Number(document, "txmsgs"),
                             .received_records = Number(document, "rxmsgs")};
  const auto brokers = document.FindMember("brokers");
  if (brokers == document.MemberEnd() || !brokers->value.IsObject()) return statistics;
  for (const auto& broker : brokers->value.GetObject()) {
    if (!broker.value.IsObject()) continue;
    const auto state = broker.value.FindMember("state");
    if (state != broker.value.MemberEnd() && state->value.IsString() &&
        std::string_view(state->value.GetString()) == "UP") {
      ++statistics.brokers_up;
    }
    statistics.retries += Number(broker.value, "txretries");
    statistics.errors += Number(broker.value, "txerrs");
    statistics.timeouts += Number(broker.value, "req_timeouts");
    const auto round_trip = broker.value.FindMember("rtt");
    if (round_trip != broker.value.MemberEnd() && round_trip->value.IsObject()) {
      statistics.round_trip_p99_us =
          std::max(statistics.round_trip_p99_us, Number(round_trip->value, "p99"));
    }
  }
  return statistics;
}

}  // namespace lockstep
