// Two more PayloadSources: the ledger's own rows, and another log that survived.
#ifndef LOCKSTEP_MIRROR_RECONCILE_PAYLOAD_SOURCES_H_
#define LOCKSTEP_MIRROR_RECONCILE_PAYLOAD_SOURCES_H_

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

#include "common/kafka/kafka_config.h"
#include "db-ledger/ledger.h"
#include "mirror-reconcile/log_index.h"
#include "mirror-reconcile/log_reader.h"
#include "producer/sources/payload_source.h"

namespace lockstep {

// Run::payload of runs, which others read without it. Rows are read ahead, a page at a time.
// `ledger` must outlive it.
class RunPayloads {
 public:
  explicit RunPayloads(Ledger& ledger) : ledger_(ledger) {}
  // Empty: the ledger keeps none.
  absl::StatusOr<std::string> Of(StreamId stream, const Run& wanted);

 private:
  absl::Status ReadAhead(StreamId stream, const Run& from, std::vector<Run>& ahead);

  Ledger& ledger_;
  std::vector<ProducerId> producers_;  // All that the ledger knows.
  std::map<std::pair<StreamId, ProducerId>, std::vector<Run>> ahead_;
};

// Payloads that the producer kept in its ledger rows (--payload-in-ledger). The rows keep no `at`
// but the first and the last one; between them it is told where it follows from those (whole
// numbers without a hole), else left empty. `ledger` must outlive it.
class LedgerPayloadSource final : public PayloadSource {
 public:
  explicit LedgerPayloadSource(Ledger& ledger) : payloads_(ledger) {}
  absl::StatusOr<std::vector<SourceEvent>> Read(const PayloadRequest& request) override;

 private:
  RunPayloads payloads_;
};

// A source that needs what the ledger keeps of a run: it gets it with the request.
class WithRunPayload final : public PayloadSource {
 public:
  WithRunPayload(Ledger& ledger, std::unique_ptr<PayloadSource> source)
      : payloads_(ledger), source_(std::move(source)) {}
  absl::StatusOr<std::vector<SourceEvent>> Read(const PayloadRequest& request) override;

 private:
  RunPayloads payloads_;
  std::unique_ptr<PayloadSource> source_;
};

// What a record carries, Lockstep's own headers left out.
Payload CopyContent(const RecordContent& content);

// Records of another log, found by identity.
class LogPayloadSource final : public PayloadSource {
 public:
  // Opens the partition `partition` of the log.
  using Opener = std::function<absl::StatusOr<std::unique_ptr<LogReader>>(int32_t partition)>;
  LogPayloadSource(std::string name, Opener open)
      : name_(std::move(name)), open_(std::move(open)) {}
  absl::StatusOr<std::vector<SourceEvent>> Read(const PayloadRequest& request) override;

 private:
  absl::StatusOr<LogIndex*> IndexOf(int32_t partition);

  std::string name_;  // For messages.
  Opener open_;
  std::map<int32_t, LogIndex> indexes_;
};

}  // namespace lockstep

#endif  // LOCKSTEP_MIRROR_RECONCILE_PAYLOAD_SOURCES_H_
