// StreamSource is a reordered stream as a producer's source: what a Kafka sink writes comes from
// here.
//
// An event is a record in the ledger's order; its source position is the record's position,
// `EPOCH:OFFSET`; key, value, timestamp and headers but Lockstep's own pass unchanged. Where it
// goes on the producer's head says, so there is no cursor, no intent and no doubt: what the head
// names was written, what it does not name was not, whoever else may still try (he is fenced).
//
// A record is given only when the reader has seen its row in the ledger. That row may not be
// durable yet. But the row of what comes of it is written later into the same ledger, and what is
// durable there is a prefix (one WAL): if this row is lost, so is that one, and its record is void.
//
// A new epoch ends it (FAILED_PRECONDITION, *fenced*): the producer has lost its term, too. So does
// its retirement (kafka_sinks.h), which is looked for at the start and every few seconds: a
// producer that lost its delivery just when it was sealed takes a new term, and would not notice.
//
// On one thread at a time, as every Source; the facts are for any thread.
#ifndef LOCKSTEP_REORDER_STREAM_SOURCE_H_
#define LOCKSTEP_REORDER_STREAM_SOURCE_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"

#include "common/base/mutex.h"
#include "db-ledger/ledger.h"
#include "producer/sources/source.h"
#include "reorder/buffer.h"
#include "reorder/stream_end.h"
#include "reorder/stream_engine.h"
#include "reorder/stream_reader.h"
#include "reorder/waiting_log.h"

namespace lockstep {

struct StreamSourceOptions {
  std::string group = {};     // For messages.
  std::string producer = {};  // Whose source it is; retired: refused.
  bool until_end = false;     // Ends behind what the ledger names at the start.
  std::chrono::milliseconds stall_timeout{30'000};
  BufferOptions buffer = {};
  StreamReaderOptions reader = {};  // As StreamEngineOptions'.
  // Ends what the buffer waits for; null: never. Called on the source's thread.
  std::function<bool()> stop_requested = nullptr;
};

// What a source leaves behind; it dies with its producer. Thread-safe.
class StreamSourceFacts {
 public:
  struct Facts {
    std::optional<StreamEnd> end = {};  // Why it ended by itself, if waiting or an error ended it.
    ResequencerCounts counts = {};
    ParkingStats parking = {};
    int64_t polls = 0;
    int64_t wire_bytes = 0;
    std::chrono::milliseconds spill_pause{0};
    bool waiting = false;         // For something, when it was last asked.
    bool nothing_came = false;    // Nor was there anything, in ledger or log, that was not given.
    std::string last_given = {};  // Source position.
    std::string acknowledged = {};
  };
  Facts Get() const {
    MutexLock lock(mu_);
    return facts_;
  }

 private:
  friend class StreamSource;
  mutable Mutex mu_;
  Facts facts_ ABSL_GUARDED_BY(mu_);
};

class StreamSource final : public Source {
 public:
  // `progress` must outlive it; its expected, parked_… and waiting_since_ms are kept up to date.
  StreamSource(StreamSourceOptions options, std::unique_ptr<Ledger> ledger,
               std::shared_ptr<StreamSourceFacts> facts, StreamProgress& progress);
  ~StreamSource() override;

  absl::Status Start(const ResumePoint& point) override;
  absl::Status Poll(size_t max, std::chrono::milliseconds timeout,
                    std::vector<SourceEvent>& events) override;
  bool ended() const override { return ended_; }
  void Acknowledge(std::string_view at, std::string_view checkpoint) override;

 private:
  absl::StatusOr<bool> OpenReader();
  absl::Status Next(std::chrono::milliseconds timeout);
  absl::Status CheckRetirement();
  absl::Status LookAround();
  void NoteFacts();

  StreamSourceOptions options_;
  const std::unique_ptr<Ledger> ledger_;
  const std::shared_ptr<StreamSourceFacts> facts_;
  StreamProgress* const progress_;
  const std::unique_ptr<Buffer> buffer_;  // Before the reader, which holds on to it.
  std::unique_ptr<StreamReader> reader_;  // Null until the ledger knows the stream.
  std::vector<ReadyRecord> ready_;
  size_t next_ = 0;  // Of ready_.
  std::vector<HeaderView> headers_;
  int64_t given_ = 0;  // Records, by all readers.
  bool ended_ = false;
  std::chrono::steady_clock::time_point retirement_looked_at_{};
  WaitingLog waiting_log_;
};

}  // namespace lockstep

#endif  // LOCKSTEP_REORDER_STREAM_SOURCE_H_
