// ProducerProcess: one process of a producer: the shipped Tenure, with simulated Kafka, ledger and
// source around it. Each Step is one small thing the real program could do between two others, so
// a crash may fall between any two.
#ifndef LOCKSTEP_SIM_PRODUCER_PROCESS_H_
#define LOCKSTEP_SIM_PRODUCER_PROCESS_H_

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "producer/tenure.h"
#include "sim/parts.h"

namespace lockstep::sim {

class ProducerProcess {
 public:
  // `number` tells the processes of a producer apart in traces and in what they write.
  ProducerProcess(Parts& parts, size_t source, int site, int number);

  bool alive() const { return alive_; }
  int site() const { return site_; }
  size_t source() const { return source_; }
  const std::string& name() const { return name_; }

  // Does one thing. False: there is nothing to do now.
  bool Step();
  void Crash();
  // The handle fails: every outstanding delivery is reported failed or possibly persisted.
  void FailHandle();
  bool CanFailHandle() const;

 private:
  void Begin();  // A new tenure, with a new handle.
  void Die(std::string_view why);
  bool Open();
  bool Scan();
  bool Append();
  bool Close();
  bool Send();
  bool SendNext();
  bool ReadReport();
  void ReadAcknowledged();

  Parts& parts_;
  const size_t source_;
  const int site_;
  const std::string name_;
  const SimLedgerPair::ClientId client_;
  bool alive_ = true;
  bool asked_ = false;  // A ledger call is under way.
  std::unique_ptr<Tenure> tenure_;
  SimBroker::HandleId handle_ = 0;
  int64_t next_at_ = 0;  // The source's next event; 0: not positioned yet.
  std::map<std::pair<int32_t, Seq>, uint64_t> numbers_;  // What is under way, by (partition, seq).
};

}  // namespace lockstep::sim

#endif  // LOCKSTEP_SIM_PRODUCER_PROCESS_H_
