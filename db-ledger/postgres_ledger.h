// PostgresLedger: the ledger in PostgreSQL ≥ 14. The rules are server-side functions
// (schema/001_ledger.sql); this is their client, and the judge of what is durable.
//
// A change is one round trip (the call, then a look at the primary's flush LSN) and a question to
// the witness:
//
//   refused by the rules, or an ordinary ERROR   kNotCommitted
//   committed, no notice, and the epoch is solo  kCommitted
//   committed, no notice, and the witness says   kCommitted
//   anything else                                kUnknown, `why` says what is missing
//
// "Anything else" is a lost answer, a notice (a cancelled wait), a witness that is away, behind,
// promoted, on another timeline. Without a witness at hand nothing is even sent: kNotCommitted with
// kNoDurableStandby, unless the epoch is solo.
//
// It reconnects by itself, with a pause that grows to a second; nothing of a session is used again.
// All hosts are tried at once, so a dead site costs no waiting. A call blocks at most for the
// timeouts below. Not thread-safe: one object a thread.
#ifndef LOCKSTEP_DB_LEDGER_POSTGRES_LEDGER_H_
#define LOCKSTEP_DB_LEDGER_POSTGRES_LEDGER_H_

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "db-ledger/ledger.h"
#include "db-ledger/pg_connection.h"
#include "db-ledger/seq_cursor.h"
#include "db-ledger/witness.h"

namespace lockstep {

struct PostgresLedgerOptions {
  // libpq conninfo; may list several hosts: the read-write one is the ledger, the standby the
  // witness.
  std::string ledger;
  // Conninfo of the witness; empty: found among `ledger`'s hosts. REQUIRED with more than two
  // hosts.
  std::string standby_ledger;
  std::string application_name = "lockstep";
  // How long a change waits for its commit and for the witness before it answers kUnknown.
  std::chrono::milliseconds durable_timeout{10'000};
  // How long a read, or a connection attempt, may take.
  std::chrono::milliseconds call_timeout{30'000};
  // For readers: a standby will do (a primary is preferred). Changes are refused.
  bool read_only = false;
};

// What the SQLSTATE of a refused call means; kUnavailable: it is none of the ledger's.
Refusal RefusalOf(const std::string& sqlstate);

// How a change is sent and judged.
struct ChangeManner {
  bool alone = false;                       // It needs no witness, whatever the epoch.
  std::optional<PgDeadline> deadline = {};  // nullopt: durable_timeout from now.
  Refusal (*refusal_of)(const std::string& sqlstate) = RefusalOf;
};

class PostgresLedger final : public Ledger, public SeqCursors {
 public:
  // INVALID_ARGUMENT (conninfo), PERMISSION_DENIED (credentials), UNAVAILABLE (nobody answers),
  // NOT_FOUND (no ledger there: `lockstep-ledger init`).
  static absl::StatusOr<std::unique_ptr<PostgresLedger>> Connect(PostgresLedgerOptions options);

  Commit<OpenedProducer> OpenProducer(const OpenProducerRequest& request) override;
  Commit<Moved> CloseEarlierTerms(ProducerId producer,
                                  const std::vector<TermOnStream>& terms) override;
  Commit<Appended> Append(const AppendRequest& request) override;
  Commit<std::vector<StreamId>> Seal(const std::string& producer) override;
  Commit<OpenedGate> OpenGate(const std::string& group, const std::vector<StreamName>& streams,
                              bool create) override;
  Commit<Moved> MoveCursor(const MoveCursorRequest& request) override;
  Commit<BegunEpoch> BeginEpoch(const BeginEpochRequest& request) override;
  Commit<Moved> SoloOff() override;
  Commit<Moved> SetCursor(const std::string& group, StreamId stream,
                          std::optional<Position> at) override;
  Commit<Moved> RecordStep(const StepInfo& step) override;
  Commit<OpenedSeqGate> OpenSeqGate(const std::string& group, const StreamName& stream,
                                    bool create) override;
  Commit<Moved> MoveSeqCursor(const MoveSeqCursorRequest& request) override;
  Commit<Moved> SetSeqCursor(const std::string& group, StreamId stream, ProducerId producer,
                             Seq at) override;

  // Runs a statement of the caller's that moves a cursor and does more, and judges it as any
  // change: committed is what is durable at the standby. It answers one row, what
  // lockstep.move_cursor or move_cursor_seq gave it; without a row it did nothing, since the
  // primary waits for no standby (kNoDurableStandby).
  Commit<Moved> MoveCursorWith(const PgStatement& statement, const PgParams& params,
                               const ChangeManner& manner);

  // Forgets runs of a stream that end below a position. kInvalid if a group has not sent them.
  // value: how many runs. The caller vouches for the mirror and for the logs' start.
  Commit<int64_t> Prune(StreamId stream, Position below);

  absl::StatusOr<Now> ReadNow() override;
  absl::StatusOr<std::vector<StreamInfo>> FindStreams(const std::string& topic) override;
  absl::StatusOr<std::vector<StreamInfo>> ListStreams() override;
  absl::StatusOr<std::vector<ProducerInfo>> ListProducers() override;
  absl::StatusOr<StreamPage> ReadStream(const ReadStreamRequest& request) override;
  absl::StatusOr<RunMarks> MarksAfter(StreamId stream, std::optional<Position> after) override;
  absl::StatusOr<std::vector<LogInfo>> ReadLogs(StreamId stream) override;
  absl::StatusOr<std::vector<Cursor>> ReadCursors() override;
  absl::StatusOr<std::vector<SeqCursor>> ReadSeqCursors() override;
  absl::StatusOr<RunMarks> MarksAfterSeqs(StreamId stream,
                                          const std::map<ProducerId, Seq>& seqs) override;
  absl::StatusOr<std::vector<EpochInfo>> ReadEpochs() override;
  absl::StatusOr<std::vector<StepInfo>> ReadSteps(Epoch epoch) override;

  // For displays: what the server and the witness say now.
  struct Standby {
    std::string name, state, sync_state;
    std::optional<int64_t> lag_bytes;
  };
  struct Health {
    std::string ledger_host;
    PrimaryFacts primary;
    std::vector<Standby> standbys;
    std::string witness_host;
    absl::StatusOr<WitnessFacts> witness = absl::UnavailableError("not asked");
    Judgement judgement;
  };
  absl::StatusOr<Health> ReadHealth();

  // The raw connection to the ledger, for checks beside the contract (lockstep-ledger check).
  absl::StatusOr<PgConnection*> RawConnection();

 private:
  PostgresLedger(PostgresLedgerOptions options, std::vector<PgHost> hosts, Witness witness);

  absl::Status ConnectPrimary(PgDeadline deadline);
  // kNone iff a change may be sent now. `alone`: it needs no witness, whatever the epoch.
  Refusal ReadyToCommit(PgDeadline deadline, bool alone, std::string& why);
  // Sends a change and judges its outcome. `decode` turns its rows into the value and says whether
  // the epoch is solo.
  template <class T, class Decode>
  Commit<T> Change(const PgStatement& statement, const PgParams& params, Decode decode,
                   const ChangeManner& manner = {});
  Commit<Moved> ChangeMoved(const PgStatement& statement, const PgParams& params);
  absl::StatusOr<PgRows> Read(const PgStatement& statement, const PgParams& params);
  absl::StatusOr<RunMarks> ReadMarks(const PgStatement& statement, const PgParams& params);
  PgDeadline In(std::chrono::milliseconds time) const;

  const PostgresLedgerOptions options_;
  const std::vector<PgHost> hosts_;
  std::unique_ptr<PgConnection> primary_;
  Backoff backoff_;
  Witness witness_;
  bool solo_ = false;  // As last read or answered.
};

// The parameters of lockstep.move_cursor or move_cursor_seq, for a statement that does more.
void AddMove(const MoveCursorRequest& move, PgParams& params);
void AddMove(const MoveSeqCursorRequest& move, PgParams& params);

}  // namespace lockstep

#endif  // LOCKSTEP_DB_LEDGER_POSTGRES_LEDGER_H_
