#include "sim/producer_process.h"

#include <algorithm>

namespace lockstep::sim {
namespace {

// Source positions here are plain decimal numbers; nothing yet is 0.
int64_t ParseAt(const std::string& at) { return at.empty() ? 0 : std::stoll(at); }

}  // namespace

ProducerProcess::ProducerProcess(Parts& parts, size_t source, int site, int number)
    : parts_(parts),
      source_(source),
      site_(site),
      name_(absl::StrCat(parts.sources[source].producer(), number, "@", SiteName(site))),
      client_(parts.ledger.Connect(site, name_)) {
  Begin();
}

void ProducerProcess::Begin() {
  TenureOptions options;
  options.name = parts_.sources[source_].producer();
  options.adopt = parts_.random.Percent(80);
  options.in_flight_records_max = 4;
  options.rules = parts_.rules;
  if (parts_.scenario.payload_in_ledger) options.encode_payload = GatherPayloads(EncodePayloads);
  tenure_ = std::make_unique<Tenure>(std::move(options));
  handle_ = parts_.brokers[site_]->OpenHandle(name_);
  next_at_ = 0;
  numbers_.clear();
}

void ProducerProcess::Die(std::string_view why) {
  parts_.journal.Say(name_, ": ends, ", why);
  alive_ = false;
  parts_.ledger.Disconnect(client_);
  parts_.brokers[site_]->AbandonHandle(handle_);
}

void ProducerProcess::Crash() {
  parts_.journal.Saw(Event::producer_crash);
  if (tenure_->stage() != Tenure::Stage::kSend) {
    parts_.journal.Saw(Event::producer_crash_while_starting);
  }
  Die("killed");
}

bool ProducerProcess::Step() {
  switch (tenure_->stage()) {
    case Tenure::Stage::kOpen:
      return Open();
    case Tenure::Stage::kScan:
      return Scan();
    case Tenure::Stage::kAdopt:
      return Append();
    case Tenure::Stage::kClose:
      return Close();
    case Tenure::Stage::kSend:
      return Send();
    case Tenure::Stage::kBroken:
      (void)tenure_->TakeGroup();
      return Append();
    case Tenure::Stage::kEnded:
      break;
  }
  const Tenure::End end = tenure_->end();
  if (end == Tenure::End::kOpenUnknown) {
    parts_.journal.Saw(Event::producer_open_abandoned);
  } else {
    parts_.journal.Saw(Event::producer_tenure_ended);
  }
  const bool unplanned = end == Tenure::End::kInconsistentOffsets || end == Tenure::End::kRefused;
  if (unplanned && !parts_.ledger.IsLost(site_)) {
    parts_.journal.Stopped(absl::StrCat(name_, " stops: ", std::string(ToString(end)), ", ",
                                        std::string(tenure_->why().message())),
                           parts_.rule_is_off);
  }
  const bool again = end == Tenure::End::kOpenUnknown || end == Tenure::End::kDeliveryFailed;
  // At the lost site some are started again, and may reach the promoted database.
  if (!again || (parts_.ledger.IsLost(site_) && parts_.random.Percent(50))) {
    Die(ToString(end));
  } else {
    parts_.journal.Say(name_, ": tenure ended, ", ToString(end), "; begins another");
    parts_.brokers[site_]->AbandonHandle(handle_);
    Begin();
  }
  return true;
}

bool ProducerProcess::Open() {
  if (asked_) return false;
  OpenProducerRequest request;
  request.producer = parts_.sources[source_].producer();
  request.source = "table:" + request.producer;
  request.topic = request.log_topic = kTopic;
  request.partition_count = parts_.scenario.partitions;
  request.cluster_id = parts_.brokers[site_]->cluster_id();
  for (int32_t p = 0; p < parts_.scenario.partitions; ++p) {
    request.partitions.push_back({p, parts_.brokers[site_]->Log({kTopic, p}).end()});
  }
  asked_ = true;
  parts_.ledger.Submit<OpenedProducer>(
      client_, "open", [request](Ledger& ledger) { return ledger.OpenProducer(request); },
      [this](const Commit<OpenedProducer>& answer) {
        asked_ = false;
        if (answer.committed()) parts_.journal.Saw(Event::producer_open);
        tenure_->OnOpened(answer);
      },
      {.wait = parts_.rules.open_sync});
  return true;
}

bool ProducerProcess::Scan() {
  const auto& streams = tenure_->opened().streams;
  for (size_t i = 0; i < streams.size(); ++i) {
    for (const SimRecord& record :
         parts_.brokers[site_]->Log({kTopic, streams[i].partition}).records()) {
      if (record.offset < streams[i].adopt_from) continue;
      Tenure::TailRecord tail;
      tail.offset = record.offset;
      tail.header = {record.term, record.seq, record.at, record.producer};
      tail.reinjected = record.reinjected.has_value();
      tail.payload = &record.payload;
      tenure_->OnTail(i, tail);
    }
  }
  tenure_->OnTailsEnd();
  if (tenure_->stage() == Tenure::Stage::kAdopt) {
    parts_.journal.Saw(Event::producer_adopts);
    parts_.journal.Say(name_, ": adopts what the log's tail has");
  }
  return true;
}

bool ProducerProcess::Append() {
  if (asked_ || !tenure_->group_in_flight()) return false;
  const AppendRequest request = tenure_->group();
  std::string what = "append";
  for (const RunToAppend& run : request.runs) {
    absl::StrAppend(&what, " ",
                    tenure_->opened().streams.size() > 1
                        ? absl::StrCat("stream ", run.stream.value() - 1, " ")
                        : "",
                    run.run.first_seq.value(), "..", run.run.last_seq.value(), " term ",
                    run.run.term.value(), " at ", run.run.offsets.ToString());
  }
  asked_ = true;
  parts_.ledger.Submit<Appended>(
      client_, std::move(what), [request](Ledger& ledger) { return ledger.Append(request); },
      [this](const Commit<Appended>& answer) {
        asked_ = false;
        if (answer.committed() && answer.value.again) parts_.journal.Saw(Event::ledger_repeat);
        if (!tenure_->group_in_flight()) return;
        tenure_->OnAppended(answer);
        ReadAcknowledged();
      });
  return true;
}

bool ProducerProcess::Close() {
  if (asked_) return false;
  const ProducerId producer = tenure_->opened().producer;
  const std::vector<TermOnStream> terms = tenure_->terms();
  asked_ = true;
  parts_.ledger.Submit<Moved>(
      client_, absl::StrCat("close terms below ", terms.front().term.value()),
      [producer, terms](Ledger& ledger) { return ledger.CloseEarlierTerms(producer, terms); },
      [this](const Commit<Moved>& answer) {
        asked_ = false;
        tenure_->OnClosed(answer);
      });
  return true;
}

bool ProducerProcess::Send() {
  switch (parts_.random.Below(3)) {
    case 0:
      return SendNext() || ReadReport() || (tenure_->TakeGroup(), Append());
    case 1:
      return ReadReport() || (tenure_->TakeGroup(), Append()) || SendNext();
    default:
      (void)tenure_->TakeGroup();
      return Append() || SendNext() || ReadReport();
  }
}

bool ProducerProcess::SendNext() {
  const SimSource& source = parts_.sources[source_];
  if (next_at_ == 0) {
    const ResumePoint from = tenure_->resume_point();
    next_at_ = 1 + std::max(ParseAt(from.floor), ParseAt(from.checkpoint.value_or("")));
  }
  if (next_at_ > source.size() || !tenure_->CanTake()) return false;
  const int64_t at = next_at_++;
  const int32_t partition = source.PartitionOf(at);
  SourceEvent event;
  event.at = absl::StrCat(at);
  event.payload.value = source.ValueOf(at, parts_.scenario.payload_in_ledger ? name_ : "");
  event.partition = partition;
  SimRecord record{{}, source.producer(), {}, {}, event.at, event.payload, {}};
  const auto outgoing = tenure_->Next(static_cast<size_t>(partition), std::move(event));
  if (!outgoing) return true;  // The ledger has it.
  record.term = outgoing->term;
  record.seq = outgoing->seq;
  numbers_[{partition, outgoing->seq}] = outgoing->number;
  parts_.journal.Say(name_, ": sends ", Identity(record), " (source position ", at, ")");
  parts_.brokers[site_]->Send(handle_, kTopic, partition, std::move(record));
  return true;
}

bool ProducerProcess::ReadReport() {
  const auto report = parts_.brokers[site_]->PollReport(handle_);
  if (!report) return false;
  const uint64_t number = numbers_.at({report->partition, report->seq});
  if (parts_.plants.source_told_early) {
    parts_.sources[source_].Acknowledge(ParseAt(tenure_->event(number).at));
    parts_.checker.Told(parts_.sources[source_]);
  }
  tenure_->OnDelivered(number, report->offset);
  return true;
}

void ProducerProcess::ReadAcknowledged() {
  SimSource& source = parts_.sources[source_];
  if (ParseAt(tenure_->acknowledged()) <= source.acknowledged()) return;
  source.Acknowledge(ParseAt(tenure_->acknowledged()));
  parts_.journal.Say(name_, ": tells the source that all up to ", source.acknowledged(),
                     " is done");
  parts_.checker.Told(source);
}

bool ProducerProcess::CanFailHandle() const {
  return tenure_->stage() == Tenure::Stage::kSend && tenure_->in_flight() > 0;
}

void ProducerProcess::FailHandle() {
  parts_.journal.Say(name_, ": the handle fails, purged");
  const auto why = absl::UnavailableError("delivery failed");
  for (const DeliveryReport& report : parts_.brokers[site_]->PurgeHandle(handle_)) {
    tenure_->OnFailed(numbers_.at({report.partition, report.seq}), why);
  }
  tenure_->Break(why);
  tenure_->AllReported();
}

}  // namespace lockstep::sim
