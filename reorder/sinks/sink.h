// Sink is where records leave Lockstep: the outside.
//
// What a sink can say decides what becomes of doubt after a crash (gate.h): one that shares the
// ledger's database commits effects and cursor together; one that can be asked resolves doubt from
// its own end; a blind one leaves it to the operator.
//
// The gate calls a sink serially: what left is always a prefix of what was given to it.
//
// One sink object a stream, used by that stream's thread only. Objects of one target may share what
// is behind them and lock it themselves.
#ifndef LOCKSTEP_REORDER_SINKS_SINK_H_
#define LOCKSTEP_REORDER_SINKS_SINK_H_

#include <chrono>
#include <map>
#include <optional>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "common/model/ids.h"
#include "db-ledger/ledger.h"
#include "db-ledger/seq_cursor.h"
#include "reorder/gate.h"
#include "reorder/record.h"

namespace lockstep {

// What a sink that waits for its outside, or repeats, asks of the engine that drives it.
class SinkHost {
 public:
  virtual ~SinkHost() = default;

  // nullopt: no stop was requested. Else the moment by which the sink answers, if need be with
  // CANCELLED. Thread-safe.
  virtual std::optional<std::chrono::steady_clock::time_point> StopBy() = 0;
  // Shows what the stream waits for since when; called now and then while that lasts. On the
  // stream's thread.
  virtual void Waits(const std::string& for_what, std::chrono::steady_clock::time_point since) = 0;
};

class Sink {
 public:
  virtual ~Sink() = default;

  // Called once, before the first Write, by an engine that can be asked. `host` outlives the last
  // call of Write and Sync.
  virtual void Attach(SinkHost& host) { static_cast<void>(host); }

  virtual SinkKind kind() const = 0;

  // The last position of the stream that the outside has, for good; nullopt: none. A transactional
  // one may have lost it to its readers since. REQUIRES: not kBlind.
  virtual absl::StatusOr<std::optional<Position>> Last() = 0;

  // The same where a cursor keeps seqs (--mode per-producer): of each producer, by name, the last
  // seq. REQUIRES: not kBlind.
  virtual absl::StatusOr<std::map<std::string, Seq>> LastSeqs() {
    return absl::FailedPreconditionError(
        "per-producer: this sink tells how far it is by position, and a cursor of seqs has none");
  }

  // kTransactional: nobody ever wrote to it, whatever its readers have removed: it is not the one
  // that a cursor speaks of. Others are not asked.
  virtual absl::StatusOr<bool> NeverWritten() { return false; }

  // Lets the records out, in order. An error may leave any prefix outside. CANCELLED: it gave up
  // because a stop was requested.
  virtual absl::Status Write(std::span<const ReadyRecord> records) = 0;
  // Returns when all that was written is outside and will stay there.
  virtual absl::Status Sync() = 0;

  // After an error: the last record of which the sink knows that it, and all that was written
  // before it, is outside for good. Only what came later stays in doubt. nullopt: it knows nothing
  // beyond the last Sync.
  virtual std::optional<Position> KnownDone() const { return std::nullopt; }

  // kTransactional: records and cursor in one transaction, which repeats harmlessly. Others are not
  // asked.
  virtual Commit<Moved> WriteWithCursor(std::span<const ReadyRecord> records,
                                        const MoveCursorRequest& move) {
    static_cast<void>(records);
    static_cast<void>(move);
    return {};
  }

  virtual Commit<Moved> WriteWithSeqCursor(std::span<const ReadyRecord> records,
                                           const MoveSeqCursorRequest& move) {
    static_cast<void>(records);
    static_cast<void>(move);
    return {CommitOutcome::kNotCommitted,
            Refusal::kInvalid,
            absl::UnimplementedError("this sink has no transaction with a cursor of seqs"),
            {}};
  }

  // Of everything that left, in order; empty if the sink keeps none.
  virtual std::string Checksum() const { return ""; }
};

}  // namespace lockstep

#endif  // LOCKSTEP_REORDER_SINKS_SINK_H_
