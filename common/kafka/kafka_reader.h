// KafkaReader reads given partitions from given offsets, in batches.
//
// No consumer group: where to read is the ledger's business. An offset that the log does not have
// is OUT_OF_RANGE, never a silent reset. The end of a log is an event. What librdkafka fetches
// ahead is bounded (queued.max.messages.kbytes), so a slow caller slows the fetching.
//
// Not thread-safe: one reader a thread.
#ifndef LOCKSTEP_COMMON_KAFKA_KAFKA_READER_H_
#define LOCKSTEP_COMMON_KAFKA_KAFKA_READER_H_

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "common/kafka/kafka_config.h"
#include "common/kafka/kafka_handles.h"
#include "common/kafka/kafka_message.h"
#include "common/kafka/kafka_queue_wait.h"
#include "common/kafka/kafka_statistics.h"
#include "common/model/ids.h"

namespace lockstep {

struct KafkaReaderOptions {
  KafkaConfig kafka = {};
  bool read_committed = false;        // Else records of open and aborted transactions are read.
  size_t batch_records_max = 10'000;  // A Poll returns at most so many.
  // Fetched ahead of Poll, per partition, and an answer more. (A record takes some 500 B beside
  // what is in it: many small ones are dear in memory, and no longer in the processor's caches.)
  int32_t fetch_kbytes_max = 64 * 1024;
  int32_t fetch_records_max = 50'000;
  // Of one answer, per partition; 0: librdkafka's choice (1 MiB). A bigger batch comes whole.
  int32_t answer_bytes_max = 0;
  // How long a broker that has nothing new keeps a fetch; a reader that starts somewhere else waits
  // for it.
  int32_t fetch_wait_ms = 100;
  int32_t statistics_interval_ms = 0;  // 0: none.
  StatisticsHook on_statistics = {};   // Called within Poll.
};

// The offsets a log has at one moment: lo ≤ offset < hi. (`hi_offset` is the high watermark, what
// read_uncommitted may read.)
struct LogOffsets {
  Offset lo_offset;
  Offset hi_offset;
};

// Everything below next_offset has been returned, and there was nothing more at that moment.
struct EndOfLog {
  StreamName stream;
  Offset next_offset;
};

// The reader must outlive its batches and whatever was moved out of them: declare it first.
struct ReaderBatch {
  std::vector<KafkaMessage> records;  // Per stream in offset order.
  std::vector<EndOfLog> ends;
};

class KafkaReader {
 public:
  // Makes the handle; speaks to no broker yet. INVALID_ARGUMENT names the property at fault.
  static absl::StatusOr<std::unique_ptr<KafkaReader>> Open(const KafkaReaderOptions& options);
  ~KafkaReader();
  KafkaReader(const KafkaReader&) = delete;
  KafkaReader& operator=(const KafkaReader&) = delete;

  // Starts to read `stream` at `offset`. REQUIRES: not started.
  absl::Status Start(const StreamName& stream, Offset offset);
  // No record of `stream` is returned by any later Poll.
  absl::Status Stop(const StreamName& stream);
  // Goes on at `offset`; records fetched before the call are not returned. REQUIRES: started.
  absl::Status Seek(const StreamName& stream, Offset offset);
  // While paused nothing of `stream` is returned. REQUIRES: started.
  absl::Status Pause(const StreamName& stream);
  absl::Status Resume(const StreamName& stream);

  // Waits up to `timeout` for something, then takes all there is, up to batch_records_max. Replaces
  // `batch`. An error about one stream names it: OUT_OF_RANGE (the log lacks the offset: Seek or
  // give up), NOT_FOUND (no such topic or partition), UNAVAILABLE (broker away: go on polling, it
  // comes back by itself), … Records that arrived before an error are returned first.
  absl::Status Poll(std::chrono::milliseconds timeout, ReaderBatch& batch);

  // Has fetching go on at once if it stopped because enough was fetched ahead. Poll does it for a
  // reader that goes straight on; one that reads here and there knows better when.
  void WakeFetcher();

  // Asks the broker now. UNAVAILABLE: it did not answer within `timeout`.
  absl::StatusOr<LogOffsets> Offsets(const StreamName& stream, std::chrono::milliseconds timeout);
  // The lowest offset whose timestamp is at or above `timestamp_ms`; hi_offset when there is none.
  absl::StatusOr<Offset> OffsetAtTime(const StreamName& stream, int64_t timestamp_ms,
                                      std::chrono::milliseconds timeout);

  rd_kafka_t* handle() const { return handle_.get(); }

 private:
  struct Started {
    KafkaTopicHandle topic;
    bool paused = false;
  };

  KafkaReader(KafkaHandle handle, const KafkaReaderOptions& options, bool fetcher_wakes_itself);
  absl::StatusOr<Started*> Find(const StreamName& stream);
  // OffsetAtTime as the broker answers it: negative, none; also RD_KAFKA_OFFSET_BEGINNING and _END.
  absl::StatusOr<int64_t> AskOffset(const StreamName& stream, int64_t timestamp_ms,
                                    std::chrono::steady_clock::time_point deadline);
  absl::Status SetPaused(const StreamName& stream, bool paused);
  void Take(rd_kafka_message_t* raw, ReaderBatch& batch);
  void ServeEvents();
  void WakeFetcherIfLow();

  // Constant after construction. Order matters: everything else goes before the handle.
  KafkaHandle handle_;
  KafkaQueue events_;
  KafkaQueue records_;
  KafkaQueueWait wait_;  // For records_.
  StatisticsHook on_statistics_;
  size_t batch_records_max_;
  bool fetcher_wakes_itself_;

  std::map<StreamName, Started> streams_;
  std::vector<rd_kafka_message_t*> raw_;
  absl::Status pending_error_;  // Seen behind records; the next Poll returns it.
  size_t fetched_peak_ = 0;     // Most records fetched ahead since it was woken.
  std::chrono::steady_clock::time_point woken_;
};

}  // namespace lockstep

#endif  // LOCKSTEP_COMMON_KAFKA_KAFKA_READER_H_
