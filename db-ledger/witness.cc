#include "db-ledger/witness.h"

#include <algorithm>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

#include "common/base/status_macros.h"

namespace lockstep {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kBackoffFirst{20};
constexpr std::chrono::milliseconds kBackoffMax{1000};
// Between two questions: the standby is a fraction of a round trip behind, or it hangs.
constexpr std::chrono::microseconds kAskAgainFirst{200};
constexpr std::chrono::microseconds kAskAgainMax{20'000};

std::string LsnText(uint64_t lsn) { return absl::StrFormat("%X/%X", lsn >> 32, lsn & 0xffffffffu); }

}  // namespace

Judgement JudgeWitness(const PrimaryFacts& primary, const WitnessFacts& witness) {
  if (primary.in_recovery) return {Testimony::kNever, "the ledger's own server is a standby"};
  if (!witness.in_recovery) return {Testimony::kNever, "the standby has been promoted"};
  if (witness.system_identifier != primary.system_identifier) {
    return {Testimony::kNever, "the standby belongs to another database system"};
  }
  if (witness.receiver_status.empty()) {
    return {Testimony::kNotYet, "the standby receives no WAL"};
  }
  if (witness.receiver_status != "streaming") {
    return {Testimony::kNotYet, "the standby's WAL receiver is " + witness.receiver_status};
  }
  if (witness.timeline != primary.timeline) {
    return {Testimony::kNotYet, absl::StrCat("the standby is on timeline ", witness.timeline,
                                             ", the primary on ", primary.timeline)};
  }
  if (witness.flushed_lsn < primary.flushed_lsn) {
    return {Testimony::kNotYet,
            absl::StrCat("the standby has flushed ", LsnText(witness.flushed_lsn), " of ",
                         LsnText(primary.flushed_lsn))};
  }
  return {Testimony::kDurable, ""};
}

const PgStatement kPrimaryFactsStatement{"primary_facts", "select * from lockstep.primary_facts()"};
const PgStatement kWitnessFactsStatement{"witness_facts", "select * from lockstep.witness_facts()"};

PrimaryFacts ParsePrimaryFacts(const PgRows& rows) {
  return {rows.Bool(0, 0), rows.Int(0, 1), rows.Int(0, 2), static_cast<uint64_t>(rows.Int(0, 3))};
}

WitnessFacts ParseWitnessFacts(const PgRows& rows) {
  WitnessFacts facts;
  facts.in_recovery = rows.Bool(0, 0);
  facts.system_identifier = rows.Int(0, 1);
  facts.receiver_status = rows.OptionalText(0, 2).value_or("");
  if (!rows.IsNull(0, 3)) facts.timeline = rows.Int(0, 3);
  if (!rows.IsNull(0, 4)) facts.flushed_lsn = static_cast<uint64_t>(rows.Int(0, 4));
  return facts;
}

void Backoff::Wait(PgDeadline deadline) {
  std::this_thread::sleep_until(std::min(next_, deadline));
}

void Backoff::Failed() {
  delay_ = std::clamp(delay_ * 2, kBackoffFirst, kBackoffMax);
  next_ = Clock::now() + delay_;
}

absl::Status Witness::Connect(PgDeadline deadline) {
  if (connection_ != nullptr && !connection_->broken()) return absl::OkStatus();
  connection_.reset();
  backoff_.Wait(deadline);
  auto opened = PgConnection::Open(hosts_, PgRole::kStandby, deadline);
  if (!opened.ok()) {
    backoff_.Failed();
    return opened.status();
  }
  backoff_.Succeeded();
  connection_ = std::move(*opened);
  return absl::OkStatus();
}

absl::StatusOr<WitnessFacts> Witness::Ask(PgDeadline deadline) {
  LOCKSTEP_RETURN_IF_ERROR(Connect(deadline));
  auto rows = connection_->Query(kWitnessFactsStatement, {}, deadline);
  if (!rows.ok()) {
    connection_.reset();
    return rows.status();
  }
  return ParseWitnessFacts(*rows);
}

Judgement Witness::Prove(const PrimaryFacts& primary, PgDeadline deadline) {
  Judgement judgement;
  for (auto pause = kAskAgainFirst;; pause = std::min(pause * 2, kAskAgainMax)) {
    const auto facts = Ask(deadline);
    judgement = facts.ok()
                    ? JudgeWitness(primary, *facts)
                    : Judgement{Testimony::kNotYet, "the witness does not answer: " +
                                                        std::string(facts.status().message())};
    if (judgement.testimony == Testimony::kNever) connection_.reset();  // Look for another.
    if (judgement.testimony != Testimony::kNotYet || Clock::now() + pause >= deadline) {
      return judgement;
    }
    std::this_thread::sleep_for(pause);
  }
}

std::string Witness::HostName() const {
  return connection_ == nullptr ? "" : connection_->host_name();
}

}  // namespace lockstep
