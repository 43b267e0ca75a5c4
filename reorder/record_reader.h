// RecordReader is what the readers of a stream share: they read ledger and Kafka together, wait for
// either while it is away, and know what they wait for. In which order records come is their own.
//
// Back-pressure: what librdkafka fetches ahead is bounded, and nothing is polled while records wait
// to be settled or sent, so a slow sink slows the fetching.
//
// Not thread-safe: one a thread, with a ledger connection of its own.
#ifndef LOCKSTEP_REORDER_RECORD_READER_H_
#define LOCKSTEP_REORDER_RECORD_READER_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "common/kafka/kafka_reader.h"
#include "common/model/ids.h"
#include "db-ledger/ledger.h"
#include "reorder/record.h"
#include "reorder/resequencer.h"

namespace lockstep {

struct StreamReaderOptions {
  KafkaConfig kafka = {};
  std::string cluster_id = {};           // Of these brokers.
  std::vector<std::string> topics = {};  // FindTopics.
  StreamName stream = {};
  StreamId stream_id = {};
  Epoch epoch = {};                    // The current one.
  std::optional<Position> after = {};  // Begin above it; nullopt: at the start.
  ForeignPolicy foreign = ForeignPolicy::kFail;
  size_t batch_records_max = 10'000;
  // Fetched ahead, a topic; as much again can be in the batch under way.
  int32_t ahead_kbytes_max = 24 * 1024;
  int32_t ahead_records_max = KafkaReaderOptions().fetch_records_max;
  int32_t statistics_interval_ms = 0;  // 0: none.
  StatisticsHook on_statistics = {};
  size_t ready_bytes_max = ResequencerOptions().ready_bytes_max;
  int64_t bisect_records_min = 100'000;  // Shorter topics are read from their start.
};

// Why nothing comes.
struct Waiting {
  enum class For {
    kFrozenRecord,  // The topics have not shown it, though they were read to their ends.
    kLedgerRow,     // The record is in the log and not settled: its row, or its producer's seal.
    kLogRecord,     // The ledger names it at an offset that the log has not reached.
    kLedger,        // The ledger cannot be read.
    kBrokers,       // Kafka cannot be read.
    kLog,           // No producer has opened in this epoch yet: it has no log.
  };
  For what = For::kLedger;
  std::string producer = {};  // These four iff one record is waited for.
  Term term = {};
  Seq seq = {};
  Position position = {};  // 0:0: not known.
  std::string why = {};    // What the last attempt answered, if it failed.
  std::chrono::steady_clock::time_point since = {};

  // `(A, term 4, seq 2301) at 2:4711: in the log, not settled by the ledger`
  std::string Describe() const;
  bool Same(const Waiting& other) const {
    return what == other.what && producer == other.producer && term == other.term &&
           seq == other.seq && position == other.position;
  }
};

class RecordReader {
 public:
  virtual ~RecordReader() = default;

  // Replaces `out` with what comes next; empty: nothing within `timeout`. The records are valid
  // until the next call. An error is final; brokers and ledger that are away are waited for.
  virtual absl::Status Next(std::vector<ReadyRecord>& out, std::chrono::milliseconds timeout) = 0;

  // What it waits for and since when; nullopt: for nothing in particular (the log's end).
  const std::optional<Waiting>& waiting() const { return waiting_; }
  // All that ledger and logs had when they were last asked was given: nothing is waited for, and
  // nothing is still being read. That Next gives nothing does not say so by itself.
  virtual bool nothing_left() const;

  // The heads when it began: what --until-end is measured by. Empty before the first page.
  const std::vector<Head>& heads_at_start() const { return heads_at_start_; }
  bool read_a_page() const { return read_a_page_; }
  // What those heads name and was not given yet.
  virtual int64_t Left() const = 0;
  // Nothing is left of them, and what else comes may be waited for as long as one likes.
  virtual bool ReachedAll() const = 0;
  virtual ResequencerCounts counts() const = 0;
  int64_t polls() const { return polls_; }

 protected:
  using Clock = std::chrono::steady_clock;

  static absl::StatusOr<std::unique_ptr<KafkaReader>> OpenKafka(const StreamReaderOptions& options);
  // `ledger` must outlive this.
  RecordReader(StreamReaderOptions options, Ledger& ledger, std::unique_ptr<KafkaReader> kafka);

  // --- the ledger

  // nullopt: it cannot be reached, which is what is waited for now.
  absl::StatusOr<std::optional<StreamPage>> AskLedger(const ReadStreamRequest& request);
  // It was not asked for so long that an epoch may have begun.
  bool page_is_old() const;
  // Where the current epoch's offsets are true; nullopt: no producer has opened in it yet.
  absl::StatusOr<std::optional<LogInfo>> CurrentLog();

  // --- the logs

  absl::StatusOr<LogOffsets> Offsets(const StreamName& log);
  // Begins to read there, beside what is read already. REQUIRES: the log is not.
  absl::Status Begin(const StreamName& log, Offset from);
  absl::Status StopAll();
  // The next batch, which may be empty; Kafka that is away is waited for.
  absl::Status Fetch(Clock::time_point deadline);
  // What batch_.records[next_] holds; INVALID_ARGUMENT: its header is malformed. It lives until the
  // batch does, its views as long as the message. REQUIRES: there is one.
  absl::StatusOr<const FetchedRecord*> NextRecord();
  // Of a message of the batch, the index in started_.
  int LogIndex(const KafkaMessage& message) const;
  // The record at this offset was looked at: the log did not end below it.
  void Passed(int log, Offset offset);
  // Every log was read to its end, and nothing came since.
  bool at_ends() const;
  // The same, and the brokers say so now, or did a second ago: a broker that is away tells nobody.
  // If they do not answer, they are what is waited for.
  bool ConfirmEnds();
  // The same for a record that is still wanted while others keep coming, so that no end is met:
  // every log was read as far as it went when this record was asked for first, a second after it
  // was wanted. Call it once a batch; nullopt: none is wanted.
  bool WasReadOver(const std::optional<Waiting>& wanted);

  // --- waiting

  void Wait(Waiting waiting);
  void StopWaitingFor(Waiting::For what);
  // Ledger and brokers stay what is waited for until they have answered.
  void StopWaitingForRecords();
  // Each time longer, until PauseLess.
  void Pause(Clock::time_point deadline);
  void PauseMore();
  void PauseLess();

  StreamReaderOptions options_;  // But for bisect_records_min constant.
  Ledger* const ledger_;
  std::unique_ptr<KafkaReader> kafka_;  // Before the batch, which points into it.
  ReaderBatch batch_;
  size_t next_ = 0;                         // Of batch_.records.
  std::vector<StreamName> started_;         // Begin.
  std::vector<std::optional<Offset>> end_;  // Per started_: where it ended, nothing came since.
  bool read_a_page_ = false;
  std::vector<Head> heads_at_start_;
  std::optional<Waiting> waiting_;
  Clock::time_point last_page_{};                // The ledger was asked for it, …
  Clock::time_point page_read_{};                // … and answered.
  Clock::time_point last_heard_ = Clock::now();  // Of Kafka: records, an end, an answer.
  std::chrono::milliseconds pause_{1};
  int64_t polls_ = 0;

 private:
  absl::Status ReadAhead();
  bool AskForEnds();

  Clock::time_point ends_confirmed_{};  // By brokers that were asked.
  std::vector<Offset> passed_to_;       // Per started_: behind the record looked at last.
  // WasReadOver's record, since when it is wanted, and how far the logs went; empty: not asked yet.
  std::optional<Waiting> read_for_;
  std::vector<Offset> read_until_;

  std::vector<FetchedRecord> ahead_;  // Of batch_.records, from …
  size_t ahead_first_ = 0;            // … this one on.
};

}  // namespace lockstep

#endif  // LOCKSTEP_REORDER_RECORD_READER_H_
