// lockstep-ledger seal, begin-epoch, solo off, cursor set, prune: what changes the ledger.
#include <algorithm>
#include <cstdio>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

#include "common/base/status_macros.h"
#include "common/config/terminal.h"
#include "db-ledger/kafka_sinks.h"
#include "db-ledger/order_reader.h"
#include "db-ledger/verbs/verbs.h"

namespace lockstep {
namespace {

template <class T>
absl::Status StatusOfCommit(const Commit<T>& commit) {
  return StatusOfChange(commit.outcome, commit.refusal, commit.why);
}

absl::StatusOr<std::optional<Position>> ParseAt(const std::string& text) {
  if (text == "none") return std::optional<Position>();
  LOCKSTEP_ASSIGN_OR_RETURN(const Position position, ParsePosition(text));
  return std::optional<Position>(position);
}

// Whether to go on; without --execute the plan is printed. CANCELLED if declined.
absl::StatusOr<bool> Consented(const VerbContext& context, const std::string& question) {
  const bool yes = context.common.yes || context.arguments.yes;
  LOCKSTEP_ASSIGN_OR_RETURN(const Consent consent,
                            AskConsent(context.common.execute, yes, question));
  if (consent == Consent::kDeclined) return absl::CancelledError("declined");
  if (consent == Consent::kPlanOnly) {
    std::fprintf(stderr, "%s\nNothing was changed: add --execute.\n", question.c_str());
  }
  return consent == Consent::kGo;
}

// A cursor beside the ledger's records, say in an epoch to come, would silence its group for ever.
absl::Status MustBeLedgered(Ledger& ledger, const StreamInfo& stream, const Position& at) {
  OrderReader order(&ledger, stream.id, at);
  LOCKSTEP_ASSIGN_OR_RETURN(const auto range, order.NextRange());
  if (range && range->first == at) return absl::OkStatus();
  return absl::NotFoundError(absl::StrCat("the ledger has no record at ", ToString(at), " of ",
                                          ToString(stream.name),
                                          "; lockstep-ledger order lists what it has"));
}

// After an unknown outcome the epoch may have begun, without proof that the standby has it. A later
// durable commit proves all of the WAL before it.
absl::StatusOr<BegunEpoch> BeginProven(Ledger& ledger, Epoch expected, const VerbContext& context) {
  const LedgerArguments& arguments = context.arguments;
  const auto begun =
      ledger.BeginEpoch({expected, arguments.solo, arguments.cluster_id, arguments.reason});
  if (begun.committed()) return begun.value;
  if (begun.outcome != CommitOutcome::kUnknown) return StatusOfCommit(begun);
  LOCKSTEP_ASSIGN_OR_RETURN(const Ledger::Now now, ledger.ReadNow());
  if (now.epoch != expected + 1) {
    return absl::UnavailableError(std::string(begun.why.message()) +
                                  "; the epoch has not begun yet, run it again");
  }
  const auto proof = Settle([&] {
    return ledger.RecordStep({now.epoch, "begin-epoch", "done", "{}", 0});
  });
  LOCKSTEP_RETURN_IF_ERROR(StatusOfCommit(proof));
  return BegunEpoch{now.epoch, now.solo};
}

// Prune of a stream asks the Kafka sinks that read it, as it asks the cursors. Those being retired
// may still run.
absl::Status CheckKafkaSinks(Ledger& ledger, const StreamInfo& stream, Position below) {
  LOCKSTEP_ASSIGN_OR_RETURN(const std::vector<KafkaSink> sinks, ReadKafkaSinks(ledger));
  for (const KafkaSink& sink : sinks) {
    if (sink.source.input != stream.name || sink.retirement == Retirement::kRetired) continue;
    if (sink.sent && below <= Position{sink.sent->epoch, sink.sent->offset + 1}) continue;
    return absl::FailedPreconditionError(
        absl::StrCat("the Kafka sink '", sink.producer.name, "' has sent only up to ",
                     sink.sent ? ToString(*sink.sent) : "nothing", " of ", ToString(stream.name),
                     "; start it, or if it will not come back: lockstep-ledger seal ",
                     sink.producer.name, " --retired --execute"));
  }
  return absl::OkStatus();
}

// The streams' names as a JSON array.
absl::StatusOr<std::string> StreamsJson(Ledger& ledger, const std::vector<StreamId>& ids) {
  LOCKSTEP_ASSIGN_OR_RETURN(const auto streams, ledger.ListStreams());
  std::vector<std::string> names;
  for (const StreamId id : ids) {
    for (const StreamInfo& stream : streams) {
      if (stream.id == id) names.push_back(JsonString(ToString(stream.name)));
    }
  }
  return JsonArray(names);
}

// FAILED_PRECONDITION: it is no Kafka sink.
absl::StatusOr<KafkaSink> FindKafkaSink(Ledger& ledger, const std::string& name) {
  LOCKSTEP_ASSIGN_OR_RETURN(const std::vector<ProducerInfo> producers, ledger.ListProducers());
  const auto known =
      std::find_if(producers.begin(), producers.end(),
                   [&](const ProducerInfo& producer) { return producer.name == name; });
  if (known == producers.end()) {
    return absl::NotFoundError(
        absl::StrCat("no producer ", name, "; lockstep-ledger status lists them"));
  }
  LOCKSTEP_ASSIGN_OR_RETURN(const std::vector<KafkaSink> sinks, ReadKafkaSinks(ledger));
  for (const KafkaSink& sink : sinks) {
    if (sink.producer.id == known->id) return sink;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("--retired is for a Kafka sink, which holds up prune of its input; ", name,
                   " reads ", known->source, " and holds up none: lockstep-ledger seal ", name));
}

// In this order: see kafka_sinks.h.
absl::StatusOr<std::vector<StreamId>> Retire(Ledger& ledger, const KafkaSink& sink) {
  const std::string& name = sink.producer.name;
  const auto record = [&](Retirement retirement) {
    return StatusOfCommit(
        Settle([&] { return ledger.RecordStep(RetirementStep(name, retirement)); }));
  };
  if (sink.retirement == Retirement::kNone) {
    LOCKSTEP_RETURN_IF_ERROR(record(Retirement::kRetiring));
  }
  const auto sealed = Settle([&] { return ledger.Seal(name); });
  LOCKSTEP_RETURN_IF_ERROR(StatusOfCommit(sealed));
  LOCKSTEP_RETURN_IF_ERROR(record(Retirement::kRetired));
  return sealed.value;
}

absl::StatusOr<ExitCode> RunRetire(const VerbContext& context) {
  LOCKSTEP_ASSIGN_OR_RETURN(const auto ledger, ConnectLedger(context, false));
  LOCKSTEP_ASSIGN_OR_RETURN(const KafkaSink sink,
                            FindKafkaSink(*ledger, context.arguments.producer));
  const std::string input = ToString(sink.source.input);
  LOCKSTEP_ASSIGN_OR_RETURN(
      const bool go,
      Consented(context,
                absl::StrCat("Retire the Kafka sink ", sink.producer.name, ", which has written ",
                             input, " up to ", TextPosition(sink.sent), " to ", sink.source.output,
                             "? A process of it that still runs is fenced, what it has not written "
                             "it never will, nobody may start under this name again, and prune of ",
                             input, " does not wait for it. This cannot be undone.")));
  std::vector<StreamId> sealed;
  if (go) {
    LOCKSTEP_ASSIGN_OR_RETURN(sealed, Retire(*ledger, sink));
  }
  LOCKSTEP_ASSIGN_OR_RETURN(const std::string names, StreamsJson(*ledger, sealed));
  Summary()
      .Add("executed", go)
      .Add("producer", sink.producer.name)
      .Add("input", input)
      .AddJson("sent", JsonPosition(sink.sent))
      .AddJson("sealed", names)
      .Print(context.common.format);
  return ExitCode::kYes;
}

}  // namespace

absl::StatusOr<ExitCode> RunSeal(const VerbContext& context) {
  if (context.arguments.retired) return RunRetire(context);
  const std::string& producer = context.arguments.producer;
  LOCKSTEP_ASSIGN_OR_RETURN(const auto ledger, ConnectLedger(context, false));
  LOCKSTEP_RETURN_IF_ERROR(AskAtTerminal(
      context, absl::StrCat("Seal ", producer,
                            "? A process of it that still runs is fenced, and what it "
                            "has not ledgered never happened; the source sends it again later.")));
  const auto sealed = Settle([&] { return ledger->Seal(producer); });
  LOCKSTEP_RETURN_IF_ERROR(StatusOfCommit(sealed));
  LOCKSTEP_ASSIGN_OR_RETURN(const std::string names, StreamsJson(*ledger, sealed.value));
  Summary().Add("producer", producer).AddJson("sealed", names).Print(context.common.format);
  return ExitCode::kYes;
}

absl::StatusOr<ExitCode> RunBeginEpoch(const VerbContext& context) {
  LOCKSTEP_ASSIGN_OR_RETURN(const auto ledger, ConnectLedger(context, false));
  LOCKSTEP_ASSIGN_OR_RETURN(const Ledger::Now now, ledger->ReadNow());
  const Epoch expected =
      context.arguments.expected_epoch > 0 ? Epoch(context.arguments.expected_epoch) : now.epoch;
  LOCKSTEP_RETURN_IF_ERROR(AskAtTerminal(
      context, absl::StrCat("End epoch ", expected.value(), " and begin ", expected.value() + 1,
                            context.arguments.solo ? ", solo" : "",
                            "? Every producer and gate is fenced.")));
  LOCKSTEP_ASSIGN_OR_RETURN(const BegunEpoch begun, BeginProven(*ledger, expected, context));
  Summary()
      .Add("epoch", begun.epoch.value())
      .Add("solo", begun.solo)
      .Add("reason", context.arguments.reason)
      .Print(context.common.format);
  return ExitCode::kYes;
}

absl::StatusOr<ExitCode> RunSoloOff(const VerbContext& context) {
  LOCKSTEP_ASSIGN_OR_RETURN(const auto ledger, ConnectLedger(context, false));
  LOCKSTEP_ASSIGN_OR_RETURN(const Ledger::Now now, ledger->ReadNow());
  LOCKSTEP_RETURN_IF_ERROR(
      AskAtTerminal(context, "From now on nothing is acknowledged without the standby?"));
  const auto off = Settle([&] { return ledger->SoloOff(); });
  LOCKSTEP_RETURN_IF_ERROR(StatusOfCommit(off));

  // Whoever was started without a standby in its --ledger stalls from now on: say who it may be.
  LOCKSTEP_ASSIGN_OR_RETURN(const auto producers, ledger->ListProducers());
  LOCKSTEP_ASSIGN_OR_RETURN(const auto cursors, ledger->ReadCursors());
  LOCKSTEP_ASSIGN_OR_RETURN(const auto seq_cursors, ledger->ReadSeqCursors());
  std::set<std::string> known;
  for (const Cursor& cursor : cursors) known.insert(cursor.group);
  for (const SeqCursor& cursor : seq_cursors) known.insert(cursor.group);
  std::vector<std::string> names, groups;
  for (const ProducerInfo& producer : producers) names.push_back(JsonString(producer.name));
  for (const std::string& group : known) groups.push_back(JsonString(group));
  std::fprintf(stderr,
               "These stall unless their --ledger or --standby-ledger names the standby "
               "(restart them with it): producers %s, groups %s\n",
               JsonArray(names).c_str(), JsonArray(groups).c_str());
  Summary()
      .Add("epoch", now.epoch.value())
      .Add("solo", false)
      .AddJson("producers", JsonArray(names))
      .AddJson("groups", JsonArray(groups))
      .Print(context.common.format);
  return ExitCode::kYes;
}

namespace {

absl::StatusOr<Seq> ParseSeq(const std::string& text) {
  int64_t seq = 0;
  if (text == "none") return Seq(0);
  if (absl::SimpleAtoi(text, &seq) && seq > 0) return Seq(seq);
  return absl::InvalidArgumentError(
      absl::StrCat("--to \"", text, "\": with --producer it is a seq (1, 2, …), or none"));
}

absl::StatusOr<Head> MustHaveLedgered(Ledger& ledger, const StreamInfo& stream,
                                      const std::string& producer, Seq at) {
  LOCKSTEP_ASSIGN_OR_RETURN(const StreamPage page, ledger.ReadStream({stream.id, {}, 0, false}));
  for (const Head& head : page.heads) {
    if (head.name != producer) continue;
    if (at <= head.last_seq) return head;
    return absl::NotFoundError(absl::StrCat("the ledger has ", producer, " on ",
                                            ToString(stream.name), " only up to seq ",
                                            head.last_seq.value()));
  }
  return absl::NotFoundError(
      absl::StrCat("the ledger knows no producer ", producer, " on ", ToString(stream.name)));
}

// A group in per-producer mode: one producer's seq, the others' stay.
absl::StatusOr<ExitCode> SetSeq(const VerbContext& context, PostgresLedger& ledger,
                                const StreamInfo& stream) {
  const LedgerArguments& arguments = context.arguments;
  LOCKSTEP_ASSIGN_OR_RETURN(const Seq at, ParseSeq(arguments.at));
  LOCKSTEP_ASSIGN_OR_RETURN(const Head head,
                            MustHaveLedgered(ledger, stream, arguments.producer, at));
  LOCKSTEP_ASSIGN_OR_RETURN(const auto cursors, ledger.ReadSeqCursors());
  Seq before;
  for (const SeqCursor& cursor : cursors) {
    if (cursor.group != arguments.group || cursor.stream != stream.id) continue;
    for (const SeqMark& mark : cursor.marks) {
      if (mark.producer == head.producer) before = mark.done;
    }
  }
  LOCKSTEP_ASSIGN_OR_RETURN(
      const bool go,
      Consented(context,
                absl::StrCat("Set group ", arguments.group, " on ", ToString(stream.name),
                             " for producer ", head.name, " from seq ", before.value(), " to ",
                             at.value(), "? Its gate is fenced; what lies above is sent (again), ",
                             "what lies below never; other producers' places stay.")));
  if (go) {
    const auto set =
        Settle([&] { return ledger.SetSeqCursor(arguments.group, stream.id, head.producer, at); });
    LOCKSTEP_RETURN_IF_ERROR(StatusOfCommit(set));
  }
  Summary()
      .Add("executed", go)
      .Add("group", arguments.group)
      .Add("stream", ToString(stream.name))
      .Add("producer", head.name)
      .Add("before", before.value())
      .Add("done", at.value())
      .Print(context.common.format);
  return ExitCode::kYes;
}

// Before the plan: that a group keeps seqs is no detail of its execution.
absl::Status MustKeepAPosition(PostgresLedger& ledger, const StreamInfo& stream,
                               const std::string& group) {
  LOCKSTEP_ASSIGN_OR_RETURN(const auto cursors, ledger.ReadSeqCursors());
  for (const SeqCursor& cursor : cursors) {
    if (cursor.group != group || cursor.stream != stream.id) continue;
    return absl::FailedPreconditionError(
        absl::StrCat("group ", group, " keeps a seq per producer (--mode per-producer) on ",
                     ToString(stream.name), "; name one with --producer and its seq with --to"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ExitCode> RunCursorSet(const VerbContext& context) {
  const LedgerArguments& arguments = context.arguments;
  if (!arguments.producer.empty()) {
    LOCKSTEP_ASSIGN_OR_RETURN(const auto ledger, ConnectLedger(context, false));
    LOCKSTEP_ASSIGN_OR_RETURN(const StreamInfo stream, NamedStream(*ledger, context.common));
    return SetSeq(context, *ledger, stream);
  }
  LOCKSTEP_ASSIGN_OR_RETURN(const auto at, ParseAt(arguments.at));
  LOCKSTEP_ASSIGN_OR_RETURN(const auto ledger, ConnectLedger(context, false));
  LOCKSTEP_ASSIGN_OR_RETURN(const StreamInfo stream, NamedStream(*ledger, context.common));
  LOCKSTEP_RETURN_IF_ERROR(MustKeepAPosition(*ledger, stream, arguments.group));
  if (at) LOCKSTEP_RETURN_IF_ERROR(MustBeLedgered(*ledger, stream, *at));
  LOCKSTEP_ASSIGN_OR_RETURN(const auto cursors, ledger->ReadCursors());
  std::optional<Position> before;
  for (const Cursor& cursor : cursors) {
    if (cursor.group == arguments.group && cursor.stream == stream.id) before = cursor.done;
  }
  LOCKSTEP_ASSIGN_OR_RETURN(
      const bool go,
      Consented(context, absl::StrCat("Set group ", arguments.group, " on ", ToString(stream.name),
                                      " from ", TextPosition(before), " to ", TextPosition(at),
                                      "? Its gate is fenced; what lies above is sent (again), what "
                                      "lies below never.")));
  if (go) {
    const auto set = Settle([&] { return ledger->SetCursor(arguments.group, stream.id, at); });
    LOCKSTEP_RETURN_IF_ERROR(StatusOfCommit(set));
  }
  Summary()
      .Add("executed", go)
      .Add("group", arguments.group)
      .Add("stream", ToString(stream.name))
      .AddJson("before", JsonPosition(before))
      .AddJson("done", JsonPosition(at))
      .Print(context.common.format);
  return ExitCode::kYes;
}

// The ledger knows how far every group is; how far the mirror is proven and where the logs start is
// the caller's word, given as --below.
absl::StatusOr<ExitCode> RunPrune(const VerbContext& context) {
  LOCKSTEP_ASSIGN_OR_RETURN(const Position below, ParsePosition(context.arguments.at));
  LOCKSTEP_ASSIGN_OR_RETURN(const auto ledger, ConnectLedger(context, false));
  LOCKSTEP_ASSIGN_OR_RETURN(const auto streams, NamedStreams(*ledger, context.common));
  std::string question = "Forget the ledger's runs that end below " + ToString(below) + " of";
  for (const StreamInfo& stream : streams) absl::StrAppend(&question, " ", ToString(stream.name));
  question += "? They cannot be had back; every mirror must be proven up to there.";
  LOCKSTEP_ASSIGN_OR_RETURN(const bool go, Consented(context, question));
  int64_t pruned = 0;
  for (const StreamInfo& stream : streams) {
    if (!go) break;
    LOCKSTEP_RETURN_IF_ERROR(CheckKafkaSinks(*ledger, stream, below));
    const auto done = Settle([&] { return ledger->Prune(stream.id, below); });
    if (done.refusal == Refusal::kInvalid) {  // Above a group's cursor: not a mistake, a danger.
      return absl::FailedPreconditionError(std::string(done.why.message()));
    }
    LOCKSTEP_RETURN_IF_ERROR(StatusOfCommit(done));
    pruned += done.value;
  }
  Summary()
      .Add("executed", go)
      .Add("below", ToString(below))
      .Add("pruned_runs", pruned)
      .Print(context.common.format);
  return ExitCode::kYes;
}

}  // namespace lockstep
