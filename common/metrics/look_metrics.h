// LookMetrics: the numbers of a program that looks at something again and again (`status --watch`),
// served at --metrics while it lives. /readyz answers what the last look came to.
#ifndef LOCKSTEP_COMMON_METRICS_LOOK_METRICS_H_
#define LOCKSTEP_COMMON_METRICS_LOOK_METRICS_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "common/base/mutex.h"
#include "common/metrics/metrics.h"

namespace lockstep {

class LookMetrics {
 public:
  // `address` empty: nothing is served.
  static absl::StatusOr<std::unique_ptr<LookMetrics>> Serve(const std::string& address);

  void Set(const char* name, const char* help, int64_t value, const MetricLabels& labels = {}) {
    metrics_.Gauge(name, help, labels).Set(static_cast<double>(value));
  }
  // The look has ended: ready iff OK. Thread-safe, like Set.
  void Looked(absl::Status status);

 private:
  LookMetrics() = default;

  Metrics metrics_;
  Mutex mu_;
  absl::Status last_ ABSL_GUARDED_BY(mu_) = absl::UnavailableError("not looked yet");
  std::unique_ptr<MetricsServer> server_;  // Uses all of the above; ends first.
};

}  // namespace lockstep

#endif  // LOCKSTEP_COMMON_METRICS_LOOK_METRICS_H_
