// Metrics: named numbers of a program, and the little web server that shows them.
//
//   Metrics metrics;
//   prometheus::Counter& records = metrics.Counter("lockstep_records_total", "Records ledgered");
//   const auto server = MetricsServer::Start("127.0.0.1:9464", metrics, {.healthy = …, .ready =
//   …});
//
// Names are `lockstep_<noun>_<unit>`; counters end in `_total`. A label's values must be few (a
// stream, a sink), never a key or an offset. Thread-safe; updating a number takes no lock.
#ifndef LOCKSTEP_COMMON_METRICS_METRICS_H_
#define LOCKSTEP_COMMON_METRICS_METRICS_H_

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace lockstep {

using MetricLabels = std::map<std::string, std::string>;

// Owns every number it hands out; must outlive their users. The same name and labels give the same
// number.
class Metrics {
 public:
  Metrics();

  // REQUIRES (all): the name is as above.
  prometheus::Counter& Counter(const std::string& name, const std::string& help,
                               const MetricLabels& labels = {});
  prometheus::Gauge& Gauge(const std::string& name, const std::string& help,
                           const MetricLabels& labels = {});
  // `bounds`: upper ends of the buckets, ascending.
  prometheus::Histogram& Histogram(const std::string& name, const std::string& help,
                                   const std::vector<double>& bounds,
                                   const MetricLabels& labels = {});

  // Prometheus' text format.
  std::string Text() const;

 private:
  std::shared_ptr<prometheus::Registry> registry_;
};

// Seconds from 1 ms to 30 s: for durations of commits, polls and requests.
const std::vector<double>& DurationBounds();

// What /healthz and /readyz ask; called on the server's threads. An error is 503 with its message.
struct HealthChecks {
  std::function<absl::Status()> healthy = nullptr;  // The process works; else: restart it.
  std::function<absl::Status()> ready = nullptr;    // It does its job now; else: look.
};

// Serves /metrics, /healthz and /readyz from threads of its own until destroyed.
class MetricsServer {
 public:
  // `HOST:PORT`; a bare `:PORT` is on loopback; port 0 takes a free one. `metrics` must outlive it.
  static absl::StatusOr<std::unique_ptr<MetricsServer>> Start(std::string_view address,
                                                              const Metrics& metrics,
                                                              HealthChecks checks);
  virtual ~MetricsServer() = default;
  virtual int port() const = 0;
};

// Another program's numbers, by name and labels as in the text: `lockstep_x_total{type="y"}`.
using MetricValues = std::map<std::string, double>;

// Asks the MetricsServer at `address`. UNAVAILABLE: it does not answer within a few seconds.
absl::StatusOr<MetricValues> FetchMetrics(std::string_view address);
// INVALID_ARGUMENT names the line that is none of Prometheus' text format.
absl::StatusOr<MetricValues> ParseMetrics(std::string_view text);

}  // namespace lockstep

#endif  // LOCKSTEP_COMMON_METRICS_METRICS_H_
