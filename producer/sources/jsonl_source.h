// JSON lines: a file, one event a line, appended to and never changed; or standard input.
//
// The position is the line's number. The checkpoint is `LINE:BYTE:HASH`: the line, the byte it
// begins at and a hash of its text, so that a file that was shortened or rewritten is noticed
// (*source behind ledger*) and a resume need not read from the start.
//
// A bad line (not JSON, not UTF-8, longer than kLineBytesMax, …) stops the source with its number,
// or, with BadLines::kSkip, is a position without a seq. A last line without '\n' waits, and counts
// with until_end and at the end of standard input.
#ifndef LOCKSTEP_PRODUCER_SOURCES_JSONL_SOURCE_H_
#define LOCKSTEP_PRODUCER_SOURCES_JSONL_SOURCE_H_

#include <memory>

#include "absl/status/statusor.h"

#include "producer/sources/payload_source.h"
#include "producer/sources/source.h"
#include "producer/sources/source_spec.h"

namespace lockstep {

absl::StatusOr<std::unique_ptr<Source>> OpenJsonlSource(const JsonlSpec& spec,
                                                        const SourceOptions& options);

// A bad line within a run is skipped: the producer skipped it too, and the digest tells if not.
absl::StatusOr<std::unique_ptr<PayloadSource>> OpenJsonlPayloadSource(const JsonlSpec& spec);

}  // namespace lockstep

#endif  // LOCKSTEP_PRODUCER_SOURCES_JSONL_SOURCE_H_
