// FailoverProcess: one run of `lockstep-mirror-reconcile failover` at the surviving site: the
// shipped plan, gap, re-injection and verification, with simulated Kafka and ledger around them. It
// may be killed after any step, also with requests in flight; the next run starts over.
#ifndef LOCKSTEP_SIM_FAILOVER_PROCESS_H_
#define LOCKSTEP_SIM_FAILOVER_PROCESS_H_

#include <memory>

#include "sim/parts.h"

namespace lockstep::sim {

class FailoverProcess {
 public:
  // `site` takes over.
  FailoverProcess(Parts& parts, int site, int number);
  ~FailoverProcess();

  bool alive() const;
  // The new epoch has begun, as far as this process knows: gates may recover.
  bool epoch_begun() const;
  bool done() const;

  // Does one thing. False: it waits for something.
  bool Step();
  // What it had sent may still land.
  void Kill();

 private:
  class Run;  // Keeps the decisions' headers out of this one.
  std::unique_ptr<Run> run_;
};

}  // namespace lockstep::sim

#endif  // LOCKSTEP_SIM_FAILOVER_PROCESS_H_
