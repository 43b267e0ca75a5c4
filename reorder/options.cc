#include "reorder/options.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace lockstep {
namespace {

// One of a flag's words, or a complaint.
template <class T>
void Choose(const char* flag, const std::string& typed,
            const std::vector<std::pair<const char*, T>>& choices, T& chosen,
            std::vector<std::string>& complaints) {
  std::string words;
  for (const auto& [word, value] : choices) {
    if (typed == word) {
      chosen = value;
      return;
    }
    absl::StrAppend(&words, words.empty() ? "" : ", ", word);
  }
  complaints.push_back(absl::StrCat(flag, " \"", typed, "\" is not one of ", words));
}

}  // namespace

void ReorderOptions::AddTo(Program& program) {
  CLI::App& app = program.app();
  app.add_option("--mode", mode,
                 "gate: at the primary, lets a record out once everything up to it is settled and "
                 "durable; recover: after a failover, goes on where the dead site's gate stood, in "
                 "its order")
      ->group("Reorder");
  app.add_option("--group", group, "Consumer group, the cursor's name")->group("Reorder");
  app.add_option("--from", from,
                 "cursor: go on where the group stands; start: a group that has sent nothing "
                 "begins at the first record")
      ->capture_default_str()
      ->group("Reorder");
  app.add_option("--buffer", buffer, "Where parked records wait: memory (unbounded)")
      ->capture_default_str()
      ->group("Reorder");
  app.add_option("--foreign", foreign,
                 "A record without Lockstep's header: fail, or pass (step over it)")
      ->capture_default_str()
      ->group("Reorder");
  app.add_flag("--until-end", until_end,
               "Stop when all that the ledger names at the start was sent; a record that is "
               "missing or stays unsettled is exit 1 with its name")
      ->group("Reorder");
  program
      .AddDuration(app, "--stall-timeout", stall_timeout,
                   "How long --until-end waits for a record to be settled")
      ->group("Reorder");
  app.add_flag("--plan", plan,
               "Read once beside the ledger and say how much would be parked; changes nothing")
      ->group("Reorder");
  app.add_option("--sink", sink,
                 "jsonl:FILE, jsonl:- (standard output), table:schema.table, null (counts and "
                 "checksums)")
      ->group("Sink");
  app.add_option("--sink-db", sink_db,
                 "Where the table is (libpq conninfo); default: the ledger's database, where rows "
                 "and cursor are one transaction")
      ->group("Sink");
  app.add_option("--in-doubt", in_doubt,
                 "What may have been sent before a crash: hold (print it, exit 3), resend, skip. "
                 "Not asked where the sink knows")
      ->capture_default_str()
      ->group("Sink");
  app.add_flag("--old-gate-is-dead", old_gate_is_dead,
               "You made sure that no earlier gate of this group can still send")
      ->group("Sink");
}

std::vector<std::string> ReorderOptions::Validate(const CommonOptions& common) {
  std::vector<std::string> complaints;
  const auto require = [&](bool given, const char* what) {
    if (!given) complaints.push_back(absl::StrCat(what, " is required"));
  };
  if (mode == "per-producer" || mode == "replay" || buffer == "auto" || buffer == "spill" ||
      buffer == "bounded") {
    complaints.push_back("this version knows the modes gate and recover, and the buffer memory");
    return complaints;
  }
  require(!mode.empty(), "--mode gate or recover");
  require(!group.empty(), "--group");
  require(!common.brokers.empty(), "--brokers");
  require(!common.ledger.empty(), "--ledger");
  require(!common.topic.empty() || !common.streams.empty(), "--topic or --stream");
  require(!sink.empty() || plan, "--sink");
  if (!mode.empty()) {
    Choose<ReorderMode>("--mode", mode,
                        {{"gate", ReorderMode::kGate}, {"recover", ReorderMode::kRecover}},
                        reorder_mode, complaints);
  }
  Choose<bool>("--from", from, {{"cursor", false}, {"start", true}}, from_start, complaints);
  Choose<InDoubtPolicy>("--in-doubt", in_doubt,
                        {{"hold", InDoubtPolicy::kHold},
                         {"resend", InDoubtPolicy::kResend},
                         {"skip", InDoubtPolicy::kSkip}},
                        in_doubt_policy, complaints);
  Choose<ForeignPolicy>("--foreign", foreign,
                        {{"fail", ForeignPolicy::kFail}, {"pass", ForeignPolicy::kPass}},
                        foreign_policy, complaints);
  bool memory = true;
  Choose<bool>("--buffer", buffer, {{"memory", true}}, memory, complaints);
  if (!sink.empty()) {
    if (auto spec = ParseSinkSpec(sink); spec.ok()) {
      sink_spec = *spec;
    } else {
      complaints.push_back(absl::StrCat("--sink ", std::string(spec.status().message())));
    }
  }
  if (!sink_db.empty() && sink_spec.kind != SinkSpec::Kind::kTable) {
    complaints.push_back("--sink-db belongs to --sink table:…");
  }
  return complaints;
}

}  // namespace lockstep
