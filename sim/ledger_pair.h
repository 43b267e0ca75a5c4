// SimLedgerPair: the ledger's PostgreSQL pair, over MemoryLedger's copyable state.
//
// Every commit at the primary has an LSN; the standby holds a prefix of the commits, never more. A
// commit is answered kCommitted only when the prefix covers it (the witness said so) or its epoch
// is solo. An answer may be lost, before or after the request was executed, and a request whose
// client gave up or died may be executed later all the same. Losing the site leaves the prefix; the
// old database stays alive, cut off, and goes on taking commits that nobody will ever prove
// durable.
//
// Clients of the lost site reach the old database or, through an address that has moved, the
// promoted one.
//
// Not thread-safe.
#ifndef LOCKSTEP_SIM_LEDGER_PAIR_H_
#define LOCKSTEP_SIM_LEDGER_PAIR_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/status/status.h"

#include "common/model/rules.h"
#include "db-ledger/ledger.h"
#include "db-ledger/memory_ledger.h"
#include "sim/journal.h"
#include "sim/random.h"

namespace lockstep::sim {

// How a request is treated; the defaults are the shipped behaviour.
struct How {
  bool wait = true;      // False: it does not wait for the standby, as a broken rule would have it.
  bool guesses = false;  // An unknown outcome tells what the answer would have been (C6).
};

class SimLedgerPair {
 public:
  using ClientId = int;

  // Called whenever what survives the loss of the primary has changed.
  using DurableHook = std::function<void(Ledger& durable)>;

  // The primary starts at `site` 0, its standby at 1. `plant_reply_before_flush` is a planted bug.
  SimLedgerPair(Rules rules, bool plant_reply_before_flush, Random& random, Journal& journal);

  void SetDurableHook(DurableHook hook) { durable_hook_ = std::move(hook); }

  // --- clients

  ClientId Connect(int site, std::string name);
  // The client is dead: it hears no answers. Its requests under way may still be executed.
  void Disconnect(ClientId client);

  // Sends a request. `request` runs when the database executes it, `answer` when the client hears
  // of it, both in later steps; `answer` runs at most once.
  template <class T>
  void Submit(ClientId client, std::string what,
              std::type_identity_t<std::function<Commit<T>(Ledger&)>> request,
              std::type_identity_t<std::function<void(const Commit<T>&)>> answer, How how = {}) {
    auto result = std::make_shared<Commit<T>>();
    Call call;
    call.client = client;
    call.what = std::move(what);
    call.how = how;
    call.execute = [request = std::move(request), result](Ledger& ledger) {
      *result = request(ledger);
      return Executed{result->outcome, result->refusal};
    };
    call.deliver = [answer = std::move(answer), result](std::optional<Refusal> refused,
                                                        bool known) {
      if (refused.has_value()) {
        *result = {
            CommitOutcome::kNotCommitted, *refused, absl::UnavailableError("not executed"), {}};
      } else if (!known) {
        result->outcome = CommitOutcome::kUnknown;
        result->refusal = Refusal::kNone;
        result->why = absl::UnavailableError("no answer, or not proven durable");
      }
      answer(*result);
    };
    calls_.push_back(std::move(call));
  }

  // Runs calls at once, one after another, at the database in office, while any of the answers may
  // be lost. For shipped code that asks the ledger itself. REQUIRES: promoted().
  void CallInARow(ClientId client, const std::function<void(Ledger&)>& calls);

  // For reads only; valid until the next step. What it shows may not be durable.
  Ledger& Read(ClientId client);

  // --- the world

  // One thing happens: a request is executed, the standby flushes some commits, an answer arrives.
  // False: nothing can.
  bool Step();
  // One request's answer is lost. False: there is none under way.
  bool LoseAnswer();
  void SetStandbyAway(bool away);
  bool standby_away() const { return standby_away_; }

  int primary_site() const { return primary_; }
  // True iff the loss of the primary site is survived by promise: there is a standby and it knows
  // that the epoch is not solo.
  bool MayLoseSite() const;
  void LoseSite();
  // This site is lost and not rebuilt.
  bool IsLost(int site) const { return lost_ && (site == primary_) != promoted_; }
  // Idempotent: promoting a promoted database changes nothing.
  void Promote();
  bool promoted() const { return promoted_; }
  // The old site is rebuilt as the new primary's standby.
  void Rejoin();

  // What a failover at this moment would find.
  const LedgerState& Durable() const;
  const LedgerState& Primary() const { return databases_[primary_]; }

 private:
  struct Executed {
    CommitOutcome outcome;
    Refusal refusal;
  };
  struct Call {
    ClientId client = 0;
    std::string what;
    How how;
    std::function<Executed(Ledger&)> execute;
    std::function<void(std::optional<Refusal> refused, bool known)> deliver;
    std::optional<LedgerState> seen;  // Rules::atomic_check off: what its checks looked at.
    bool executed = false;
    bool answered = false;
    int database = 0;  // Where it was executed …
    Lsn lsn;           // … and the commit to be proved durable; 0: it wrote no WAL.
    bool solo = false;
  };
  struct Client {
    int site = 0;
    std::string name;
    bool alive = true;
  };

  int Route(const Client& client);
  bool IsDurable(const Call& call) const;
  bool CanBecomeDurable(const Call& call) const;
  void Execute(Call& call);
  void Answer(Call& call, bool known);
  bool Replicate();
  void DurableChanged();
  void Forget();  // Drops calls that have nothing left to do.
  std::string Where(int database) const;

  const Rules rules_;
  const bool plant_reply_before_flush_;
  Random& random_;
  Journal& journal_;
  DurableHook durable_hook_;

  LedgerState databases_[2];
  std::deque<LedgerState> wal_;  // Commits of the primary that the standby does not have.
  int primary_ = 0;
  bool standby_attached_ = true;
  bool standby_away_ = false;
  bool lost_ = false;  // The primary site is lost; `primary_` still names it until promotion …
  bool promoted_ = false;  // … and from then on the other one.

  std::vector<Client> clients_;
  std::vector<std::unique_ptr<MemoryLedger>> readers_;  // By client.
  std::deque<Call> calls_;
};

}  // namespace lockstep::sim

#endif  // LOCKSTEP_SIM_LEDGER_PAIR_H_
