// The witness: the one standby that will be promoted, asked how far its disk is.
//
// A commit counts only when the standby said that it has flushed it, because a commit that merely
// returned proves less than one thinks: whoever empties synchronous_standby_names sets every waiter
// free with a plain success (C4; docs/decisions/0002). JudgeWitness is the decision, Witness the
// connection.
#ifndef LOCKSTEP_DB_LEDGER_WITNESS_H_
#define LOCKSTEP_DB_LEDGER_WITNESS_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "db-ledger/pg_connection.h"

namespace lockstep {

// Read at the primary *after* the commit.
struct PrimaryFacts {
  bool in_recovery = false;
  int64_t system_identifier = 0;
  int64_t timeline = 0;
  uint64_t flushed_lsn = 0;  // Everything committed so far lies below.
};

// Read at the witness.
struct WitnessFacts {
  bool in_recovery = false;
  int64_t system_identifier = 0;
  std::string receiver_status;  // Of its WAL receiver; empty: it has none.
  int64_t timeline = 0;         // Of what it received last.
  uint64_t flushed_lsn = 0;
};

enum class Testimony {
  kDurable,  // Everything that the primary had flushed is on the standby's disk.
  kNotYet,   // Ask again; `why` says what is missing.
  kNever,    // This server cannot testify for that primary.
};

struct Judgement {
  Testimony testimony = Testimony::kNever;
  std::string why;  // Empty iff durable.
};

// Pure. The timeline may differ for a while after a failover inside the primary's site, the
// receiver may be starting again: both are kNotYet.
Judgement JudgeWitness(const PrimaryFacts& primary, const WitnessFacts& witness);

// Reads of the facts, one round trip each.
extern const PgStatement kPrimaryFactsStatement;
PrimaryFacts ParsePrimaryFacts(const PgRows& rows);
extern const PgStatement kWitnessFactsStatement;
WitnessFacts ParseWitnessFacts(const PgRows& rows);

// Attempts to connect are paced: after a failure the next one waits, up to a second.
class Backoff {
 public:
  // Sleeps until an attempt is due, at most until `deadline`.
  void Wait(PgDeadline deadline);
  void Failed();
  void Succeeded() { delay_ = std::chrono::milliseconds(0); }

 private:
  std::chrono::milliseconds delay_{0};
  PgDeadline next_{};
};

// The connection to the witness. Reconnects by itself; not thread-safe.
class Witness {
 public:
  explicit Witness(std::vector<PgHost> hosts) : hosts_(std::move(hosts)) {}

  // OK iff a standby answers the telephone. UNAVAILABLE says why not.
  absl::Status Connect(PgDeadline deadline);
  // Asks until the answer is kDurable or kNever or time is up (then what was last missing). Never
  // gives up early because the connection broke.
  Judgement Prove(const PrimaryFacts& primary, PgDeadline deadline);
  // Asked once, for status displays.
  absl::StatusOr<WitnessFacts> Ask(PgDeadline deadline);
  // `HOST:PORT`, empty while not connected.
  std::string HostName() const;

 private:
  const std::vector<PgHost> hosts_;
  std::unique_ptr<PgConnection> connection_;
  Backoff backoff_;
};

}  // namespace lockstep

#endif  // LOCKSTEP_DB_LEDGER_WITNESS_H_
