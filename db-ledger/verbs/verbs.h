// The verbs of lockstep-ledger, a function each. Results go to stdout, everything else to stderr;
// a Status becomes the exit code (ExitCodeOf).
#ifndef LOCKSTEP_DB_LEDGER_VERBS_VERBS_H_
#define LOCKSTEP_DB_LEDGER_VERBS_VERBS_H_

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "common/config/exit_code.h"
#include "common/config/json_text.h"
#include "common/config/program.h"
#include "db-ledger/postgres_ledger.h"

namespace lockstep {

// What was typed after the verb.
struct LedgerArguments {
  bool solo = false;                              // init, begin-epoch
  bool watch = false;                             // status
  std::chrono::milliseconds interval{2'000};      // status --watch
  std::string from, to;                           // order: POS
  bool runs = false;                              // order
  std::string group;                              // cursor set, why
  std::string at;                                 // cursor set: POS, SEQ or `none`; prune: POS
  std::string producer;                           // seal, cursor set, why
  bool retired = false;                           // seal
  int64_t seq = 0;                                // why, with producer
  std::string cluster_id;                         // begin-epoch
  bool yes = false;                               // seal, solo off, begin-epoch: do not ask
  std::string reason;                             // begin-epoch
  int64_t expected_epoch = 0;                     // begin-epoch; 0: the current one
  std::chrono::milliseconds look_timeout{5'000};  // why, with --brokers
};

struct VerbContext {
  const CommonOptions& common;
  const LedgerArguments& arguments;
};

using Verb = absl::StatusOr<ExitCode> (*)(const VerbContext&);

absl::StatusOr<ExitCode> RunInit(const VerbContext& context);
absl::StatusOr<ExitCode> RunCheck(const VerbContext& context);
absl::StatusOr<ExitCode> RunStatus(const VerbContext& context);
absl::StatusOr<ExitCode> RunOrder(const VerbContext& context);
absl::StatusOr<ExitCode> RunEpochs(const VerbContext& context);
absl::StatusOr<ExitCode> RunCursorList(const VerbContext& context);
absl::StatusOr<ExitCode> RunCursorSet(const VerbContext& context);
absl::StatusOr<ExitCode> RunSeal(const VerbContext& context);
absl::StatusOr<ExitCode> RunWhy(const VerbContext& context);
absl::StatusOr<ExitCode> RunSoloOff(const VerbContext& context);
absl::StatusOr<ExitCode> RunPrune(const VerbContext& context);
absl::StatusOr<ExitCode> RunBeginEpoch(const VerbContext& context);

// ---------------------------------------------------------------- shared by the verbs

absl::StatusOr<std::unique_ptr<PostgresLedger>> ConnectLedger(const VerbContext& context,
                                                              bool read_only);

// The streams that --topic or --stream name. NOT_FOUND if the ledger knows none.
absl::StatusOr<std::vector<StreamInfo>> NamedStreams(Ledger& ledger, const CommonOptions& common);
// The one that --stream names. INVALID_ARGUMENT if it is not exactly one.
absl::StatusOr<StreamInfo> NamedStream(Ledger& ledger, const CommonOptions& common);

// For what the verb's name already says: a terminal is asked once unless --yes, a script is not.
// CANCELLED if declined. (What throws something away asks by AskConsent and needs --execute.)
absl::Status AskAtTerminal(const VerbContext& context, std::string_view question);

// What a change that did not commit means for the exit code: refused as unsafe is
// FAILED_PRECONDITION, unknown is UNAVAILABLE.
absl::Status StatusOfChange(CommitOutcome outcome, Refusal refusal, const absl::Status& why);

// Repeats a change while its outcome is unknown, three times at most.
template <class Call>
auto Settle(Call call) {
  auto commit = call();
  for (int i = 0; i < 2 && commit.outcome == CommitOutcome::kUnknown; ++i) commit = call();
  return commit;
}

// Earlier terms are not closed yet: the producer is between open and close. (The first term has
// none before it.)
inline bool HasOpenTerms(const Head& head) {
  return head.term > Term(1) && head.closed < head.term;
}

absl::StatusOr<std::map<ProducerId, std::string>> ProducerNames(Ledger& ledger);

// What lies in (done, intent] may have been sent.
inline bool InDoubt(const SeqMark& mark) { return mark.intent != mark.done; }
bool InDoubt(const SeqCursor& cursor);

std::string JsonPosition(const std::optional<Position>& position);  // "1:4711" or null
std::string TextPosition(const std::optional<Position>& position);  // 1:4711 or -
std::string UtcTime(int64_t ms);                                    // 2026-01-31T12:00:00Z

}  // namespace lockstep

#endif  // LOCKSTEP_DB_LEDGER_VERBS_VERBS_H_
