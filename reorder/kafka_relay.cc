#include "reorder/kafka_relay.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "common/base/status_macros.h"
#include "common/log/log.h"
#include "db-ledger/kafka_sinks.h"
#include "producer/producer.h"
#include "producer/source_event.h"

namespace lockstep {
namespace {

using std::chrono::steady_clock;

constexpr std::chrono::milliseconds kLookEvery{20};
constexpr std::chrono::milliseconds kIdleProof{5'000};
constexpr std::chrono::milliseconds kIdleProofInFlight{500};
constexpr size_t kInFlightBytesMax = size_t{32} << 20;  // A stream; half as much is queued for it.

bool AllAcknowledged(const StreamSourceFacts::Facts& facts) {
  return CompareSourcePositions(facts.acknowledged, facts.last_given) >= 0;
}

struct StopAsked {
  steady_clock::time_point at;
  std::string last_given;  // By the source, then.
};

// A stopped source is not asked any more. So that it can be told from one that has work left, one
// that has nothing to give is first heard to say so, for a while; what is in flight has its drain
// timeout still to come.
bool MayStop(const StopAsked& stop, const StreamSourceFacts::Facts& facts,
             std::chrono::milliseconds drain_timeout) {
  if (facts.nothing_came || facts.waiting || facts.last_given != stop.last_given) return true;
  const auto patience =
      AllAcknowledged(facts) ? std::min(kIdleProof, drain_timeout) : kIdleProofInFlight;
  return steady_clock::now() - stop.at > patience;
}

}  // namespace

std::string RelayProducerName(const std::string& group, const StreamName& input) {
  return absl::StrCat(group, "@", ToString(input));
}

absl::StatusOr<std::optional<Position>> RelaySentUpTo(Ledger& ledger, const std::string& group,
                                                      const StreamName& input) {
  const std::string name = RelayProducerName(group, input);
  LOCKSTEP_RETURN_IF_ERROR(CheckNotRetired(ledger, name));
  LOCKSTEP_ASSIGN_OR_RETURN(const std::vector<KafkaSink> sinks, ReadKafkaSinks(ledger));
  for (const KafkaSink& sink : sinks) {
    if (sink.producer.name == name) return sink.sent;
  }
  return absl::NotFoundError("the ledger knows no producer " + name);
}

absl::Status NoRelayError(const std::string& group, const StreamName& input,
                          const std::string& output) {
  return absl::FailedPreconditionError(absl::StrCat(
      "group ", group, " has no producer '", RelayProducerName(group, input), "' on ", output,
      ": a wrong name, or a gate that never ran; --from start begins at the first record"));
}

KafkaRelay::KafkaRelay(KafkaRelayOptions options, OpenLedger open_ledger, StreamProgress& progress)
    : options_(std::move(options)),
      name_(RelayProducerName(options_.group, options_.source.reader.stream)),
      open_ledger_(std::move(open_ledger)),
      progress_(&progress),
      facts_(std::make_shared<StreamSourceFacts>()) {}

// A producer's first open makes its head, as a gate's makes its cursor: recover goes on with one.
absl::Status KafkaRelay::Check(Ledger& ledger) const {
  LOCKSTEP_RETURN_IF_ERROR(CheckNotRetired(ledger, name_));
  if (options_.mode == ReorderMode::kRecover) {
    LOCKSTEP_ASSIGN_OR_RETURN(const Ledger::Now now, ledger.ReadNow());
    if (now.epoch < Epoch(2)) {
      return absl::FailedPreconditionError(
          "recover: epoch 1 is on, no epoch was ended by a failover; use --mode gate");
    }
  }
  LOCKSTEP_ASSIGN_OR_RETURN(const std::vector<StreamInfo> outputs,
                            ledger.FindStreams(options_.topic));
  bool known = false;
  for (const StreamInfo& output : outputs) {
    LOCKSTEP_ASSIGN_OR_RETURN(
        const StreamPage page,
        ledger.ReadStream({.stream = output.id, .after = {}, .runs_per_producer_max = 1}));
    for (const Head& head : page.heads) {
      if (head.name != name_) continue;
      known = true;
      if (options_.from_start && !options_.from_start_if_new && head.last_seq > Seq(0)) {
        return absl::FailedPreconditionError(
            absl::StrCat("group ", options_.group, " has sent ",
                         ToString(options_.source.reader.stream), " to ", options_.topic, " up to ",
                         head.last_at, "; --from start is for a group that has sent nothing"));
      }
    }
  }
  if (known || options_.from_start || options_.mode == ReorderMode::kGate) return absl::OkStatus();
  return NoRelayError(options_.group, options_.source.reader.stream, options_.topic);
}

StreamResult KafkaRelay::Run(const StopRequested& stop_requested) {
  StreamResult result;
  result.why = Relay(stop_requested, result);
  const StreamSourceFacts::Facts facts = facts_->Get();
  if (absl::IsFailedPrecondition(result.why) && absl::StartsWith(result.why.message(), "fenced")) {
    result.why = absl::AbortedError(result.why.message());  // As an engine's.
  }
  if (absl::IsUnavailable(result.why) && stop_requested()) {
    result.why = absl::CancelledError(
        absl::StrCat("stopped before it was open: ", std::string(result.why.message())));
  }
  result.exit_code = StreamExitCode(result.why);
  if (!result.why.ok() && facts.end.has_value()) {
    result.exit_code = facts.end->exit_code;
    result.why = facts.end->why;
  }
  result.counts = facts.counts;
  result.parking = facts.parking;
  result.polls = facts.polls;
  result.wire_bytes = facts.wire_bytes;
  result.spill_pause = facts.spill_pause;
  result.waiting = facts.waiting;
  return result;
}

absl::Status KafkaRelay::Relay(const StopRequested& stop_requested, StreamResult& result) {
  LOCKSTEP_ASSIGN_OR_RETURN(std::unique_ptr<Ledger> ledger, open_ledger_());
  LOCKSTEP_RETURN_IF_ERROR(Check(*ledger));
  LOCKSTEP_ASSIGN_OR_RETURN(std::unique_ptr<Ledger> source_ledger, open_ledger_());
  ProducerOptions options;
  options.name = name_;
  // The output belongs to it: a group that writes to two topics would mix up their places.
  options.source = ToString(KafkaSinkSource{options_.source.reader.stream, options_.topic});
  options.topic = options_.topic;
  options.kafka = options_.kafka;
  options.payload_in_ledger = options_.payload_in_ledger;
  options.foreign_passes = options_.foreign_passes;
  options.drain_timeout = options_.drain_timeout;
  options.in_flight_bytes_max = kInFlightBytesMax;
  if (!options_.payload_in_ledger) {
    Log(LogLevel::kWarn, "payload_not_kept",
        {{"producer", name_},
         {"hint",
          "what the mirror loses of it with the site is then made again from its input, as long as "
          "that is there; --payload-in-ledger keeps it"}});
  }
  StreamSourceOptions source_options = options_.source;
  source_options.producer = name_;
  source_options.stop_requested = stop_requested;
  auto source = std::make_unique<StreamSource>(std::move(source_options), std::move(source_ledger),
                                               facts_, *progress_);
  Producer producer(std::move(options), std::move(source), std::move(ledger));

  absl::Status status;
  std::optional<StopAsked> stop;
  std::atomic<bool> ended{false};
  std::thread thread([&] {
    status = producer.Run();
    ended = true;
  });
  while (!ended) {
    if (stop_requested()) {
      const StreamSourceFacts::Facts facts = facts_->Get();
      if (!stop.has_value()) stop = {steady_clock::now(), facts.last_given};
      if (MayStop(*stop, facts, options_.drain_timeout)) producer.Stop();
    }
    const ProducerProgress now = producer.progress();
    progress_->emitted = now.records;
    progress_->ready = now.ready;
    std::this_thread::sleep_for(kLookEvery);
  }
  thread.join();
  const ProducerProgress end = producer.progress();
  progress_->emitted = result.emitted = end.records;
  LOCKSTEP_RETURN_IF_ERROR(status);
  const StreamSourceFacts::Facts facts = facts_->Get();
  const bool drained = !facts.waiting && facts.nothing_came && AllAcknowledged(facts);
  if (end.source_ended || (drained && !options_.source.until_end)) return absl::OkStatus();
  return absl::CancelledError("stopped with work left");
}

}  // namespace lockstep
