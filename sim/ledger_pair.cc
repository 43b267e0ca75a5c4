#include "sim/ledger_pair.h"

#include <algorithm>

#include "common/base/check.h"

namespace lockstep::sim {

SimLedgerPair::SimLedgerPair(Rules rules, bool plant_reply_before_flush, Random& random,
                             Journal& journal)
    : rules_(rules),
      plant_reply_before_flush_(plant_reply_before_flush),
      random_(random),
      journal_(journal) {}

std::string SimLedgerPair::Where(int database) const { return database == 0 ? "P" : "S"; }

SimLedgerPair::ClientId SimLedgerPair::Connect(int site, std::string name) {
  clients_.push_back({site, std::move(name), true});
  readers_.push_back(std::make_unique<MemoryLedger>(&databases_[primary_], rules_, "lockstep"));
  return static_cast<ClientId>(clients_.size() - 1);
}

void SimLedgerPair::Disconnect(ClientId client) {
  clients_[static_cast<size_t>(client)].alive = false;
}

int SimLedgerPair::Route(const Client& client) {
  if (!lost_) return primary_;
  if (!promoted_) return primary_;  // Still the old one: the standby takes no commits.
  const bool of_lost_site = client.site != primary_;
  return of_lost_site && random_.Percent(40) ? 1 - primary_ : primary_;
}

Ledger& SimLedgerPair::Read(ClientId client) {
  MemoryLedger& reader = *readers_[static_cast<size_t>(client)];
  reader.Attach(&databases_[Route(clients_[static_cast<size_t>(client)])]);
  return reader;
}

void SimLedgerPair::CallInARow(ClientId client, const std::function<void(Ledger&)>& calls) {
  LOCKSTEP_CHECK(promoted_, "without a standby there is nothing to wait for");
  MemoryLedger ledger(&databases_[primary_], rules_, "lockstep");
  ledger.SetFate([&](const PendingCommit& commit) {
    const int64_t chance = random_.Below(10);
    const CommitFate fate = chance == 0   ? CommitFate::kUnknownApplied
                            : chance == 1 ? CommitFate::kUnknownNotApplied
                                          : CommitFate::kDurable;
    journal_.Say("ledger ", Where(primary_), ": ", clients_[static_cast<size_t>(client)].name, ": ",
                 commit.call,
                 fate == CommitFate::kUnknownNotApplied ? " is lost on its way" : " commits",
                 fate == CommitFate::kUnknownApplied ? ", the answer is lost" : "");
    return fate;
  });
  calls(ledger);
  DurableChanged();
}

bool SimLedgerPair::MayLoseSite() const {
  return !lost_ && standby_attached_ && !databases_[1 - primary_].solo();
}

const LedgerState& SimLedgerPair::Durable() const {
  if (promoted_) return databases_[primary_];
  if (lost_) return databases_[1 - primary_];
  const bool promised = standby_attached_ && !databases_[1 - primary_].solo();
  return databases_[promised ? 1 - primary_ : primary_];
}

void SimLedgerPair::DurableChanged() {
  if (!durable_hook_) return;
  LedgerState copy = Durable();
  MemoryLedger durable(&copy, rules_, "checker");
  durable_hook_(durable);
}

// --- requests

void SimLedgerPair::Execute(Call& call) {
  const Client& client = clients_[static_cast<size_t>(call.client)];
  if (!rules_.atomic_check && !call.seen.has_value()) {
    call.seen = databases_[Route(client)];  // Its checks pass here; its insert comes later.
    return;
  }
  call.executed = true;
  call.database = Route(client);
  LedgerState& state = databases_[call.database];
  const Lsn before = state.lsn;
  MemoryLedger ledger(&state, rules_, "lockstep");
  if (call.seen.has_value()) ledger.SetStaleView(&*call.seen);
  const Executed result = call.execute(ledger);
  if (result.outcome != CommitOutcome::kCommitted) {
    if (result.refusal == Refusal::kFenced) journal_.Saw(Event::ledger_refused_fenced);
    if (lost_ && client.site != primary_) journal_.Saw(Event::append_refused_after_loss);
    journal_.Say("ledger ", Where(call.database), ": ", client.name, ": ", call.what, " refused, ",
                 ToString(result.refusal));
    if (client.alive && !call.answered) call.deliver(std::nullopt, /*known=*/true);
    call.answered = true;
    return;
  }
  journal_.Saw(Event::ledger_commit);
  call.lsn = state.lsn == before ? Lsn(0) : state.lsn;
  call.solo = state.solo();
  journal_.Say("ledger ", Where(call.database), ": ", client.name, ": ", call.what,
               " commits, lsn ", state.lsn.value(), call.lsn.value() == 0 ? " (wrote no WAL)" : "",
               client.alive ? "" : " (late, of a dead process)");
  if (call.lsn.value() == 0) return;
  if (call.database != primary_ || (lost_ && !promoted_)) {
    journal_.Saw(Event::append_to_old_database);
    return;
  }
  if (promoted_ && client.site != primary_) journal_.Saw(Event::append_before_new_epoch);
  if (standby_attached_) wal_.push_back(state);
  if (&Durable() == &state) DurableChanged();
}

bool SimLedgerPair::IsDurable(const Call& call) const {
  if (call.lsn.value() == 0) return true;  // Nothing to wait for, as PostgreSQL sees it (C3).
  if (plant_reply_before_flush_ || !call.how.wait) return true;
  const bool reachable = call.database == primary_ && (!lost_ || promoted_);
  if (call.solo) return reachable;
  if (!rules_.strict && (!reachable || standby_away_ || !standby_attached_)) return true;  // C4
  if (!reachable || standby_away_ || !standby_attached_) return false;
  return databases_[1 - primary_].lsn >= call.lsn;
}

bool SimLedgerPair::CanBecomeDurable(const Call& call) const {
  const bool reachable = call.database == primary_ && (!lost_ || promoted_);
  return IsDurable(call) || (reachable && standby_attached_ && !standby_away_);
}

void SimLedgerPair::Answer(Call& call, bool known) {
  call.answered = true;
  const Client& client = clients_[static_cast<size_t>(call.client)];
  if (!client.alive) return;
  if (!known) {
    journal_.Saw(call.executed ? Event::ledger_unknown_applied : Event::ledger_unknown_not_applied);
    if (!call.executed && call.how.guesses) {
      LedgerState copy = databases_[Route(client)];
      MemoryLedger dry(&copy, rules_, "lockstep");
      (void)call.execute(dry);
    }
    journal_.Say(client.name, ": ", call.what, ": outcome unknown",
                 call.executed ? "" : " (not executed yet)");
  } else {
    journal_.Say(client.name, ": ", call.what, ": committed",
                 call.solo ? " (solo)" : ", durable at the standby");
  }
  call.deliver(std::nullopt, known);
}

bool SimLedgerPair::LoseAnswer() {
  std::vector<size_t> open;
  for (size_t i = 0; i < calls_.size(); ++i) {
    if (!calls_[i].answered) open.push_back(i);
  }
  if (open.empty()) return false;
  Call& call = calls_[open[random_.Index(open.size())]];
  if (call.executed && standby_away_) journal_.Saw(Event::ledger_wait_cancelled);
  Answer(call, /*known=*/false);
  return true;
}

void SimLedgerPair::Forget() {
  std::erase_if(calls_, [&](const Call& call) {
    return call.executed && (call.answered || !clients_[static_cast<size_t>(call.client)].alive);
  });
}

// --- the world

bool SimLedgerPair::Replicate() {
  if (lost_ || !standby_attached_ || standby_away_ || wal_.empty()) return false;
  const size_t count = 1 + random_.Index(wal_.size());
  databases_[1 - primary_] = std::move(wal_[count - 1]);
  wal_.erase(wal_.begin(), wal_.begin() + static_cast<std::ptrdiff_t>(count));
  journal_.Say("standby: flushes ", count, " commit(s), up to lsn ",
               databases_[1 - primary_].lsn.value());
  DurableChanged();
  return true;
}

bool SimLedgerPair::Step() {
  Forget();
  if (random_.Percent(30) && Replicate()) return true;
  std::vector<size_t> ready;
  for (size_t i = 0; i < calls_.size(); ++i) {
    const Call& call = calls_[i];
    if (!call.executed || IsDurable(call) || !CanBecomeDurable(call)) ready.push_back(i);
  }
  if (ready.empty()) return Replicate();
  const size_t chosen = ready[random_.Index(ready.size())];
  Call& call = calls_[chosen];
  const Client& client = clients_[static_cast<size_t>(call.client)];
  if (!call.executed) {
    if ((!client.alive || call.answered) && random_.Percent(40)) {
      calls_.erase(calls_.begin() + static_cast<std::ptrdiff_t>(chosen));  // It never arrives.
      return true;
    }
    if (standby_away_ && client.alive && !call.answered && random_.Percent(20)) {
      call.answered = call.executed = true;
      journal_.Say(client.name, ": ", call.what, ": refused, no durable standby");
      call.deliver(Refusal::kNoDurableStandby, true);
      return true;
    }
    Execute(call);
  } else if (IsDurable(call)) {
    Answer(call, /*known=*/true);
  } else if (random_.Percent(25)) {
    Answer(call, /*known=*/false);  // Nobody can prove it durable: it times out.
  }
  return true;
}

void SimLedgerPair::SetStandbyAway(bool away) {
  if (standby_away_ == away) return;
  standby_away_ = away;
  if (away) journal_.Saw(Event::standby_away);
  journal_.Say("standby: ", away ? "away" : "back");
}

void SimLedgerPair::LoseSite() {
  LOCKSTEP_CHECK(MayLoseSite(), "only a loss that is survived by promise proves anything");
  if (!wal_.empty()) journal_.Saw(Event::site_lost_with_wal_tail);
  journal_.Say("SITE ", Where(primary_), " IS LOST; the standby's ledger ends at lsn ",
               databases_[1 - primary_].lsn.value(), ", the primary's at ",
               databases_[primary_].lsn.value());
  lost_ = true;
  promoted_ = false;
  standby_away_ = false;
  wal_.clear();
}

void SimLedgerPair::Promote() {
  if (!lost_ || promoted_) return;
  primary_ = 1 - primary_;
  promoted_ = true;
  standby_attached_ = false;
  journal_.Saw(Event::promoted);
  journal_.Say("ledger ", Where(primary_), ": promoted");
}

void SimLedgerPair::Rejoin() {
  LOCKSTEP_CHECK(promoted_, "only after a failover is there a site to rebuild");
  databases_[1 - primary_] = databases_[primary_];
  standby_attached_ = true;
  lost_ = promoted_ = false;
  wal_.clear();
  journal_.Say("ledger ", Where(1 - primary_), ": rebuilt as the standby, at lsn ",
               databases_[primary_].lsn.value());
}

}  // namespace lockstep::sim
