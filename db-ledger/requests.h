// What a request must look like before any ledger is asked: the checks that need no tables, shared
// by both implementations, so that they refuse the same with the same words.
#ifndef LOCKSTEP_DB_LEDGER_REQUESTS_H_
#define LOCKSTEP_DB_LEDGER_REQUESTS_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"

#include "db-ledger/ledger.h"
#include "db-ledger/seq_cursor.h"

namespace lockstep {

// INVALID_ARGUMENT, saying what contradicts what, iff the call answers kInvalid whatever is stored.
absl::Status ValidateOpenProducer(const OpenProducerRequest& request);
absl::Status ValidateAppend(const AppendRequest& request);
absl::Status ValidateOpenGate(const std::string& group, const std::vector<StreamName>& streams);
absl::Status ValidateMoveCursor(const MoveCursorRequest& request);
absl::Status ValidateMoveSeqCursor(const MoveSeqCursorRequest& request);
absl::Status ValidateSetSeqCursor(const std::string& group, Seq at);
absl::Status ValidateBeginEpoch(const BeginEpochRequest& request);

// Text that the ledger can keep: valid UTF-8 without NUL, 1 to `bytes_max` bytes.
bool ValidLedgerText(std::string_view text, size_t bytes_max);

inline constexpr size_t kGroupNameMaxBytes = 255;
inline constexpr size_t kSourceTextMaxBytes = 4096;
inline constexpr size_t kCheckpointMaxBytes = 4096;
inline constexpr size_t kClusterIdMaxBytes = 255;
inline constexpr size_t kReasonMaxBytes = 4096;

// The code that a refusal has as a Status: what is unsafe to repeat is FAILED_PRECONDITION, what
// the caller or the world can put right has a code of its own.
absl::StatusCode CodeOf(Refusal refusal);

// The answer for a refused change.
template <class T>
Commit<T> Refused(Refusal refusal, std::string_view why) {
  Commit<T> commit;
  commit.outcome = CommitOutcome::kNotCommitted;
  commit.refusal = refusal;
  commit.why = absl::Status(CodeOf(refusal), std::string(why));
  return commit;
}

template <class T>
Commit<T> Unknown(std::string_view why) {
  Commit<T> commit;
  commit.outcome = CommitOutcome::kUnknown;
  commit.why = absl::UnavailableError(std::string(why));
  return commit;
}

template <class T>
Commit<T> Committed(T value) {
  Commit<T> commit;
  commit.outcome = CommitOutcome::kCommitted;
  commit.value = std::move(value);
  return commit;
}

}  // namespace lockstep

#endif  // LOCKSTEP_DB_LEDGER_REQUESTS_H_
