// SimBroker: one site's Kafka, as far as the protocol can tell it from the real one.
//
// A handle is one idempotent producer. Within a handle and partition requests land in the order in
// which they were sent, or not at all, and none lands after one that did not (the broker refuses a
// gap in its sequence). When a handle is abandoned (its process died, or it purged and destroyed
// it) its requests are not: any prefix of them may still land, at any later time. That late landing
// is what terms and voids are for.
//
// Not thread-safe. All chance comes from the Random passed in.
#ifndef LOCKSTEP_SIM_BROKER_H_
#define LOCKSTEP_SIM_BROKER_H_

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/model/digest.h"
#include "common/model/ids.h"
#include "sim/journal.h"
#include "sim/random.h"

namespace lockstep::sim {

// A record as it lies in a log, or as it is on its way there.
struct SimRecord {
  Offset offset;  // Given when it lands.
  std::string producer;
  Term term;
  Seq seq;
  std::string at;
  Payload payload;                  // Unique per write where the scenario says so.
  std::optional<Epoch> reinjected;  // The header `lockstep-reinjected`.
};

std::string Identity(const SimRecord& record);  // `A/2/7`: producer, term, seq.

// One partition. Offsets ascend and may have holes.
class SimLog {
 public:
  // Gives `record` the next offset. `skip` offsets before it stay empty (transaction markers,
  // somebody's deleted record).
  Offset Append(SimRecord record, int64_t skip);

  const std::vector<SimRecord>& records() const { return records_; }
  Offset end() const { return end_; }
  // The record at `offset`, or null. O(log n)
  const SimRecord* Find(Offset offset) const;

 private:
  std::vector<SimRecord> records_;
  Offset end_{0};
};

using TopicPartition = std::pair<std::string, int32_t>;

// What a delivery report says. kPossiblyPersisted is not *failed*.
enum class Delivery { kPersisted, kPossiblyPersisted, kNotPersisted };

struct DeliveryReport {
  int32_t partition = 0;
  Seq seq;
  Offset offset;  // Meaningful iff kPersisted.
  Delivery status = Delivery::kPersisted;
};

class SimBroker {
 public:
  using HandleId = int;

  SimBroker(std::string cluster_id, Random& random, Journal& journal);

  const std::string& cluster_id() const { return cluster_id_; }

  // The log is created when it is first named.
  SimLog& Log(const TopicPartition& at) { return logs_[at]; }
  const SimLog* FindLog(const TopicPartition& at) const;
  const std::map<TopicPartition, SimLog>& logs() const { return logs_; }

  HandleId OpenHandle(std::string owner);
  void Send(HandleId handle, const std::string& topic, int32_t partition, SimRecord record);
  // The next delivery report, in the order in which Kafka gave them.
  std::optional<DeliveryReport> PollReport(HandleId handle);

  // The owner purges and destroys the handle: everything unreported is reported as failed, and the
  // requests live on by themselves. Returns those reports.
  std::vector<DeliveryReport> PurgeHandle(HandleId handle);
  // The owner is dead; nobody reads reports any more.
  void AbandonHandle(HandleId handle);

  // One request of one handle lands, or the rest of a dead handle's requests vanish. False: there
  // is none.
  bool Step();
  // Every request of dead handles vanishes (the end of a run has no late arrivals).
  void DropOrphans();
  bool HasRequests() const;

 private:
  struct Request {
    std::string topic;
    SimRecord record;
  };
  struct Handle {
    std::string owner;
    bool orphan = false;
    std::map<int32_t, std::deque<Request>> requests;  // By partition.
    std::deque<DeliveryReport> reports;
  };

  const std::string cluster_id_;
  Random& random_;
  Journal& journal_;
  std::map<TopicPartition, SimLog> logs_;
  std::vector<Handle> handles_;
};

}  // namespace lockstep::sim

#endif  // LOCKSTEP_SIM_BROKER_H_
