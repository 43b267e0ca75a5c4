// ProducerMonitor shows a running producer (metrics, progress) and passes a stop request on to it.
#ifndef LOCKSTEP_PRODUCER_MONITOR_H_
#define LOCKSTEP_PRODUCER_MONITOR_H_

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "absl/status/statusor.h"

#include "common/config/stop_request.h"
#include "common/config/terminal.h"
#include "common/metrics/kafka_metrics.h"
#include "common/metrics/metrics.h"
#include "producer/producer.h"
#include "producer/source_metrics.h"

namespace lockstep {

class ProducerMonitor {
 public:
  // Serves metrics at `address` unless it is empty. `producer` and `stop` must outlive this object.
  static absl::StatusOr<std::unique_ptr<ProducerMonitor>> Start(Producer& producer,
                                                                StopRequest& stop,
                                                                const std::string& address,
                                                                bool show_progress);
  ~ProducerMonitor() { End(); }

  // Wipes the progress bar. Call before the summary is printed.
  void End();

 private:
  ProducerMonitor(Producer& producer, StopRequest& stop) : producer_(producer), stop_(stop) {}
  void Watch(bool show_progress);
  void Export(const ProducerProgress& now);
  void Show(const ProducerProgress& now, bool show_progress);

  Producer& producer_;
  StopRequest& stop_;
  Metrics metrics_;
  SourceMetrics source_metrics_{metrics_};
  StatisticsHook kafka_metrics_ = KafkaStatisticsInto(metrics_);
  ProducerProgress exported_;
  std::optional<ProgressBar> bar_;
  std::string bar_label_;
  std::unique_ptr<MetricsServer> server_;
  std::atomic<bool> end_{false};
  std::thread thread_;
};

}  // namespace lockstep

#endif  // LOCKSTEP_PRODUCER_MONITOR_H_
