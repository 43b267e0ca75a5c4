// The gate inside a program of yours: each record comes to a function of yours, once, in the
// ledger's order.
//
//   class Shop final : public lockstep::Outside {
//     absl::Status Take(const lockstep::EmittedRecordView& record) override { … }
//   };
//   Shop shop;
//   lockstep::CallbackGate gate({.brokers = "p:9092", .ledger = "host=db1,db2 dbname=lockstep",
//                                .stream = {"orders", 0}, .group = "shop"}, shop);
//   lockstep::StreamResult result = gate.Run();  // Until Stop(), the end, or an error.
//
// Link `lockstep::callback`. docs/examples/callback_gate.cc is a whole program, and
// docs/operations/sinks.md says what each kind means for the person on call. It is the very engine
// of lockstep-reorder, one stream an object: for several streams make several, each on a thread of
// its own. Modes, cursor, doubt, buffers and logs are as its manual has them.
//
// Threads: Take, Sync and Last are called on the thread that calls Run, one at a time. Stop and
// progress may be used by any thread, Stop in a signal handler as well. While Take does not return,
// nothing else of that stream moves: a slow Take slows the fetching and fills no memory.
//
// Lifetime: a record's views end when Take returns; copy what you keep. The Outside must outlive
// the gate.
//
// An error from Take or Sync stops the gate for good: Run returns it, with the exit code that
// lockstep-reorder would have (FAILED_PRECONDITION is 3, CANCELLED 130, DATA_LOSS 1: a record is
// missing; others 2). Repeat inside Take what may work later; `SinkHost` (Attach) says when a stop
// is wanted.
//
// A crash, of the program or of the site: what was taken and not yet *done* is in doubt. What
// becomes of it depends on what your outside is:
//   kBlind             nobody can tell: the next gate lists it and stops, unless told
//                      `in_doubt`; records sent again have `in_doubt` set.
//   kQueryable         Last() says up to where it has everything, for good. The next gate goes on
//                      behind it, once told `old_gate_is_dead`.
//   kQueryableFencing  the same, and as long as this process holds the outside (a lock) no other
//                      can write to it; so nobody need be told anything.
//   kTransactional     effect and cursor are one transaction of the ledger's database. That takes a
//                      Sink of your own (sinks/sink.h, WriteWithCursor; sinks/table_sink.cc is one)
//                      in the Outside's place.
// ReorderMode::kPerProducer keeps a seq per producer: there an Outside is kBlind, a Sink that can
// be asked answers LastSeqs, and positions do not ascend.
//
// Take what Last() may answer literally: a position that is not there for good is a lost record.
#ifndef LOCKSTEP_REORDER_CALLBACK_H_
#define LOCKSTEP_REORDER_CALLBACK_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "common/kafka/kafka_config.h"
#include "common/model/ids.h"
#include "common/model/record_json.h"
#include "reorder/gate.h"
#include "reorder/sinks/sink.h"
#include "reorder/stream_runner.h"

namespace lockstep {

// Raised whenever a program that was written for the version before would not compile any more, or
// would mean something else. `static_assert(lockstep::kCallbackVersion == 1)` in yours says so at
// once.
inline constexpr int kCallbackVersion = 1;

class Outside {
 public:
  virtual ~Outside() = default;

  // Not kTransactional.
  virtual SinkKind kind() const { return SinkKind::kBlind; }
  // The last position that is outside for good; nullopt: none yet. Asked once, before the first
  // Take. REQUIRES: not kBlind.
  virtual absl::StatusOr<std::optional<Position>> Last() {
    return absl::UnimplementedError("this outside cannot be asked");
  }

  // One record. Positions ascend (but for kPerProducer).
  virtual absl::Status Take(const EmittedRecordView& record) = 0;
  // All that was taken is outside and will stay there. Called after a batch of records, whose done
  // the ledger gets next.
  virtual absl::Status Sync() { return absl::OkStatus(); }

  // Before the first Take. `host` outlives the last one.
  virtual void Attach(SinkHost& host) { static_cast<void>(host); }
};

struct CallbackOptions {
  std::string brokers = {};  // HOST:PORT,…
  std::vector<KafkaProperty> kafka_properties = {};
  std::string ledger = {};          // libpq conninfo, as --ledger.
  std::string standby_ledger = {};  // As --standby-ledger.
  StreamName stream = {};
  std::string mirror_topic = {};  // Empty: found by itself.
  std::string group = {};         // The cursor's name.
  ReorderMode mode = ReorderMode::kGate;
  bool from_start = false;
  std::optional<Position> replay_from = {};      // kReplay: --from EPOCH:OFFSET.
  ForeignPolicy foreign = ForeignPolicy::kFail;  // --foreign.
  InDoubtPolicy in_doubt = InDoubtPolicy::kHold;
  bool old_gate_is_dead = false;
  bool until_end = false;
  std::chrono::milliseconds stall_timeout{30'000};
  std::chrono::milliseconds drain_timeout{30'000};
  size_t batch_records_max = 10'000;  // Between two Syncs; so many may be in doubt after a crash.
  // For parked records: a bound in any case, but for kPerProducer without a spill_directory.
  int64_t buffer_memory_bytes = int64_t{256} << 20;
  // Where the rest waits; empty: nowhere, it is read from Kafka again when its turn comes
  // (--buffer bounded).
  std::string spill_directory = {};
};

class CallbackGate {
 public:
  CallbackGate(CallbackOptions options, Outside& outside);
  // For a sink of your own (transactional ones). `sink` must outlive this.
  CallbackGate(CallbackOptions options, Sink& sink);
  ~CallbackGate();
  CallbackGate(const CallbackGate&) = delete;
  CallbackGate& operator=(const CallbackGate&) = delete;

  // Connects, opens the gate and runs it. Call once.
  StreamResult Run();
  // Finishes the batch under way, writes its done, and ends Run.
  void Stop() { stop_ = true; }

  const StreamProgress& progress() const { return progress_; }

 private:
  absl::StatusOr<StreamResult> OpenAndRun();

  const CallbackOptions options_;
  const std::unique_ptr<Sink> adapter_;  // Of an Outside.
  Sink* const sink_;
  std::atomic<bool> stop_{false};
  StreamProgress progress_;
};

// The Outside as the engine sees it, for a program that drives a StreamEngine itself. `outside`
// must outlive it.
std::unique_ptr<Sink> MakeOutsideSink(Outside& outside, const StreamName& stream);

// What the engine is told, but for where its stream is.
StreamEngineOptions EngineOptionsOf(const CallbackOptions& options);

// The streams of a topic, as ledger and brokers know them. Of `options`, `stream.partition` and all
// from `group` on is not looked at.
absl::StatusOr<std::vector<StreamName>> FindCallbackStreams(const CallbackOptions& options);

}  // namespace lockstep

#endif  // LOCKSTEP_REORDER_CALLBACK_H_
