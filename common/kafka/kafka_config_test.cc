#include "common/kafka/kafka_config.h"

#include <unistd.h>

#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/kafka/kafka_error.h"
#include "common/kafka/kafka_statistics.h"

namespace lockstep {
namespace {

using testing::HasSubstr;
using testing::Not;

std::string Message(const absl::Status& status) { return std::string(status.message()); }

TEST(KafkaProperty, ReadsLiteralsAndFiles) {
  const std::string path = testing::TempDir() + "/lockstep_secret_" + std::to_string(getpid());
  std::ofstream(path) << "hush=\n";
  EXPECT_EQ(ParseKafkaProperty("a.b=c=d", PropertyOrigin::kCommandLine).value(),
            (KafkaProperty{"a.b", "c=d"}));
  EXPECT_EQ(ParseKafkaProperty("sasl.password=@" + path, PropertyOrigin::kCommandLine).value(),
            (KafkaProperty{"sasl.password", "hush="}));
  EXPECT_EQ(ParseKafkaProperty("sasl.password=hush", PropertyOrigin::kElsewhere).value(),
            (KafkaProperty{"sasl.password", "hush"}));
  unlink(path.c_str());
}

TEST(KafkaProperty, RefusesWhatIsMalformedOrAShownSecret) {
  for (const char* bad : {"", "=x", "linger.ms"}) {
    EXPECT_FALSE(ParseKafkaProperty(bad, PropertyOrigin::kElsewhere).ok()) << bad;
  }
  for (const char* secret : {"sasl.password=hush", "SSL.KEY.PASSWORD=hush", "x.secret=hush",
                             "sasl.jaas.config=hush", "sasl.oauthbearer.client.secret=hush"}) {
    const auto property = ParseKafkaProperty(secret, PropertyOrigin::kCommandLine);
    ASSERT_FALSE(property.ok()) << secret;
    EXPECT_THAT(Message(property.status()), Not(HasSubstr("hush")));
  }
  const auto missing = ParseKafkaProperty("a=@/nonexistent", PropertyOrigin::kElsewhere);
  EXPECT_THAT(Message(missing.status()), HasSubstr("/nonexistent"));
}

TEST(KafkaConf, ErrorsNameTheProperty) {
  const auto build = [](const char* name, const char* value) {
    return BuildKafkaConf({.brokers = "x:1", .properties = {{name, value}}}, {}).status();
  };
  EXPECT_TRUE(build("linger.ms", "7").ok());
  EXPECT_THAT(Message(build("linger.msec", "7")), HasSubstr("\"linger.msec\""));
  EXPECT_THAT(Message(build("linger.ms", "soon")), HasSubstr("\"linger.ms\" = \"soon\""));
  EXPECT_THAT(Message(build("security.protocol", "x")), HasSubstr("security.protocol"));
}

TEST(KafkaConf, FixedSettingsMayBeRepeatedButNotChanged) {
  const RoleSetting settings[] = {{"acks", "all", true}, {"linger.ms", "5", false}};
  EXPECT_TRUE(BuildKafkaConf({.properties = {{"acks", "all"}, {"linger.ms", "9"}}}, settings).ok());
  EXPECT_FALSE(BuildKafkaConf({.properties = {{"request.required.acks", "1"}}}, settings).ok());
}

TEST(KafkaErrors, EveryKindHasItsStatus) {
  const struct {
    rd_kafka_resp_err_t error;
    KafkaErrorKind kind;
    absl::StatusCode code;
  } rows[] = {
      {RD_KAFKA_RESP_ERR_NO_ERROR, KafkaErrorKind::kNone, absl::StatusCode::kOk},
      {RD_KAFKA_RESP_ERR__TRANSPORT, KafkaErrorKind::kRetriable, absl::StatusCode::kUnavailable},
      {RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, KafkaErrorKind::kRetriable,
       absl::StatusCode::kUnavailable},
      {RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, KafkaErrorKind::kRecordPermanent,
       absl::StatusCode::kInvalidArgument},
      {RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, KafkaErrorKind::kRecordPermanent,
       absl::StatusCode::kPermissionDenied},
      {RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, KafkaErrorKind::kPermanent,
       absl::StatusCode::kNotFound},
      {RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET, KafkaErrorKind::kPermanent,
       absl::StatusCode::kOutOfRange},
      {RD_KAFKA_RESP_ERR__PURGE_INFLIGHT, KafkaErrorKind::kFatal, absl::StatusCode::kCancelled},
      {RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER, KafkaErrorKind::kFatal,
       absl::StatusCode::kInternal}};
  for (const auto& row : rows) {
    EXPECT_EQ(KindOf(row.error), row.kind) << rd_kafka_err2name(row.error);
    EXPECT_EQ(KafkaStatus(row.error, "x").code(), row.code) << rd_kafka_err2name(row.error);
  }
  EXPECT_EQ(Message(KafkaStatus(RD_KAFKA_RESP_ERR__TRANSPORT, "ask", "gone")),
            "ask: gone (_TRANSPORT)");
}

TEST(KafkaStatistics, TakesTheFewThatMatter) {
  const auto statistics = ParseKafkaStatistics(
      R"({"msg_cnt":3,"msg_size":300,"tx_bytes":10,"rx_bytes":20,"txmsgs":1,"rxmsgs":2,"brokers":{)"
      R"("a":{"state":"UP","rtt":{"p99":5},"txretries":2,"txerrs":3},"b":{"state":"UP","rtt":{"p99":9},"txretries":1,"req_timeouts":4},"c":{"state":"INIT"}}})");
  ASSERT_TRUE(statistics.ok());
  EXPECT_EQ(statistics->queued_records, 3);
  EXPECT_EQ(statistics->received_records, 2);
  EXPECT_EQ(statistics->brokers_up, 2);
  EXPECT_EQ(statistics->round_trip_p99_us, 9);
  EXPECT_EQ(statistics->retries, 3);
  EXPECT_EQ(statistics->errors, 3);
  EXPECT_EQ(statistics->timeouts, 4);
  EXPECT_FALSE(ParseKafkaStatistics("x").ok());
}

}  // namespace
}  // namespace lockstep
