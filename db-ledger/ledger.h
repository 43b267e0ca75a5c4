// Ledger: the primary's order, as durable facts. Who wrote which seq at which offset, in whose
// tenure; how far each gate has sent; which epoch it is.
//
// Two implementations keep this contract, held together by one test suite (ledger_contract_test.h)
// and by a differential random test: PostgresLedger (the real one; the rules are server-side
// functions in schema/) and MemoryLedger (simulation, tests).
//
// **Durable means: the standby said so.** A call that changes the ledger returns `Commit<T>`:
//   kCommitted     it happened and survives the loss of this site (or the epoch is solo, and `solo`
//   says so); kNotCommitted  it did not happen and never will; `refusal` and `why` say what to do;
//   kUnknown       it may have happened, may yet happen, or happened and is not proven durable.
//   Every call here may be
//                  repeated with the same arguments until it answers otherwise, except Open…, which
//                  is *abandoned*: its terms are never used, a new Open takes new ones (C6).
//
// What a reader sees on the primary proves nothing about durability; a gate's own durable intent,
// written after the read, proves all of it (one WAL, and flush is a prefix).
//
// Locking (PostgresLedger): the head row is the only lock on the hot path. Heads are locked in
// (stream, producer) order by everybody; open, close, seal and begin_epoch update the same rows,
// hence wait for appends under way and are seen by all later ones.
//
// Not thread-safe: one object a thread (a PostgresLedger is one connection and its witness).
#ifndef LOCKSTEP_DB_LEDGER_LEDGER_H_
#define LOCKSTEP_DB_LEDGER_LEDGER_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "common/model/ids.h"
#include "common/model/offset_ranges.h"

namespace lockstep {

// ---------------------------------------------------------------- outcomes

enum class CommitOutcome { kCommitted, kNotCommitted, kUnknown };

// Why a change was refused. Each is final for the same arguments unless it says otherwise.
enum class Refusal {
  kNone,
  kFenced,   // The term is not the newest (a second process, a seal, a new epoch). End the tenure.
  kGap,      // first_seq is above last_seq + 1: an earlier run of this tenure is missing.
  kDiffers,  // These seqs are ledgered with other content.
  kWrongOwner,         // The producer or group belongs to another database role.
  kNoDurableStandby,   // No synchronous standby or no witness, and the epoch is not solo. May be
                       // repeated.
  kWrongEpoch,         // begin_epoch expected another current epoch.
  kNotFound,           // No such stream, producer or group (its name is in `why`).
  kSourceChanged,      // The producer is known with another SOURCE text.
  kPartitionsChanged,  // The topic is known with another partition count.
  kLogChanged,         // This epoch's log of the stream is on another Kafka cluster or topic.
  kWrongKind,          // The group keeps the other kind of cursor on the stream (seq_cursor.h).
  kInvalid,  // The request contradicts itself (empty run, count of seqs ≠ count of offsets, …).
  kUnavailable,  // The database could not be asked; nothing happened. May be repeated.
};

template <class T>
struct Commit {
  CommitOutcome outcome = CommitOutcome::kUnknown;
  Refusal refusal = Refusal::kNone;
  absl::Status why;  // OK iff kCommitted.
  T value{};         // Meaningful iff kCommitted.

  bool committed() const { return outcome == CommitOutcome::kCommitted; }
};

// ---------------------------------------------------------------- facts

struct StreamInfo {
  StreamId id;
  StreamName name;
  int32_t partition_count = 0;  // Of the topic, fixed while the stream lives.
  bool operator==(const StreamInfo&) const = default;
};

struct ProducerInfo {
  ProducerId id;
  std::string name;
  std::string source;  // The SOURCE text it was first opened with.
  std::optional<std::string>
      checkpoint;  // Source position below which everything is ledgered in every stream.
  bool operator==(const ProducerInfo&) const = default;
};

// The state of one producer on one stream; the row that every change locks.
struct Head {
  ProducerId producer;
  std::string name;
  Term term;    // The newest tenure.
  Term closed;  // Every term below this is closed: what it left unledgered is void. closed ≤ term.
  Epoch epoch;          // The tenure's epoch.
  Seq last_seq;         // 0: nothing yet.
  std::string last_at;  // Source position of last_seq.
  bool operator==(const Head&) const = default;
};

// Consecutive seqs of one producer at the offsets listed, in the log of `epoch`.
struct Run {
  ProducerId producer;
  Epoch epoch;
  Term term;  // The term in the records' headers; of an adopted run an earlier one than the
              // tenure's.
  Seq first_seq;
  Seq last_seq;
  OffsetRanges offsets;
  std::string at_first;
  std::string at_last;
  uint64_t digest = 0;  // RunDigest over the records in seq order.
  std::string
      payload;  // Compressed payloads, or notes (docs/formats/run-payload.md); empty: neither.
  bool operator==(const Run&) const = default;
};

// Where offsets of an epoch are true (I2).
struct LogInfo {
  Epoch epoch;
  std::string cluster_id;  // Kafka's.
  std::string topic;
  Offset start;  // The log's end when the epoch's first producer opened: nothing of this epoch lies
                 // below.
  bool operator==(const LogInfo&) const = default;
};

// How far a group's gate has sent a stream outside. nullopt: nothing yet. (done, intent] is in
// doubt.
struct Cursor {
  std::string group;
  StreamId stream;
  Term term;
  std::optional<Position> intent;
  std::optional<Position> done;
  bool operator==(const Cursor&) const = default;
};

struct EpochInfo {
  Epoch epoch;
  bool solo = false;
  std::string cluster_id;  // The Kafka cluster that it was begun for; empty: for none by name.
  std::string reason;      // For people only, as is began_ms.
  std::string role;        // Who began it.
  int64_t began_ms = 0;    // Wall clock of the database.
};

// Progress of a failover, so that it can be re-run. Keyed by (epoch that it will begin or has
// begun, step name).
struct StepInfo {
  Epoch epoch;
  std::string step;
  std::string state;   // "done" or whatever the step needs to remember.
  std::string detail;  // JSON.
  int64_t at_ms = 0;
};

// ---------------------------------------------------------------- requests

struct OpenProducerRequest {
  std::string producer;
  std::string source;
  std::string topic;  // Logical name.
  int32_t partition_count = 0;
  struct Partition {
    int32_t partition = 0;
    Offset log_end;  // The log's end now, read before this call; becomes LogInfo::start if this
                     // open is the epoch's first.
  };
  std::vector<Partition> partitions;  // The ones it may write to.
  std::string cluster_id;             // Of the log that it will write to …
  std::string log_topic;              // … and the topic's name there.
};

struct OpenedStream {
  StreamId stream;
  int32_t partition = 0;
  Term term;    // Of this tenure.
  Term closed;  // Terms in [closed, term) are open: their records in the tail may be adopted.
  Seq last_seq;
  std::string last_at;
  Offset adopt_from;  // Own unledgered records of this epoch lie at or above this offset.
};

struct OpenedProducer {
  ProducerId producer;
  Epoch epoch;
  bool solo = false;
  std::optional<std::string> checkpoint;
  std::vector<OpenedStream> streams;  // In the request's order.
};

struct TermOnStream {
  StreamId stream;
  Term term;
};

struct RunToAppend {
  StreamId stream;
  Term tenure_term;  // Fences: must be the head's.
  Run run;           // `producer` as in the request; `epoch` is ignored: it is the head's.
};

struct AppendRequest {
  ProducerId producer;
  std::vector<RunToAppend> runs;  // All or nothing. Several runs of one stream: in seq order.
  std::optional<std::string> checkpoint;  // Stored in the same commit.
};

struct Appended {
  Epoch epoch;
  bool solo = false;
  bool again = false;  // It was there already (every run).
};

struct OpenedGate {
  Epoch epoch;
  bool solo = false;
  std::vector<Cursor> cursors;  // In the request's order; `term` is this gate's.
};

struct MoveCursorRequest {
  std::string group;
  StreamId stream;
  Term term;
  std::optional<Position> intent;  // nullopt: unchanged.
  std::optional<Position> done;    // nullopt: unchanged. done ≤ intent. Neither ever goes back.
};

struct Moved {
  bool solo = false;
};

struct BeginEpochRequest {
  Epoch expected;  // The epoch that the caller saw as current.
  bool solo = false;
  std::string cluster_id;  // The Kafka cluster that takes over: whoever would write to another one
                           // cannot open in the new epoch. Empty: the first to open decides.
  std::string reason;      // For people.
};

struct BegunEpoch {
  Epoch epoch;
  bool solo = false;
};

// Where a reader stands in one producer's runs: the last run it has, or {0, 0} before the first.
struct RunKey {
  Epoch epoch;
  Seq first_seq;
  auto operator<=>(const RunKey&) const = default;
};
using RunMarks = std::map<ProducerId, RunKey>;

// One snapshot of a stream: the heads, and for each producer its next runs in (epoch, first_seq)
// order.
//
// A reader never walks an id or a time: concurrent appends commit out of order and it would step
// over one for good. It keeps a mark per producer.
struct StreamPage {
  Epoch epoch;  // The current one, in the same snapshot.
  bool solo = false;
  std::vector<Head> heads;       // Every producer of the stream, by id.
  std::vector<Run> runs;         // Grouped by producer, ascending.
  std::vector<ProducerId> more;  // Producers with further runs than these.
};

struct ReadStreamRequest {
  StreamId stream;
  RunMarks after;  // A producer without a mark is read from its first run.
  int64_t runs_per_producer_max = 1000;
  bool with_payload = false;
};

// ---------------------------------------------------------------- the interface

class Ledger {
 public:
  virtual ~Ledger() = default;

  // --- producers

  // Takes the next term on every partition named, in one commit. Registers streams, the producer
  // and this epoch's log as needed. Nothing may be sent under these terms unless the answer is
  // kCommitted (C5, C6).
  virtual Commit<OpenedProducer> OpenProducer(const OpenProducerRequest& request) = 0;

  // All terms below these are closed; what they left unledgered is void, here and in every mirror,
  // whenever it lands. Repeatable. kFenced if any is not the newest.
  virtual Commit<Moved> CloseEarlierTerms(ProducerId producer,
                                          const std::vector<TermOnStream>& terms) = 0;

  // Appends runs that Kafka has already (I2), all or nothing. A repeat with the same content is
  // `again`, and durable when it answers kCommitted (it always writes WAL, C3).
  virtual Commit<Appended> Append(const AppendRequest& request) = 0;

  // Opens and closes on behalf of a producer that will not come back, on all its streams. value:
  // the streams sealed.
  virtual Commit<std::vector<StreamId>> Seal(const std::string& producer) = 0;

  // --- gates

  // Takes the next term of the group's cursors, creating them with intent = done = null if
  // `create`, else kNotFound.
  virtual Commit<OpenedGate> OpenGate(const std::string& group,
                                      const std::vector<StreamName>& streams, bool create) = 0;

  virtual Commit<Moved> MoveCursor(const MoveCursorRequest& request) = 0;

  // --- epochs and failover (role: admin)

  // Ends the epoch: a new term for every producer and every gate, all earlier terms closed.
  // After kUnknown the epoch may be read again: expected + 1 says that it has begun.
  virtual Commit<BegunEpoch> BeginEpoch(const BeginEpochRequest& request) = 0;

  // The current epoch is solo no longer: demands a synchronous standby and a witness proof, then
  // touches all heads and cursors (terms stay).
  virtual Commit<Moved> SoloOff() = 0;

  virtual Commit<Moved> SetCursor(const std::string& group, StreamId stream,
                                  std::optional<Position> at) = 0;

  virtual Commit<Moved> RecordStep(const StepInfo& step) = 0;

  // --- reads; one snapshot each

  struct Now {
    Epoch epoch;
    bool solo = false;
  };
  virtual absl::StatusOr<Now> ReadNow() = 0;
  // All of a topic's streams by partition; empty: the topic is unknown.
  virtual absl::StatusOr<std::vector<StreamInfo>> FindStreams(const std::string& topic) = 0;
  virtual absl::StatusOr<std::vector<StreamInfo>> ListStreams() = 0;
  virtual absl::StatusOr<std::vector<ProducerInfo>> ListProducers() = 0;
  virtual absl::StatusOr<StreamPage> ReadStream(const ReadStreamRequest& request) = 0;
  // Marks from which ReadStream gives every run that holds a position above `after` (and of each
  // producer at most one earlier run). nullopt: from the start, i.e. no marks.
  virtual absl::StatusOr<RunMarks> MarksAfter(StreamId stream, std::optional<Position> after) = 0;
  virtual absl::StatusOr<std::vector<LogInfo>> ReadLogs(StreamId stream) = 0;
  virtual absl::StatusOr<std::vector<Cursor>> ReadCursors() = 0;
  virtual absl::StatusOr<std::vector<EpochInfo>> ReadEpochs() = 0;
  virtual absl::StatusOr<std::vector<StepInfo>> ReadSteps(Epoch epoch) = 0;
};

std::string_view ToString(Refusal refusal);
std::string_view ToString(CommitOutcome outcome);

}  // namespace lockstep

#endif  // LOCKSTEP_DB_LEDGER_LEDGER_H_
