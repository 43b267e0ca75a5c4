// Producer writes a source's events to Kafka and the ledger: the whole of lockstep-producer but its
// command line, for programs that bring a Source of their own.
//
//   ProducerOptions options{.name = "A", .source = "my-app:orders", .topic = "orders", …};
//   Producer producer(options, std::move(my_source), std::move(ledger));
//   absl::Status status = producer.Run();      // Until the source ends, Stop() or an error.
//
// What it promises is I1, I2 and I6: the source is acknowledged only after Kafka *and* the durable
// ledger; a crash at any moment, a second process of the same name or a request that lands late
// gives neither a duplicate nor a hole. Kafka or the ledger's standby away: it stalls, says so in
// the log, and goes on when they are back. Memory is bounded by the options.
//
// Threads while Run is under way: *source* polls the source, *ledger* appends groups, and Run's own
// thread sequences, produces and takes reports. Stop() and progress() may be called by any thread.
#ifndef LOCKSTEP_PRODUCER_PRODUCER_H_
#define LOCKSTEP_PRODUCER_PRODUCER_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"

#include "common/kafka/kafka_config.h"
#include "common/kafka/kafka_statistics.h"
#include "db-ledger/ledger.h"
#include "producer/run_builder.h"
#include "producer/sources/source.h"

namespace lockstep {

struct TopicCreation {
  int32_t partition_count = 1;
  int32_t replication = -1;  // -1: the broker's default.
};

struct ProducerOptions {
  std::string name = {};    // Same at both sites.
  std::string source = {};  // The SOURCE text that the ledger keeps; never another one for `name`.
  std::string topic = {};
  // Events that are a snapshot's go to a topic of their own; empty: to `topic`. Only without
  // `identity`: a ledger's streams are of one topic.
  std::string snapshot_topic = {};
  std::function<bool(const SourceEvent&)> is_snapshot = nullptr;
  std::optional<int32_t> partition = {};  // All records go there; else by key or position.
  KafkaConfig kafka = {};

  bool adopt = true;
  bool payload_in_ledger = false;
  // What ledger rows keep of the records instead. Null: nothing.
  MakePayloadEncoder encode_payload = nullptr;
  bool identity = true;  // False: records carry no header of ours (OpenNoLedger).
  // Records go out in Kafka transactions under this id, each with a checkpoint as its last record;
  // empty: no transactions. Only without `identity`: what is adopted could be aborted yet.
  std::string transactional_id = {};
  struct KeyedRecord {
    std::string topic;  // To its partition 0.
    std::string key;
    std::string value;
  };
  std::function<KeyedRecord(const std::string& checkpoint)> checkpoint_record = nullptr;
  bool foreign_passes = false;  // Records without our header in the tail: else they stop the start.
  std::chrono::milliseconds ledger_linger{5};  // A group gathers so long before it is appended.
  std::chrono::milliseconds drain_timeout{30'000};
  std::chrono::milliseconds kafka_timeout{30'000};    // For questions to the cluster at the start.
  std::chrono::milliseconds settings_timeout{3'000};  // For the topic's settings: nice to know.
  std::chrono::milliseconds outage_wanted{7LL * 24 * 3600 * 1000};  // Retention must outlast it.

  // Topics that are missing are created, with the settings that preflight asks for: unless the
  // ledger knows them, for then they were there.
  std::optional<TopicCreation> create_topics = {};

  size_t in_flight_records_max = 200'000;
  size_t in_flight_bytes_max = size_t{128} << 20;
};

struct ProducerProgress {
  int64_t records = 0;  // Newly ledgered, durably.
  int64_t adopted = 0;
  int64_t runs = 0;
  int64_t ledger_commits = 0;
  int64_t tenures = 0;
  int64_t in_flight_records = 0;
  int64_t delivery_failures = 0;
  bool solo = false;
  bool ready = false;                         // Sending.
  bool source_ended = false;                  // And all of it is ledgered.
  std::optional<KafkaStatistics> kafka = {};  // Of the present tenure's client.
  std::optional<SourceStatus> source = {};    // nullopt: it tells nothing.
};

class Producer {
 public:
  Producer(ProducerOptions options, std::unique_ptr<Source> source, std::unique_ptr<Ledger> ledger);
  ~Producer();

  // Call once. OK: the source has ended, or Stop() and all that was taken in is durable.
  //   CANCELLED            Stop(), and drain_timeout was not enough.
  //   FAILED_PRECONDITION  refused as unsafe: fenced, source behind ledger, inconsistent-offsets,
  //                        no durable standby at all, unsuitable topic.
  //   others               it could not be done; the message says what a person can do.
  absl::Status Run();

  // Takes nothing in any more and finishes what is in flight.
  void Stop() { stop_.store(true); }

  ProducerProgress progress() const;

 private:
  class Engine;

  std::unique_ptr<Engine> engine_;
  std::atomic<bool> stop_{false};
};

}  // namespace lockstep

#endif  // LOCKSTEP_PRODUCER_PRODUCER_H_
