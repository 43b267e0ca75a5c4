// GateProcess: one process of the gate of one stream: the shipped Resequencer and Gate, with
// simulated logs, ledger and outside around them. Effects leave one a step, so it may be killed
// between intent, each effect, and done.
#ifndef LOCKSTEP_SIM_GATE_PROCESS_H_
#define LOCKSTEP_SIM_GATE_PROCESS_H_

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "reorder/gate.h"
#include "reorder/parking/fifo_parking.h"
#include "reorder/resequencer.h"
#include "sim/parts.h"

namespace lockstep::sim {

class GateProcess {
 public:
  using All = std::vector<std::unique_ptr<GateProcess>>;

  // `all` holds every gate process there ever was: the operator ends those that may still send.
  GateProcess(Parts& parts, int32_t partition, int site, int number, const All& all);

  bool alive() const { return alive_; }
  int site() const { return site_; }
  int32_t partition() const { return partition_; }
  const std::string& name() const { return name_; }

  // Does one thing. False: there is nothing to do now.
  bool Step();
  void Crash();

 private:
  void Die(std::string_view why);
  // A stop that nothing planned explains: at the site in service it is a finding.
  void Stop(const absl::Status& why);
  bool Open();
  void Opened(const OpenedGate& opened);
  bool InOffice() const;
  void EndOtherGates();
  bool ReadLedger();
  bool ReadLogs();
  bool Offer(const std::string& topic, int index, bool frozen);
  void Keep(const std::vector<ReadyRecord>& ready);
  bool Intend();
  bool Ask();
  bool SendOne();
  bool Finish();

  Parts& parts_;
  const int32_t partition_;
  const int site_;
  const std::string name_;
  const All& all_;
  const SimLedgerPair::ClientId client_;
  bool alive_ = true;
  bool asked_ = false;  // A ledger call is under way.

  FifoParking parking_;
  std::unique_ptr<Gate> gate_;  // Null until it has opened.
  std::unique_ptr<Resequencer> resequencer_;
  StreamId stream_;
  Epoch epoch_;
  std::vector<std::string> topics_;
  std::vector<size_t> next_;        // Into each topic's records, for the frozen epochs.
  std::optional<size_t> next_own_;  // Into the own log's records, for the current epoch.
  Lsn seen_lsn_{-1};                // The ledger's state at the last page: no news, no new page.
  bool blocked_ = false;            // The next record is not settled in the ledger at hand.

  std::deque<Effect> ready_;               // Copied out of the log.
  std::deque<Effect> batch_;               // Under `move_`, not yet sent.
  std::optional<MoveCursorRequest> move_;  // Asked, or to be asked again.
  std::optional<Position> sent_;           // The last effect, not yet `done`.
};

}  // namespace lockstep::sim

#endif  // LOCKSTEP_SIM_GATE_PROCESS_H_
