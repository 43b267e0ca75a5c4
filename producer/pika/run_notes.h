// RunNotes: what a replica of a Pika numbers anew, kept of each run in the ledger, so that the
// run's events can be made again, byte for byte, from the replica's binlog.
//
// A replica has the master's positions and commands, but a clock, a term and a count of its own,
// and another address. So a run's notes hold the source as its events name it, each event's clock
// and term, what the first one's entry is known by, and its count: entries are counted one by one
// on every server, so the others follow from how far the replica has counted.
// docs/formats/run-payload.md has the bytes.
//
// They are made from the records' values alone: what an earlier process left in Kafka is adopted
// without anything else.
#ifndef LOCKSTEP_PRODUCER_PIKA_RUN_NOTES_H_
#define LOCKSTEP_PRODUCER_PIKA_RUN_NOTES_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "producer/pika/slave.h"
#include "producer/run_builder.h"

namespace lockstep::pika {

struct RunNotes {
  std::string source_id;
  std::string host;
  int32_t port = 0;
  uint64_t replication_hash = 0;  // As ReplicationHash; 0: the events name no id.
  uint64_t first_mark = 0;        // The first event's ContentMark.
  Protocol protocol = Protocol::kPb;
  std::string database;
  uint64_t first_logic_id = 0;
  struct Numbers {
    uint32_t exec_time_s = 0;
    uint32_t term_id = 0;
    bool operator==(const Numbers&) const = default;
  };
  std::vector<Numbers> events;  // One a record, in seq order.
  bool operator==(const RunNotes&) const = default;
};

// REQUIRES: events is not empty
std::string EncodeRunNotes(const RunNotes& notes);
// NOT_FOUND: no notes (none, or a run's payloads). DATA_LOSS, saying where: whatever EncodeRunNotes
// could not have written for `record_count` records. Allocates no more than these need.
absl::StatusOr<RunNotes> DecodeRunNotes(std::string_view bytes, int64_t record_count);

// The encoder for a producer's runs. A run gets no notes (an empty payload) if one of its values is
// not an event of a binlog as PikaEventWriter writes it, or if they name several sources.
std::unique_ptr<PayloadEncoder> MakeRunNotesEncoder();

}  // namespace lockstep::pika

#endif  // LOCKSTEP_PRODUCER_PIKA_RUN_NOTES_H_
