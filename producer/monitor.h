// ProducerMonitor shows a running producer (metrics, progress) and passes a stop request on to it.
#ifndef LOCKSTEP_PRODUCER_MONITOR_H_
#define LOCKSTEP_PRODUCER_MONITOR_H_

#include <atomic>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/statusor.h"

#include "common/config/stop_request.h"
#include "common/metrics/metrics.h"
#include "producer/producer.h"

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

  Producer& producer_;
  StopRequest& stop_;
  Metrics metrics_;
  ProducerProgress exported_;
  std::unique_ptr<MetricsServer> server_;
  std::atomic<bool> end_{false};
  std::thread thread_;
};

}  // namespace lockstep

#endif  // LOCKSTEP_PRODUCER_MONITOR_H_
