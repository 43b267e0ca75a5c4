#include "common/metrics/look_metrics.h"

#include <utility>

#include "common/base/status_macros.h"

namespace lockstep {

absl::StatusOr<std::unique_ptr<LookMetrics>> LookMetrics::Serve(const std::string& address) {
  std::unique_ptr<LookMetrics> look(new LookMetrics());
  if (address.empty()) return look;
  HealthChecks checks;
  checks.ready = [l = look.get()] {
    MutexLock lock(l->mu_);
    return l->last_;
  };
  LOCKSTEP_ASSIGN_OR_RETURN(look->server_, MetricsServer::Start(address, look->metrics_, checks));
  return look;
}

void LookMetrics::Looked(absl::Status status) {
  MutexLock lock(mu_);
  last_ = std::move(status);
}

}  // namespace lockstep
