#include "reorder/stream_end.h"

#include <string>

#include "absl/strings/str_cat.h"

#include "reorder/resequencer.h"

namespace lockstep {
namespace {

constexpr std::chrono::seconds kEndGrace{2};  // A topic's end may lag behind the ledger or mirror.

}  // namespace

ExitCode StreamExitCode(const absl::Status& status) {
  if (absl::IsDataLoss(status)) {
    return IsInconsistentOffsets(status) ? ExitCode::kRefused : ExitCode::kNo;
  }
  return ExitCodeOf(status);
}

std::optional<StreamEnd> EndOfWaiting(const StreamName& stream, const Waiting& waiting,
                                      std::chrono::steady_clock::duration waited, bool until_end,
                                      std::chrono::milliseconds stall_timeout) {
  const std::string text =
      absl::StrCat("stream ", ToString(stream), " waits for ", waiting.Describe());
  switch (waiting.what) {
    case Waiting::For::kLogRecord:
      if (until_end) {
        if (waited < kEndGrace) return std::nullopt;
        return StreamEnd{ExitCode::kNo, absl::DataLossError(text)};
      }
      if (waited >= stall_timeout) {
        return StreamEnd{ExitCode::kRefused, absl::DataLossError("inconsistent-offsets: " + text)};
      }
      return std::nullopt;
    case Waiting::For::kFrozenRecord:
      if (until_end && waited >= kEndGrace) {
        return StreamEnd{ExitCode::kNo, absl::DataLossError(text)};
      }
      return std::nullopt;
    case Waiting::For::kLedgerRow:
    case Waiting::For::kLog:
      if (until_end && waited >= stall_timeout) {
        return StreamEnd{ExitCode::kNo, absl::DeadlineExceededError(text)};
      }
      return std::nullopt;
    case Waiting::For::kLedger:
    case Waiting::For::kBrokers:
      if (until_end && waited >= stall_timeout) {
        return StreamEnd{ExitCode::kCouldNot, absl::UnavailableError(text)};
      }
      return std::nullopt;
  }
  return std::nullopt;
}

}  // namespace lockstep
