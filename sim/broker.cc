#include "sim/broker.h"

#include <algorithm>

#include "common/base/check.h"

namespace lockstep::sim {

std::string Identity(const SimRecord& record) {
  return absl::StrCat(record.producer, "/", record.term.value(), "/", record.seq.value());
}

Offset SimLog::Append(SimRecord record, int64_t skip) {
  record.offset = end_ + skip;
  end_ = record.offset + 1;
  records_.push_back(std::move(record));
  return records_.back().offset;
}

const SimRecord* SimLog::Find(Offset offset) const {
  auto at = std::lower_bound(records_.begin(), records_.end(), offset,
                             [](const SimRecord& r, Offset o) { return r.offset < o; });
  return at != records_.end() && at->offset == offset ? &*at : nullptr;
}

SimBroker::SimBroker(std::string cluster_id, Random& random, Journal& journal)
    : cluster_id_(std::move(cluster_id)), random_(random), journal_(journal) {}

const SimLog* SimBroker::FindLog(const TopicPartition& at) const {
  auto log = logs_.find(at);
  return log == logs_.end() ? nullptr : &log->second;
}

SimBroker::HandleId SimBroker::OpenHandle(std::string owner) {
  handles_.emplace_back();
  handles_.back().owner = std::move(owner);
  return static_cast<HandleId>(handles_.size() - 1);
}

void SimBroker::Send(HandleId handle, const std::string& topic, int32_t partition,
                     SimRecord record) {
  Handle& h = handles_[static_cast<size_t>(handle)];
  LOCKSTEP_CHECK(!h.orphan, "a destroyed handle sends nothing");
  h.requests[partition].push_back({topic, std::move(record)});
}

std::optional<DeliveryReport> SimBroker::PollReport(HandleId handle) {
  Handle& h = handles_[static_cast<size_t>(handle)];
  if (h.reports.empty()) return std::nullopt;
  DeliveryReport report = h.reports.front();
  h.reports.pop_front();
  return report;
}

std::vector<DeliveryReport> SimBroker::PurgeHandle(HandleId handle) {
  Handle& h = handles_[static_cast<size_t>(handle)];
  std::vector<DeliveryReport> failed;
  for (const DeliveryReport& report : h.reports) {  // Landed, but the answer was lost.
    failed.push_back({report.partition, report.seq, Offset(0), Delivery::kPossiblyPersisted});
  }
  h.reports.clear();
  for (auto& [partition, requests] : h.requests) {
    // What is on the wire may have landed or may yet land; what never left is known not to.
    const size_t on_the_wire = requests.empty() ? 0 : random_.Index(requests.size() + 1);
    for (size_t i = 0; i < requests.size(); ++i) {
      failed.push_back({partition, requests[i].record.seq, Offset(0),
                        i < on_the_wire ? Delivery::kPossiblyPersisted : Delivery::kNotPersisted});
    }
    requests.resize(on_the_wire);
  }
  h.orphan = true;
  journal_.Saw(Event::delivery_failed);
  return failed;
}

void SimBroker::AbandonHandle(HandleId handle) {
  Handle& h = handles_[static_cast<size_t>(handle)];
  h.orphan = true;
  h.reports.clear();
}

bool SimBroker::Step() {
  std::vector<std::pair<Handle*, int32_t>> ready;
  for (Handle& h : handles_) {
    for (auto& [partition, requests] : h.requests) {
      if (!requests.empty()) ready.emplace_back(&h, partition);
    }
  }
  if (ready.empty()) return false;
  auto [h, partition] = ready[random_.Index(ready.size())];
  std::deque<Request>& requests = h->requests[partition];
  if (h->orphan && random_.Percent(25)) {
    journal_.Saw(Event::requests_vanished);
    journal_.Say("kafka ", cluster_id_, ": ", requests.size(), " request(s) of dead ", h->owner,
                 " vanish, from ", Identity(requests.front().record));
    requests.clear();
    return true;
  }
  Request request = std::move(requests.front());
  requests.pop_front();
  const Seq seq = request.record.seq;
  const std::string identity = Identity(request.record);
  const int64_t skip = random_.Percent(5) ? 1 : 0;
  const Offset offset = logs_[{request.topic, partition}].Append(std::move(request.record), skip);
  journal_.Saw(h->orphan ? Event::record_landed_late : Event::record_landed);
  journal_.Say("kafka ", cluster_id_, ": ", identity, " lands at ", request.topic, "/", partition,
               " offset ", offset.value(), h->orphan ? " (late, of dead " : " (of ", h->owner, ")");
  if (!h->orphan) h->reports.push_back({partition, seq, offset, Delivery::kPersisted});
  return true;
}

void SimBroker::DropOrphans() {
  for (Handle& h : handles_) {
    if (h.orphan) h.requests.clear();
  }
}

bool SimBroker::HasRequests() const {
  for (const Handle& h : handles_) {
    for (const auto& [partition, requests] : h.requests) {
      if (!requests.empty()) return true;
    }
  }
  return false;
}

}  // namespace lockstep::sim
