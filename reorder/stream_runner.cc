#include "reorder/stream_runner.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace lockstep {

absl::Status NoCursorError(const std::string& group, const StreamName& stream, ReorderMode mode) {
  return absl::FailedPreconditionError(absl::StrCat(
      "group ", group, " has no cursor on ", ToString(stream),
      ": a wrong name, or a gate that never ran; ",
      mode == ReorderMode::kReplay ? "nothing was sent that could be replayed, --mode gate"
                                   : "--from start",
      " begins at the first record"));
}

void StreamResult::Add(const StreamResult& later) {
  emitted += later.emitted;
  replayed += later.replayed;
  counts.first_hits += later.counts.first_hits;
  counts.buffer_hits += later.counts.buffer_hits;
  counts.duplicates_dropped += later.counts.duplicates_dropped;
  counts.void_dropped += later.counts.void_dropped;
  counts.foreign_passed += later.counts.foreign_passed;
  parking.records_peak += later.parking.records_peak;
  parking.bytes_peak += later.parking.bytes_peak;
  parking.bytes_written += later.parking.bytes_written;
  parking.bytes_reread += later.parking.bytes_reread;
  parking.store_bytes_peak += later.parking.store_bytes_peak;
  parking.fetches += later.parking.fetches;
  parking.fetches_bound += later.parking.fetches_bound;
  parking.records_fetched += later.parking.records_fetched;
  wire_bytes += later.wire_bytes;
  spill_pause = std::max(spill_pause, later.spill_pause);
  polls += later.polls;
  in_doubt += later.in_doubt;
  if (later.held_records > 0) in_doubt -= held_records;  // Among those it listed.
  if (!later.held_before && !later.could_not_reach) {
    held_records = later.held_records;
    in_doubt_records = later.in_doubt_records;
  }
  exit_code = later.exit_code;
  why = later.why;
  waiting = later.waiting;
  checksum = later.checksum;
  held_in_doubt = later.held_in_doubt;
  epoch_is_over = later.epoch_is_over;
  could_not_reach = later.could_not_reach;
}

void LeaveHeldDoubt(HeldDoubt doubt, bool listed_whole, StreamResult& result,
                    StreamProgress& progress) {
  progress.held_doubt.reset();
  if (!result.held_in_doubt) return;
  result.held_records = result.in_doubt;
  // What was not found somebody may yet bring.
  if (listed_whole) progress.held_doubt = std::move(doubt);
}

void StreamProgress::EndOfStream() {
  ready = false;
  parked_records = 0;
  parked_bytes = 0;
  spill_bytes = 0;
  expected = 0;
  waiting_since_ms = 0;
}

}  // namespace lockstep
