#include "reorder/replay_start.h"

#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"

namespace lockstep {

std::optional<Position> LedgerWholeFrom(const StreamPage& first_runs) {
  std::map<ProducerId, const Run*> first;
  for (const Run& run : first_runs.runs) first.try_emplace(run.producer, &run);
  std::optional<Position> whole_from;
  for (const auto& [producer, run] : first) {
    if (run->first_seq == Seq(1)) continue;
    // Of this producer everything from its first run on is there, and what is gone lies below.
    whole_from = std::max(whole_from, std::optional(Position{run->epoch, run->offsets.first()}));
  }
  return whole_from;
}

std::optional<Position> ReplayAfter(std::optional<Position> from) {
  if (from.has_value()) from->offset = from->offset - 1;
  return from;
}

absl::Status CheckReplayStart(const StreamName& stream, const StreamPage& first_runs,
                              std::optional<Position> from, std::optional<Position> done) {
  if (from.has_value() && (!done.has_value() || *from > *done)) {
    return absl::FailedPreconditionError(absl::StrCat(
        "--from ", ToString(*from), " lies above what the group has sent of ", ToString(stream),
        " (", done.has_value() ? ToString(*done) : "nothing",
        "): what lies between would be left out; name a position at or below it, or leave --from "
        "away"));
  }
  const std::optional<Position> whole_from = LedgerWholeFrom(first_runs);
  if (!whole_from.has_value() || from >= whole_from) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("replay-is-not-whole: the ledger of ", ToString(stream),
                   " was pruned and has every record only from ", ToString(*whole_from),
                   " on. A state rebuilt from there lacks what came before; if that is what you "
                   "want (a snapshot covers it), say --from ",
                   ToString(*whole_from)));
}

}  // namespace lockstep
