// Parts: what every simulated process can reach. Sites are 0 (P) and 1 (S).
#ifndef LOCKSTEP_SIM_PARTS_H_
#define LOCKSTEP_SIM_PARTS_H_

#include <string>
#include <vector>

#include "common/model/rules.h"
#include "sim/broker.h"
#include "sim/checker.h"
#include "sim/journal.h"
#include "sim/ledger_pair.h"
#include "sim/outside.h"
#include "sim/random.h"
#include "sim/scenario.h"

namespace lockstep::sim {

inline constexpr char kTopic[] = "orders";
inline constexpr char kGroup[] = "payments";

struct Parts {
  const Scenario& scenario;
  const Rules rules;
  const bool rule_is_off;
  const Plants plants;
  Random& random;
  Journal& journal;
  SimLedgerPair& ledger;
  SimBroker* brokers[2];
  std::vector<SimSource>& sources;
  Outside& outside;
  Checker& checker;
};

// A site's letter, as in the traces.
inline const char* SiteName(int site) { return site == 0 ? "P" : "S"; }

// A run's payloads as the simulated ledger keeps them (the real codec is tested by itself): the
// values, one a line.
std::string EncodePayloads(const std::vector<Payload>& payloads);
std::vector<Payload> DecodePayloads(const std::string& bytes);

}  // namespace lockstep::sim

#endif  // LOCKSTEP_SIM_PARTS_H_
