#include "db-ledger/holdup.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

#include "common/model/record_header.h"

namespace lockstep {
namespace {

// Neither the producer's start nor a seal settles what another ledger's producer wrote.
constexpr char kNotOurs[] =
    "find out who writes here with another ledger and stop it; if nothing else helps: "
    "lockstep-mirror-reconcile failover --in-place, behind which such a record counts no more";

}  // namespace

HoldUp JudgeRecord(const std::vector<Head>& heads, std::string_view header, bool foreign) {
  if (foreign) {
    return {false, "a record that is not Lockstep's",
            "lockstep-reorder --foreign pass, if it may go outside"};
  }
  const auto record = ParseRecordHeader(header);
  if (!record.ok()) {
    return {false, "its header cannot be read: " + std::string(record.status().message()), ""};
  }
  const std::string name(record->producer);
  const auto head = std::find_if(heads.begin(), heads.end(),
                                 [&](const Head& candidate) { return candidate.name == name; });
  const std::string seal = "lockstep-ledger seal " + name;
  if (head == heads.end()) {
    return {false, absl::StrCat("producer ", name, " has no tenure on this stream"), kNotOurs};
  }
  if (record->seq <= head->last_seq || record->term < head->closed) return {};
  if (record->term < head->term) {
    return {false,
            absl::StrCat("producer ", name, " is starting: it has term ", head->term.value(),
                         " but has not closed term ", record->term.value(), " yet"),
            absl::StrCat("start producer ", name, " again; if it will not come back: ", seal)};
  }
  if (record->term > head->term) {
    return {false,
            absl::StrCat("term ", record->term.value(), " of producer ", name,
                         " is above the ledger's ", head->term.value(),
                         ": this log belongs to another ledger, or the ledger lost its end"),
            kNotOurs};
  }
  return {false,
          absl::StrCat("producer ", name, " has not ledgered it; its head is at seq ",
                       head->last_seq.value()),
          absl::StrCat("if it runs, it will (is the standby up?); if not, start it again; if it "
                       "will not come back: ",
                       seal)};
}

}  // namespace lockstep
