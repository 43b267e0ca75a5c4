// World: two sites, a mirror, a ledger pair, sources, an outside, the shipped decisions in
// simulated processes, and disasters. One seed is one history.
//
// Everything advances in single steps that a scheduler picks at random with weights that the seed
// chose, so any two steps of different parts may be interleaved in any order. First come faults (a
// bounded number) and, where the scenario says so, the loss of sites; then faults end and the world
// runs until nothing can happen any more. By then every event of every source must have left.
#ifndef LOCKSTEP_SIM_WORLD_H_
#define LOCKSTEP_SIM_WORLD_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "sim/failover_process.h"
#include "sim/gate_process.h"
#include "sim/mirror.h"
#include "sim/parts.h"
#include "sim/producer_process.h"

namespace lockstep::sim {

class World {
 public:
  // `broken`: what is switched off or planted; null: nothing.
  World(const Scenario& scenario, const Break* broken, uint64_t seed, bool keep_trace);

  // Runs to the end or to the first violation.
  void Run();

  const Journal& journal() const { return journal_; }

 private:
  enum class Actor { kProducers, kKafka, kLedger, kMirror, kGates, kOperator, kCount };
  static constexpr size_t kActors = static_cast<size_t>(Actor::kCount);

  enum class Fault {
    kProducerCrash,
    kSecondProducer,
    kHandleFails,
    kAnswerLost,
    kGateCrash,
    kSecondGate,
    kMirrorRestart,
    kStandbyAway,
    kCount
  };

  void WriteEvents();
  bool StepOnce();
  bool Act(Actor actor);

  bool StepProducers();
  bool StepKafka();
  bool StepMirror();
  bool StepGates();
  bool StepOperator();
  void FaultsDue();
  bool Inject(Fault fault);

  void StartProducer(size_t source);
  void StartGate(int32_t partition);
  void LoseSite();
  void Rejoin();
  bool OperatorAfterLoss();
  bool OperatorInPeace();
  bool FailoverNext();
  bool SitesToLose() const { return sites_lost_ < scenario_.sites_lost; }
  template <class Process>
  Process* AnyAlive(const std::vector<std::unique_ptr<Process>>& processes);
  const SimRecord* Truth(int32_t partition, Position position) const;

  const Scenario& scenario_;
  Random random_;
  Journal journal_;
  SimBroker broker_p_;
  SimBroker broker_s_;
  SimLedgerPair ledger_;
  std::vector<SimSource> sources_;
  Outside outside_;
  Checker checker_;
  Parts parts_;

  std::unique_ptr<SimMirror> mirror_;      // Towards the standby of the moment.
  std::unique_ptr<SimMirror> old_mirror_;  // Of the direction before.
  std::vector<std::unique_ptr<ProducerProcess>> producers_;
  std::vector<std::unique_ptr<GateProcess>> gates_;
  std::vector<std::unique_ptr<FailoverProcess>> failovers_;

  int64_t weights_[kActors] = {};
  int64_t fault_weights_[static_cast<size_t>(Fault::kCount)] = {};  // Some kinds never come.
  std::vector<int64_t> faults_at_;  // Steps of the faults to come, the next one last.
  int64_t steps_ = 0;
  int64_t lose_at_ = 0;  // Step of the next site loss.
  int sites_lost_ = 0;
  int home_ = 0;            // The site where new processes start.
  bool in_service_ = true;  // False from a site's loss until the failover hands over.
  bool draining_ = false;
  bool solo_off_asked_ = false;
  bool rejoined_ = false;
  int64_t failover_kills_left_ = 0;
  SimLedgerPair::ClientId admin_ = 0;
};

}  // namespace lockstep::sim

#endif  // LOCKSTEP_SIM_WORLD_H_
