// Engine joins Tenure, which decides, to Kafka, the ledger and the source, which it drives from
// three threads. It translates and waits; it judges nothing about records.
//
//   source thread ──BoundedQueue──► Run's thread (Next, Produce, reports, groups) ──► ledger thread
//
// One Engine runs many tenures, one after another: a failed delivery ends one, the next goes on
// behind what the ledger has.
#ifndef LOCKSTEP_PRODUCER_ENGINE_H_
#define LOCKSTEP_PRODUCER_ENGINE_H_

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "common/base/mutex.h"
#include "common/kafka/kafka_admin.h"
#include "common/kafka/kafka_producer.h"
#include "producer/bounded_queue.h"
#include "producer/ledger_worker.h"
#include "producer/producer.h"
#include "producer/tenure.h"

namespace lockstep {

class Producer::Engine {
 public:
  Engine(ProducerOptions options, std::unique_ptr<Source> source, std::unique_ptr<Ledger> ledger,
         const std::atomic<bool>& stop);
  ~Engine();

  // Ends with the source's thread; all that is durable has been told to the source.
  absl::Status Run();
  ProducerProgress progress() const;

 private:
  using Clock = std::chrono::steady_clock;

  absl::Status RunTenures();

  // --- start (start.cc)
  absl::Status CheckTopics();
  // The topic's partition count; adds its streams.
  absl::StatusOr<int32_t> CheckTopic(KafkaAdmin& admin, const std::string& name);
  absl::StatusOr<TopicInfo> CreateTopic(KafkaAdmin& admin, const std::string& name);
  absl::Status OpenKafka();
  absl::Status StartTenure();
  absl::StatusOr<OpenProducerRequest> MakeOpenRequest();
  absl::Status ScanTails();
  absl::Status StartSource();
  // Why a tenure that did not begin or go on ended, for a person.
  absl::Status ReasonOf(const Tenure& tenure);
  absl::Status DescribeFence(const Tenure& tenure);
  // Waits a little before a call is repeated; logs `why` now and then. CANCELLED on a stop;
  // `why` itself once a first start has taken too long.
  absl::Status WaitToRepeat(const char* event, const absl::Status& why);

  // --- source thread
  void ReadSource();
  void StopSource();
  void TellSource();
  bool SourceDone();
  absl::Status source_status();

  // --- sending; each returns true iff it got something done
  absl::Status Send();
  bool TakeEvents();
  SourceEvent* NextEvent();  // Null: none is at hand.
  absl::StatusOr<size_t> StreamOf(const SourceEvent& event) const;
  bool TakeReports(std::chrono::milliseconds timeout);
  bool MoveGroups();

  // --- transactions (transaction.cc)
  static constexpr uint64_t kCheckpointNumber = ~uint64_t{0};  // No event's number.
  bool transactional() const { return !options_.transactional_id.empty(); }
  bool BeginTransaction();
  bool MoveTransaction();
  absl::Status ProduceCheckpoint();
  void AbortTransaction();
  absl::Status Fence() const;  // OK: no other process has taken over the transactions.
  void ProducePending();
  void WatchStalls();
  bool Finished();
  void FailRecord(uint64_t number, const absl::Status& why, bool for_good);
  void Publish();
  absl::Status EndOfTenure();

  // Constant after construction.
  const ProducerOptions options_;
  const std::unique_ptr<Source> source_;  // After StartSource: the source thread's alone.
  const std::unique_ptr<Ledger> ledger_;  // The worker's while it is busy, else Run's.
  const std::atomic<bool>& stop_;

  // Run's thread only.
  std::string cluster_id_;
  int32_t partition_count_ = 0;
  int32_t snapshot_partition_count_ = 0;
  size_t snapshot_streams_ = 0;      // Streams from here on are the snapshot topic's.
  std::vector<StreamName> streams_;  // By index of the tenure's streams.
  std::optional<Tenure> tenure_;
  std::unique_ptr<KafkaProducer> kafka_;
  std::optional<ProducerTopic> topic_;
  std::optional<ProducerTopic> snapshot_topic_;
  std::unique_ptr<LedgerWorker> worker_;
  bool ever_started_ = false;
  Clock::time_point start_deadline_;
  Clock::time_point repeat_logged_at_;

  std::vector<SourceEvent> batch_;  // Being taken, from batch_next_ on.
  size_t batch_next_ = 0;
  std::optional<uint64_t> pending_;  // Has its identity, and found Kafka's queue full.
  // The open transaction: Kafka has these records of it, the tenure is told once it is committed.
  struct OpenTransaction {
    Clock::time_point begun_at;
    bool ending = false;      // Takes no more records.
    bool checkpoint = false;  // Its checkpoint is produced.
    bool commit_asked = false;
    uint64_t last = 0;  // The number of its last event.
    std::vector<std::pair<uint64_t, Offset>> delivered = {};
  };
  std::optional<OpenTransaction> transaction_;
  std::string header_;
  std::vector<KafkaHeaderView> headers_;
  std::vector<DeliveryReport> reports_;
  bool purged_ = false;
  absl::Status final_;        // Set: drain, then end with this.
  absl::Status refused_;      // A record that Kafka refused for good; end with this.
  bool drained_out_ = false;  // drain_timeout was not enough.

  Clock::time_point gathering_since_;
  Clock::time_point repeat_at_;
  Clock::time_point stopped_at_;
  Clock::time_point last_report_at_;
  Clock::time_point kafka_stall_logged_at_;
  Clock::time_point ledger_stalled_since_;
  Clock::time_point ledger_stall_logged_at_;
  int64_t tenure_records_ = 0;  // Ledgered by earlier tenures.

  std::string told_;  // The source thread's; after StopSource Run's.

  // Shared with the source thread.
  BoundedQueue queue_;
  std::atomic<bool> source_stop_{false};
  std::atomic<bool> source_done_{false};
  mutable Mutex mu_;
  absl::Status source_status_ ABSL_GUARDED_BY(mu_);
  std::string acknowledged_ ABSL_GUARDED_BY(mu_);
  std::string acknowledged_checkpoint_ ABSL_GUARDED_BY(mu_);
  ProducerProgress progress_ ABSL_GUARDED_BY(mu_);
  std::thread source_thread_;
};

}  // namespace lockstep

#endif  // LOCKSTEP_PRODUCER_ENGINE_H_
