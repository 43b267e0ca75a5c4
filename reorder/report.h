// What lockstep-reorder says at its end, and while it works.
#ifndef LOCKSTEP_REORDER_REPORT_H_
#define LOCKSTEP_REORDER_REPORT_H_

#include <memory>
#include <string>
#include <vector>

#include "common/config/terminal.h"
#include "common/metrics/metrics.h"
#include "common/model/ids.h"
#include "reorder/plan.h"
#include "reorder/stream_engine.h"

namespace lockstep {

// All streams together, then what is particular to one.
Summary MakeSummary(const std::vector<StreamName>& streams,
                    const std::vector<StreamResult>& results, double seconds);
// `plans` are of the first streams, all of them unless one failed. A run's streams work side by
// side on `cores`: together they take the longest one's time, or their share of the cores.
Summary MakePlanSummary(const std::vector<StreamName>& streams,
                        const std::vector<StreamPlan>& plans, int cores);
// The same for people: tables.
std::string PlanText(const std::vector<StreamName>& streams, const std::vector<StreamPlan>& plans,
                     int cores);

// The in-doubt list on stderr: identities, keys and source positions to ask the outside with.
void PrintInDoubt(const StreamName& stream, const StreamResult& result);

// The worst of the streams' codes: 3 before 2 before 130 before 1 before 0.
ExitCode WorstOf(const std::vector<StreamResult>& results);

// Prometheus' view of the streams' progress; Update copies it.
class ReorderMetrics {
 public:
  ReorderMetrics(Metrics& metrics, const std::vector<StreamName>& streams);
  void Update(const std::vector<std::unique_ptr<StreamProgress>>& progress);

 private:
  struct OfStream {
    prometheus::Counter* emitted = nullptr;
    prometheus::Gauge* parked_records = nullptr;
    prometheus::Gauge* parked_bytes = nullptr;
    prometheus::Gauge* spill_bytes = nullptr;
    prometheus::Gauge* waiting_seconds = nullptr;
    int64_t counted = 0;
  };
  std::vector<OfStream> streams_;
};

}  // namespace lockstep

#endif  // LOCKSTEP_REORDER_REPORT_H_
