// Tenure: one process's tenure of one producer over its streams. Every decision of the producer is
// here; I/O, threads and clocks are the caller's, so the shipped program and the disaster
// simulation run the same code.
//
//   kOpen ──► kScan ──► kAdopt ──► kClose ──► kSend ──► kBroken ──► kEnded
//
// What the caller does at each stage, and nothing else:
//   kOpen    ledger.OpenProducer(…), then OnOpened(answer). Nothing is sent before. An open whose
//            outcome is unknown ends the tenure: its terms are never used (C5, C6).
//   kScan    for every stream, in any order: read its log from opened().streams[i].adopt_from to
//            the end that it has *now*, and give each record that carries our header, in offset
//            order, to OnTail(i, …). Then OnTailsEnd(). (Skipped with adopt = false.)
//   kAdopt   ledger.Append(group()), then OnAppended(answer).
//   kClose   ledger.CloseEarlierTerms(opened().producer, terms()), then OnClosed(answer).
//   kSend    position the source at resume_point(); then, in any interleaving:
//            Next(i, event) gives each event its identity; send it. OnDelivered / OnFailed bring
//            what became of it. TakeGroup() gives what the ledger should take next; one group is in
//            flight at most; OnAppended(answer) ends it.
//   kBroken  a delivery failed, or a log's offsets make no sense. Nothing more may be sent. Purge,
//            serve the reports that are left, then AllReported(); take and append groups as before
//            until kEnded.
//   kEnded   end() says why. TakeUnledgered() gives the events that the ledger has not got, in
//            source order, for the next tenure.
// If an answer was kUnknown, or a refusal that may be repeated, the stage stays: repeat the very
// same call.
//
// Promises:
//   (1) Seqs of a stream are 1, 2, 3… without gaps, across tenures (I1).
//   (2) A run names only records that were reported delivered, at their offsets (I2).
//   (3) After a failed delivery no later record of that stream is ever ledgered by this tenure.
//   (4) acknowledged() only ever names positions at or below which everything is ledgered durably
//       in every stream (I6).
//
// Not thread-safe. O(1) a record; the hot path allocates only to grow.
#ifndef LOCKSTEP_PRODUCER_TENURE_H_
#define LOCKSTEP_PRODUCER_TENURE_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"

#include "common/model/ids.h"
#include "common/model/record_header.h"
#include "common/model/rules.h"
#include "db-ledger/ledger.h"
#include "producer/run_builder.h"
#include "producer/source_event.h"

namespace lockstep {

struct TenureOptions {
  std::string name;  // The producer's.
  bool adopt = true;
  // Events between Next and their durable ledger row, and their content. REQUIRES: ≥ 1
  size_t in_flight_records_max = 200'000;
  size_t in_flight_bytes_max = size_t{128} << 20;
  // The text of the checkpoint behind an event (Source::FormatCheckpoint). Null: its position, and
  // only when there are several streams (one stream needs none: its head has the position).
  std::function<std::string(const SourceEvent&)> format_checkpoint = nullptr;
  MakePayloadEncoder encode_payload = nullptr;  // Null: the ledger keeps nothing of them.
  Rules rules = kAllRules;
};

class Tenure {
 public:
  enum class Stage { kOpen, kScan, kAdopt, kClose, kSend, kBroken, kEnded };

  enum class End {
    kNone,
    kOpenUnknown,          // Open again, with a new Tenure.
    kFenced,               // A newer term exists: a second process, a seal, a new epoch.
    kRefused,              // The ledger refused for another reason; `why` has it.
    kDeliveryFailed,       // A new handle and a new Tenure may go on.
    kInconsistentOffsets,  // The log contradicts the ledger or itself; a person must act.
  };

  explicit Tenure(TenureOptions options);

  Stage stage() const { return stage_; }

  // --- start-up

  void OnOpened(const Commit<OpenedProducer>& answer);

  // REQUIRES: stage() is past kOpen (and not ended by the open).
  const OpenedProducer& opened() const { return opened_; }

  struct TailRecord {
    Offset offset;
    RecordHeader header;
    bool reinjected = false;  // It also carries `lockstep-reinjected`.
    const Payload* payload = nullptr;
  };
  // False iff no earlier tenure can have left anything to adopt: the stream's tail need not be
  // read.
  bool needs_tail(size_t stream) const;
  // Offsets of one stream ascend. Adopts own records of unclosed terms while they continue the
  // ledger's seqs; everything else in the tail is somebody else's, a duplicate, or will be void.
  void OnTail(size_t stream, const TailRecord& record);
  void OnTailsEnd();
  // Forgets what OnTail took: the logs are read once more, from adopt_from.
  void RestartTails();

  // This tenure's terms, one a stream.
  std::vector<TermOnStream> terms() const;
  void OnClosed(const Commit<Moved>& answer);

  int64_t adopted() const { return adopted_; }

  // --- sending

  // REQUIRES: stage() == kSend, before the first Next.
  ResumePoint resume_point() const;

  // What Kafka gets for an event: its identity and a number to know it by.
  struct Outgoing {
    uint64_t number = 0;  // Ascends in source order over all streams.
    Term term;
    Seq seq;
  };
  // True iff Next may be called: kSend, and room for one more.
  bool CanTake() const;
  // The next event of the source, bound for `stream`. nullopt: the ledger has it already (a source
  // that was positioned at an older checkpoint repeats some); nothing is to be sent.
  // REQUIRES: CanTake(); positions ascend from call to call.
  std::optional<Outgoing> Next(size_t stream, SourceEvent&& event);
  // An event that is under way. It stays where it is until its row is durable or TakeUnledgered.
  const SourceEvent& event(uint64_t number) const { return At(number).event; }
  struct Identity {
    size_t stream = 0;  // Index in opened().streams.
    Term term;
    Seq seq;
  };
  Identity identity(uint64_t number) const;

  // Kafka reports the record persisted at `offset`. Reports of one stream come in seq order.
  void OnDelivered(uint64_t number, Offset offset);
  // It was not, or possibly was: either way this tenure is over (kBroken). `why` goes into end().
  void OnFailed(uint64_t number, const absl::Status& why);
  // The handle failed as a whole (fatal error), or the caller has another reason to break off.
  void Break(const absl::Status& why);
  // kBroken only: no report is outstanding any more.
  void AllReported();

  // Everything delivered since the last group, of all streams, as one request; nullopt if there is
  // nothing or a group is in flight. It stays in flight until OnAppended ends it.
  std::optional<AppendRequest> TakeGroup();
  // REQUIRES: group_in_flight()
  const AppendRequest& group() const { return *group_; }
  bool group_in_flight() const { return group_.has_value(); }
  void OnAppended(const Commit<Appended>& answer);

  // --- progress

  // Source position at or below which everything is durably ledgered in every stream; empty while
  // that is not known.
  const std::string& acknowledged() const { return acknowledged_; }
  // The checkpoint that the ledger got with it; empty if it got none from this tenure.
  const std::string& acknowledged_checkpoint() const { return acknowledged_checkpoint_; }
  int64_t ledgered() const { return ledgered_; }  // Records, adopted ones not counted.
  int64_t in_flight() const { return static_cast<int64_t>(next_number_ - first_number_); }
  size_t in_flight_bytes() const { return event_bytes_; }
  int64_t gathered() const { return gathered_; }  // Delivered, and in no group yet.
  bool idle() const { return in_flight() == 0 && !group_; }
  bool solo() const { return solo_; }

  // --- the end

  End end() const { return end_; }
  const absl::Status& why() const { return why_; }
  // REQUIRES: stage() == kEnded.
  std::vector<SourceEvent> TakeUnledgered();

 private:
  struct Stream {
    OpenedStream opened;
    std::string last_at;  // Of the last durably ledgered record.
    Seq next_seq;         // For Next.
    Seq delivered_seq;    // Reported, without a hole.
    Seq ledgered_seq;     // Durable.
    bool broken = false;  // Had a failed delivery: (3).
    RunBuilder builder;
  };
  struct Slotted {
    SourceEvent event;
    uint32_t stream = 0;
    Seq seq;
  };

  // Events lie in blocks that never move: Kafka's client reads values where they are.
  static constexpr uint64_t kBlockEvents = 1024;
  using Block = std::unique_ptr<Slotted[]>;  // kBlockEvents of them.

  const Slotted& At(uint64_t number) const {
    return blocks_[number / kBlockEvents - first_block_][number % kBlockEvents];
  }
  Slotted& At(uint64_t number) {
    return blocks_[number / kBlockEvents - first_block_][number % kBlockEvents];
  }
  void DropDoneBlocks();
  bool Delivered(uint64_t number) const;
  bool MakeGroup();
  void BreakOff(End end, const absl::Status& why);
  void Finish(End end, const absl::Status& why);
  void FinishIfDrained();
  // Ends the tenure if `refusal` is final; true iff it did.
  bool EndedBy(Refusal refusal, const absl::Status& why);

  const TenureOptions options_;
  Stage stage_ = Stage::kOpen;
  OpenedProducer opened_;
  std::vector<Stream> streams_;
  int64_t adopted_ = 0;
  bool solo_ = false;

  // Events from Next to durable: [first_number_, next_number_).
  std::deque<Block> blocks_;
  std::vector<Block> spare_blocks_;
  uint64_t first_block_ = 0;  // first_number_ / kBlockEvents
  uint64_t first_number_ = 1;
  uint64_t next_number_ = 1;
  uint64_t undelivered_number_ = 1;  // The first that is not delivered.
  size_t event_bytes_ = 0;           // Content of the events in it.
  std::string newest_at_;            // Of the last Next, to assert the source's order.

  std::optional<AppendRequest> group_;
  std::string group_at_;  // acknowledged() once the group is durable; empty: unchanged.
  int64_t group_records_ = 0;
  int64_t gathered_ = 0;
  int64_t ledgered_ = 0;
  std::string acknowledged_;
  std::string acknowledged_checkpoint_;

  bool all_reported_ = false;
  End end_ = End::kNone;
  absl::Status why_;
};

std::string_view ToString(Tenure::Stage stage);
std::string_view ToString(Tenure::End end);

}  // namespace lockstep

#endif  // LOCKSTEP_PRODUCER_TENURE_H_
