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

#include <optional>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "common/model/ids.h"
#include "db-ledger/ledger.h"
#include "reorder/gate.h"
#include "reorder/record.h"

namespace lockstep {

class Sink {
 public:
  virtual ~Sink() = default;

  virtual SinkKind kind() const = 0;

  // The last position of the stream that the outside has, for good; nullopt: none. REQUIRES: not
  // kBlind.
  virtual absl::StatusOr<std::optional<Position>> Last() = 0;

  // Lets the records out, in order. An error may leave any prefix outside.
  virtual absl::Status Write(std::span<const ReadyRecord> records) = 0;
  // Returns when all that was written is outside and will stay there.
  virtual absl::Status Sync() = 0;

  // kTransactional: records and cursor in one transaction, which repeats harmlessly. Others are not
  // asked.
  virtual Commit<Moved> WriteWithCursor(std::span<const ReadyRecord> records,
                                        const MoveCursorRequest& move) {
    static_cast<void>(records);
    static_cast<void>(move);
    return {};
  }

  // Of everything that left, in order; empty if the sink keeps none.
  virtual std::string Checksum() const { return ""; }
};

}  // namespace lockstep

#endif  // LOCKSTEP_REORDER_SINKS_SINK_H_
