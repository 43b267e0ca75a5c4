// StreamReader reads one stream, ledger and Kafka together, and gives its records in ledger order.
//
// It is the adapter around Resequencer: it fetches pages and messages, keeps them alive while they
// are in use, and knows what it waits for. It sends nothing and changes nothing, so --plan and the
// list of what is in doubt are this class alone.
//
// After a failover most of a topic was sent long ago. It looks for the first record that was not,
// by bisection, and begins there; should that turn out too late (an unordered re-injection can hide
// an earlier one), it goes back to the topic's start and on after the last record given. What it
// gives is the ledger's order in any case.
//
// Back-pressure: what librdkafka fetches ahead is bounded, and nothing is polled while records wait
// to be settled or sent, so a slow sink slows the fetching.
//
// Not thread-safe: one a thread, with a ledger connection of its own.
#ifndef LOCKSTEP_REORDER_STREAM_READER_H_
#define LOCKSTEP_REORDER_STREAM_READER_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "common/kafka/kafka_reader.h"
#include "common/model/ids.h"
#include "db-ledger/ledger.h"
#include "reorder/page_size.h"
#include "reorder/parking/parking_buffer.h"
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
  int32_t ahead_kbytes_max = 32 * 1024;
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
  Position position = {};
  std::string why = {};  // What the last attempt answered, if it failed.
  std::chrono::steady_clock::time_point since = {};

  // `(A, term 4, seq 2301) at 2:4711: in the log, not settled by the ledger`
  std::string Describe() const;
  bool Same(const Waiting& other) const {
    return what == other.what && producer == other.producer && term == other.term &&
           seq == other.seq && position == other.position;
  }
};

class StreamReader {
 public:
  // `ledger` and `parking` must outlive this.
  static absl::StatusOr<std::unique_ptr<StreamReader>> Open(StreamReaderOptions options,
                                                            Ledger& ledger, ParkingBuffer& parking);
  ~StreamReader();

  // Replaces `out` with what comes next; empty: nothing within `timeout`. The records are valid
  // until the next call. An error is final (see Resequencer (4)); brokers and ledger that are away
  // are waited for.
  absl::Status Next(std::vector<ReadyRecord>& out, std::chrono::milliseconds timeout);

  // What it waits for and since when; nullopt: for nothing in particular (the log's end).
  const std::optional<Waiting>& waiting() const { return waiting_; }

  // The heads when it began: what --until-end is measured by. Empty before the first page.
  const std::vector<Head>& heads_at_start() const { return heads_at_start_; }
  bool read_a_page() const { return read_a_page_; }
  // Until the next call of Next.
  const Resequencer& resequencer() const { return *resequencer_; }
  ResequencerCounts counts() const;

  int64_t polls() const { return polls_; }
  int64_t records_read() const { return records_read_; }

 private:
  using Clock = std::chrono::steady_clock;

  StreamReader(StreamReaderOptions options, Ledger& ledger, ParkingBuffer& parking,
               std::unique_ptr<KafkaReader> kafka);

  static std::unique_ptr<Resequencer> MakeResequencer(const StreamReaderOptions& options,
                                                      std::optional<Position> after,
                                                      ParkingBuffer& parking);
  bool MayStartOver(const absl::Status& error) const;
  absl::Status StartOver();
  absl::StatusOr<Offset> FindStart(const StreamName& log);
  absl::StatusOr<bool> WasSent(const StreamName& log, Offset offset);
  absl::Status StartFrozen();
  absl::Status StartCurrent();
  absl::Status Step(std::vector<ReadyRecord>& out, Clock::time_point deadline);
  absl::StatusOr<bool> ReadPage(std::vector<ReadyRecord>& out);
  absl::Status Fetch(Clock::time_point deadline);
  absl::StatusOr<bool> Offer(std::vector<ReadyRecord>& out);
  absl::Status CheckRange(Offset from, const LogOffsets& offsets) const;
  absl::Status NoteEnd();
  int TopicIndex(const KafkaMessage& message) const;
  void Wait(Waiting waiting);
  void Pause(Clock::time_point deadline);

  StreamReaderOptions options_;  // But for bisect_records_min constant, as are the next three.
  Ledger* const ledger_;
  ParkingBuffer* const parking_;
  std::unique_ptr<KafkaReader> kafka_;  // Before the batch, which points into it.

  std::unique_ptr<Resequencer> resequencer_;
  ResequencerCounts counts_before_;  // Of resequencers given up.
  std::optional<Position> last_given_;
  bool bisected_ = false;  // A frozen topic is being read from later than its start.
  ReaderBatch batch_;
  size_t next_ = 0;  // Of batch_.records.
  std::vector<StreamName> started_;
  std::vector<std::optional<Offset>> end_;  // Per started_: where it ended, nothing came since.
  bool reads_current_ = false;
  Offset next_offset_;  // kCurrent: everything below was offered or is not there.

  bool read_a_page_ = false;
  std::vector<Head> heads_at_start_;
  absl::Status error_;  // Final.
  std::optional<Waiting> waiting_;
  PageSize page_size_;
  Clock::time_point last_page_{};
  bool asked_for_blocked_ = false;  // The record that is blocked was blocked before the last page.
  std::chrono::milliseconds pause_{1};
  int64_t polls_ = 0;
  int64_t records_read_ = 0;
};

}  // namespace lockstep

#endif  // LOCKSTEP_REORDER_STREAM_READER_H_
