// MemoryLedger: the ledger's rules without a database, for simulation and tests.
//
// The whole database is one copyable value, LedgerState. A simulation keeps a copy per commit,
// which is the WAL's prefix at that LSN: it loses a tail by going back to an older copy, and
// promotes a standby by attaching clients to the standby's copy. Several MemoryLedgers (producers,
// gates, an admin, each with its own role) may share one state; what one commits the next one sees.
//
// What becomes of a commit is decided by a hook (CommitFate), so that a test can order every
// outcome: durable, unknown and applied, unknown and not applied, refused. Without a hook all
// commits are durable.
//
// It is held to PostgresLedger by ledger_contract_test.h and by the differential test: same calls,
// same answers. No I/O, no clock, no threads.
#ifndef LOCKSTEP_DB_LEDGER_MEMORY_LEDGER_H_
#define LOCKSTEP_DB_LEDGER_MEMORY_LEDGER_H_

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "common/model/rules.h"
#include "db-ledger/ledger.h"
#include "db-ledger/seq_cursor.h"

namespace lockstep {

using Lsn = StrongInt<struct LsnTag>;  // Commits so far; what a real WAL counts in bytes.

// All tables, as values. Comparable, so that a test can say "nothing changed".
struct LedgerState {
  struct Producer {
    ProducerInfo info;
    std::string owner;  // The role that first opened it.
    bool operator==(const Producer&) const = default;
  };
  struct HeadRow {
    Term term;
    Term closed;
    Epoch epoch;
    Seq last_seq;
    std::string last_at;
    Offset next_offset;  // Runs of this tenure's epoch lie at or above it.
    bool operator==(const HeadRow&) const = default;
  };
  struct Tenure {
    Epoch epoch;
    Seq first_seq;
    std::optional<Seq> last_seq;  // Set when the next tenure begins.
    bool operator==(const Tenure&) const = default;
  };
  struct EpochRow {
    bool solo = false;
    std::string cluster_id;
    std::string reason;
    std::string role;
    bool operator==(const EpochRow&) const = default;
  };

  // A new ledger: epoch 1, nothing else.
  explicit LedgerState(bool solo = false);

  bool solo() const { return epochs.at(epoch).solo; }

  Lsn lsn;
  Epoch epoch;
  std::map<Epoch, EpochRow> epochs;
  std::vector<StreamInfo> streams;  // Id = index + 1.
  std::vector<Producer> producers;  // Id = index + 1.
  std::map<std::pair<StreamId, ProducerId>, HeadRow> heads;
  std::map<std::tuple<StreamId, ProducerId, Term>, Tenure> tenures;
  std::map<std::tuple<StreamId, ProducerId, Epoch, Seq>, Run> runs;  // By first_seq.
  std::map<std::pair<StreamId, Epoch>, LogInfo> logs;
  std::map<std::string, std::optional<std::string>> groups;  // Owner; none until first opened.
  std::map<std::pair<std::string, StreamId>, Cursor> cursors;
  std::map<std::pair<std::string, StreamId>, SeqCursor> seq_cursors;  // In either of them.
  std::map<std::pair<Epoch, std::string>, std::pair<std::string, std::string>> steps;
  bool operator==(const LedgerState&) const = default;
};

// What becomes of a commit that the rules allow.
enum class CommitFate {
  kDurable,            // Applied; answers kCommitted.
  kUnknownApplied,     // Applied; answers kUnknown.
  kUnknownNotApplied,  // Not applied; answers kUnknown.
  kRefused,            // Not applied; answers kNotCommitted with kNoDurableStandby.
};

// A commit about to be made.
struct PendingCommit {
  std::string_view call;  // The method's name.
  Lsn lsn;                // That it will have if applied.
  bool solo = false;      // Of the epoch as the commit will leave it.
};

class MemoryLedger : public Ledger, public SeqCursors {
 public:
  using FateHook = std::function<CommitFate(const PendingCommit&)>;
  using AppliedHook = std::function<void(const LedgerState&)>;

  // `state` must outlive this object. `role` is the database role: it comes to own what it first
  // opens.
  MemoryLedger(LedgerState* state, Rules rules, std::string role);

  // Decides every later commit. Without it all are durable.
  void SetFate(FateHook hook) { fate_ = std::move(hook); }
  // Called after each commit that was applied, with the state it left: the place to keep a copy.
  void SetApplied(AppliedHook hook) { applied_ = std::move(hook); }
  // From now on this client talks to another database (a moved address, a promoted standby).
  void Attach(LedgerState* state) { state_ = state; }
  // For Rules::atomic_check switched off only: what Append's checks look at, a state from before.
  void SetStaleView(const LedgerState* seen) { stale_ = seen; }

  const LedgerState& state() const { return *state_; }

  // When the outcome is kUnknown, `value` holds what would have been answered, so that a simulation
  // without Rules::abandon_open can use what must not be used.
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

 private:
  // Asks the hook about a commit that the rules allow, lets `apply` change the state accordingly
  // and forms the answer.
  template <class T, class Apply>
  Commit<T> Finish(std::string_view call, bool solo, Apply apply);

  LedgerState* state_;
  const LedgerState* stale_ = nullptr;
  const Rules rules_;
  const std::string role_;
  FateHook fate_;
  AppliedHook applied_;
};

}  // namespace lockstep

#endif  // LOCKSTEP_DB_LEDGER_MEMORY_LEDGER_H_
