#include "sim/world.h"

#include <algorithm>
#include <array>
#include <functional>

#include "common/base/check.h"

namespace lockstep::sim {
namespace {

constexpr int64_t kStepsMax = 30'000;  // A run has some hundreds; more is a livelock.

constexpr std::string_view kActorNames[] = {"producers", "Kafka", "ledger",
                                            "mirror",    "gates", "operator"};

Rules RulesOf(const Break* broken) {
  Rules rules = kAllRules;
  if (broken != nullptr && broken->rule != nullptr) rules.*(broken->rule) = false;
  return rules;
}

Plants PlantsOf(const Break* broken) {
  Plants plants;
  if (broken != nullptr && broken->plant != nullptr) plants.*(broken->plant) = true;
  return plants;
}

}  // namespace

World::World(const Scenario& scenario, const Break* broken, uint64_t seed, bool keep_trace)
    : scenario_(scenario),
      random_(seed * 2654435761u + 1),
      journal_(keep_trace),
      broker_p_("P", random_, journal_),
      broker_s_("S", random_, journal_),
      ledger_(RulesOf(broken), PlantsOf(broken).reply_before_flush, random_, journal_),
      checker_(
          kTopic, sources_, outside_,
          [this](int32_t partition, Position position) { return Truth(partition, position); },
          journal_),
      parts_{scenario,
             RulesOf(broken),
             broken != nullptr && broken->rule != nullptr,
             PlantsOf(broken),
             random_,
             journal_,
             ledger_,
             {&broker_p_, &broker_s_},
             sources_,
             outside_,
             checker_} {
  for (int p = 0; p < scenario.producers; ++p) {
    sources_.emplace_back(std::string(1, static_cast<char>('A' + p)));
  }
  ledger_.SetDurableHook([this](Ledger& durable) { checker_.DurableIs(durable); });
  admin_ = ledger_.Connect(0, "admin");
  for (int64_t& weight : weights_) weight = std::array{1, 2, 3, 5, 8}[random_.Index(5)];
  failover_kills_left_ = random_.Percent(60) ? random_.Between(1, 3) : 0;
  const int64_t horizon = std::array{60, 120, 240, 480}[random_.Index(4)];
  for (int64_t n = random_.Between(0, scenario.faults_max); n > 0; --n) {
    faults_at_.push_back(random_.Between(0, horizon));
  }
  std::sort(faults_at_.begin(), faults_at_.end(), std::greater<>());
  lose_at_ = random_.Between(10, 220);
  for (int64_t& weight : fault_weights_) weight = std::array{0, 1, 1, 2, 4}[random_.Index(5)];
  if (scenario.mirror != MirrorKind::kNone) {
    mirror_ = std::make_unique<SimMirror>(broker_p_, broker_s_, scenario.mirror, kTopic,
                                          scenario.partitions, parts_.plants.mirror_skips, random_,
                                          journal_);
  }
  WriteEvents();
}

// Every epoch writes some; a source that stays silent is a case too.
void World::WriteEvents() {
  for (SimSource& source : sources_) {
    for (int64_t n = random_.Between(source.size() == 0 ? 1 : 0, scenario_.events_max); n > 0;
         --n) {
      source.Write(static_cast<int32_t>(random_.Below(scenario_.partitions)));
    }
  }
}

// Epochs 1, 3… were written to P's own log, 2, 4… to S's.
const SimRecord* World::Truth(int32_t partition, Position position) const {
  const SimBroker& broker = position.epoch.value() % 2 == 1 ? broker_p_ : broker_s_;
  const SimLog* log = broker.FindLog({kTopic, partition});
  return log == nullptr ? nullptr : log->Find(position.offset);
}

void World::Run() {
  while (!journal_.violated()) {
    if (++steps_ > kStepsMax) {
      journal_.Stopped("stuck: much happens and nothing comes of it", journal_.defended() > 0);
      return;
    }
    journal_.Advance(random_.Between(50, 5000));
    if (SitesToLose() && steps_ >= lose_at_ && ledger_.MayLoseSite() && in_service_) LoseSite();
    FaultsDue();
    if (!draining_ && !SitesToLose() && in_service_ && faults_at_.empty()) {
      draining_ = true;
      ledger_.SetStandbyAway(false);
      journal_.Say("-- no more faults; the world runs until nothing can happen any more");
    }
    if (!StepOnce()) {
      if (draining_) break;
      // Nothing can happen by itself: what is to come comes now.
      if (!faults_at_.empty() && steps_ < faults_at_.back()) {
        faults_at_.back() = steps_;
      } else if (!faults_at_.empty()) {
        faults_at_.pop_back();  // Nothing here can break in that way.
      } else {
        lose_at_ = std::min(lose_at_, steps_);
      }
      ledger_.SetStandbyAway(false);
    }
  }
  if (journal_.violated() || journal_.defended() > 0) return;
  const std::string missing = checker_.Missing();
  if (!missing.empty()) {
    journal_.Violation(
        absl::StrCat("stuck: nothing can happen any more and ", missing, " has not left"));
  }
}

bool World::StepOnce() {
  int64_t total = 0;
  for (int64_t weight : weights_) total += weight;
  int64_t pick = random_.Below(total);
  size_t chosen = 0;
  while (pick >= weights_[chosen]) pick -= weights_[chosen++];
  for (size_t i = 0; i < kActors; ++i) {
    const auto actor = static_cast<Actor>((chosen + i) % kActors);
    if (actor == Actor::kMirror && i > 0) continue;  // It may lag as long as others are busy.
    if (Act(actor)) {
      if (steps_ > kStepsMax - 10)
        journal_.Say("-- still busy: ", kActorNames[static_cast<size_t>(actor)]);
      return true;
    }
  }
  return Act(Actor::kMirror);
}

bool World::Act(Actor actor) {
  switch (actor) {
    case Actor::kProducers:
      return StepProducers();
    case Actor::kKafka:
      return StepKafka();
    case Actor::kLedger:
      return ledger_.Step();
    case Actor::kMirror:
      return StepMirror();
    case Actor::kGates:
      return StepGates();
    case Actor::kOperator:
      return StepOperator();
    case Actor::kCount:
      break;
  }
  return false;
}

bool World::StepProducers() {
  const size_t first = producers_.empty() ? 0 : random_.Index(producers_.size());
  for (size_t i = 0; i < producers_.size(); ++i) {
    ProducerProcess& process = *producers_[(first + i) % producers_.size()];
    if (process.alive() && process.Step()) return true;
  }
  return false;
}

bool World::StepKafka() {
  return random_.Percent(50) ? broker_p_.Step() || broker_s_.Step()
                             : broker_s_.Step() || broker_p_.Step();
}

bool World::StepMirror() {
  if (old_mirror_ && random_.Percent(30) && old_mirror_->Step()) return true;
  return mirror_ && mirror_->Step();
}

bool World::StepGates() {
  const size_t first = gates_.empty() ? 0 : random_.Index(gates_.size());
  for (size_t i = 0; i < gates_.size(); ++i) {
    GateProcess& process = *gates_[(first + i) % gates_.size()];
    if (process.alive() && process.Step()) return true;
  }
  return false;
}

// ---------------------------------------------------------------- the operator

bool World::StepOperator() { return in_service_ ? OperatorInPeace() : OperatorAfterLoss(); }

// Keeps one process of everything running at the site in service, and prepares the next failover.
bool World::OperatorInPeace() {
  for (size_t s = 0; s < sources_.size(); ++s) {
    const bool runs = std::any_of(producers_.begin(), producers_.end(), [&](const auto& process) {
      return process->alive() && process->site() == home_ && process->source() == s;
    });
    if (!runs) {
      StartProducer(s);
      return true;
    }
  }
  for (int32_t p = 0; p < scenario_.partitions; ++p) {
    const bool runs = std::any_of(gates_.begin(), gates_.end(), [&](const auto& process) {
      return process->alive() && process->site() == home_ && process->partition() == p;
    });
    if (!runs) {
      StartGate(p);
      return true;
    }
  }
  if (sites_lost_ == 0 || !SitesToLose()) return false;
  if (!rejoined_) {
    Rejoin();
    return true;
  }
  if (solo_off_asked_ || ledger_.MayLoseSite()) return false;
  solo_off_asked_ = true;
  ledger_.Submit<Moved>(
      admin_, "solo off", [](Ledger& ledger) { return ledger.SoloOff(); },
      [this](const Commit<Moved>& answer) {
        solo_off_asked_ = false;
        if (!answer.committed()) return;
        journal_.Saw(Event::solo_ended);
        lose_at_ = steps_ + random_.Between(0, 150);
      });
  return true;
}

bool World::OperatorAfterLoss() {
  FailoverProcess* failover = AnyAlive(failovers_);
  if (failover == nullptr) {
    failovers_.push_back(std::make_unique<FailoverProcess>(
        parts_, 1 - home_, static_cast<int>(failovers_.size()) + 1));
    return true;
  }
  if (failover_kills_left_ > 0 && random_.Percent(12)) {
    --failover_kills_left_;
    failover->Kill();
    return true;
  }
  // A gate may recover as soon as the new epoch has begun; it waits for what is not there yet.
  if (failover->epoch_begun() && random_.Percent(20)) {
    for (int32_t p = 0; p < scenario_.partitions; ++p) {
      const bool runs = std::any_of(gates_.begin(), gates_.end(), [&](const auto& process) {
        return process->alive() && process->site() != home_ && process->partition() == p;
      });
      if (runs) continue;
      StartGate(p);
      return true;
    }
  }
  const bool did = failover->Step();
  if (failover->done()) {
    journal_.Saw(Event::failover_done);
    home_ = 1 - home_;
    in_service_ = true;
    WriteEvents();
    return true;
  }
  return did;
}

void World::StartProducer(size_t source) {
  producers_.push_back(std::make_unique<ProducerProcess>(parts_, source, home_,
                                                         static_cast<int>(producers_.size()) + 1));
  journal_.Say(producers_.back()->name(), ": starts");
}

void World::StartGate(int32_t partition) {
  const int site = in_service_ ? home_ : 1 - home_;
  gates_.push_back(std::make_unique<GateProcess>(parts_, partition, site,
                                                 static_cast<int>(gates_.size()) + 1, gates_));
  journal_.Saw(Event::gate_open);
  journal_.Say(gates_.back()->name(), ": starts");
}

// ---------------------------------------------------------------- disasters

void World::LoseSite() {
  journal_.Saw(sites_lost_ == 0 ? Event::site_lost : Event::site_lost_again);
  ++sites_lost_;
  lose_at_ = kStepsMax;  // The next one comes some time after the standby is one again.
  in_service_ = false;
  ledger_.LoseSite();
  if (mirror_) {
    if (mirror_->Lags()) journal_.Saw(Event::site_lost_with_mirror_tail);
    mirror_->SourceIsLost();
    if (random_.Percent(50)) mirror_.reset();  // It dies with the site.
  }
  // Some of its processes live on, cut off, and do not know.
  const int64_t killed_percent = random_.Below(101);
  for (auto& process : producers_) {
    if (process->alive() && random_.Percent(killed_percent)) process->Crash();
  }
  for (auto& process : gates_) {
    if (process->alive() && random_.Percent(killed_percent)) process->Crash();
  }
}

// The old site is rebuilt: what still ran there is ended, its database follows the new primary, the
// mirror is turned round. Requests of its dead producers may still lie in its Kafka's way.
void World::Rejoin() {
  journal_.Saw(Event::site_rejoined);
  rejoined_ = true;
  for (auto& process : producers_) {
    if (process->alive() && process->site() != home_) process->Crash();
  }
  for (auto& process : gates_) {
    if (process->alive() && process->site() != home_) process->Crash();
  }
  ledger_.Rejoin();
  if (scenario_.mirror == MirrorKind::kNone) return;
  SimBroker& from = home_ == 0 ? broker_p_ : broker_s_;
  SimBroker& to = home_ == 0 ? broker_s_ : broker_p_;
  mirror_ = std::make_unique<SimMirror>(from, to, scenario_.mirror, kTopic, scenario_.partitions,
                                        parts_.plants.mirror_skips, random_, journal_);
}

template <class Process>
Process* World::AnyAlive(const std::vector<std::unique_ptr<Process>>& processes) {
  std::vector<Process*> alive;
  for (const auto& process : processes) {
    if (process->alive()) alive.push_back(process.get());
  }
  return alive.empty() ? nullptr : alive[random_.Index(alive.size())];
}

void World::FaultsDue() {
  if (ledger_.standby_away() && random_.Percent(4)) ledger_.SetStandbyAway(false);
  if (faults_at_.empty() || steps_ < faults_at_.back()) return;
  int64_t total = 0;
  for (int64_t weight : fault_weights_) total += weight;
  if (total > 0) {
    int64_t pick = random_.Below(total);
    size_t kind = 0;
    while (pick >= fault_weights_[kind]) pick -= fault_weights_[kind++];
    const bool waited_long = steps_ > faults_at_.back() + 60;
    if (!Inject(static_cast<Fault>(kind)) && !waited_long) return;  // Perhaps at the next step.
  }
  faults_at_.pop_back();
}

bool World::Inject(Fault fault) {
  switch (fault) {
    case Fault::kProducerCrash: {
      ProducerProcess* process = AnyAlive(producers_);
      if (process == nullptr) return false;
      process->Crash();
      return true;
    }
    case Fault::kSecondProducer: {
      if (!in_service_) return false;
      journal_.Saw(Event::producer_second_process);
      StartProducer(random_.Index(sources_.size()));
      return true;
    }
    case Fault::kHandleFails: {
      ProducerProcess* process = AnyAlive(producers_);
      if (process == nullptr || !process->CanFailHandle()) return false;
      process->FailHandle();
      return true;
    }
    case Fault::kAnswerLost:
      return ledger_.LoseAnswer();
    case Fault::kGateCrash: {
      GateProcess* process = AnyAlive(gates_);
      if (process == nullptr) return false;
      process->Crash();
      return true;
    }
    case Fault::kSecondGate: {
      if (!in_service_) return false;
      journal_.Saw(Event::gate_second_process);
      StartGate(static_cast<int32_t>(random_.Below(scenario_.partitions)));
      return true;
    }
    case Fault::kMirrorRestart: {
      if (!mirror_) return false;
      mirror_->Restart();
      return true;
    }
    case Fault::kStandbyAway: {
      if (!ledger_.MayLoseSite()) return false;
      ledger_.SetStandbyAway(true);
      return true;
    }
    case Fault::kCount:
      break;
  }
  return false;
}

}  // namespace lockstep::sim
