#include "sim/failover_process.h"

#include <deque>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "mirror-reconcile/failover_plan.h"
#include "mirror-reconcile/gap.h"
#include "mirror-reconcile/reinject.h"
#include "mirror-reconcile/verify.h"
#include "sim/mirror.h"
#include "sim/site_logs.h"

namespace lockstep::sim {

class FailoverProcess::Run {
 public:
  Run(Parts& parts, int site, int number)
      : parts_(parts),
        site_(site),
        name_(absl::StrCat("failover", number)),
        client_(parts.ledger.Connect(site, name_)),
        handle_(parts.brokers[site]->OpenHandle(name_)) {
    parts_.journal.Say(name_, ": starts");
  }

  bool Step();
  void Kill();

  bool alive_ = true;
  bool epoch_begun_ = false;
  bool done_ = false;

 private:
  // Re-injected records on their way: collected here, sent one a step, so that a kill may fall
  // between any two.
  class Outbox;

  absl::Status Decide();
  absl::Status BeginEpoch(Epoch target);
  absl::Status FindGaps(Epoch target);
  bool SendOrSettle();
  absl::Status Verify();
  absl::Status HandOver(Epoch target);

  std::vector<StreamInfo> Streams();
  // The logs of a stream at this site: the mirrored topic and the local one, or one that is both.
  std::vector<SiteLog> Logs(int32_t partition, std::deque<SimLogReader>& readers) const;
  std::string ReinjectionTopic() const;
  absl::StatusOr<std::vector<SourceEvent>> Fetch(const StreamInfo& stream,
                                                 const std::string& producer,
                                                 const lockstep::Run& run);
  absl::StatusOr<std::string> StoredPayload(StreamId stream, const lockstep::Run& run);

  Parts& parts_;
  const int site_;
  const std::string name_;
  const SimLedgerPair::ClientId client_;
  const SimBroker::HandleId handle_;
  bool filled_ = false;                                // The gap was found and its records queued.
  std::deque<std::pair<int32_t, SimRecord>> to_send_;  // By partition, in the plan's order.
  int64_t in_flight_ = 0;
};

class FailoverProcess::Run::Outbox final : public RecordSink {
 public:
  Outbox(Parts& parts, int32_t partition, std::deque<std::pair<int32_t, SimRecord>>& out)
      : parts_(parts), partition_(partition), out_(out) {}

  absl::Status Write(const RecordHeader& header, Epoch reinjected,
                     const Payload& payload) override {
    if (parts_.plants.reinject_loses && parts_.random.Percent(30)) return absl::OkStatus();
    out_.emplace_back(partition_, SimRecord{{},
                                            std::string(header.producer),
                                            header.term,
                                            header.seq,
                                            std::string(header.at),
                                            payload,
                                            reinjected});
    return absl::OkStatus();
  }
  absl::Status Flush() override { return absl::OkStatus(); }

 private:
  Parts& parts_;
  const int32_t partition_;
  std::deque<std::pair<int32_t, SimRecord>>& out_;
};

void FailoverProcess::Run::Kill() {
  parts_.journal.Saw(Event::failover_killed);
  parts_.journal.Say(name_, ": killed");
  alive_ = false;
  parts_.ledger.Disconnect(client_);
  parts_.brokers[site_]->AbandonHandle(handle_);
}

bool FailoverProcess::Run::Step() {
  if (!to_send_.empty() || in_flight_ > 0) return SendOrSettle();
  if (const absl::Status status = Decide(); !status.ok()) {
    parts_.journal.Violation(absl::StrCat(name_, ": ", std::string(status.message())));
    alive_ = false;
  }
  return true;
}

absl::Status FailoverProcess::Run::Decide() {
  const std::string& site = parts_.brokers[site_]->cluster_id();
  FailoverFacts facts;
  facts.in_recovery = !parts_.ledger.promoted();
  if (facts.in_recovery) {
    facts.epoch = parts_.ledger.Durable().epoch;
  } else {
    LOCKSTEP_ASSIGN_OR_RETURN(
        facts, ReadFailoverFacts(parts_.ledger.Read(client_), Streams(), kTopic, site));
  }
  LOCKSTEP_ASSIGN_OR_RETURN(const FailoverStanding standing, StandingOf(facts, site));
  if (!standing.next) {
    parts_.journal.Say(name_, ": hands over to ", SiteName(site_));
    done_ = true;
    alive_ = false;
    return absl::OkStatus();
  }
  switch (*standing.next) {
    case FailoverStep::kPromote:
      parts_.ledger.Promote();
      return absl::OkStatus();
    case FailoverStep::kBeginEpoch:
      return BeginEpoch(standing.target);
    default:
      break;  // The logs say the rest; the plan names the first of the steps that read them.
  }
  epoch_begun_ = true;
  if (!filled_) {
    filled_ = true;
    return FindGaps(standing.target);
  }
  LOCKSTEP_RETURN_IF_ERROR(Verify());
  return HandOver(standing.target);
}

absl::Status FailoverProcess::Run::BeginEpoch(Epoch target) {
  parts_.ledger.CallInARow(client_, [&](Ledger& ledger) {
    const auto begun =
        BeginFailoverEpoch(ledger, target, /*solo=*/true, parts_.brokers[site_]->cluster_id(), 2);
    if (begun.ok()) parts_.journal.Saw(Event::epoch_begun);
    parts_.journal.Say(name_, ": begin epoch ", target.value(), ": ",
                       begun.ok() ? "begun" : "outcome unknown, looks again");
  });
  return absl::OkStatus();
}

std::vector<StreamInfo> FailoverProcess::Run::Streams() {
  auto streams = parts_.ledger.Read(client_).FindStreams(kTopic);
  LOCKSTEP_CHECK(streams.ok(), "a ledger in memory answers");
  return *std::move(streams);
}

std::string FailoverProcess::Run::ReinjectionTopic() const {
  return MirroredTopic(parts_.scenario.mirror, parts_.brokers[1 - site_]->cluster_id(), kTopic);
}

std::vector<SiteLog> FailoverProcess::Run::Logs(int32_t partition,
                                                std::deque<SimLogReader>& readers) const {
  std::vector<SiteLog> logs;
  std::vector<std::string> topics = {ReinjectionTopic()};
  if (topics.front() != kTopic) topics.push_back(kTopic);
  for (const std::string& topic : topics) {
    readers.emplace_back(parts_.brokers[site_]->Log({topic, partition}));
    logs.push_back({topic, &readers.back()});
  }
  return logs;
}

absl::Status FailoverProcess::Run::FindGaps(Epoch target) {
  for (const StreamInfo& stream : Streams()) {
    LOCKSTEP_ASSIGN_OR_RETURN(LedgerView view,
                              LedgerView::Open(parts_.ledger.Read(client_), stream));
    std::deque<SimLogReader> readers;
    // A whole scan rests on no proof, so there is no highest position to be fooled by.
    const bool whole = parts_.rules.gap_safe && parts_.random.Percent(20);
    TailScanOptions scan;
    scan.chunk_records = parts_.random.Between(1, 4);
    scan.chunk_records_max = 8;
    LOCKSTEP_ASSIGN_OR_RETURN(
        const Gap gap, FindGap(view, Logs(stream.name.partition, readers),
                               parts_.brokers[site_]->cluster_id(), parts_.rules, whole, scan));
    parts_.journal.Saw(gap.empty() ? Event::gap_empty : Event::gap_found);
    parts_.journal.Say(name_, ": stream ", stream.name.partition, " lacks ", gap.records,
                       " record(s) at ", SiteName(site_));
    ReinjectOptions options;
    options.order = parts_.scenario.unordered ? ReinjectOrder::kNone : ReinjectOrder::kLedger;
    options.label = target;
    Outbox outbox(parts_, stream.name.partition, to_send_);
    const auto reinjected = Reinject(
        gap,
        [&](const std::string& producer, const lockstep::Run& run) {
          return Fetch(stream, producer, run);
        },
        outbox, options);
    LOCKSTEP_RETURN_IF_ERROR(Annotate(reinjected.status(), "stuck"));
  }
  return absl::OkStatus();
}

// The payload must be had from what survives the site (I6), and is proved by the run's digest.
absl::StatusOr<std::vector<SourceEvent>> FailoverProcess::Run::Fetch(const StreamInfo& stream,
                                                                     const std::string& producer,
                                                                     const lockstep::Run& run) {
  const SimSource& source = parts_.sources.at(static_cast<size_t>(producer[0] - 'A'));
  std::vector<Payload> stored;
  if (parts_.scenario.payload_in_ledger) {
    LOCKSTEP_ASSIGN_OR_RETURN(const std::string bytes, StoredPayload(stream.id, run));
    stored = DecodePayloads(bytes);
  }
  std::vector<SourceEvent> events;
  RunDigest digest;
  for (Seq seq = run.first_seq; seq <= run.last_seq; ++seq) {
    SourceEvent& event = events.emplace_back();
    const int64_t at = source.AtOf(stream.name.partition, seq);
    event.at = absl::StrCat(at);
    if (parts_.scenario.payload_in_ledger) {
      event.payload = stored.at(static_cast<size_t>(seq - run.first_seq));
    } else {
      event.payload.value = source.ValueOf(at, "");
    }
    digest.Add(producer, run.term, seq, event.payload);
  }
  if (digest.Value() != run.digest) {
    return absl::DataLossError(absl::StrCat("I6: the payloads of ", producer, "/", run.term.value(),
                                            "/", run.first_seq.value(), "..", run.last_seq.value(),
                                            " fail the run's digest"));
  }
  return events;
}

absl::StatusOr<std::string> FailoverProcess::Run::StoredPayload(StreamId stream,
                                                                const lockstep::Run& run) {
  ReadStreamRequest request;
  request.stream = stream;
  request.with_payload = true;
  LOCKSTEP_ASSIGN_OR_RETURN(const StreamPage page, parts_.ledger.Read(client_).ReadStream(request));
  for (const lockstep::Run& stored : page.runs) {
    if (stored.producer == run.producer && stored.first_seq == run.first_seq) {
      return stored.payload;
    }
  }
  return absl::NotFoundError("I6: the ledger does not hold the payload");
}

bool FailoverProcess::Run::SendOrSettle() {
  const bool may_send = !to_send_.empty() && in_flight_ < 3;
  if (may_send && parts_.random.Percent(60)) {
    auto [partition, record] = std::move(to_send_.front());
    to_send_.pop_front();
    parts_.journal.Saw(Event::reinjected);
    parts_.journal.Say(name_, ": re-injects ", Identity(record), " into ", ReinjectionTopic(), "/",
                       partition);
    parts_.brokers[site_]->Send(handle_, ReinjectionTopic(), partition, std::move(record));
    ++in_flight_;
    return true;
  }
  if (!parts_.brokers[site_]->PollReport(handle_).has_value()) return may_send;
  --in_flight_;
  return true;
}

absl::Status FailoverProcess::Run::Verify() {
  if (parts_.plants.reinject_loses) return absl::OkStatus();
  for (const StreamInfo& stream : Streams()) {
    LOCKSTEP_ASSIGN_OR_RETURN(LedgerView view,
                              LedgerView::Open(parts_.ledger.Read(client_), stream));
    std::deque<SimLogReader> readers;
    LOCKSTEP_ASSIGN_OR_RETURN(const Verdicts verdicts,
                              VerifyLogs(view, Logs(stream.name.partition, readers),
                                         parts_.brokers[site_]->cluster_id(), parts_.rules));
    for (const auto& [anomaly, count] : verdicts.anomalies) {
      if (!IsBad(anomaly) || count.records == 0) continue;
      const AnomalyExample& first = count.first.front();
      return absl::DataLossError(absl::StrCat("I1: verify finds ", count.records, " ",
                                              std::string(ToString(anomaly)), " at ",
                                              SiteName(site_), ", first ", first.producer, "/",
                                              first.term.value(), "/", first.seq.value()));
    }
  }
  return absl::OkStatus();
}

absl::Status FailoverProcess::Run::HandOver(Epoch target) {
  parts_.ledger.CallInARow(client_, [&](Ledger& ledger) {
    (void)ledger.RecordStep({target, HandOverStepName(kTopic), "done", "{}", 0});
  });
  parts_.journal.Say(name_, ": verified; records that it hands over");
  return absl::OkStatus();
}

FailoverProcess::FailoverProcess(Parts& parts, int site, int number)
    : run_(std::make_unique<Run>(parts, site, number)) {}
FailoverProcess::~FailoverProcess() = default;

bool FailoverProcess::alive() const { return run_->alive_; }
bool FailoverProcess::epoch_begun() const { return run_->epoch_begun_; }
bool FailoverProcess::done() const { return run_->done_; }
bool FailoverProcess::Step() { return run_->Step(); }
void FailoverProcess::Kill() { run_->Kill(); }

}  // namespace lockstep::sim
