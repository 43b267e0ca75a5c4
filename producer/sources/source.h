// Source: where a producer's events come from, in one order that can be read again.
//
// An adapter behind this interface translates its outside (a file, a table, …) into events with
// ascending positions. It decides nothing about records: which of them are ledgered already, where
// they go and when they count as done is Tenure's business.
//
// Errors, by their code:
//   UNAVAILABLE          the outside is away; Poll again, the source comes back by itself.
//   FAILED_PRECONDITION  going on would be unsafe (the source is behind the ledger, changed, a row
//                        came late): a person must act. Exit 3.
//   others               it can not be done (bad line, wrong table, no permission). Exit 2.
// After any error but UNAVAILABLE the source is of no further use.
//
// Not thread-safe, except Status and FormatCheckpoint's result.
#ifndef LOCKSTEP_PRODUCER_SOURCES_SOURCE_H_
#define LOCKSTEP_PRODUCER_SOURCES_SOURCE_H_

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "producer/source_event.h"
#include "producer/sources/source_spec.h"
#include "producer/sources/source_status.h"

namespace lockstep {

class Source {
 public:
  virtual ~Source() = default;

  // Positions the source: from now on Poll gives every event above point.floor (or behind
  // point.checkpoint), perhaps some below it again. FAILED_PRECONDITION, *source behind ledger*, if
  // it can see that it ends below point.seen or that what it had there has changed.
  // REQUIRES: called once, before the first Poll. UNAVAILABLE: call it again.
  virtual absl::Status Start(const ResumePoint& point) = 0;

  // Appends up to `max` further events, in order, positions ascending; waits up to about `timeout`
  // for the first. None is no error: there is nothing yet.
  virtual absl::Status Poll(size_t max, std::chrono::milliseconds timeout,
                            std::vector<SourceEvent>& events) = 0;

  // True iff no event will ever come again. Only a source opened with until_end, or standard input,
  // ends.
  virtual bool ended() const = 0;

  // Everything at or below `at` is durable: in Kafka and in the ledger (I6). `checkpoint` is what
  // the ledger got with it, as FormatCheckpoint made it; empty if that is null, and for what was
  // there at the start. Called for the last time after the last Poll.
  virtual void Acknowledge(std::string_view /*at*/, std::string_view /*checkpoint*/) {}

  // The checkpoint's text behind an event, for a source that needs more than the position to
  // resume. Null: the position is enough. The function is pure, any thread may call it, and it
  // outlives the source.
  virtual std::function<std::string(const SourceEvent&)> FormatCheckpoint() const {
    return nullptr;
  }

  // Any thread may call it at any time. nullopt: it has nothing to tell.
  virtual std::optional<SourceStatus> Status() const { return std::nullopt; }
};

enum class BadLines { kStop, kSkip };

struct SourceOptions {
  bool until_end = false;                // Stop at what is there at the start, else follow.
  BadLines bad_lines = BadLines::kStop;  // jsonl: a skipped line is a position without a seq.
  std::string source_db = {};            // table: libpq conninfo; secrets come from PGPASSFILE.
  std::string source_password = {};      // pika: the master's requirepass; empty: none is sent.
  std::string snapshot_dir = {};         // pika: where a full copy may be put; empty: none is made.
  std::string source_id = {};            // pika: what events call it; empty: host:port.
  bool full_copy = false;                // pika: make one at the start, needed or not.
  bool unknown_stops = false;            // pika: at a command that is not known; else it passes.
  uint64_t snapshot_rate = 0;            // pika: bytes a second of a copy; 0: as they come.
  // pika: so long a pushed copy may make no progress before it is asked for again.
  std::chrono::milliseconds pika_push_idle_max{120'000};
  int32_t pika_slave_port = 0;  // pika: what we call ourselves; 0: any that is free.
  // pika: so long a master may end below the position before that is refused (a slave that lags).
  std::chrono::milliseconds pika_behind_max{10'000};
  // pika: for so long nothing but what the filters drop, and it is named in the log.
  std::chrono::milliseconds pika_filtered_after{600'000};
  // table: a transaction that holds up delivery this long is named in the log.
  std::chrono::milliseconds long_writer_after{10'000};
};

// Opens `spec`'s source; speaks to nobody before Start. UNIMPLEMENTED for kinds that this version
// does not read.
absl::StatusOr<std::unique_ptr<Source>> OpenSource(const SourceSpec& spec,
                                                   const SourceOptions& options);

}  // namespace lockstep

#endif  // LOCKSTEP_PRODUCER_SOURCES_SOURCE_H_
