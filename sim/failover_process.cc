#include "sim/failover_process.h"

#include <deque>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/base/check.h"
#include "mirror-reconcile/gap.h"
#include "mirror-reconcile/reinject_plan.h"
#include "mirror-reconcile/verify.h"
#include "sim/mirror.h"
#include "sim/site_logs.h"

namespace lockstep::sim {

class FailoverProcess::Run {
 public:
  Run(Parts& parts, int site, Epoch ended, int number)
      : parts_(parts),
        site_(site),
        name_(absl::StrCat("failover", number)),
        client_(parts.ledger.Connect(site, name_)),
        handle_(parts.brokers[site]->OpenHandle(name_)),
        ended_epoch_(ended) {
    parts_.journal.Say(name_, ": starts");
  }

  bool Step();
  void Kill();

  bool alive_ = true;
  bool epoch_begun_ = false;
  bool done_ = false;

 private:
  enum class Stage { kPromote, kBeginEpoch, kGap, kReinject, kVerify };

  bool BeginEpoch();
  void FindGaps();
  bool Reinject();
  void Verify();
  void Fail(const std::string& what);
  std::vector<StreamInfo> Streams();
  // The logs of a stream at this site: the mirrored topic and the local one, or one that is both.
  std::vector<SiteLog> Logs(int32_t partition, std::deque<SimLogReader>& readers) const;
  std::string ReinjectionTopic() const;
  void Plan(const Gap& gap);
  std::vector<Payload> PayloadsOf(const StreamInfo& stream, const lockstep::Run& run,
                                  const std::string& producer);

  Parts& parts_;
  const int site_;
  const std::string name_;
  const SimLedgerPair::ClientId client_;
  const SimBroker::HandleId handle_;
  const Epoch ended_epoch_;
  Stage stage_ = Stage::kPromote;
  bool asked_ = false;
  std::deque<std::pair<int32_t, SimRecord>> to_send_;  // By partition, in the plan's order.
  int64_t in_flight_ = 0;
};

bool FailoverProcess::Run::Step() {
  switch (stage_) {
    case Stage::kPromote:
      parts_.ledger.Promote();
      stage_ = Stage::kBeginEpoch;
      return true;
    case Stage::kBeginEpoch:
      return BeginEpoch();
    case Stage::kGap:
      FindGaps();
      return true;
    case Stage::kReinject:
      return Reinject();
    case Stage::kVerify:
      Verify();
      return true;
  }
  return false;
}

void FailoverProcess::Run::Kill() {
  parts_.journal.Saw(Event::failover_killed);
  parts_.journal.Say(name_, ": killed");
  alive_ = false;
  parts_.ledger.Disconnect(client_);
  parts_.brokers[site_]->AbandonHandle(handle_);
}

void FailoverProcess::Run::Fail(const std::string& what) {
  parts_.journal.Violation(absl::StrCat(name_, ": ", what));
  alive_ = false;
}

bool FailoverProcess::Run::BeginEpoch() {
  if (asked_) return false;
  asked_ = true;
  parts_.ledger.Submit<BegunEpoch>(
      client_, absl::StrCat("begin epoch after ", ended_epoch_.value()),
      [epoch = ended_epoch_](Ledger& ledger) {
        return ledger.BeginEpoch(epoch, /*solo=*/true, "site lost");
      },
      [this](const Commit<BegunEpoch>& answer) {
        asked_ = false;
        // Refused as kWrongEpoch: an earlier run's begin_epoch happened, whatever it was told.
        if (answer.committed() || answer.refusal == Refusal::kWrongEpoch) {
          epoch_begun_ = true;
          stage_ = Stage::kGap;
        }
        if (answer.committed()) parts_.journal.Saw(Event::epoch_begun);
      });
  return true;
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

void FailoverProcess::Run::FindGaps() {
  for (const StreamInfo& stream : Streams()) {
    auto view = LedgerView::Open(parts_.ledger.Read(client_), stream);
    if (!view.ok()) return Fail(view.status().ToString());
    std::deque<SimLogReader> readers;
    TailScanOptions options;
    options.chunk_records = parts_.random.Between(1, 4);
    options.chunk_records_max = 8;
    const auto gap = FindGap(*view, Logs(stream.name.partition, readers),
                             parts_.brokers[site_]->cluster_id(), parts_.rules,
                             /*whole=*/parts_.random.Percent(20), options);
    if (!gap.ok()) return Fail(gap.status().ToString());
    parts_.journal.Saw(gap->empty() ? Event::gap_empty : Event::gap_found);
    parts_.journal.Say(name_, ": stream ", stream.name.partition, " lacks ", gap->records,
                       " record(s) at ", SiteName(site_));
    Plan(*gap);
    if (!alive_) return;
  }
  stage_ = Stage::kReinject;
}

void FailoverProcess::Run::Plan(const Gap& gap) {
  std::map<ProducerId, std::string> names;
  for (const ProducerGap& producer : gap.producers) names[producer.producer] = producer.name;
  ReinjectPlan plan(gap, parts_.scenario.unordered ? ReinjectOrder::kNone : ReinjectOrder::kLedger);
  std::map<size_t, std::vector<Payload>> payloads;  // By piece; of its whole run.
  while (const auto slice = plan.Next()) {
    const lockstep::Run& run = gap.pieces[slice->piece].run;
    const std::string& name = names[run.producer];
    auto [whole, fresh] = payloads.try_emplace(slice->piece);
    if (fresh) {
      whole->second = PayloadsOf(gap.stream, run, name);
      RunDigest digest;
      Seq seq = run.first_seq;
      for (const Payload& payload : whole->second) {
        digest.Add(name, run.term, seq, payload);
        ++seq;
      }
      if (digest.Value() != run.digest) {
        return Fail(absl::StrCat("I6: the payloads of ", name, "/", run.term.value(), "/",
                                 run.first_seq.value(), "..", run.last_seq.value(),
                                 " do not match the run's digest"));
      }
    }
    for (Seq seq = slice->first_seq; seq <= slice->last_seq; ++seq) {
      if (parts_.plants.reinject_loses && parts_.random.Percent(30)) continue;
      const int64_t at = parts_.sources.at(static_cast<size_t>(name[0] - 'A'))
                             .AtOf(gap.stream.name.partition, seq);
      const Payload& payload = whole->second[static_cast<size_t>(seq - run.first_seq)];
      to_send_.emplace_back(
          gap.stream.name.partition,
          SimRecord{{}, name, run.term, seq, absl::StrCat(at), payload, Epoch(ended_epoch_ + 1)});
    }
  }
}

std::vector<Payload> FailoverProcess::Run::PayloadsOf(const StreamInfo& stream,
                                                      const lockstep::Run& run,
                                                      const std::string& producer) {
  if (parts_.scenario.payload_in_ledger) {
    ReadStreamRequest request;
    request.stream = stream.id;
    request.with_payload = true;
    auto page = parts_.ledger.Read(client_).ReadStream(request);
    LOCKSTEP_CHECK(page.ok(), "a ledger in memory answers");
    for (const lockstep::Run& stored : page->runs) {
      if (stored.producer == run.producer && stored.first_seq == run.first_seq) {
        return DecodePayloads(stored.payload);
      }
    }
    return {};
  }
  std::vector<Payload> payloads;
  const SimSource& source = parts_.sources.at(static_cast<size_t>(producer[0] - 'A'));
  for (Seq seq = run.first_seq; seq <= run.last_seq; ++seq) {
    Payload& payload = payloads.emplace_back();
    payload.value = source.ValueOf(source.AtOf(stream.name.partition, seq), "");
  }
  return payloads;
}

bool FailoverProcess::Run::Reinject() {
  const bool send = !to_send_.empty() && in_flight_ < 3;
  if (send && parts_.random.Percent(60)) {
    auto [partition, record] = std::move(to_send_.front());
    to_send_.pop_front();
    parts_.journal.Saw(Event::reinjected);
    parts_.journal.Say(name_, ": re-injects ", Identity(record), " into ", ReinjectionTopic(), "/",
                       partition);
    parts_.brokers[site_]->Send(handle_, ReinjectionTopic(), partition, std::move(record));
    ++in_flight_;
    return true;
  }
  if (parts_.brokers[site_]->PollReport(handle_).has_value()) {
    --in_flight_;
    return true;
  }
  if (to_send_.empty() && in_flight_ == 0) {
    stage_ = Stage::kVerify;
    return true;
  }
  return send;
}

void FailoverProcess::Run::Verify() {
  for (const StreamInfo& stream : Streams()) {
    if (parts_.plants.reinject_loses) break;
    auto view = LedgerView::Open(parts_.ledger.Read(client_), stream);
    if (!view.ok()) return Fail(view.status().ToString());
    std::deque<SimLogReader> readers;
    const auto verdicts = VerifyLogs(*view, Logs(stream.name.partition, readers),
                                     parts_.brokers[site_]->cluster_id(), parts_.rules);
    if (!verdicts.ok()) return Fail(verdicts.status().ToString());
    if (verdicts->good()) continue;
    for (const auto& [anomaly, count] : verdicts->anomalies) {
      if (!IsBad(anomaly) || count.records == 0) continue;
      const AnomalyExample& first = count.first.front();
      return Fail(absl::StrCat("stuck: verify finds ", count.records, " ",
                               std::string(ToString(anomaly)), ", first ", first.producer, "/",
                               first.term.value(), "/", first.seq.value()));
    }
  }
  parts_.journal.Say(name_, ": verified, hands over to ", SiteName(site_));
  done_ = true;
  alive_ = false;
}

FailoverProcess::FailoverProcess(Parts& parts, int site, Epoch ended, int number)
    : run_(std::make_unique<Run>(parts, site, ended, number)) {}
FailoverProcess::~FailoverProcess() = default;

bool FailoverProcess::alive() const { return run_->alive_; }
bool FailoverProcess::epoch_begun() const { return run_->epoch_begun_; }
bool FailoverProcess::done() const { return run_->done_; }
bool FailoverProcess::Step() { return run_->Step(); }
void FailoverProcess::Kill() { run_->Kill(); }

}  // namespace lockstep::sim
