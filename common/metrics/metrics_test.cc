#include "common/metrics/metrics.h"

#include <httplib.h>

#include <atomic>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/metrics/kafka_metrics.h"

namespace lockstep {
namespace {

using testing::HasSubstr;

TEST(Metrics, TheSameNameIsTheSameNumber) {
  Metrics metrics;
  metrics.Counter("lockstep_records_total", "Records", {{"stream", "orders/0"}}).Increment(2);
  metrics.Counter("lockstep_records_total", "Records", {{"stream", "orders/0"}}).Increment();
  metrics.Gauge("lockstep_parked_bytes", "Parked").Set(7);
  metrics.Histogram("lockstep_commit_seconds", "Commits", DurationBounds()).Observe(0.003);
  const std::string text = metrics.Text();
  EXPECT_THAT(text, HasSubstr("lockstep_records_total{stream=\"orders/0\"} 3"));
  EXPECT_THAT(text, HasSubstr("lockstep_parked_bytes 7"));
  EXPECT_THAT(text, HasSubstr("lockstep_commit_seconds_bucket{le=\"0.005\"} 1"));
}

TEST(Metrics, KafkaStatisticsAreShown) {
  Metrics metrics;
  KafkaStatisticsInto(metrics, {{"site", "p"}})({.queued_records = 3, .round_trip_p99_us = 1500});
  EXPECT_THAT(metrics.Text(), HasSubstr("lockstep_kafka_queued_records{site=\"p\"} 3"));
  EXPECT_THAT(metrics.Text(), HasSubstr("round_trip_p99_seconds{site=\"p\"} 0.0015"));
}

TEST(Metrics, KafkaTotalsGoOnOverANewHandle) {
  Metrics metrics;
  const auto hook = KafkaStatisticsInto(metrics);
  for (const int64_t retries : {3, 5, 5, 2}) hook({.retries = retries});
  EXPECT_THAT(metrics.Text(), HasSubstr("lockstep_kafka_retries_total 7"));
}

TEST(Metrics, AnotherProgramsNumbersAreRead) {
  Metrics metrics;
  metrics.Counter("lockstep_events_total", "Events", {{"type", "a b"}}).Increment(3);
  metrics.Gauge("lockstep_parked_bytes", "Parked").Set(7.5);
  auto server = MetricsServer::Start(":0", metrics, {}).value();
  const std::string address = "127.0.0.1:" + std::to_string(server->port());
  const auto values = FetchMetrics(address);
  ASSERT_TRUE(values.ok()) << values.status();
  EXPECT_EQ(*values, (MetricValues{{"lockstep_events_total{type=\"a b\"}", 3},
                                   {"lockstep_parked_bytes", 7.5}}));
  server.reset();
  const absl::Status gone = FetchMetrics(address).status();
  EXPECT_TRUE(absl::IsUnavailable(gone)) << gone;
  EXPECT_THAT(std::string(gone.message()), HasSubstr("--metrics " + address + ": no answer"));
  EXPECT_EQ(FetchMetrics("nowhere").status().code(), absl::StatusCode::kInvalidArgument);
  for (const char* bad : {"lockstep_x", "lockstep_x y", "lockstep_x 1y", "lockstep_x "}) {
    EXPECT_THAT(ParseMetrics(bad).status().ToString(), HasSubstr(bad));
  }
}

TEST(MetricsServer, ServesNumbersAndHealth) {
  Metrics metrics;
  metrics.Gauge("lockstep_parked_bytes", "Parked").Set(7);
  std::atomic<bool> ready{false};
  const auto server = MetricsServer::Start(
      ":0", metrics,
      {.ready = [&] { return ready ? absl::OkStatus() : absl::UnavailableError("no witness"); }});
  ASSERT_TRUE(server.ok()) << server.status();
  httplib::Client client("127.0.0.1", (*server)->port());
  EXPECT_THAT(client.Get("/metrics")->body, HasSubstr("lockstep_parked_bytes 7"));
  EXPECT_EQ(client.Get("/healthz")->status, 200);
  EXPECT_EQ(client.Get("/readyz")->status, 503);
  EXPECT_EQ(client.Get("/readyz")->body, "no witness\n");
  ready = true;
  EXPECT_EQ(client.Get("/readyz")->status, 200);
  EXPECT_EQ(client.Get("/else")->status, 404);

  const std::string taken = "127.0.0.1:" + std::to_string((*server)->port());
  const auto second = MetricsServer::Start(taken, metrics, {});
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
}

TEST(MetricsServer, RefusesWhatIsNoAddress) {
  Metrics metrics;
  for (const char* bad : {"", "localhost", "localhost:", "localhost:x", "localhost:65536"}) {
    EXPECT_EQ(MetricsServer::Start(bad, metrics, {}).status().code(),
              absl::StatusCode::kInvalidArgument)
        << bad;
  }
}

TEST(MetricsServer, StopsAtOnce) {
  Metrics metrics;
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(MetricsServer::Start(":0", metrics, {}).ok());
}

}  // namespace
}  // namespace lockstep
